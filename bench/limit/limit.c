/* SPDX-License-Identifier: MIT
 * The bare forwarder: what forwarding a small HTTP/1.1 message costs on this machine if nothing
 * else is done. fastproxy is measured against it, so it is as fast as we can make it: a slow limit
 * would be a cheat. Whoever makes it faster: please.
 *
 *     limit --listen PORT --origin HOST:PORT [--origin HOST:PORT]...
 *
 * Listens on 127.0.0.1, writes "ready" when it does, ends on SIGTERM with 0. One process, one epoll
 * set, every connection registered once, edge-triggered; one recv and one send per side and
 * message; head lines copied but Connection, X-Forwarded-For added; connections kept on both sides,
 * of many origins one at random and its newest idle one used. No checks, no limits, no timers, no
 * replay. A message has at most 64 KiB and a Content-Length or no body; wire.h says what else is
 * not understood.
 *
 * Tried, and how much CPU per request it took of this program's (1.00). Both ran at the same time
 * on the same core under wrk -c64 with 100-byte answers, 8 to 20 rounds of 2 s, medians; the
 * program against itself gives 1.00 +- 0.02, so nothing below 2% is a difference:
 *
 *     read and write instead of recv and send         1.03
 *     O_NONBLOCK instead of MSG_DONTWAIT              1.01    the latter saves a call at connect
 *     without EPOLLOUT in the set                     0.99
 *     level-triggered                                 1.01
 *     8 or 32 events a wake instead of 256            1.00
 *     all reads of a wake, then all its sends         0.99    more code for nothing
 *     the oldest idle upstream instead of the newest  1.00
 *     -O3 -march=native                               1.00    96% of its time is the kernel's
 *     4 KiB instead of 64 KiB to read into            0.99
 *     TCP_QUICKACK off at the start                   1.01
 *     without TCP_NODELAY                             0.99    stays: a body that comes in two
 *                                                             pieces would wait for an ACK
 *     reno instead of the system's congestion control 1.00
 *     the six fields that fastproxy writes            1.02
 *
 * Not tried: SO_BUSY_POLL polls a network card, and loopback has none; io_uring is another program.
 * It makes 4.15 system calls for a request: 2 recv, 2 send, 0.15 epoll_wait.
 */
#define _GNU_SOURCE
#include "sides.h"

#define MESSAGE_MAX 65536       /* of one message, head and body: bodies.c moves larger ones */

static char scratch[MESSAGE_MAX + SCAN_SLACK], out[MESSAGE_MAX + 128];

static void client_message(Side *c, const char *from, uint32_t have);

/* What was read but is not a whole message, until the rest comes. */
static void side_keep(Side *side, const char *from, uint32_t have) {
    if (have == 0) {
        free(side->kept);
        side->kept = NULL;
    } else {
        if (!side->kept) side->kept = malloc(MESSAGE_MAX + SCAN_SLACK);
        if (!side->kept) fail("malloc");
        memmove(side->kept, from, have);
    }
    side->have = have;
}

/* Reads once, behind what was kept. Bytes that are there from *from on, or 0: none, or gone. */
static uint32_t side_read(Side *side, const char **from) {
    char *into = side->have ? side->kept : scratch;
    size_t room = MESSAGE_MAX - side->have;
    ssize_t n = recv(side->fd, into + side->have, room, MSG_DONTWAIT);
    side->readable = side->ended || n == (ssize_t)room;     /* a short read: drained */
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) side_close(side);
        return 0;
    }
    *from = into;
    return side->have + (uint32_t)n;
}

/* Takes the first message into `out`, `field` added to its head. Bytes of the message as it came,
 * 0: not all there, or side closed because it never will be. */
