/* SPDX-License-Identifier: MIT
 * The origin of the benchmark: as little work per request as a correct HTTP/1.1 server can do, so
 * that what is measured is the proxy before it.
 *
 *     origin PORT [--spoil]
 *
 * Listens on 127.0.0.1:PORT (0: any), writes the port and a newline to standard output, serves
 * until SIGTERM. One thread, one epoll set, edge-triggered, keep-alive.
 *
 *     GET /N      200 with N bytes (at most 64 MiB); byte i is 'a' + i % 26, or '\n' at every 64th
 *     GET /head   200 with the request's head as it came: what a proxy made of it
 *     else        404 and close
 *
 * --spoil: the last byte of a body is wrong. The harness must notice.
 *
 * Accepts only requests without a body and heads below 16 KiB: no benchmark sends others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <signal.h>
#include <unistd.h>

#define BODY_MAX (64u << 20)
#define HEAD_MAX 16384
#define CONNECTIONS_MAX 65536
#define EVENTS 256

typedef struct Connection {
    int fd;
    uint32_t have;              /* bytes of the head so far */
    uint64_t left;              /* bytes of the body still to send */
    uint64_t size;              /* the whole body */
    const char *from;           /* where the body is */
    int close_after;
    char head[HEAD_MAX];
} Connection;

static char *pattern;           /* the body of every size */
static int spoil;
static Connection *connections[CONNECTIONS_MAX];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void pattern_make(void) {
    pattern = malloc(BODY_MAX);
    if (!pattern) fail("malloc");
    for (uint32_t i = 0; i < BODY_MAX; i++)
        pattern[i] = i % 64 == 63 ? '\n' : (char)('a' + i % 26);
}

static void connection_close(Connection *c) {
    connections[c->fd] = NULL;
    close(c->fd);
    free(c);
}

/* 0: all sent, 1: wait for room, -1: gone. */
static int body_send(Connection *c) {
    while (c->left > 0) {
        ssize_t n = send(c->fd, c->from + (c->size - c->left), c->left, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 1 : -1;
        c->left -= (uint64_t)n;
    }
    return 0;
}

/* The head and as much of the body as goes, in one call. As body_send. */
static int answer(Connection *c, int status, const char *body, uint64_t size) {
    char head[256];
    struct iovec parts[3];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    static char wrong[1] = {'!'};
    uint64_t whole = spoil && size > 0 ? size - 1 : size;
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %d %s\r\nServer: origin\r\nContent-Type: text/plain\r\n"
                          "Content-Length: %llu\r\n%s\r\n",
                          status, status == 200 ? "OK" : "Not Found", (unsigned long long)size,
                          c->close_after ? "Connection: close\r\n" : "");
    parts[0] = (struct iovec){head, (size_t)length};
    parts[1] = (struct iovec){(void *)body, whole};
    if (whole < size) parts[message.msg_iovlen++] = (struct iovec){wrong, 1};
    ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    if (n < length) return -1;              /* a new answer into a full socket: nobody does that */
    c->from = body;
    c->size = size;
    c->left = size - (uint64_t)(n - length);
    return body_send(c);
}

/* Answers every whole head that is there. As body_send. */
static int requests(Connection *c) {
    while (c->left == 0 && c->have > 0) {
        char *end = memmem(c->head, c->have, "\r\n\r\n", 4), *after;
        uint32_t used;
        unsigned long long size;
        int state;
        if (!end) return c->have == HEAD_MAX ? -1 : 0;
        used = (uint32_t)(end + 4 - c->head);
        end[2] = 0;                             /* for strcasestr; put back below */
        c->close_after = strcasestr(c->head, "\r\nConnection: close") != NULL;
        end[2] = '\r';
        if (used > 9 && memcmp(c->head, "GET /head ", 10) == 0) {
            char copy[HEAD_MAX];
            memcpy(copy, c->head, used);
            state = answer(c, 200, copy, used);
            if (state == 1) return -1;          /* `copy` does not outlive us; it always fits */
        } else if (memcmp(c->head, "GET /", 5) == 0 && c->head[5] >= '0' && c->head[5] <= '9'
                   && (size = strtoull(c->head + 5, &after, 10)) <= BODY_MAX && *after == ' ') {
            state = answer(c, 200, pattern, size);
        } else {
            c->close_after = 1;
            state = answer(c, 404, "not here\n", 9);
        }
        if (state < 0) return -1;
        memmove(c->head, c->head + used, c->have - used);
        c->have -= used;
        if (state == 0 && c->close_after) return -1;
        if (state == 1) return 1;
    }
    return 0;
}

/* 0: goes on, -1: gone. */
static int connection_work(Connection *c) {
    for (;;) {
        if (c->left > 0) {
            int state = body_send(c);
            if (state != 0) return state < 0 ? -1 : 0;
            if (c->close_after) return -1;
            if (requests(c) < 0) return -1;
            if (c->left > 0) return 0;
        }
        size_t room = HEAD_MAX - c->have;
        ssize_t n = recv(c->fd, c->head + c->have, room, 0);
        if (n == 0) return -1;
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->have += (uint32_t)n;
        if (requests(c) < 0) return -1;
        if (c->left == 0 && (size_t)n < room) return 0;  /* a short read: drained */
    }
}

static void accept_all(int listener, int epfd) {
    for (;;) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        Connection *c = fd < CONNECTIONS_MAX ? calloc(1, sizeof *c) : NULL;
        if (!c) { close(fd); continue; }
        c->fd = fd;
        connections[fd] = c;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                    .data.fd = fd};
        if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) != 0) connection_close(c);
    }
}

static int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, length) != 0) fail("bind");
    if (listen(fd, 4096) != 0) fail("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    if (argc < 2) {
        fprintf(stderr, "usage: origin PORT [--spoil]\n");
        return 2;
    }
    spoil = argc > 2 && strcmp(argv[2], "--spoil") == 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);           /* never outlives the harness */
    signal(SIGPIPE, SIG_IGN);
    pattern_make();
    int listener = listen_on(atoi(argv[1])), epfd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event own = {.events = EPOLLIN, .data.fd = listener};
    if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &own) != 0) fail("epoll");
    for (;;) {
        int count = epoll_wait(epfd, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            Connection *c;
            if (events[i].data.fd == listener) { accept_all(listener, epfd); continue; }
            c = connections[events[i].data.fd];
            if (c && connection_work(c) < 0) connection_close(c);
        }
    }
}
