/* SPDX-License-Identifier: MIT
 * A load of TLS handshakes: a new connection for each request, closed by the server after its
 * answer, in a closed loop.
 *
 *     handshakes --connections C --seconds S --port P [--resume] [--host ADDRESS] [--path /100]
 *                [--host-header NAME] [--timeout SECONDS]
 *
 * TLS 1.3 only, TLS_AES_128_GCM_SHA256, X25519, ALPN http/1.1, SNI: the name of --host-header. So
 * all servers are asked for the same, whatever else they have. The server's certificate is not
 * verified (its signature of the handshake is).
 *
 * Full handshakes, or with --resume all by one ticket, that of a handshake before the clock starts:
 * not every server gives another one to a resumed session (h2o 2.2). Answers of status 200 and all
 * of one size; others are errors, as is a connection that was lost, that was resumed where it
 * should not be or the other way round, or that took more than --timeout (5) seconds.
 *
 * Standard output: one JSON object.
 *     requests, us                answered rightly, with the handshake that was wanted; in how long
 *     errors                      by kind: status, size, broken, unresumed, resumed, timeout
 *     p50 ... p999, max           us from connect to the end of the answer
 * Exit code 1, with a line on standard error, if nothing was answered; 2 for wrong usage; else 0.
 */
#define _GNU_SOURCE
#include "paced/answer.h"
#include "paced/histogram.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define EVENTS 64
#define CONNECTIONS_MAX 1024
#define REQUEST_BYTES 1024

typedef enum State { CLOSED, SHAKING, ASKING, CLOSING } State;

/* One connection after the other. */
typedef struct Place {
    int fd;
    State state;
    SSL *ssl;
    int64_t begin;
    int wrong;                  /* the handshake was not of the kind that was wanted */
    Answer answer;
} Place;

static struct {
    double seconds, timeout;
    int connections, port, resume;
    const char *host, *path, *name;
} options = {.connections = 1, .host = "127.0.0.1", .path = "/", .name = "localhost",
             .timeout = 5};

static Place *places;
static SSL_CTX *context;
static SSL_SESSION *session;            /* what is resumed; NULL: nothing yet */
static struct sockaddr_in address;
static int epfd, open_count;
static char request[REQUEST_BYTES];
static int request_length;
static int64_t size_expected = -1, last_answer;
static uint64_t statuses, sizes, broken, unresumed, resumed, timeouts;
static Histogram latency;

