/* SPDX-License-Identifier: MIT
 * The origin of gRPC: as origin.c, but HTTP/2 without TLS (prior knowledge), by libnghttp2. Unary
 * calls: one message in, one message and trailers out.
 *
 *     origin_grpc PORT [--spoil]
 *
 * Listens on 127.0.0.1:PORT (0: any), writes the port and a newline to standard output, serves
 * until SIGTERM. One thread, one epoll set, edge-triggered.
 *
 *     /bench.Origin/N         a message of N bytes (at most 64 KiB), those of origin.c
 *     /bench.Origin/head      the fields of the request as they came, "name: value\r\n" each
 *     /bench.Origin/check     length and CRC-32 of the request's message
 *     else                    grpc-status 12 (unimplemented), without a message
 *
 * The trailers are `grpc-status: 0` and `grpc-message: fine`. What is no POST of application/grpc
 * is answered 415; a message whose prefix is wrong, grpc-status 3.
 *
 * --spoil: the last byte of a message is wrong. The harness must notice.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX (64u << 10)
#define PREFIX 5                /* a flag (compressed?) and the length, big-endian */
#define HEAD_MAX 4096
#define OUTPUT (64u << 10)
#define STREAMS 1024
#define EVENTS 256

typedef enum Status { OK = 0, INVALID_ARGUMENT = 3, UNIMPLEMENTED = 12 } Status;

typedef struct Stream {
    struct Stream *next, **from_last;           /* among those of its connection */
    int post, grpc;             /* what its head said */
    char path[64];
    uint32_t used;              /* of `head` */
    uint64_t came;              /* bytes of the body, its prefix included */
    uint8_t prefix[PREFIX];     /* of the request; then of the answer */
    uint32_t crc;
    const char *from;           /* the answer's message */
    uint32_t size, at;          /* at: prefix included */
    char head[HEAD_MAX];
} Stream;

typedef struct Connection {
    int fd;
    nghttp2_session *session;
    Stream *streams;
    const uint8_t *frame;       /* the session's, until it is asked for the next one: */
    size_t frame_length;        /* what found no room in `output` */
    uint32_t have, sent;        /* of `output` */
    uint8_t output[OUTPUT];
} Connection;

static char pattern[MESSAGE_MAX];
static int spoil;
static uint32_t crc_of[256];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void tables_make(void) {
    for (uint32_t i = 0; i < MESSAGE_MAX; i++)
        pattern[i] = i % 64 == 63 ? '\n' : (char)('a' + i % 26);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        crc_of[i] = crc;
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

#define FIELD(name, value) {(uint8_t *)(name), (uint8_t *)(value), sizeof (name) - 1, \
    sizeof (value) - 1, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

static const nghttp2_nv ANSWER[] = {
    FIELD(":status", "200"), FIELD("content-type", "application/grpc"), FIELD("server", "origin"),
};
static const nghttp2_nv TRAILERS[] = {FIELD("grpc-status", "0"), FIELD("grpc-message", "fine")};
static const nghttp2_nv UNKNOWN[] = {
    FIELD(":status", "200"), FIELD("content-type", "application/grpc"), FIELD("grpc-status", "12"),
};
static const nghttp2_nv INVALID[] = {
    FIELD(":status", "200"), FIELD("content-type", "application/grpc"), FIELD("grpc-status", "3"),
};
static const nghttp2_nv NOT_GRPC[] = {FIELD(":status", "415")};

#define COUNT(fields) (sizeof (fields) / sizeof (fields)[0])

static ssize_t message_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *unused) {
    Stream *s = source->ptr;
    size_t count = 0, part;
    (void)unused;
    if (s->at < PREFIX) {
        part = PREFIX - s->at < room ? PREFIX - s->at : room;
        memcpy(to, s->prefix + s->at, part);
        count = part;
        s->at += (uint32_t)part;
    }
    if (s->at >= PREFIX) {
        part = PREFIX + s->size - s->at < room - count ? PREFIX + s->size - s->at : room - count;
        memcpy(to + count, s->from + s->at - PREFIX, part);
        count += part;
        s->at += (uint32_t)part;
    }
    if (s->at == PREFIX + s->size) {
        if (spoil && s->size > 0 && count > 0) to[count - 1] = '!';
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, TRAILERS, COUNT(TRAILERS)) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)count;
}