static uint32_t message_take(Side *side, const char *from, uint32_t have, const char *field,
                             uint32_t field_length, size_t *made, int *close) {
    const char *end = head_end(from, have);
    Head head;
    if (end) {
        size_t length = (size_t)(end - from), copied = head_copy(out, from, length, &head);
        if (head.body <= have - length) {
            memcpy(out + copied, field, field_length);
            copied += field_length;
            out[copied++] = '\r';
            out[copied++] = '\n';
            memcpy(out + copied, end, head.body);
            *made = copied + head.body;
            *close = head.close;
            return (uint32_t)(length + head.body);
        }
    }
    if (have == MESSAGE_MAX || (end && head.body > MESSAGE_MAX))
        side_close(side);
    else if (from != side->kept)
        side_keep(side, from, have);
    else
        side->have = have;
    return 0;
}

/* One of the origins at random (xorshift: the low bits of a product would be a cycle). */
static uint32_t origin_draw(void) {
    static uint32_t drawn = 1;
    if (options.origins == 1) return 0;
    drawn ^= drawn << 13;
    drawn ^= drawn >> 17;
    drawn ^= drawn << 5;
    return (uint32_t)((uint64_t)drawn * options.origins >> 32);
}

/* Sends `out` to an origin on the newest idle connection, or on a new one. NULL: it is gone. */
static Side *request_send(size_t length) {
    uint32_t origin = origin_draw();
    for (;;) {
        Side *u = idle[origin].next;
        int fd = u ? u->fd : origin_connect(&options.origin[origin]);
        if (fd < 0) return NULL;
        if (u) idle_remove(u);
        ssize_t n = send(fd, out, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n == (ssize_t)length) {
            if (!u) u = side_open(fd, UPSTREAM);
            u->origin = origin;
            return u;
        }
        if (!u) {
            close(fd);
            return NULL;
        }
        side_close(u);
    }
}

static void client_read(Side *c) {
    const char *from;
    uint32_t have;
    c->readable = 1;
    if (c->partner) return;                         /* one at a time */
    if ((have = side_read(c, &from)) > 0) client_message(c, from, have);
}

static void client_message(Side *c, const char *from, uint32_t have) {
    size_t length;
    uint32_t used = message_take(c, from, have, c->field, c->field_length, &length, &c->close);
    Side *u;
    if (used == 0) return;
    if (c->kept || used < have) side_keep(c, from + used, have - used);
    if (!(u = request_send(length))) {
        side_close(c);
        return;
    }
    c->partner = u;
    u->partner = c;
}

static void upstream_read(Side *u) {
    Side *c = u->partner;
    const char *from;
    size_t length;
    int close;
    uint32_t have, used;
    if (!c) {
        side_close(u);                              /* nothing is due: this is its end */
        return;
    }
    if ((have = side_read(u, &from)) == 0) return;
    if ((used = message_take(u, from, have, "Connection: close\r\n", c->close ? 19 : 0, &length,
                             &close)) == 0) return;
    if (u->kept) side_keep(u, NULL, 0);
    c->partner = NULL;
    idle_push(u);
    if (used < have || close || u->ended) side_close(u);
    if (send(c->fd, out, length, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)length || c->close)
        side_close(c);
    else if (c->have)
        client_message(c, c->kept, c->have);
    else if (c->readable)
        client_read(c);
}

int main(int argc, char **argv) {
    static struct epoll_event events[EVENTS];
    static Side listener = {.kind = LISTENER}, signals = {.kind = SIGNALS};
    options = options_read(argc, argv, "limit --listen PORT --origin HOST:PORT...");
    listener.fd = listen_on(options.port);
    signals.fd = stop_signals();
    if ((epfd = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    watch(epfd, listener.fd, EPOLLIN, &listener);
    watch(epfd, signals.fd, EPOLLIN, &signals);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(epfd, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            Side *side = events[i].data.ptr;
            if (!(events[i].events & ~(uint32_t)EPOLLOUT)) continue;
            if (events[i].events & EPOLLRDHUP) side->ended = 1;
            switch (side->kind) {
            case CLIENT: client_read(side); break;
            case UPSTREAM: upstream_read(side); break;
            case LISTENER: accept_all(side->fd); break;
            case SIGNALS: return 0;
            case NOBODY: break;                     /* closed by an event before */
            }
        }
    }
}
