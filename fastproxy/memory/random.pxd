# SPDX-License-Identifier: MIT
"""Chance for draws and ids: xorshift128+. Not for secrets.

The state is two words that their owner seeds after the fork (both zero is no state: it stays zero).
"""

from libc.stdint cimport uint32_t, uint64_t


cdef inline uint64_t random_next(uint64_t *state) noexcept nogil:
    cdef uint64_t a = state[0]
    cdef uint64_t b = state[1]
    state[0] = b
    a ^= a << 23
    state[1] = a ^ b ^ (a >> 17) ^ (b >> 26)
    return state[1] + b


cdef inline uint32_t random_below(uint64_t *state, uint32_t most) noexcept nogil:
    """0 to most - 1, by multiplication instead of division (Lemire): the bias is below 2^-32 x
    most. `most` is above 0."""
    return <uint32_t> (((random_next(state) >> 32) * most) >> 32)
