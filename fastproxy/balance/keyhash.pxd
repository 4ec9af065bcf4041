# SPDX-License-Identifier: MIT
"""The hash of balancing: a key to 64 bits, the same in every process, on every machine, for good.

It has no seed, because several proxies before the same backends must send a key to the same one,
and a restart must move nobody; so it hides nothing: whoever chooses his keys chooses his backend.
Changing it moves every client once. Golden values: tests/unit/test_balance_hash.py.

The way of wyhash (Wang Yi, public domain): 64 x 64 bits multiplied to 128, both halves xored.
Keys may have any length and bytes; little-endian machines only, as all tables here.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    static inline uint64_t fastproxy_fold(uint64_t a, uint64_t b) {
        __extension__ typedef unsigned __int128 wide;
        wide product = (wide) a * b;
        return (uint64_t) product ^ (uint64_t) (product >> 64);
    }
    """
    uint64_t fold "fastproxy_fold"(uint64_t a, uint64_t b) noexcept nogil


cdef inline uint64_t _word8(const char *at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


cdef inline uint64_t _word4(const char *at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline uint64_t hash_key(const char *key, size_t size) noexcept nogil:
    """Of `size` bytes."""
    cdef uint64_t seed = 0xa0761d6478bd642fu
    cdef uint64_t first = 0
    cdef uint64_t last = 0
    cdef size_t left = size
    while left > 16:
        seed = fold(_word8(key) ^ 0xe7037ed1a0b428dbu, _word8(key + 8) ^ seed)
        key += 16
        left -= 16
    if left >= 8:
        first = _word8(key)
        last = _word8(key + left - 8)
    elif left >= 4:
        first = _word4(key)
        last = _word4(key + left - 4)
    elif left > 0:
        first = (<uint64_t> (<uint8_t> key[0]) << 16 | <uint64_t> (<uint8_t> key[left >> 1]) << 8
                 | <uint8_t> key[left - 1])
    return fold(0xe7037ed1a0b428dbu ^ <uint64_t> size,
                fold(first ^ 0xe7037ed1a0b428dbu, last ^ seed))


cdef inline uint64_t mix_hashes(uint64_t one, uint64_t other) noexcept nogil:
    """One hash of two: a key and a member, a member and the number of a point."""
    return fold(fold(one ^ 0xa0761d6478bd642fu, other ^ 0xe7037ed1a0b428dbu)
                ^ 0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u)
