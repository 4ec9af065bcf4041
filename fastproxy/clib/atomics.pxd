# SPDX-License-Identifier: MIT
"""GCC's __atomic builtins for words in shared memory, where Cython has no libc.stdatomic.

Loads acquire, stores release, read-modify-writes are both: a reader that sees the word sees all
that was written before it. A store is not ordered before a later load of another word: between
"here am I" and "who else?" stands `fence_all`. Counters with a single writer use `count_add`
(relaxed, no lock prefix).
"""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    static inline uint64_t load64(const uint64_t *p) {
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);
    }
    static inline uint32_t load32(const uint32_t *p) {
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);
    }
    static inline void store64(uint64_t *p, uint64_t v) {
        __atomic_store_n(p, v, __ATOMIC_RELEASE);
    }
    static inline void store32(uint32_t *p, uint32_t v) {
        __atomic_store_n(p, v, __ATOMIC_RELEASE);
    }
    static inline uint64_t fetch_add64(uint64_t *p, uint64_t v)
        { return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL); }
    static inline uint32_t fetch_add32(uint32_t *p, uint32_t v)
        { return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL); }
    static inline uint32_t fetch_or32(uint32_t *p, uint32_t v)
        { return __atomic_fetch_or(p, v, __ATOMIC_ACQ_REL); }
    static inline uint32_t fetch_and32(uint32_t *p, uint32_t v)
        { return __atomic_fetch_and(p, v, __ATOMIC_ACQ_REL); }
    static inline uint32_t exchange32(uint32_t *p, uint32_t v)
        { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }
    static inline int cas64(uint64_t *p, uint64_t *seen, uint64_t v)
        { return __atomic_compare_exchange_n(p, seen, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); }
    static inline int cas32(uint32_t *p, uint32_t *seen, uint32_t v)
        { return __atomic_compare_exchange_n(p, seen, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); }
    static inline void fence_all(void)
        { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    static inline void count_add(uint64_t *p, uint64_t v)
        { __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + v, __ATOMIC_RELAXED); }
    """
    uint64_t load64(const uint64_t *p) noexcept
    uint32_t load32(const uint32_t *p) noexcept
    void store64(uint64_t *p, uint64_t v) noexcept
    void store32(uint32_t *p, uint32_t v) noexcept
    uint64_t fetch_add64(uint64_t *p, uint64_t v) noexcept
    uint32_t fetch_add32(uint32_t *p, uint32_t v) noexcept
    uint32_t fetch_or32(uint32_t *p, uint32_t v) noexcept
    uint32_t fetch_and32(uint32_t *p, uint32_t v) noexcept
    uint32_t exchange32(uint32_t *p, uint32_t v) noexcept
    bint cas64(uint64_t *p, uint64_t *seen, uint64_t v) noexcept
    bint cas32(uint32_t *p, uint32_t *seen, uint32_t v) noexcept
    void fence_all() noexcept
    void count_add(uint64_t *p, uint64_t v) noexcept
