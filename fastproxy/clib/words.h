/* SPDX-License-Identifier: MIT
 * Text in words of a register (SWAR): 8, 4 or 2 bytes loaded as they lie; tests of all 8 at once.
 * A test's answer is marks, the high bit of each byte that is meant. */
#ifndef FASTPROXY_WORDS_H
#define FASTPROXY_WORDS_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WORD_ONES  0x0101010101010101ULL
#define WORD_HIGHS 0x8080808080808080ULL

/* Comparing words needs no byte order: both sides are loaded alike. */
static inline uint64_t word8(const char *p) { uint64_t w; memcpy(&w, p, 8); return w; }
static inline uint32_t word4(const char *p) { uint32_t w; memcpy(&w, p, 4); return w; }
static inline uint32_t word2(const char *p) { uint16_t w; memcpy(&w, p, 2); return w; }

/* memcpy without a call for what is mostly short; two overlapping pieces make every length. */
static inline void copy_text(char *to, const char *p, size_t length) {
    if (__builtin_constant_p(length) || length > 32) {
        memcpy(to, p, length);
    } else if (length >= 16) {
        uint64_t piece[4];
        memcpy(piece, p, 16);
        memcpy(piece + 2, p + length - 16, 16);
        memcpy(to, piece, 16);
        memcpy(to + length - 16, piece + 2, 16);
    } else if (length >= 8) {
        uint64_t low = word8(p), high = word8(p + length - 8);
        memcpy(to, &low, 8);
        memcpy(to + length - 8, &high, 8);
    } else if (length >= 4) {
        uint32_t low = word4(p), high = word4(p + length - 4);
        memcpy(to, &low, 4);
        memcpy(to + length - 4, &high, 4);
    } else if (length) {
        to[0] = p[0];
        to[length >> 1] = p[length >> 1];
        to[length - 1] = p[length - 1];
    }
}

/* The first mark is right, those behind it may cry wolf (a borrow runs upwards). */
static inline uint64_t word_below(uint64_t w, uint8_t c) { return (w - c * WORD_ONES) & ~w; }
static inline uint64_t word_equal(uint64_t w, uint8_t c) {
    return word_below(w ^ (c * WORD_ONES), 1);
}

/* Bytes below 0x20 or equal to 0x7f: control characters. */
static inline uint64_t word_control(uint64_t w) {
    return (word_below(w, 0x20) | word_equal(w, 0x7f)) & WORD_HIGHS;
}
#endif
