/* SPDX-License-Identifier: MIT
 * The origin of the benchmark: as little work per request as a correct HTTP/1.1 server can do, so
 * that what is measured is the proxy before it.
 *
 *     origin PORT [--spoil] [--delay MS] [--fail PERCENT] [--everywhere]
 *
 * Listens on 127.0.0.1:PORT (0: any), writes the port and a newline to standard output, serves
 * until SIGTERM. One thread, one epoll set, edge-triggered, keep-alive.
 *
 *     /N       200 with N bytes (at most 64 MiB); byte i is 'a' + i % 26, or '\n' at every 64th.
 *              N may be followed by "/...", so that paths differ.
 *     /head    200 with the request's head as it came: what a proxy made of it
 *     /check   200 with length and CRC-32 of the request's body: what came of it
 *     /count   200 with how many bytes of request bodies came so far, in all
 *     else     404 and close
 *
 * Bodies of POST with Content-Length are read and thrown away. Chunked ones are answered 404, and
 * heads from 16 KiB on are cut off: no benchmark sends others.
 *
 * --spoil: the last byte of a body is wrong. The harness must notice.
 * --delay: every answer to /N comes so much later.
 * --fail: from SIGUSR1 on so many of the requests for /N fail, drawn by chance from a fixed seed:
 * in turn one is answered 500 and one not at all, its connection closed.
 * --everywhere: listens on all of 127.0.0.0/8 (loopback only, by SO_BINDTODEVICE): as many
 * backends as one likes.
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
#include <time.h>
#include <unistd.h>

#define BODY_MAX (64u << 20)
#define HEAD_MAX 16384
#define SCRATCH (256u << 10)
#define CONNECTIONS_MAX 65536
#define EVENTS 256

typedef enum Asked { NOTHING, BYTES, HEAD, CHECK, COUNT, UNKNOWN } Asked;

typedef struct Connection {
    int fd;                     /* -1: closed while it waited for its delay */
    uint32_t have;              /* bytes of `head` so far; the next request's may follow */
    Asked asked;                /* the request under way; NOTHING: none */
    uint32_t used;              /* bytes of its head */
    uint64_t size;              /* of the answer's body */
    uint64_t coming;            /* bytes of the request's body still to come */
    uint64_t length;            /* the whole of it */
    uint32_t crc;               /* of what came; CHECK only */
    uint64_t left;              /* bytes of the answer's body still to send */
    const char *from;           /* where that body is */
    int close_after;
    uint64_t due;               /* ns; 0: waits for no delay */
    struct Connection *next;    /* in the queue of those who do */
    char text[64];              /* the answer to CHECK and COUNT */
    char head[HEAD_MAX];
} Connection;

static char *pattern;           /* the body of every size */
static char scratch[SCRATCH];
static int spoil;
static uint64_t delay, received;
static uint32_t fail_percent;
static volatile sig_atomic_t failing;
static Connection *connections[CONNECTIONS_MAX], *waiting, **waiting_end = &waiting;
static uint32_t crc_of[256];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void tables_make(void) {
    pattern = malloc(BODY_MAX);
    if (!pattern) fail("malloc");
    for (uint32_t i = 0; i < BODY_MAX; i++)
        pattern[i] = i % 64 == 63 ? '\n' : (char)('a' + i % 26);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        crc_of[i] = crc;
    }
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void connection_close(Connection *c) {
    connections[c->fd] = NULL;
    close(c->fd);
    c->fd = -1;
    if (!c->due) free(c);       /* else when its turn in the queue comes */
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
static int send_answer(Connection *c, int status, const char *body) {
    char head[256];
    struct iovec parts[3];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    static char wrong[1] = {'!'};
    uint64_t whole = spoil && c->size > 0 ? c->size - 1 : c->size;
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %d %s\r\nServer: origin\r\nContent-Type: text/plain\r\n"
                          "Content-Length: %llu\r\n%s\r\n",
                          status, status == 200 ? "OK" : status == 500 ? "Failed" : "Not Found",
                          (unsigned long long)c->size,
                          c->close_after ? "Connection: close\r\n" : "");
    parts[0] = (struct iovec){head, (size_t)length};
    parts[1] = (struct iovec){(void *)body, whole};
    if (whole < c->size) parts[message.msg_iovlen++] = (struct iovec){wrong, 1};
    ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    if (n < length) return -1;              /* a new answer into a full socket: nobody does that */
    c->from = body;
    c->left = c->size - (uint64_t)(n - length);
    return body_send(c);
}

