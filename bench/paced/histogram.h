/* SPDX-License-Identifier: MIT
 * A histogram of nanoseconds, log-linear as HdrHistogram: 128 buckets for each power of two, so a
 * bucket's middle is at most 0.4% off what fell into it. Up to 2^41 ns, 36 minutes.
 */
#ifndef PACED_HISTOGRAM_H
#define PACED_HISTOGRAM_H

#include <stdint.h>

#define SUB_BITS 7
#define SUB (1 << SUB_BITS)
#define BUCKETS ((42 - SUB_BITS) * SUB)

typedef struct Histogram {
    uint64_t count, max;
    uint64_t buckets[BUCKETS];
} Histogram;

static inline unsigned bucket_of(uint64_t ns) {
    int shift = 63 - __builtin_clzll(ns | 1) - SUB_BITS;
    if (shift <= 0) return (unsigned)ns;                /* below 2^(SUB_BITS + 1): exact */
    unsigned at = (unsigned)((uint64_t)shift * SUB + (ns >> shift));
    return at < BUCKETS ? at : BUCKETS - 1;
}

/* The middle of a bucket. */
static inline double bucket_ns(unsigned at) {
    if (at < 2 * SUB) return at;
    int shift = (int)(at / SUB) - 1;
    return ((double)(at % SUB + SUB) + 0.5) * (double)(1ULL << shift);
}

static inline void histogram_add(Histogram *to, int64_t ns) {
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    to->count++;
    if (value > to->max) to->max = value;
    to->buckets[bucket_of(value)]++;
}

/* In us; never more than the largest. */
static inline double quantile_us(const Histogram *of, double share) {
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)of->count);
    if (wanted >= of->count) return (double)of->max / 1e3;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((seen += of->buckets[i]) > wanted) {
            double ns = bucket_ns(i);
            return (ns < (double)of->max ? ns : (double)of->max) / 1e3;
        }
    return (double)of->max / 1e3;
}

#endif
