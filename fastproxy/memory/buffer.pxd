# SPDX-License-Identifier: MIT
"""Pooled blocks of bytes: 1 KiB to 1 MiB, in steps of four.

A Buffer is a window [off, len) of a block: what is before `off` was consumed. An empty Buffer owns
no block, so an idle connection costs nothing here. Blocks go back to a free list per class; a list
keeps at most `KEEP_BYTES`, the rest returns to malloc, so a spike does not stay.

Worker only: one BlockPool hangs off each Engine.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from fastproxy.clib.must cimport MUST_HOT
from fastproxy.memory.span cimport Span, span

cdef enum:
    BLOCK_CLASSES = 6
    BLOCK_SMALLEST = 1024
    KEEP_BYTES = 1048576


cdef struct FreeBlock:
    FreeBlock *next


cdef struct BlockPool:
    FreeBlock *free[BLOCK_CLASSES]
    uint32_t kept[BLOCK_CLASSES]
    uint64_t bytes_out              # in use now


cdef struct Buffer:
    char *ptr
    uint32_t off
    uint32_t len
    uint32_t cap


cdef inline uint32_t block_class(size_t size) noexcept nogil:
    """The smallest class that holds `size`; BLOCK_CLASSES if none does."""
    cdef uint32_t index = 0
    cdef size_t cap = BLOCK_SMALLEST
    while cap < size and index < BLOCK_CLASSES:
        cap <<= 2
        index += 1
    return index


cdef inline char *block_take(BlockPool *pool, size_t size, uint32_t *cap) noexcept nogil:
    """A block of at least `size` bytes, or NULL (too large, or no memory)."""
    cdef uint32_t index = block_class(size)
    cdef FreeBlock *block
    if index >= BLOCK_CLASSES:
        return NULL
    cap[0] = BLOCK_SMALLEST << (2 * index)
    block = pool.free[index]
    if block != NULL:
        pool.free[index] = block.next
        pool.kept[index] -= 1
    else:
        block = <FreeBlock *> malloc(cap[0])
        if block == NULL:
            return NULL
    pool.bytes_out += cap[0]
    return <char *> block


cdef inline void block_give(BlockPool *pool, char *ptr, uint32_t cap) noexcept nogil:
    cdef uint32_t index = block_class(cap)
    cdef FreeBlock *block = <FreeBlock *> ptr
    pool.bytes_out -= cap
    if <uint64_t> pool.kept[index] * cap >= KEEP_BYTES:
        free(ptr)
        return
    block.next = pool.free[index]
    pool.free[index] = block
    pool.kept[index] += 1


cdef inline void pool_trim(BlockPool *pool) noexcept nogil:
    """Give every kept block back to malloc (worker exit)."""
    cdef FreeBlock *block
    cdef uint32_t index
    for index in range(<uint32_t> BLOCK_CLASSES):
        while pool.free[index] != NULL:
            block = pool.free[index]
            pool.free[index] = block.next
            free(block)
        pool.kept[index] = 0


cdef inline uint32_t buffer_size(const Buffer *buffer) noexcept nogil:
    return buffer.len - buffer.off


cdef inline Span buffer_span(const Buffer *buffer) noexcept nogil:
    return span(buffer.ptr + buffer.off, buffer.len - buffer.off)


cdef inline void buffer_drop(BlockPool *pool, Buffer *buffer) noexcept nogil:
    """Forget the content and give the block back."""
    if buffer.ptr != NULL:
        block_give(pool, buffer.ptr, buffer.cap)
        buffer.ptr = NULL
    buffer.off = 0
    buffer.len = 0
    buffer.cap = 0


cdef inline void buffer_consume(BlockPool *pool, Buffer *buffer, uint32_t count) noexcept nogil:
    """The first `count` bytes are done; an empty buffer gives its block back."""
    MUST_HOT(count <= buffer.len - buffer.off)
    buffer.off += count
    if buffer.off == buffer.len:
        buffer_drop(pool, buffer)


cdef inline bint buffer_room(BlockPool *pool, Buffer *buffer, size_t room) noexcept nogil:
    """Make sure `room` more bytes fit behind `len`. False: no memory, nothing changed."""
    cdef char *ptr
    cdef uint32_t cap
    cdef uint32_t size = buffer.len - buffer.off
    if buffer.ptr != NULL and buffer.cap - buffer.len >= room:
        return True
    if buffer.ptr != NULL and buffer.cap - size >= room:
        memmove(buffer.ptr, buffer.ptr + buffer.off, size)
    else:
        ptr = block_take(pool, size + room, &cap)
        if ptr == NULL:
            return False
        if buffer.ptr != NULL:
            memcpy(ptr, buffer.ptr + buffer.off, size)
            block_give(pool, buffer.ptr, buffer.cap)
        buffer.ptr = ptr
        buffer.cap = cap
    buffer.off = 0
    buffer.len = size
    return True


cdef inline bint buffer_add(BlockPool *pool, Buffer *buffer, const char *ptr,
                            size_t length) noexcept nogil:
    """Append bytes. False: no memory, nothing changed."""
    if length == 0:
        return True
    if not buffer_room(pool, buffer, length):
        return False
    memcpy(buffer.ptr + buffer.len, ptr, length)
    buffer.len += <uint32_t> length
    return True
