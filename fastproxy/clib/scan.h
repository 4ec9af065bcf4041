/* SPDX-License-Identifier: MIT
 * Vectorised scanning; the contract is written in scan.pxd. Nothing here reads a byte at or past
 * `end`, whatever the vector width: the tail is scanned with narrower words. */
#ifndef FASTPROXY_SCAN_H
#define FASTPROXY_SCAN_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

enum {
    CHAR_TOKEN = 1,      /* tchar, RFC 9110 5.6.2 */
    CHAR_VALUE = 2,      /* field-vchar, SP, HTAB, obs-text */
    CHAR_TARGET = 4,     /* VCHAR without '#' */
    CHAR_UNDERSCORE = 8, /* '_' alone */
    CHAR_UNRESERVED = 16,/* RFC 3986 2.3 */
    CHAR_PATH_ODD = 32,  /* '%', '\', what no path may hold raw: a path with one is slow */
    CHAR_QUOTED = 64     /* qdtext, RFC 9110 5.6.4 */
};

static const uint8_t char_class[256] = {
     32,  32,  32,  32,  32,  32,  32,  32,  32,  98,  32,  32,  32,  32,  32,  32,
     32,  32,  32,  32,  32,  32,  32,  32,  32,  32,  32,  32,  32,  32,  32,  32,
     98,  71,   6,  99,  71, 103,  71,  71,  70,  70,  71,  71,  70,  87,  87,  70,
     87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  70,  70,  70,  70,  70, 102,
     70,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,
     87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  70,  38,  70,  71,  95,
     71,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,
     87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  87,  70,  71,  70,  87,  32,
     98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,
     98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,
     98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,
     98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,
     98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,
     98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,
     98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,
     98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,  98,
};

typedef const char *(*scan_fn)(const char *p, const char *end);
typedef const char *(*scan_line_fn)(const char *p, const char *end, uint32_t *name_length,
                                    uint32_t *underscore);
typedef struct {
    const char *name;
    scan_fn value_end;
    scan_fn target_end;
    scan_line_fn line_ends;
} Scan;

static inline const char *scan_bytes(const char *p, const char *end, uint8_t wanted)
{
    while (p < end && (char_class[(uint8_t)*p] & wanted))
        p++;
    return p;
}

/* Eight bytes at a time. The word test may cry wolf (HTAB); then the bytes decide. */
static inline const char *scan_value_swar(const char *p, const char *end)
{
    while (end - p >= 8) {
        if (word_control(word8(p))) {
            const char *q = scan_bytes(p, p + 8, CHAR_VALUE);
            if (q != p + 8)
                return q;
        }
        p += 8;
    }
    return scan_bytes(p, end, CHAR_VALUE);
}

static inline const char *scan_target_swar(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t w = word8(p);
        uint64_t del = w ^ (WORD_ONES * 0x7f);
        uint64_t hash = w ^ (WORD_ONES * 0x23);
        if ((w | ((w - WORD_ONES * 0x21) & ~w) | ((del - WORD_ONES) & ~del) |
             ((hash - WORD_ONES) & ~hash)) & WORD_HIGHS) {
            const char *q = scan_bytes(p, p + 8, CHAR_TARGET);
            if (q != p + 8)
                return q;
        }
        p += 8;
    }
    return scan_bytes(p, end, CHAR_TARGET);
}

static const Scan scan_swar = {"swar", scan_value_swar, scan_target_swar, NULL};

#if defined(__x86_64__)
#include <immintrin.h>

static inline unsigned scan_value_mask16(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\t')), low),
                               _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
    return (unsigned)_mm_movemask_epi8(bad);
}

static inline unsigned scan_target_mask16(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    /* signed: 0x21..0x7f are above 0x20, 0x80..0xff are below */
    __m128i good = _mm_cmpgt_epi8(v, _mm_set1_epi8(0x20));
    __m128i bad = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('#')),
                               _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
    return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(bad, good)) ^ 0xffffu;
}

static inline const char *scan_value_sse2(const char *p, const char *end)
{
    for (; end - p >= 16; p += 16) {
        unsigned mask = scan_value_mask16(p);
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return scan_value_swar(p, end);
}

static inline const char *scan_target_sse2(const char *p, const char *end)
{
    for (; end - p >= 16; p += 16) {
        unsigned mask = scan_target_mask16(p);
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return scan_target_swar(p, end);
}

static const Scan scan_sse2 = {"sse2", scan_value_sse2, scan_target_sse2, NULL};

__attribute__((target("avx2")))
static inline const char *scan_value_avx2(const char *p, const char *end)
{
    for (; end - p >= 32; p += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)p);
        __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
        __m256i bad =
            _mm256_or_si256(_mm256_andnot_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('\t')), low),
                            _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f)));
        unsigned mask = (unsigned)_mm256_movemask_epi8(bad);
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return scan_value_sse2(p, end);
}

__attribute__((target("avx2")))
static inline const char *scan_target_avx2(const char *p, const char *end)
{
    for (; end - p >= 32; p += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)p);
        __m256i good = _mm256_cmpgt_epi8(v, _mm256_set1_epi8(0x20));
        __m256i bad = _mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('#')),
                                      _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f)));
        unsigned mask = ~(unsigned)_mm256_movemask_epi8(_mm256_andnot_si256(bad, good));
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return scan_target_sse2(p, end);
}

/* Bit h of row l: the byte h * 16 + l is a token character. */
#define SCAN_TOKEN_ROWS -24, -4, -8, -4, -4, -4, -4, -4, -8, -8, -12, 84, -48, 84, -12, 112

__attribute__((target("avx2")))
static inline const char *scan_line_avx2(const char *p, const char *end, uint32_t *name_length,
                                         uint32_t *underscore)
{
    if (end - p < 32)
        return NULL;
    __m256i v = _mm256_loadu_si256((const __m256i *)p);
    __m256i rows = _mm256_setr_epi8(SCAN_TOKEN_ROWS, SCAN_TOKEN_ROWS);
    __m256i bits = _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0,
                                    1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
    __m256i token = _mm256_and_si256(_mm256_shuffle_epi8(rows, v), _mm256_shuffle_epi8(bits, high));
    __m256i none = _mm256_cmpeq_epi8(token, _mm256_setzero_si256());
    unsigned other = (unsigned)_mm256_movemask_epi8(none);
    if (!other)
        return NULL;
    __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
    __m256i bad =
        _mm256_or_si256(_mm256_andnot_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('\t')), low),
                        _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f)));
    unsigned ends = (unsigned)_mm256_movemask_epi8(bad);
    unsigned under = (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('_')));
    *name_length = (uint32_t)__builtin_ctz(other);
    *underscore = under & ((other & -other) - 1);
    return ends ? p + __builtin_ctz(ends) : scan_value_avx2(p + 32, end);
}

static const Scan scan_avx2 = {"avx2", scan_value_avx2, scan_target_avx2, scan_line_avx2};
#endif

/* The table of that name if this CPU has it; for NULL and any other name the best one it has. */
static inline const Scan *scan_named(const char *name)
{
#if defined(__x86_64__)
    if (name && strcmp(name, "sse2") == 0)
        return &scan_sse2;
    if (!name || strcmp(name, "swar") != 0) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") ? &scan_avx2 : &scan_sse2;
    }
#else
    (void)name;
#endif
    return &scan_swar;
}

/* Called once, at start. */
static inline const Scan *scan_choose(void)
{
    return scan_named(getenv("FASTPROXY_SIMD"));
}
#endif