/* How this request fails. 0: it does not, 1: it is answered 500, 2: not at all. */
static int failure(void) {
    static uint64_t state = 2026, failures;
    if (!failing) return 0;
    state = state * 6364136223846793005u + 1442695040888963407u;
    if ((state >> 33) % 100 >= fail_percent) return 0;
    return failures++ % 2 ? 2 : 1;
}

static void begin_failing(int number) {
    failing = number;
}

/* The request under way is whole: answer it and make room for the next. As body_send. */
static int answer(Connection *c) {
    char copy[HEAD_MAX];
    const char *body = pattern;
    int status = 200, state;
    switch (c->asked) {
    case HEAD:
        memcpy(copy, c->head, c->used);
        body = copy;
        c->size = c->used;
        break;
    case CHECK:
        c->size = (uint64_t)sprintf(c->text, "%llu %08x\n", (unsigned long long)c->length,
                                    c->crc ^ 0xffffffffu);
        body = c->text;
        break;
    case COUNT:
        c->size = (uint64_t)sprintf(c->text, "%llu\n", (unsigned long long)received);
        body = c->text;
        break;
    case UNKNOWN:
        status = 404;
        c->close_after = 1;
        c->size = 9;
        body = "not here\n";
        break;
    case BYTES:
        state = failure();
        if (state == 2) return -1;
        if (state == 1) {
            status = 500;
            c->size = 7;
            body = "failed\n";
        }
        break;
    default:
        break;
    }
    state = send_answer(c, status, body);
    if (state == 1 && body == copy) return -1;  /* `copy` does not outlive us; it always fits */
    memmove(c->head, c->head + c->used, c->have - c->used);
    c->have -= c->used;
    c->asked = NOTHING;
    return state;
}

/* What the head at the beginning asks. 0: not whole yet, -1: too long. */
static int head_take(Connection *c) {
    char *end = memmem(c->head, c->have, "\r\n\r\n", 4), *after, *field, *path;
    unsigned long long size = 0;
    if (!end) return c->have == HEAD_MAX ? -1 : 0;
    c->used = (uint32_t)(end + 4 - c->head);
    c->coming = c->length = 0;
    c->crc = 0xffffffffu;
    end[2] = 0;                                 /* for strcasestr; put back below */
    c->close_after = strcasestr(c->head, "\r\nConnection: close") != NULL;
    if (c->head[0] == 'P' && (field = strcasestr(c->head, "\r\nContent-Length:")))
        c->coming = c->length = strtoull(field + 17, NULL, 10);
    path = memchr(c->head, ' ', c->used);
    c->asked = UNKNOWN;
    if (!path || (c->head[0] == 'P' && !c->length)) {
    } else if (memcmp(path, " /head ", 7) == 0) {
        c->asked = HEAD;
    } else if (memcmp(path, " /check ", 8) == 0) {
        c->asked = CHECK;
    } else if (memcmp(path, " /count ", 8) == 0) {
        c->asked = COUNT;
    } else if (path[2] >= '0' && path[2] <= '9') {
        size = strtoull(path + 2, &after, 10);
        if (size <= BODY_MAX && (*after == ' ' || *after == '/')) c->asked = BYTES;
    }
    end[2] = '\r';
    c->size = size;
    return 1;
}

static void body_came(Connection *c, const char *bytes, uint64_t count) {
    if (c->asked == CHECK)
        for (uint64_t i = 0; i < count; i++)
            c->crc = c->crc >> 8 ^ crc_of[(c->crc ^ (unsigned char)bytes[i]) & 255];
    c->coming -= count;
    received += count;
}

/* Bytes of the body that came with the head, then those of the socket.
 * 0: all there, 1: wait, -1: gone. */
