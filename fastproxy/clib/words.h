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

#define BLOCK_BYTES 32u

/* A text that lies in blocks of its own, in whole blocks: up to 31 bytes more than `length`. */
static inline void copy_blocks(char *to, const char *p, size_t length) {
    size_t at;
    memcpy(to, p, BLOCK_BYTES);
    for (at = BLOCK_BYTES; at < length; at += BLOCK_BYTES) memcpy(to + at, p + at, BLOCK_BYTES);
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