static void die(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("handshakes: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(code);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* ---- one connection ------------------------------------------------------------------------- */

/* A ticket came. 1: it is ours now. */
static int session_came(SSL *ssl, SSL_SESSION *came) {
    (void)ssl;
    if (!options.resume || session) return 0;
    session = came;
    return 1;
}

/* A copy: OpenSSL lets a session of TLS 1.3 be used once. */
static void session_use(SSL *ssl) {
    SSL_SESSION *copy = SSL_SESSION_dup(session);
    if (!copy || !SSL_set_session(ssl, copy)) die(1, "no memory for a session");
    SSL_SESSION_free(copy);
}

static void place_close(Place *p) {
    /* Without this OpenSSL takes the session for a broken one. */
    SSL_set_shutdown(p->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(p->ssl);
    close(p->fd);
    ERR_clear_error();
    p->ssl = NULL;
    p->state = CLOSED;
    open_count--;
}

static void place_open(Place *p, int64_t time) {
    int one = 1;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    p->ssl = SSL_new(context);
    if (p->fd < 0 || !p->ssl) die(1, "no socket or no memory: %s", strerror(errno));
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    SSL_set_tlsext_host_name(p->ssl, options.name);
    SSL_set_fd(p->ssl, p->fd);
    SSL_set_connect_state(p->ssl);
    if (session) session_use(p->ssl);
    answer_begin(&p->answer);
    p->state = SHAKING;
    p->begin = time;
    p->wrong = 0;
    open_count++;
    if (connect(p->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        die(1, "%s:%d cannot be reached: %s", options.host, options.port, strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = p};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, p->fd, &event) != 0) die(1, "epoll: %s", strerror(errno));
}

static void answer_done(Place *p, int64_t time) {
    const Answer *a = &p->answer;
    last_answer = time;
    if (size_expected < 0 && a->status == 200) size_expected = (int64_t)a->size;
    if (a->status != 200) statuses++;
    else if ((int64_t)a->size != size_expected) sizes++;
    else if (p->wrong && options.resume) unresumed++;
    else if (p->wrong) resumed++;
    else histogram_add(&latency, time - p->begin);
    p->state = CLOSING;
}

/* 0: wait, -1: over. */
static int place_read(Place *p) {
    static char bytes[64 << 10];
    for (;;) {
        int n = SSL_read(p->ssl, bytes, sizeof bytes);
        if (n <= 0) return SSL_get_error(p->ssl, n) == SSL_ERROR_WANT_READ ? 0 : -1;
        if (p->state != ASKING || answer_take(&p->answer, bytes, (size_t)n) != n) return -1;
        if (p->answer.part == DONE) answer_done(p, now());
    }
}

static void place_work(Place *p) {
    if (p->state == SHAKING) {
        int n = SSL_do_handshake(p->ssl);
        if (n == 1) {
            p->wrong = SSL_session_reused(p->ssl) != (session != NULL);
            p->state = ASKING;
            if (SSL_write(p->ssl, request, request_length) != request_length) n = -1;
        } else if (SSL_get_error(p->ssl, n) == SSL_ERROR_WANT_READ
                   || SSL_get_error(p->ssl, n) == SSL_ERROR_WANT_WRITE) {
            return;
        }
        if (n != 1) {
            broken++;
            place_close(p);
            return;
        }
    }
    if (place_read(p) < 0) {
        broken += p->state == ASKING;
        place_close(p);
    }
}

/* ---- run ------------------------------------------------------------------------------------ */

static void wait_and_work(void) {
    static struct epoll_event events[EVENTS];
    int count = epoll_wait(epfd, events, EVENTS, 100);
    if (count < 0 && errno != EINTR) die(1, "epoll: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        Place *p = events[i].data.ptr;
        if (p->state != CLOSED) place_work(p);
    }
}

static void timeouts_take(int64_t time) {
    for (Place *p = places; p < places + options.connections; p++)
        if (p->state != CLOSED && time - p->begin > (int64_t)(options.timeout * 1e9)) {
            timeouts++;
            place_close(p);
        }
}

static void first_ticket(void) {
    place_open(places, now());
    while (open_count > 0) {
        wait_and_work();
        timeouts_take(now());
    }
    if (!session) die(1, "%s:%d gives no ticket", options.host, options.port);
    memset(&latency, 0, sizeof latency);
}

static int64_t run(void) {
    int64_t begin = now(), end = begin + (int64_t)(options.seconds * 1e9), time = begin;
    while (time < end || open_count > 0) {
        for (Place *p = places; time < end && p < places + options.connections; p++)
            if (p->state == CLOSED) place_open(p, now());
        wait_and_work();
        time = now();
        timeouts_take(time);
    }
    return begin;
}

static void report(int64_t begin) {
    typedef unsigned long long U;
    printf("{\"requests\":%llu,\"us\":%lld,\"size\":%lld,", (U)latency.count,
           (long long)((last_answer - begin) / 1000), (long long)size_expected);
    printf("\"errors\":{\"status\":%llu,\"size\":%llu,\"broken\":%llu,\"unresumed\":%llu,"
           "\"resumed\":%llu,\"timeout\":%llu},", (U)statuses, (U)sizes, (U)broken, (U)unresumed,
           (U)resumed, (U)timeouts);
    printf("\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}\n",
           quantile_us(&latency, 0.5), quantile_us(&latency, 0.9), quantile_us(&latency, 0.99),
           quantile_us(&latency, 0.999), (double)latency.max / 1e3);
}

/* ---- options -------------------------------------------------------------------------------- */

static void context_make(void) {
    static const unsigned char protocols[] = "\x08http/1.1";
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)
        || !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256")
        || !SSL_CTX_set1_groups_list(context, "X25519")
        || SSL_CTX_set_alpn_protos(context, protocols, sizeof protocols - 1) != 0)
        die(1, "TLS: %s", ERR_error_string(ERR_get_error(), NULL));
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT
                                   | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, session_came);
    /* Who closes without a close_notify has not truncated anything: the size is compared. */
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
}

static double number(const char *name, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        die(2, "%s %s: a number from %g to %g", name, text, least, most);
    return value;
}

static void options_read(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value;
        if (!strcmp(name, "--resume")) {
            options.resume = 1;
            continue;
        }
        if (!(value = argv[++i])) die(2, "%s: no value; see the top of handshakes.c", name);
        if (!strcmp(name, "--connections"))
            options.connections = (int)number(name, value, 1, CONNECTIONS_MAX);
        else if (!strcmp(name, "--seconds")) options.seconds = number(name, value, 0.01, 3600);
        else if (!strcmp(name, "--timeout")) options.timeout = number(name, value, 0.01, 600);
        else if (!strcmp(name, "--port")) options.port = (int)number(name, value, 1, 65535);
        else if (!strcmp(name, "--host")) options.host = value;
        else if (!strcmp(name, "--path")) options.path = value;
        else if (!strcmp(name, "--host-header")) options.name = value;
        else die(2, "no option %s; see the top of handshakes.c", name);
    }
    if (options.seconds == 0 || options.port == 0)
        die(2, "--seconds and --port are needed; see the top of handshakes.c");
    address = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)options.port)};
    if (inet_pton(AF_INET, options.host, &address.sin_addr) != 1)
        die(2, "--host %s: an IPv4 address", options.host);
    request_length = snprintf(request, sizeof request,
                              "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                              options.path, options.name);
    if (request_length >= REQUEST_BYTES) die(2, "the request is longer than %d", REQUEST_BYTES);
}

int main(int argc, char **argv) {
    int64_t begin;
    options_read(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGKILL);           /* never outlives the harness */
    signal(SIGPIPE, SIG_IGN);
    context_make();
    places = calloc((size_t)options.connections, sizeof *places);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!places || epfd < 0) die(1, "no memory");
    if (options.resume) first_ticket();
    begin = run();
    if (latency.count + statuses + sizes + unresumed + resumed == 0)
        die(1, "no request was answered by %s:%d", options.host, options.port);
    report(begin);
    return 0;
}
