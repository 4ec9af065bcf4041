# SPDX-License-Identifier: MIT
"""A pool of equal objects, found by a 32-bit index: connections and exchanges.

Objects live in slabs that never move, so pointers stay good. Every pooled struct begins with
PoolItem. Taking one and giving it back each add 1 to its generation, so that an (index, generation)
kept elsewhere (an epoll event, Python) is recognised as stale. Slabs are allocated as needed, kept.

Worker only.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastproxy.clib.must cimport MUST, MUST_HOT

cdef enum:
    SLAB_ITEMS = 64
    SLABS_MAX = 16384           # 64 * 16384 = one million objects


cdef struct PoolItem:
    uint32_t index
    uint32_t generation         # odd: in use


cdef struct Pool:
    char **slabs
    uint32_t slab_count
    uint32_t item_bytes
    uint32_t *free_list         # stack of free indices
    uint32_t free_count
    uint32_t free_cap
    uint32_t used


cdef inline bint pool_init(Pool *pool, uint32_t item_bytes) noexcept nogil:
    memset(pool, 0, sizeof(Pool))
    pool.item_bytes = item_bytes
    pool.slabs = <char **> calloc(SLABS_MAX, sizeof(char *))
    return pool.slabs != NULL


cdef inline PoolItem *pool_at(const Pool *pool, uint32_t index) noexcept nogil:
    """The object, whether in use or not; NULL beyond the slabs."""
    cdef uint32_t slab = index // SLAB_ITEMS
    if slab >= pool.slab_count:
        return NULL
    return <PoolItem *> (pool.slabs[slab] + <size_t> (index % SLAB_ITEMS) * pool.item_bytes)


cdef inline PoolItem *pool_find(const Pool *pool, uint32_t index,
                                uint32_t generation) noexcept nogil:
    """The object if it is still the same one, else NULL."""
    cdef PoolItem *item = pool_at(pool, index)
    if item == NULL or item.generation != generation:
        return NULL
    return item


cdef inline bint pool_grow(Pool *pool) noexcept nogil:
    cdef char *slab
    cdef uint32_t *longer
    cdef uint32_t i
    cdef PoolItem *item
    if pool.slab_count == SLABS_MAX:
        return False
    if pool.free_cap < (pool.slab_count + 1) * SLAB_ITEMS:
        longer = <uint32_t *> calloc((pool.slab_count + 16) * SLAB_ITEMS, sizeof(uint32_t))
        if longer == NULL:
            return False
        for i in range(pool.free_count):
            longer[i] = pool.free_list[i]
        free(pool.free_list)
        pool.free_list = longer
        pool.free_cap = (pool.slab_count + 16) * SLAB_ITEMS
    slab = <char *> calloc(SLAB_ITEMS, pool.item_bytes)
    if slab == NULL:
        return False
    pool.slabs[pool.slab_count] = slab
    for i in range(<uint32_t> SLAB_ITEMS):
        item = <PoolItem *> (slab + <size_t> i * pool.item_bytes)
        item.index = pool.slab_count * SLAB_ITEMS + i
        # The lowest index ends on top of the stack.
        pool.free_list[pool.free_count + i] = pool.slab_count * SLAB_ITEMS + SLAB_ITEMS - 1 - i
    pool.free_count += SLAB_ITEMS
    pool.slab_count += 1
    return True


cdef inline PoolItem *pool_take(Pool *pool) noexcept nogil:
    """An object, zeroed but for its header, or NULL without memory."""
    cdef PoolItem *item
    cdef uint32_t index, generation
    if pool.free_count == 0 and not pool_grow(pool):
        return NULL
    pool.free_count -= 1
    pool.used += 1
    item = pool_at(pool, pool.free_list[pool.free_count])
    index = item.index
    generation = item.generation
    MUST_HOT(generation & 1 == 0)
    memset(item, 0, pool.item_bytes)
    item.index = index
    item.generation = generation + 1
    return item


cdef inline void pool_give(Pool *pool, PoolItem *item) noexcept nogil:
    MUST(item.generation & 1 == 1)
    item.generation += 1
    pool.free_list[pool.free_count] = item.index
    pool.free_count += 1
    pool.used -= 1


cdef inline void pool_free(Pool *pool) noexcept nogil:
    """Worker exit: all slabs go."""
    cdef uint32_t i
    for i in range(pool.slab_count):
        free(pool.slabs[i])
    free(pool.slabs)
    free(pool.free_list)
    memset(pool, 0, sizeof(Pool))