static int body_take(Connection *c) {
    uint64_t here = c->have - c->used;
    if (here > c->coming) here = c->coming;
    if (here > 0) {
        body_came(c, c->head + c->used, here);
        memmove(c->head + c->used, c->head + c->used + here, c->have - c->used - here);
        c->have -= (uint32_t)here;
    }
    while (c->coming > 0) {
        /* Whoever does not look at it has it thrown away in the kernel. */
        int look = c->asked == CHECK ? 0 : MSG_TRUNC;
        size_t room = c->coming < SCRATCH ? c->coming : SCRATCH;
        ssize_t n = recv(c->fd, scratch, room, look);
        if (n == 0) return -1;
        if (n < 0) return errno == EAGAIN ? 1 : -1;
        body_came(c, scratch, (uint64_t)n);
    }
    return 0;
}

/* 1: it waits in the queue from now on, or did already. */
static int delayed(Connection *c) {
    if (c->due) return 1;
    if (!delay || c->asked != BYTES) return 0;
    c->due = now() + delay;
    c->next = NULL;
    *waiting_end = c;
    waiting_end = &c->next;
    return 1;
}

/* 0: goes on, -1: gone. */
static int connection_work(Connection *c, int waited) {
    for (int drained = 0;;) {
        if (c->left > 0) {
            int state = body_send(c);
            if (state != 0) return state < 0 ? -1 : 0;
        }
        if (c->asked == NOTHING && c->close_after) return -1;
        if (c->asked == NOTHING) {
            int state = c->have > 0 ? head_take(c) : 0;
            if (state < 0) return -1;
        }
        if (c->asked != NOTHING) {
            int state = body_take(c);
            if (state != 0) return state < 0 ? -1 : 0;
            if (!waited && delayed(c)) return 0;
            waited = 0;
            if (answer(c) < 0) return -1;
            continue;
        }
        if (drained) return 0;
        size_t room = HEAD_MAX - c->have;
        ssize_t n = recv(c->fd, c->head + c->have, room, 0);
        if (n == 0) return -1;
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->have += (uint32_t)n;
        drained = (size_t)n < room;         /* an edge tells what comes later */
    }
}

/* Answers whoever has waited long enough; ms until the next one has, -1: nobody waits. */
static int waiting_work(void) {
    while (waiting) {
        Connection *c = waiting;
        uint64_t time = now();
        if (c->due > time) return (int)((c->due - time) / 1000000u) + 1;
        waiting = c->next;
        if (!waiting) waiting_end = &waiting;
        c->due = 0;
        if (c->fd < 0) free(c);
        else if (connection_work(c, 1) < 0) connection_close(c);
    }
    return -1;
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

static int listen_on(int port, int everywhere) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (everywhere) {
        address.sin_addr.s_addr = htonl(INADDR_ANY);
        if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) != 0) fail("SO_BINDTODEVICE");
    }
    if (bind(fd, (struct sockaddr *)&address, length) != 0) fail("bind");
    if (listen(fd, 4096) != 0) fail("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    int everywhere = 0;
    if (argc < 2) {
        fprintf(stderr,
                "usage: origin PORT [--spoil] [--delay MS] [--fail PERCENT] [--everywhere]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--spoil") == 0) spoil = 1;
        if (strcmp(argv[i], "--everywhere") == 0) everywhere = 1;
        if (strcmp(argv[i], "--delay") == 0 && i + 1 < argc)
            delay = strtoull(argv[i + 1], NULL, 10) * 1000000u;
        if (strcmp(argv[i], "--fail") == 0 && i + 1 < argc)
            fail_percent = (uint32_t)strtoul(argv[i + 1], NULL, 10);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);           /* never outlives the harness */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, begin_failing);
    tables_make();
    int listener = listen_on(atoi(argv[1]), everywhere), epfd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event own = {.events = EPOLLIN, .data.fd = listener};
    if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &own) != 0) fail("epoll");
    for (;;) {
        int count = epoll_wait(epfd, events, EVENTS, waiting_work());
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            Connection *c;
            if (events[i].data.fd == listener) { accept_all(listener, epfd); continue; }
            c = connections[events[i].data.fd];
            if (c && connection_work(c, 0) < 0) connection_close(c);
        }
    }
}
