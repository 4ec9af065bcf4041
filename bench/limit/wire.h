/* SPDX-License-Identifier: MIT
 * What limit.c and bodies.c have in common: options, sockets, the head of a message (sides.h: the
 * connections).
 *
 * A head is copied line by line, `Connection` dropped (its `close` remembered), `Content-Length`
 * read. Nothing is checked: an origin and a load that we wrote ourselves are at the other ends.
 * Not understood, and answered by closing: chunked bodies, answers to HEAD.
 */
#ifndef LIMIT_WIRE_H
#define LIMIT_WIRE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define FDS_MAX 65536
#define ORIGINS_MAX 1024
#define EVENTS 256
#define SCAN_SLACK 32           /* bytes behind a buffer that head_end may look at */
#define EDGES (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
#define NEVER_A_BODY UINT64_MAX /* chunked */

typedef struct Options {
    int port;                   /* to listen on, all addresses of IPv4 loopback */
    struct sockaddr_in origin[ORIGINS_MAX];
    uint32_t origins;           /* how many; bodies knows the first only */
    uint32_t scratch;           /* bytes; bodies only */
    uint32_t pipe;              /* bytes; bodies only: splice through a pipe of this size; 0: no */
} Options;

typedef struct Head {
    uint64_t body;              /* bytes that follow the head, or NEVER_A_BODY */
    int close;                  /* Connection: close was there */
} Head;

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Where the head ends, behind its empty line, or NULL. May look at SCAN_SLACK bytes more. */
static inline const char *head_end(const char *from, size_t have) {
#ifdef __SSE2__
    const __m128i newline = _mm_set1_epi8('\n');
    if (have < 4) return NULL;
    for (size_t at = 0; at < have - 2; at += 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)(from + at));
        __m128i b = _mm_loadu_si128((const __m128i *)(from + at + 2));
        unsigned found = (unsigned)_mm_movemask_epi8(
            _mm_and_si128(_mm_cmpeq_epi8(a, newline), _mm_cmpeq_epi8(b, newline)));
        for (; found; found &= found - 1) {
            size_t first = at + (unsigned)__builtin_ctz(found);
            if (first + 2 >= have) return NULL;
            if (first > 0 && from[first - 1] == '\r' && from[first + 1] == '\r')
                return from + first + 3;
        }
    }
    return NULL;
#else
    const char *found = memmem(from, have, "\r\n\r\n", 4);
    return found ? found + 4 : NULL;
#endif
}

/* Writes the head at `in` to `out`, without its Connection lines and without its empty line;
 * returns how many bytes that made, never more than `length`. */
static inline size_t head_copy(char *out, const char *in, size_t length, Head *head) {
    const char *from = in, *line = in, *end = in + length - 2;
    char *to = out;
    *head = (Head){0, 0};
    while (line < end) {
        const char *next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        if ((line[0] | 32) == 'c') {
            if (next - line > 11 && strncasecmp(line, "connection:", 11) == 0) {
                const char *value = line + 11;
                while (*value == ' ') value++;
                head->close |= strncasecmp(value, "close", 5) == 0;
                memcpy(to, from, (size_t)(line - from));
                to += line - from;
                from = next;
            } else if (next - line > 15 && strncasecmp(line, "content-length:", 15) == 0) {
                for (const char *c = line + 15; *c != '\r'; c++)
                    if (*c >= '0' && *c <= '9') head->body = head->body * 10 + (uint64_t)(*c - '0');
            }
        } else if ((line[0] | 32) == 't' && next - line > 18
                   && strncasecmp(line, "transfer-encoding:", 18) == 0) {
            head->body = NEVER_A_BODY;
            return 0;
        }
        line = next;
    }
    memcpy(to, from, (size_t)(end - from));
    return (size_t)(to + (end - from) - out);
}

/* A connection to the origin. It is waited for: on loopback that takes microseconds, and it
 * happens once for each of the few connections that are kept. -1: refused. */
static inline int origin_connect(const struct sockaddr_in *origin) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fd < FDS_MAX && connect(fd, (const struct sockaddr *)origin, sizeof *origin) == 0)
        return fd;
    close(fd);
    return -1;
}

static inline int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);     /* inherited by accept */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (listen(fd, 4096) != 0) fail("listen");
    return fd;
}

/* Readable on SIGTERM and SIGINT. */
static inline int stop_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) fail("sigprocmask");
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0) fail("signalfd");
    return fd;
}

static inline void watch(int epfd, int fd, uint32_t events, void *what) {
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

static inline void usage(const char *text) {
    fprintf(stderr, "usage: %s\n", text);
    exit(2);
}

static inline Options options_read(int argc, char **argv, const char *text) {
    Options made = {.scratch = 256 << 10};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--listen") == 0) {
            made.port = atoi(value);
        } else if (strcmp(argv[i], "--scratch") == 0 && strstr(text, "--scratch")) {
            made.scratch = (uint32_t)strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--splice") == 0 && strstr(text, "--splice")) {
            made.pipe = (uint32_t)strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--origin") == 0) {
            char host[64] = "";
            int port = 0;
            struct sockaddr_in *origin = &made.origin[made.origins++ % ORIGINS_MAX];
            if (sscanf(value, "%63[0-9.]:%d", host, &port) != 2) usage(text);
            origin->sin_family = AF_INET;
            origin->sin_port = htons((uint16_t)port);
            if (port <= 0 || inet_pton(AF_INET, host, &origin->sin_addr) != 1) usage(text);
        } else {
            usage(text);
        }
    }
    if (made.port <= 0 || made.port > 65535) usage(text);
    if (made.origins < 1 || made.origins > ORIGINS_MAX) usage(text);
    if (made.scratch < 16 << 10 || made.scratch > 64 << 20) usage(text);
    prctl(PR_SET_PDEATHSIG, SIGKILL);       /* never outlives the harness */
    signal(SIGPIPE, SIG_IGN);
    return made;
}

#endif
