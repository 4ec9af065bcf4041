/* SPDX-License-Identifier: MIT
 * A load at a constant rate, its latencies counted from the instant each request was *due*.
 *
 *     paced --rate R --connections C --seconds S --port P [--host ADDRESS] [--path /100]
 *           [--host-header NAME] [--header 'K: V']... [--url-count N] [--timeout SECONDS]
 *
 * Request i is due at start + i / R, whatever became of those before it. A load that waits for its
 * answers sends fewer requests while a server stalls, and so asks it least when it is worst
 * (coordinated omission); here they queue when no connection is idle, and their clocks run.
 *
 * HTTP/1.1 on kept connections, taken in turn; one that was closed is opened anew and counted.
 * Answers by Content-Length or chunked, of status 200 and all of one size: others are errors, as is
 * what was not answered within --timeout (5) seconds after the last request was due. Then it ends.
 * --url-count N: a %d in --path becomes i modulo N.
 *
 * Standard output: one JSON object.
 *     due, sent, done, errors     requests; done: answered rightly; errors: due - done
 *     statuses, sizes, broken, unanswered     the errors by kind: another status, another size,
 *                                 connection lost or answer not understood, no answer in time
 *     reopened                    connections
 *     rate                        done per second, until the last answer
 *     p50_us ... p999_us, max_us  latencies of what is done
 *     late_p99_us, late_max_us    from when a request was due and a connection idle until it was
 *                                 sent: our own fault, and contained in the latencies
 *     histogram                   [us, count] of all latencies; buckets are 1/128 wide: 0.4% off
 * Exit code 1, with a line on standard error, if nothing can be reached or nothing was answered;
 * 2 for wrong usage; else 0.
 */
#define _GNU_SOURCE
#include "answer.h"
#include "histogram.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define EVENTS 256
#define CONNECTIONS_MAX 60000
#define REQUEST_BYTES 16384
#define RETRY_NS (10 * SECOND / 1000)   /* before a refused connection is tried again */

/* ---- state ---------------------------------------------------------------------------------- */

typedef enum State { CLOSED, CONNECTING, IDLE, BUSY } State;

typedef struct Connection {
    int fd;                     /* -1: CLOSED */
    State state;
    int64_t due;                /* BUSY: when its request was; CLOSED: when to try again */
    int64_t since;              /* IDLE: when it became that */
    struct Connection *next;    /* in the queue it stands in: IDLE or CLOSED */
    struct Connection *last;
    Answer answer;              /* BUSY */
} Connection;

typedef struct Queue {
    Connection *first, *last;
} Queue;

static struct {
    double rate, seconds, timeout;
    int connections, port;
    const char *host, *path, *name;
    char headers[REQUEST_BYTES / 2];
    uint64_t url_count;
} options = {.connections = 1, .host = "127.0.0.1", .path = "/", .timeout = 5};

static Connection *connections;
static Queue idle, closed;              /* the first: idle for longest, to be tried again next */
static struct sockaddr_in address;
static int epfd;
static int64_t begin;                   /* when request 0 is due */
static uint64_t due_total, due_next;    /* requests in all; the first that was not sent */
static uint64_t statuses, sizes, broken, reopened;
static int64_t size_expected = -1, last_answer;
static Histogram latency, late;
static char request[REQUEST_BYTES + 32], before[REQUEST_BYTES], after[REQUEST_BYTES];
static int request_length;

static void die(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("paced: ", stderr);
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

static int64_t due(uint64_t number) {
    return begin + (int64_t)((double)number * 1e9 / options.rate);
}

static void queue_push(Queue *queue, Connection *c) {
    c->next = NULL;
    c->last = queue->last;
    *(queue->last ? &queue->last->next : &queue->first) = c;
    queue->last = c;
}

static void queue_remove(Queue *queue, Connection *c) {
    *(c->last ? &c->last->next : &queue->first) = c->next;
    *(c->next ? &c->next->last : &queue->last) = c->last;
}

/* ---- connections ---------------------------------------------------------------------------- */

static void connection_close(Connection *c, int64_t again) {
    if (c->state == IDLE) queue_remove(&idle, c);
    close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
    c->due = again;
    queue_push(&closed, c);
}

static void connection_idle(Connection *c, int64_t time) {
    c->state = IDLE;
    c->since = time;
    queue_push(&idle, c);
}

static int socket_new(int flags) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) die(1, "socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void connection_watch(Connection *c) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = c};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &event) != 0) die(1, "epoll: %s", strerror(errno));
}

