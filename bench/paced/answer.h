/* SPDX-License-Identifier: MIT
 * The answer to a GET as it comes in, piece by piece: status, framing, size of the body. Framed by
 * Content-Length or chunked; not understood: a body that ends with the connection, other versions
 * than HTTP/1.1, a head or a line between chunks beyond 16 KiB.
 */
#ifndef PACED_ANSWER_H
#define PACED_ANSWER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#define LINE_BYTES 16384        /* an answer's head, or line between chunks */

typedef enum Part { HEAD, BODY, CHUNK_LINE, CHUNK, CHUNK_END, TRAILER, DONE } Part;

typedef struct Answer {
    Part part;                  /* what comes next */
    int status;
    int close;                  /* the answer said that the connection ends */
    uint64_t left;              /* bytes of this body or chunk still to come */
    uint64_t size;              /* of the body so far */
    uint32_t have;              /* bytes of `line` */
    char line[LINE_BYTES];      /* of a head or chunk line that is not whole yet */
} Answer;

static inline void answer_begin(Answer *a) {
    a->part = HEAD;
    a->have = 0;
}

/* The head in a->line, ended by a zero, was whole. 0: not understood. */
static inline int answer_head(Answer *a) {
    int framed = 0;
    if (sscanf(a->line, "HTTP/1.1 %3d", &a->status) != 1) return 0;
    a->close = 0;
    a->size = a->left = 0;
    if (a->status < 200) return a->status != 101;           /* another head follows */
    a->part = BODY;
    for (char *line = strstr(a->line, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
        const char *field = line + 2;
        if (strncasecmp(field, "content-length:", 15) == 0) {
            a->left = strtoull(field + 15, NULL, 10);
            framed = 1;
        } else if (strncasecmp(field, "transfer-encoding:", 18) == 0) {
            a->part = CHUNK_LINE;
            framed = 1;
        } else if (strncasecmp(field, "connection:", 11) == 0) {
            a->close = strncasecmp(field + 11 + strspn(field + 11, " "), "close", 5) == 0;
        }
    }
    if (a->status == 204 || a->status == 304) {
        a->left = 0;
        a->part = BODY;
        framed = 1;
    }
    return framed;
}

/* A line that ended, a->line without its line feed, of a chunked body. 0: not understood. */
static inline int answer_line(Answer *a) {
    char *end;
    if (a->have == 0 || a->line[a->have - 1] != '\r') return 0;
    switch (a->part) {
    case CHUNK_LINE:
        a->left = strtoull(a->line, &end, 16);
        a->part = a->left ? CHUNK : TRAILER;
        return end > a->line && (*end == '\r' || *end == ';');
    case CHUNK_END:
        a->part = CHUNK_LINE;
        return a->have == 1;
    default:                                                /* TRAILER */
        if (a->have == 1) a->part = DONE;
        return 1;
    }
}

/* Takes a head or a line from `at` on, as far as it is there. Bytes used; -1: not understood. */
static inline ssize_t answer_text(Answer *a, const char *at, size_t have) {
    const char *feed = memchr(at, '\n', have);
    size_t used = feed ? (size_t)(feed - at) + 1 : have;
    if (used > LINE_BYTES - 1 - a->have) return -1;
    memcpy(a->line + a->have, at, used);
    a->have += (uint32_t)used;
    if (!feed) return (ssize_t)used;
    if (a->part == HEAD) {
        if (a->have < 4 || memcmp(a->line + a->have - 4, "\r\n\r\n", 4) != 0)
            return (ssize_t)used;
        a->line[a->have - 2] = 0;
        if (!answer_head(a)) return -1;
    } else {
        a->line[--a->have] = 0;
        if (!answer_line(a)) return -1;
    }
    a->have = 0;
    return (ssize_t)used;
}

/* Takes bytes of an answer. Bytes used: all of them unless it ended (a->part is DONE) before;
 * -1: not understood. */
static inline ssize_t answer_take(Answer *a, const char *from, size_t have) {
    size_t taken = 0;
    while (taken < have && a->part != DONE) {
        size_t used = have - taken;
        if (a->part == BODY || a->part == CHUNK) {
            if (used > a->left) used = a->left;
            a->left -= used;
            a->size += used;
            if (a->part == CHUNK && a->left == 0) a->part = CHUNK_END;
        } else {
            ssize_t text = answer_text(a, from + taken, used);
            if (text < 0) return -1;
            used = (size_t)text;
        }
        taken += used;
        if (a->part == BODY && a->left == 0) a->part = DONE;
    }
    return (ssize_t)taken;
}

#endif
