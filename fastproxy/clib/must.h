/* SPDX-License-Identifier: MIT
 * MUST and MUST_HOT; what they mean is written in must.pxd. */
#ifndef FASTPROXY_MUST_H
#define FASTPROXY_MUST_H
#include <stdio.h>
#include <stdlib.h>

#define MUST(cond)                                                                       \
    do {                                                                                 \
        if (__builtin_expect(!(cond), 0)) {                                              \
            fprintf(stderr, "fastproxy: MUST failed at %s:%d: %s\n", __FILE__, __LINE__, \
                    #cond);                                                              \
            abort();                                                                     \
        }                                                                                \
    } while (0)

#ifdef FASTPROXY_DEBUG
#define MUST_HOT(cond) MUST(cond)
#else
#define MUST_HOT(cond) ((void)0)
#endif

#define COUNT_IF(counter, cond) (__builtin_expect(!!(cond), 0) ? ((counter)++, 1) : 0)
#endif