/* Opens what was closed. Those refused are tried again a little later. */
static void reopen(int64_t time) {
    while (closed.first && closed.first->due <= time) {
        Connection *c = closed.first;
        queue_remove(&closed, c);
        c->fd = socket_new(SOCK_NONBLOCK);
        c->state = CONNECTING;
        reopened++;
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0
            && errno != EINPROGRESS)
            connection_close(c, time + RETRY_NS);
        else
            connection_watch(c);
    }
}

/* Before the start: each waited for, so that the first requests do not pay for it. */
static void open_all(void) {
    struct timeval wait = {.tv_sec = 3};
    connections = calloc((size_t)options.connections, sizeof *connections);
    if (!connections) die(1, "no memory");
    for (Connection *c = connections; c < connections + options.connections; c++) {
        c->fd = socket_new(0);
        setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0)
            die(1, "%s:%d cannot be reached: %s", options.host, options.port, strerror(errno));
        connection_watch(c);
        connection_idle(c, 0);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

/* `request`, or what stands before and after the number in it. */
static void request_make(void) {
    char rest[REQUEST_BYTES], name[300];
    const char *number = options.url_count ? strstr(options.path, "%d") : NULL;
    int path = number ? (int)(number - options.path) : (int)strlen(options.path);
    if (options.url_count && !number) die(2, "--url-count needs a %%d in --path");
    snprintf(name, sizeof name, "%s:%d", options.host, options.port);
    snprintf(rest, sizeof rest, " HTTP/1.1\r\nHost: %s\r\n%s\r\n",
             options.name ? options.name : name, options.headers);
    int a = snprintf(before, sizeof before, "GET %.*s", path, options.path);
    int b = snprintf(after, sizeof after, "%s%s", number ? number + 2 : "", rest);
    if (a + b >= REQUEST_BYTES) die(2, "the request is longer than %d bytes", REQUEST_BYTES);
    request_length = snprintf(request, sizeof request, "%s%s", before, after);
}

/* Sends what is due on idle connections. */
static void send_due(int64_t time) {
    while (due_next < due_total && idle.first && due(due_next) <= time) {
        Connection *c = idle.first;
        queue_remove(&idle, c);
        if (options.url_count)
            request_length = snprintf(request, sizeof request, "%s%llu%s", before,
                                      (unsigned long long)(due_next % options.url_count), after);
        c->state = BUSY;
        answer_begin(&c->answer);
        c->due = due(due_next++);
        histogram_add(&late, time - (c->due > c->since ? c->due : c->since));
        if (send(c->fd, request, (size_t)request_length, MSG_DONTWAIT | MSG_NOSIGNAL)
            != request_length) {
            broken++;
            connection_close(c, time);
        }
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

static void answer_done(Connection *c, int64_t time) {
    const Answer *a = &c->answer;
    last_answer = time;
    if (size_expected < 0 && a->status == 200) size_expected = (int64_t)a->size;
    if (a->status != 200) statuses++;
    else if ((int64_t)a->size != size_expected) sizes++;
    else histogram_add(&latency, time - c->due);
    if (a->close) connection_close(c, time);
    else connection_idle(c, time);
}

/* Bytes of the answer under way. 0: not understood, or more than was asked for. */
static int answer_bytes(Connection *c, const char *from, size_t have, int64_t time) {
    if (c->state != BUSY || answer_take(&c->answer, from, have) != (ssize_t)have) return 0;
    if (c->answer.part == DONE) answer_done(c, time);
    return 1;
}

/* Reads until nothing is there. */
static void connection_read(Connection *c) {
    static char bytes[256 << 10];
    while (c->state == BUSY || c->state == IDLE) {
        ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        int64_t time = now();
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0 || !answer_bytes(c, bytes, (size_t)n, time)) {
            broken += c->state == BUSY;
            connection_close(c, time);
            return;
        }
    }
}

static void connection_event(Connection *c, uint32_t events) {
    if (c->state == CONNECTING && events & (EPOLLERR | EPOLLHUP))
        connection_close(c, now() + RETRY_NS);
    else if (c->state == CONNECTING && events & EPOLLOUT)
        connection_idle(c, now());
    if (c->state != CLOSED && events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
        connection_read(c);
}

/* ---- run ------------------------------------------------------------------------------------ */

/* Until the next request is due, a refused connection is to be tried again, or the end. */
static int64_t wake_at(int64_t end) {
    int64_t wake = end;
    if (due_next < due_total && idle.first && due(due_next) < wake) wake = due(due_next);
    if (closed.first && closed.first->due < wake) wake = closed.first->due;
    return wake;
}

static uint64_t failed(void) { return statuses + sizes + broken; }

static void run(void) {
    static struct epoll_event events[EVENTS];
    int64_t end;
    begin = now() + SECOND / 100;
    end = due(due_total - 1) + (int64_t)(options.timeout * 1e9);
    while (latency.count + failed() < due_total) {
        int64_t time = now(), wake;
        if (time >= end) return;
        reopen(time);
        send_due(time);
        wake = wake_at(end) - now();
        struct timespec wait = {.tv_sec = wake > 0 ? wake / SECOND : 0,
                                .tv_nsec = wake > 0 ? wake % SECOND : 0};
        int count = epoll_pwait2(epfd, events, EVENTS, &wait, NULL);
        if (count < 0 && errno != EINTR) die(1, "epoll: %s", strerror(errno));
        for (int i = 0; i < count; i++) connection_event(events[i].data.ptr, events[i].events);
    }
}

static void report(void) {
    uint64_t done = latency.count;
    double spent = (double)(last_answer - begin) / 1e9;
    const char *comma = "";
    printf("{\"due\":%llu,\"sent\":%llu,\"done\":%llu,\"errors\":%llu,",
           (unsigned long long)due_total, (unsigned long long)due_next, (unsigned long long)done,
           (unsigned long long)(due_total - done));
    printf("\"statuses\":%llu,\"sizes\":%llu,\"broken\":%llu,\"unanswered\":%llu,"
           "\"reopened\":%llu,",
           (unsigned long long)statuses, (unsigned long long)sizes, (unsigned long long)broken,
           (unsigned long long)(due_total - done - failed()), (unsigned long long)reopened);
    printf("\"rate\":%.1f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
           "\"max_us\":%.1f,\"late_p99_us\":%.1f,\"late_max_us\":%.1f,\"histogram\":[",
           done && spent > 0 ? (double)done / spent : 0.0, quantile_us(&latency, 0.5),
           quantile_us(&latency, 0.9), quantile_us(&latency, 0.99), quantile_us(&latency, 0.999),
           (double)latency.max / 1e3, quantile_us(&late, 0.99), (double)late.max / 1e3);
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (!latency.buckets[i]) continue;
        printf("%s[%.3f,%llu]", comma, bucket_ns(i) / 1e3, (unsigned long long)latency.buckets[i]);
        comma = ",";
    }
    puts("]}");
}

/* ---- options -------------------------------------------------------------------------------- */

static double number(const char *name, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        die(2, "%s %s: a number from %g to %g", name, text, least, most);
    return value;
}

static void header_add(const char *text) {
    size_t have = strlen(options.headers), more = strlen(text) + 3;
    if (!strchr(text, ':')) die(2, "--header '%s': no colon", text);
    if (have + more > sizeof options.headers) die(2, "too many headers");
    snprintf(options.headers + have, more, "%s\r\n", text);
}

static void options_read(int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!value) die(2, "%s: no value; see the top of paced.c", name);
        if (!strcmp(name, "--rate")) options.rate = number(name, value, 0.1, 1e7);
        else if (!strcmp(name, "--connections"))
            options.connections = (int)number(name, value, 1, CONNECTIONS_MAX);
        else if (!strcmp(name, "--seconds")) options.seconds = number(name, value, 0.01, 3600);
        else if (!strcmp(name, "--timeout")) options.timeout = number(name, value, 0, 600);
        else if (!strcmp(name, "--port")) options.port = (int)number(name, value, 1, 65535);
        else if (!strcmp(name, "--url-count"))
            options.url_count = (uint64_t)number(name, value, 1, 1e9);
        else if (!strcmp(name, "--host")) options.host = value;
        else if (!strcmp(name, "--path")) options.path = value;
        else if (!strcmp(name, "--host-header")) options.name = value;
        else if (!strcmp(name, "--header")) header_add(value);
        else die(2, "no option %s; see the top of paced.c", name);
    }
    if (options.rate == 0 || options.seconds == 0 || options.port == 0)
        die(2, "--rate, --seconds and --port are needed; see the top of paced.c");
    address = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)options.port)};
    if (inet_pton(AF_INET, options.host, &address.sin_addr) != 1)
        die(2, "--host %s: an IPv4 address", options.host);
    due_total = (uint64_t)(options.rate * options.seconds + 0.5);
    if (due_total == 0) die(2, "not one request is due in that time");
}

int main(int argc, char **argv) {
    options_read(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGKILL);           /* never outlives the harness */
    prctl(PR_SET_TIMERSLACK, 1);                /* else the kernel wakes us up to 50 us late */
    signal(SIGPIPE, SIG_IGN);
    request_make();
    if ((epfd = epoll_create1(EPOLL_CLOEXEC)) < 0) die(1, "epoll: %s", strerror(errno));
    open_all();
    run();
    if (latency.count + statuses + sizes == 0)
        die(1, "no request was answered by %s:%d", options.host, options.port);
    report();
    return 0;
}
