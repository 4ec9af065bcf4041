# SPDX-License-Identifier: MIT
"""The hash of a host name or of a path segment below a node.

Tables are built from the configuration and at most half full, so a stranger can neither fill a
bucket nor see the seed matter: speed is all that is asked. Builders call the same function through
`_core.route_hash`; little-endian machines only, as all of the plan.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy


cdef inline uint64_t hash_word(uint64_t hashed, uint64_t word) noexcept nogil:
    hashed = (hashed ^ word) * <uint64_t> 0x9e3779b97f4a7c15
    return hashed ^ (hashed >> 32)


cdef inline uint32_t route_hash(uint32_t seed, const char *text, size_t length) noexcept nogil:
    cdef uint64_t hashed = ((<uint64_t> seed << 32) | <uint64_t> length) + 0x51ed270b
    cdef uint64_t word
    cdef size_t at = 0
    while length - at >= 8:
        memcpy(&word, text + at, 8)
        hashed = hash_word(hashed, word)
        at += 8
    if at < length:
        hashed = hash_word(hashed, tail_word(text + at, length - at))
    hashed = hash_word(hashed, hashed >> 29)
    return <uint32_t> hashed


cdef inline uint64_t tail_word(const char *text, size_t length) noexcept nogil:
    """1 to 7 bytes as a word, without a call: two loads that may overlap."""
    cdef uint32_t low = 0, high = 0
    if length >= 4:
        memcpy(&low, text, 4)
        memcpy(&high, text + length - 4, 4)
        return (<uint64_t> high << 32) | low
    low = <unsigned char> text[0]
    low |= <uint32_t> (<unsigned char> text[length >> 1]) << 8
    low |= <uint32_t> (<unsigned char> text[length - 1]) << 16
    return low
