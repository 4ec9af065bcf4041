/* SPDX-License-Identifier: MIT
 * The bare forwarder for bodies: what moving large answers and uploads costs on this machine.
 *
 *     bodies --listen PORT --origin HOST:PORT [--scratch BYTES] [--splice BYTES]
 *
 * As limit.c, for messages of any size with Content-Length: recv into the scratch (256 KiB), send
 * from it at once, until the source is drained or the sink refuses. What is refused keeps the
 * scratch, and nothing is read for that sink until it is gone. A head is rewritten in place before
 * the bytes that came behind it, so both leave in one call. No fairness: a source that never runs
 * dry is moved without looking at others. Pipelined requests are not understood. With --splice,
 * what follows a head goes through a pipe of that size instead (splice(2)), to compare the two.
 *
 * Tried, measured as in limit.c (8 connections, 1 MiB answers, 7 to 12 rounds; itself 1.03):
 *
 *     scratch of 64 KiB                               1.27 to 1.36
 *     scratch of 128 KiB                              1.11
 *     scratch of 512 KiB                              0.91    a core here has 1 MiB of L2
 *     scratch of 1 MiB                                0.97
 *     what is refused copied, the scratch kept        1.02
 *     SO_SNDBUF of 512 KiB to the client              0.98
 *     SO_RCVBUF of 256 KiB from the origin            1.33
 *     turns of 1 MiB instead of until drained         1.2     (64 MiB answers, 4 connections)
 */
#define _GNU_SOURCE
#include <fcntl.h>

#include "sides.h"

#define HEAD_MAX 16384
#define ROOM 256                /* before a buffer's bytes: where a rewritten head may grow into */

typedef struct Buffer {
    struct Buffer *next;        /* in the stack of free ones */
    char *from;                 /* refused bytes: the first */
    uint32_t length;            /* and how many */
    char bytes[];               /* ROOM, scratch size, SCAN_SLACK */
} Buffer;

static Buffer *scratch, *spare;
static int pipe_in, pipe_out;

static void pump(Side *side);

static Buffer *buffer_take(void) {
    Buffer *made = spare;
    if (made) {
        spare = made->next;
    } else if (!(made = malloc(sizeof *made + ROOM + options.scratch + SCAN_SLACK))) {
        fail("malloc");
    }
    return made;
}

static void buffer_give(Buffer *buffer) {
    buffer->next = spare;
    spare = buffer;
}

static void side_keep(Side *side, const char *from, uint32_t have) {
    if (!side->kept && !(side->kept = malloc(HEAD_MAX))) fail("malloc");
    memcpy(side->kept, from, have);
    side->have = have;
}

/* Sends bytes of the scratch. What is refused keeps the scratch, and a spare one takes its place:
 * nothing is copied. 0: the side is gone. */
static int side_send(Side *side, char *from, uint32_t length) {
    ssize_t n = send(side->fd, from, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == (ssize_t)length) return 1;
    if (n < 0 && errno != EAGAIN) {
        side_close(side);
        return 0;
    }
    if (n < 0) n = 0;
    side->refused = scratch;
    side->refused->from = from + n;
    side->refused->length = length - (uint32_t)n;
    scratch = buffer_take();
    return 1;
}

/* Room again. */
static void side_flush(Side *side) {
    Buffer *refused = side->refused;
    ssize_t n = send(side->fd, refused->from, refused->length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN) side_close(side);
        return;
    }
    refused->from += n;
    if ((refused->length -= (uint32_t)n) > 0) return;
    side->refused = NULL;
    buffer_give(refused);
    if (side->answered && side->close)
        side_close(side);
    else if (side->partner)
        pump(side->partner);
    else
        pump(side);
}

/* The answer is over. A request that is not yet over never will be. */
static void answered(Side *c, Side *u) {
    uint64_t unread = c->left;
    c->partner = NULL;
    idle_push(u);
    if (u->close || u->ended || unread || u->refused) side_close(u);
    c->answered = 1;
    if (unread || (c->close && !c->refused)) side_close(c);
    else pump(c);
}

/* The head of a message starts at `from`: rewritten in place, so that it and what came of its body
 * leave in one call. Bytes to send from *from on; 0: not whole yet, or gone. */
static uint32_t head_rewrite(Side *side, char **from, uint32_t have, Head *head) {
    static char made[HEAD_MAX + ROOM];
    const char *end = head_end(*from, have);
    Side *c = side->kind == CLIENT ? side : side->partner;
    const char *field = side == c ? c->field : "Connection: close\r\n";
    uint32_t field_length = side == c ? c->field_length : c->close ? 19 : 0, length;
    size_t copied;
    if (!end && have < HEAD_MAX) side_keep(side, *from, have);
    else if (!end || end - *from > HEAD_MAX) side_close(side);
    if (!end || end - *from > HEAD_MAX) return 0;
    length = (uint32_t)(end - *from);
    copied = head_copy(made, *from, length, head);
    if (head->body == NEVER_A_BODY || have - length > head->body) {
        side_close(side);               /* chunked, or more than one message at once */
        return 0;
    }
    memcpy(made + copied, field, field_length);
    copied += field_length;
    made[copied++] = '\r';
    made[copied++] = '\n';
    *from += length;
    *from -= copied;                    /* ROOM is enough: a field, less what was dropped */
    memcpy(*from, made, copied);
    side->left = head->body - (have - length);
    return (uint32_t)copied + have - length;
}

