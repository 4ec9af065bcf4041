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

/* Leading clean bytes of a text that has one that is not. */
__attribute__((noinline, cold)) static size_t clean_slowly(const char *p, size_t length) {
    size_t at = 0;
    while (at < length && (uint8_t)(p[at] - 0x20) < 0x5f && p[at] != '"' && p[at] != '\\') at++;
    return at;
}

#if defined(__SSE2__)
#include <emmintrin.h>
#define CLEAN_STEP 16

/* The high bit of each byte that is not clean: of all but 0x20 to 0x7e by adding, which stops at
 * 255, and of the quote and the backslash. */
static inline __m128i clean_not(__m128i v) {
    __m128i bad = _mm_adds_epu8(_mm_sub_epi8(v, _mm_set1_epi8(0x20)), _mm_set1_epi8(0x21));
    bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
    return _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
}

/* The same as bits. */
static inline unsigned clean_marks(__m128i v) { return (unsigned)_mm_movemask_epi8(clean_not(v)); }

static inline __m128i clean_bad(char *to, const char *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    _mm_storeu_si128((__m128i *)to, v);
    return clean_not(v);
}

static inline unsigned clean_step(char *to, const char *p) {
    return (unsigned)_mm_movemask_epi8(clean_bad(to, p));
}

/* Less than a step; whether all of it is clean. Pieces that overlap make every length of one. */
static inline int clean_few(char *to, const char *p, size_t length) {
    if (length >= 8) {
        uint64_t low = word8(p), high = word8(p + length - 8);
        memcpy(to, &low, 8);
        memcpy(to + length - 8, &high, 8);
        return !clean_marks(_mm_set_epi64x((int64_t)high, (int64_t)low));
    }
    if (length >= 4) {
        uint32_t low = word4(p), high = word4(p + length - 4);
        memcpy(to, &low, 4);
        memcpy(to + length - 4, &high, 4);
        return !(clean_marks(_mm_set_epi32(0, 0, (int)high, (int)low)) & 255);
    }
    to[0] = p[0];
    to[length >> 1] = p[length >> 1];
    to[length - 1] = p[length - 1];
    return !(clean_marks(_mm_cvtsi32_si128((uint8_t)p[0] | (uint8_t)p[length >> 1] << 8
                                           | (uint8_t)p[length - 1] << 16)) & 7);
}

/* May 16 bytes be read from `p`, whatever of them is ours? They are of one page. */
static inline int clean_may_read(const char *p) {
#if defined(__SANITIZE_ADDRESS__)
    (void)p;
    return 0;
#else
    return ((uintptr_t)p & 4095) <= 4096 - CLEAN_STEP;
#endif
}
#else
#define CLEAN_STEP 8

static inline uint64_t clean_step(char *to, const char *p) {
    uint64_t w = word8(p);
    memcpy(to, &w, 8);
    return swar_dirty(w);
}

static inline int clean_few(char *to, const char *p, size_t length) {
    uint64_t w = swar_load_few(p, length);
    swar_store_few(to, w, length);
    return !swar_dirty(w);
}
#endif

/* Copies `length` bytes; how many of them, from the front, are clean. What lies in `to` behind
 * those is of no meaning. The last step of a longer text overlaps the one before. */
static inline size_t copy_clean(char *to, const char *p, size_t length) {
    size_t at;
    if (length < CLEAN_STEP)
        return !length || clean_few(to, p, length) ? length : clean_slowly(p, length);
    for (at = 0; at < length - CLEAN_STEP; at += CLEAN_STEP)
        if (clean_step(to + at, p + at))
            return at + clean_slowly(p + at, length - at);
    if (clean_step(to + length - CLEAN_STEP, p + length - CLEAN_STEP))
        return at + clean_slowly(p + at, length - at);
    return length;
}

/* Copies `length` bytes, at least one; 0: all of them are clean, else what lies in `to` is of no
 * meaning. Up to CLEAN_STEP bytes may be written in any case. */
static inline unsigned copy_marks(char *to, const char *p, size_t length) {
#if defined(__SSE2__)
    size_t at;
    __m128i bad;
    if (length <= CLEAN_STEP) {
        if (clean_may_read(p)) return clean_step(to, p) << (32 - length);
        return copy_clean(to, p, length) != length;
    }
    bad = clean_bad(to + length - CLEAN_STEP, p + length - CLEAN_STEP);
    for (at = 0; at < length - CLEAN_STEP; at += CLEAN_STEP)
        bad = _mm_or_si128(bad, clean_bad(to + at, p + at));
    return (unsigned)_mm_movemask_epi8(bad);
#else
    return copy_clean(to, p, length) != length;
#endif
}
#endif