/* What the path asks for. */
static Status asked(Stream *s) {
    static const char SERVICE[] = "/bench.Origin/";
    uint32_t length = (uint32_t)s->prefix[1] << 24 | (uint32_t)s->prefix[2] << 16
        | (uint32_t)s->prefix[3] << 8 | s->prefix[4];
    const char *method = s->path + sizeof SERVICE - 1;
    char *after;
    if (s->came < PREFIX || s->prefix[0] != 0 || s->came - PREFIX != length)
        return INVALID_ARGUMENT;
    if (strncmp(s->path, SERVICE, sizeof SERVICE - 1) != 0) return UNIMPLEMENTED;
    s->from = s->head;
    if (strcmp(method, "head") == 0) {
        s->size = s->used;
        return OK;
    }
    if (strcmp(method, "check") == 0) {
        s->size = (uint32_t)sprintf(s->head, "%u %08x\n", length, s->crc ^ 0xffffffffu);
        return OK;
    }
    unsigned long long size = strtoull(method, &after, 10);
    if (after == method || *after || size > MESSAGE_MAX) return UNIMPLEMENTED;
    s->from = pattern;
    s->size = (uint32_t)size;
    return OK;
}

/* The whole request is there. */
static int answer(nghttp2_session *session, int32_t id, Stream *s) {
    nghttp2_data_provider message = {.source.ptr = s, .read_callback = message_read};
    if (!s->post || !s->grpc)
        return nghttp2_submit_response(session, id, NOT_GRPC, COUNT(NOT_GRPC), NULL);
    switch (asked(s)) {
    case INVALID_ARGUMENT:
        return nghttp2_submit_response(session, id, INVALID, COUNT(INVALID), NULL);
    case UNIMPLEMENTED:
        return nghttp2_submit_response(session, id, UNKNOWN, COUNT(UNKNOWN), NULL);
    default:
        break;
    }
    for (int i = 1; i < PREFIX; i++) s->prefix[i] = (uint8_t)(s->size >> 8 * (PREFIX - 1 - i));
    return nghttp2_submit_response(session, id, ANSWER, COUNT(ANSWER), &message);
}

/* ---- what the session tells ----------------------------------------------------------------- */

static int head_begins(nghttp2_session *session, const nghttp2_frame *frame, void *owner) {
    Connection *c = owner;
    Stream *s;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    s = malloc(sizeof *s);
    if (!s) return NGHTTP2_ERR_CALLBACK_FAILURE;
    memset(s, 0, offsetof(Stream, head));
    s->crc = 0xffffffffu;
    s->next = c->streams;
    s->from_last = &c->streams;
    if (s->next) s->next->from_last = &s->next;
    c->streams = s;
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
}

static int is(const uint8_t *text, size_t length, const char *what) {
    return length == strlen(what) && memcmp(text, what, length) == 0;
}

static int field_came(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                      size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                      void *unused) {
    Stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags, (void)unused;
    if (!s) return 0;
    if (s->used + name_length + value_length + 4 > HEAD_MAX) return NGHTTP2_ERR_CALLBACK_FAILURE;
    s->used += (uint32_t)sprintf(s->head + s->used, "%.*s: %.*s\r\n", (int)name_length, name,
                                 (int)value_length, value);
    if (is(name, name_length, ":method")) s->post = is(value, value_length, "POST");
    else if (is(name, name_length, "content-type"))
        s->grpc = is(value, value_length, "application/grpc");
    else if (is(name, name_length, ":path") && value_length < sizeof s->path)
        memcpy(s->path, value, value_length);
    return 0;
}

static int body_came(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                     size_t length, void *unused) {
    Stream *s = nghttp2_session_get_stream_user_data(session, id);
    (void)flags, (void)unused;
    if (!s) return 0;
    for (; length > 0 && s->came < PREFIX; length--) s->prefix[s->came++] = *data++;
    for (size_t i = 0; i < length; i++) s->crc = s->crc >> 8 ^ crc_of[(s->crc ^ data[i]) & 255];
    s->came += length;
    return 0;
}

