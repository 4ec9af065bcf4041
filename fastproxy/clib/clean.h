/* SPDX-License-Identifier: MIT
 * Copying while testing: the leading bytes of a text that a log line or a JSON string may hold as
 * they are (0x20 to 0x7e without quote and backslash), 16 at a time where there is SSE2, else 8.
 * The contract is written in template/escape.pxd. Nothing is read or written beyond `length`. */
#ifndef FASTPROXY_CLEAN_H
#define FASTPROXY_CLEAN_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "words.h"

/* Marks of what is not clean. Runs end at the first one, so nobody looks at the others. */
static inline uint64_t swar_dirty(uint64_t w) {
    return (word_below(w, 0x20) | w | word_equal(w, 0x7f) | word_equal(w, '"')
            | word_equal(w, '\\')) & WORD_HIGHS;
}

static inline int swar_first(uint64_t marks) { return __builtin_ctzll(marks) >> 3; }

/* 1 to 7 bytes as a word and back, without a byte more and without a call; "a" fills it up. */
static inline uint64_t swar_load_few(const char *p, size_t length) {
    uint64_t pad = 0x6161616161616161ULL << 8 * length;
    if (length >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + length - 4, 4);
        return low | (uint64_t)high << 8 * (length - 4) | pad;
    }
    return (uint8_t)p[0] | (uint64_t)(uint8_t)p[length >> 1] << 8 * (length >> 1)
        | (uint64_t)(uint8_t)p[length - 1] << 8 * (length - 1) | pad;
}

static inline void swar_store_few(char *p, uint64_t w, size_t length) {
    if (length >= 4) {
        uint32_t low = (uint32_t)w, high = (uint32_t)(w >> 8 * (length - 4));
        memcpy(p, &low, 4);
        memcpy(p + length - 4, &high, 4);
        return;
    }
    p[0] = (char)w;
    p[length >> 1] = (char)(w >> 8 * (length >> 1));
    p[length - 1] = (char)(w >> 8 * (length - 1));
}

/* Up to 8 bytes; how many of them are clean. */
static inline size_t clean_few(char *to, const char *p, size_t length) {
    uint64_t w, marks;
    if (length == 8) {
        w = word8(p);
        memcpy(to, &w, 8);
    } else {
        w = swar_load_few(p, length);
        swar_store_few(to, w, length);
    }
    marks = swar_dirty(w);
    return marks ? (size_t)swar_first(marks) : length;
}

#if defined(__SSE2__)
#include <emmintrin.h>
#define CLEAN_STEP 16

/* Bits of the bytes that are not clean. Compared as signed numbers, 0x80 to 0xff are below 0x20. */
static inline unsigned clean_step(char *to, const char *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m128i bad = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
    bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
    bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
    _mm_storeu_si128((__m128i *)to, v);
    return (unsigned)_mm_movemask_epi8(bad);
}

static inline size_t clean_first(unsigned marks) { return (size_t)__builtin_ctz(marks); }
#else
#define CLEAN_STEP 8

static inline uint64_t clean_step(char *to, const char *p) {
    uint64_t w = word8(p);
    memcpy(to, &w, 8);
    return swar_dirty(w);
}

static inline size_t clean_first(uint64_t marks) { return (size_t)swar_first(marks); }
#endif

/* Copies `length` bytes; how many of them, from the front, are clean. What lies in `to` behind
 * those is of no meaning. The last step of a longer text overlaps the one before. */
static inline size_t copy_clean(char *to, const char *p, size_t length) {
    size_t at = 0, clean;
    for (; length - at >= CLEAN_STEP; at += CLEAN_STEP) {
        __auto_type marks = clean_step(to + at, p + at);
        if (marks)
            return at + clean_first(marks);
    }
    if (at == length)
        return length;
    if (length >= CLEAN_STEP) {
        at = length - CLEAN_STEP;
        __auto_type marks = clean_step(to + at, p + at);
        return marks ? at + clean_first(marks) : length;
    }
    if (length - at > 8) {
        clean = clean_few(to, p, 8);
        if (clean < 8)
            return clean;
        at = length - 8;
    }
    return at + clean_few(to + at, p + at, length - at);
}
#endif