/* A request goes out: to the newest idle upstream, or to a new one. */
static Side *upstream_for(Side *c) {
    Side *u = idle[0].next;
    if (u) {
        idle_remove(u);
    } else {
        int fd = origin_connect(&options.origin[0]);
        if (fd < 0) return NULL;
        u = side_open(fd, UPSTREAM);
    }
    u->partner = c;
    c->partner = u;
    c->answered = 0;
    u->left = 0;
    return u;
}

/* Bytes of `side`, read behind those kept, go to its partner. 0: no more now. */
static int move(Side *side, uint32_t have) {
    char *from = scratch->bytes + ROOM;
    if (side->left == 0) {
        Head head;
        if (side->have) memcpy(from, side->kept, side->have);
        have += side->have;
        side->have = 0;
        if ((have = head_rewrite(side, &from, have, &head)) == 0) return 0;
        side->close = head.close;
        if (side->kind == CLIENT && !upstream_for(side)) {
            side_close(side);
            return 0;
        }
    } else if ((side->left -= have) > (uint64_t)1 << 63) {
        side_close(side);                               /* more than was said */
        return 0;
    }
    if (!side_send(side->partner, from, have)) return 0;
    if (side->kind == CLIENT || side->left) return 1;
    answered(side->partner, side);
    return 0;
}

/* As recv and move, without the bytes passing through user space. What the sink refuses is taken
 * out of the pipe and kept as always. 0: no more now. */
static int move_by_pipe(Side *side) {
    size_t most = side->left < options.pipe ? (size_t)side->left : options.pipe;
    ssize_t n = splice(side->fd, NULL, pipe_in, NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    Side *to = side->partner;
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) side->readable = 0;
        else side_close(side);
        return 0;
    }
    side->left -= (uint64_t)n;
    while (n > 0) {
        ssize_t out = splice(pipe_out, NULL, to->fd, NULL, (size_t)n,
                             SPLICE_F_NONBLOCK | SPLICE_F_MOVE |
                             (side->left ? SPLICE_F_MORE : 0));
        if (out > 0) {
            n -= out;
            continue;
        }
        if (read(pipe_out, scratch->bytes + ROOM, (size_t)n) != n) fail("read");
        if (!side_send(to, scratch->bytes + ROOM, (uint32_t)n)) return 0;
        break;
    }
    if (side->kind == CLIENT || side->left) return 1;
    answered(to, side);
    return 0;
}

/* May anything be read from this side now? */
static int wanted(const Side *side) {
    const Side *to = side->partner;
    if (!side->readable || side->kind == NOBODY || (to && to->refused)) return 0;
    return side->kind == UPSTREAM || side->left || (!to && !side->refused);
}

/* Moves what there is from this side to its partner, until drained or refused. */
static void pump(Side *side) {
    while (wanted(side)) {
        uint32_t room = options.scratch - side->have;
        if (options.pipe && side->left && side->partner) {
            if (!move_by_pipe(side)) return;
            continue;
        }
        ssize_t n = recv(side->fd, scratch->bytes + ROOM + side->have, room, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            side->readable = 0;
        } else if (n <= 0 || (side->kind == UPSTREAM && !side->partner)) {
            side_close(side);
        } else {
            if ((uint32_t)n < room) side->readable = side->ended;   /* a short read: drained */
            if (!move(side, (uint32_t)n)) return;
        }
    }
}

static void side_event(Side *side, uint32_t events) {
    if (events & (EPOLLERR | EPOLLHUP)) {
        side_close(side);
        return;
    }
    if (events & EPOLLOUT && side->refused) side_flush(side);
    if (events & EPOLLRDHUP) side->ended = 1;
    if (events & (EPOLLIN | EPOLLRDHUP)) {
        side->readable = 1;
        pump(side);
    }
}

int main(int argc, char **argv) {
    static struct epoll_event events[EVENTS];
    static Side listener = {.kind = LISTENER}, signals = {.kind = SIGNALS};
    options = options_read(argc, argv,
                           "bodies --listen PORT --origin HOST:PORT [--scratch BYTES] "
                           "[--splice BYTES]");
    if (options.pipe) {
        int ends[2];
        if (pipe2(ends, O_NONBLOCK) || fcntl(ends[1], F_SETPIPE_SZ, (int)options.pipe) < 0)
            fail("pipe");
        pipe_out = ends[0];
        pipe_in = ends[1];
        if (options.scratch < options.pipe) options.scratch = options.pipe;
    }
    scratch = buffer_take();
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
            switch (side->kind) {
            case CLIENT: case UPSTREAM: side_event(side, events[i].events); break;
            case LISTENER: accept_all(side->fd); break;
            case SIGNALS: return 0;
            case NOBODY: break;                     /* closed by an event before */
            }
        }
    }
}
