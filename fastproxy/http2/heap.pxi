# SPDX-License-Identifier: MIT
# Memory of nghttp2: some 25 pieces for each request, given back soon after. They come from free
# lists, one for each size in steps of HEAP_STEP; the C library takes four times as long. What is
# larger, and what would make the lists long, is the C library's.

cdef inline char *heap_piece(Heap *heap, size_t size) noexcept nogil:
    """A piece with its list's number before it. NULL: no memory."""
    cdef size_t at = (size + HEAP_HEAD + HEAP_STEP - 1) // HEAP_STEP
    cdef char *piece
    if at < HEAP_LISTS and heap.free[at] != NULL:
        piece = <char *> heap.free[at]
        heap.free[at] = (<HeapPiece *> piece).next
        heap.kept_bytes -= at * HEAP_STEP
    else:
        if at >= HEAP_LISTS:
            at = 0
        piece = <char *> malloc(at * HEAP_STEP if at != 0 else size + HEAP_HEAD)
        if piece == NULL:
            return NULL
    (<HeapPiece *> piece).index = at
    return piece + HEAP_HEAD


cdef void *heap_malloc(size_t size, void *user) noexcept nogil:
    if size > HEAP_MOST:
        return NULL
    return heap_piece(<Heap *> user, size)


cdef void heap_free(void *ptr, void *user) noexcept nogil:
    cdef Heap *heap = <Heap *> user
    cdef HeapPiece *piece
    cdef size_t at
    if ptr == NULL:
        return
    piece = <HeapPiece *> (<char *> ptr - HEAP_HEAD)
    at = piece.index
    if at == 0 or heap.kept_bytes >= HEAP_KEEPS:
        free(piece)
        return
    heap.kept_bytes += at * HEAP_STEP
    piece.next = heap.free[at]
    heap.free[at] = piece


cdef void *heap_calloc(size_t count, size_t size, void *user) noexcept nogil:
    cdef char *ptr
    if size != 0 and count > HEAP_MOST // size:
        return NULL
    ptr = heap_piece(<Heap *> user, count * size)
    if ptr != NULL:
        memset(ptr, 0, count * size)
    return ptr


cdef void *heap_realloc(void *ptr, size_t size, void *user) noexcept nogil:
    cdef HeapPiece *piece
    cdef size_t room
    cdef void *to
    if ptr == NULL:
        return heap_malloc(size, user)
    if size > HEAP_MOST:
        return NULL
    piece = <HeapPiece *> (<char *> ptr - HEAP_HEAD)
    if piece.index == 0:
        piece = <HeapPiece *> realloc(piece, size + HEAP_HEAD)
        return <char *> piece + HEAP_HEAD if piece != NULL else NULL
    room = piece.index * HEAP_STEP - HEAP_HEAD
    if size <= room:
        return ptr
    to = heap_piece(<Heap *> user, size)
    if to != NULL:
        memcpy(to, ptr, room)
        heap_free(ptr, user)
    return to