static int frame_came(nghttp2_session *session, const nghttp2_frame *frame, void *unused) {
    Stream *s;
    (void)unused;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    return s ? answer(session, frame->hd.stream_id, s) : 0;
}

static void stream_free(Stream *s) {
    *s->from_last = s->next;
    if (s->next) s->next->from_last = s->from_last;
    free(s);
}

static int stream_ended(nghttp2_session *session, int32_t id, uint32_t code, void *unused) {
    Stream *s = nghttp2_session_get_stream_user_data(session, id);
    (void)code, (void)unused;
    if (s) stream_free(s);
    nghttp2_session_set_stream_user_data(session, id, NULL);
    return 0;
}

static nghttp2_session_callbacks *callbacks_make(void) {
    nghttp2_session_callbacks *made;
    if (nghttp2_session_callbacks_new(&made) != 0) fail("nghttp2");
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, head_begins);
    nghttp2_session_callbacks_set_on_header_callback(made, field_came);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, body_came);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, frame_came);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, stream_ended);
    return made;
}

/* ---- connections ---------------------------------------------------------------------------- */

static void connection_close(Connection *c) {
    nghttp2_session_del(c->session);            /* tells stream_ended of none */
    while (c->streams) stream_free(c->streams);
    close(c->fd);
    free(c);
}

/* Frames of the session into `output`, as many as fit. -1: gone. */
static int frames_take(Connection *c) {
    for (;;) {
        if (c->frame_length == 0) {
            ssize_t length = nghttp2_session_mem_send(c->session, &c->frame);
            if (length < 0) return -1;
            c->frame_length = (size_t)length;
        }
        if (c->frame_length == 0 || c->frame_length > OUTPUT - c->have) return 0;
        memcpy(c->output + c->have, c->frame, c->frame_length);
        c->have += (uint32_t)c->frame_length;
        c->frame_length = 0;
    }
}

/* Many frames, one send. 0: all sent, or there is no room; -1: gone. */
static int connection_send(Connection *c) {
    for (;;) {
        if (frames_take(c) < 0) return -1;
        if (c->have == 0) return 0;
        while (c->sent < c->have) {
            ssize_t n = send(c->fd, c->output + c->sent, c->have - c->sent, MSG_NOSIGNAL);
            if (n < 0) return errno == EAGAIN ? 0 : -1;
            c->sent += (uint32_t)n;
        }
        c->have = c->sent = 0;
    }
}

/* 0: goes on, -1: gone. */
static int connection_work(Connection *c) {
    static uint8_t scratch[256u << 10];
    for (;;) {
        ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return -1;
        if (n < 0) break;
        if (nghttp2_session_mem_recv(c->session, scratch, (size_t)n) != n) return -1;
        if ((size_t)n < sizeof scratch) break;      /* an edge tells what comes later */
    }
    if (connection_send(c) < 0) return -1;
    return nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session) ? 0 : -1;
}

static void accept_all(int listener, int epfd, const nghttp2_session_callbacks *callbacks) {
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20},
    };
    for (;;) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        Connection *c = calloc(1, sizeof *c);
        if (!c || nghttp2_session_server_new(&c->session, callbacks, c) != 0) fail("no memory");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, COUNT(settings));
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 16 << 20);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                    .data.ptr = c};
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
    nghttp2_session_callbacks *callbacks;
    if (argc < 2) {
        fprintf(stderr, "usage: origin_grpc PORT [--spoil]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "--spoil") == 0) spoil = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);           /* never outlives the harness */
    signal(SIGPIPE, SIG_IGN);
    tables_make();
    callbacks = callbacks_make();
    int listener = listen_on(atoi(argv[1])), epfd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event own = {.events = EPOLLIN, .data.ptr = NULL};
    if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &own) != 0) fail("epoll");
    for (;;) {
        int count = epoll_wait(epfd, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            Connection *c = events[i].data.ptr;
            if (!c) accept_all(listener, epfd, callbacks);
            else if (connection_work(c) < 0) connection_close(c);
        }
    }
}
