/* SPDX-License-Identifier: MIT
 * The access log's writer: a ring of bytes with one producer (the engine) and one consumer (a
 * thread that never takes the GIL). The producer never waits: a line that does not fit is refused.
 * Whenever the ring has run empty it is filled from its beginning again: a writer that keeps up
 * uses a small, cache-hot part of it, and the rest is there for the moments when it does not.
 *
 * The thread writes whole lines: batches of up to 64 KiB to files (O_APPEND keeps processes apart),
 * at most PIPE_BUF to pipes and sockets, so that lines of several processes never mix. A longer one
 * goes in pieces; a record lock (which a death releases) keeps the other workers' threads out until
 * it is whole. It never sets O_NONBLOCK, since the description may be shared with a terminal or
 * another program.
 */
#ifndef FASTPROXY_LOGWRITER_H
#define FASTPROXY_LOGWRITER_H
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_RING_BYTES (1u << 20)
#define LOG_BATCH_BYTES 65536u
#define LOG_SIGNAL_BYTES 65536u     /* so much gathered: do not wait for the tick */
#define LOG_LINE_BYTES 163840u      /* BUILD_BYTES: the longest line there can be */

typedef struct LogWriter {
    /* producer's line */
    uint64_t head __attribute__((aligned(64)));
    uint64_t signalled;
    uint64_t base;                  /* where the ring's first byte stands; moved only when empty */
    /* consumer's line */
    uint64_t tail __attribute__((aligned(64)));
    uint64_t lost_lines;            /* written to a descriptor that refused them */
    /* both, rarely */
    int fd __attribute__((aligned(64)));
    int next_fd;                    /* -1: none */
    int stop;
    int locked;                     /* the consumer's: it is in the middle of a long line */
    const char *piece;              /* the consumer's: what it writes now, in `ring` or `batch` */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    char ring[LOG_RING_BYTES];
    char batch[LOG_LINE_BYTES];
} LogWriter;

static inline int log_is_file(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Others wait, or may go on. Where locks are not to be had we write without. */
static inline void log_lock(int fd, short type) {
    struct flock whole;
    memset(&whole, 0, sizeof(whole));
    whole.l_type = type;
    whole.l_whence = SEEK_SET;
    while (fcntl(fd, F_SETLKW, &whole) != 0 && errno == EINTR) {}
}

/* Bytes of whole lines at the tail, at most `limit`; of a longer single line up to `longest`. They
 * stand at `piece`: in the ring, or copied if they go around its end. */
static inline size_t log_take(LogWriter *log, size_t limit, size_t longest) {
    uint64_t head = __atomic_load_n(&log->head, __ATOMIC_ACQUIRE);
    size_t size = (size_t)(head - log->tail), at, first;
    const char *newline;
    if (size > limit) size = limit;
    if (size == 0) return 0;
    at = (size_t)((log->tail - log->base) & (LOG_RING_BYTES - 1));
    first = LOG_RING_BYTES - at < size ? LOG_RING_BYTES - at : size;
    log->piece = log->ring + at;
    if (first < size) {
        memcpy(log->batch, log->ring + at, first);
        memcpy(log->batch + first, log->ring, size - first);
        log->piece = log->batch;
    }
    newline = (const char *)memrchr(log->piece, '\n', size);
    if (newline) return (size_t)(newline - log->piece) + 1;
    return limit < longest ? log_take(log, longest, longest) : size;
}

static inline uint64_t log_count_lines(const char *p, size_t size) {
    uint64_t lines = 0;
    const char *end = p + size;
    while ((p = (const char *)memchr(p, '\n', (size_t)(end - p)))) { lines++; p++; }
    return lines;
}

static inline void log_write(LogWriter *log, const char *p, size_t size) {
    while (size > 0) {
        ssize_t n = write(log->fd, p, size);
        if (n >= 0) { p += n; size -= (size_t)n; continue; }
        if (errno == EINTR) continue;
        if (errno == EAGAIN) {
            struct pollfd out = {log->fd, POLLOUT, 0};
            if (poll(&out, 1, 1000) >= 0 && !__atomic_load_n(&log->stop, __ATOMIC_ACQUIRE))
                continue;
        }
        __atomic_fetch_add(&log->lost_lines, log_count_lines(p, size), __ATOMIC_RELAXED);
        return;
    }
}

static inline void log_switch(LogWriter *log) {
    int next = __atomic_exchange_n(&log->next_fd, -1, __ATOMIC_ACQ_REL);
    if (next < 0) return;
    close(log->fd);
    log->fd = next;
}

static void *log_thread(void *arg) {
    LogWriter *log = (LogWriter *)arg;
    for (;;) {
        int whole = log_is_file(log->fd);
        size_t size = whole ? log_take(log, LOG_BATCH_BYTES, LOG_LINE_BYTES)
                            : log_take(log, PIPE_BUF, PIPE_BUF);
        if (size > 0) {
            int ends = log->piece[size - 1] == '\n';
            if (!whole && !log->locked) log_lock(log->fd, F_WRLCK);
            log_write(log, log->piece, size);
            if (!whole && ends) log_lock(log->fd, F_UNLCK);
            log->locked = !whole && !ends;
            __atomic_store_n(&log->tail, log->tail + size, __ATOMIC_RELEASE);
            continue;
        }
        log_switch(log);
        if (__atomic_load_n(&log->stop, __ATOMIC_ACQUIRE)
            && __atomic_load_n(&log->head, __ATOMIC_ACQUIRE) == log->tail) return NULL;
        pthread_mutex_lock(&log->lock);
        while (__atomic_load_n(&log->head, __ATOMIC_ACQUIRE) == log->tail
               && !__atomic_load_n(&log->stop, __ATOMIC_ACQUIRE)
               && __atomic_load_n(&log->next_fd, __ATOMIC_ACQUIRE) < 0)
            pthread_cond_wait(&log->wake, &log->lock);
        pthread_mutex_unlock(&log->lock);
    }
}

/* Owns fd from now on. NULL: no memory or no thread. */
static LogWriter *log_open(int fd) {
    sigset_t all, before;
    int failed;
    LogWriter *log = NULL;
    if (posix_memalign((void **)&log, 64, sizeof(LogWriter)) != 0) return NULL;
    memset(log, 0, offsetof(LogWriter, ring));
    log->fd = fd;
    log->next_fd = -1;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->wake, NULL);
    sigfillset(&all);               /* signals are for the loop's thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&log->thread, NULL, log_thread, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) { free(log); return NULL; }
    return log;
}

static inline void log_signal(LogWriter *log) {
    pthread_mutex_lock(&log->lock);
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
}

/* 1: taken. 0: the ring is full (the writer is blocked), the line is lost. */
static inline int log_push(LogWriter *log, const char *line, size_t size) {
    uint64_t tail = __atomic_load_n(&log->tail, __ATOMIC_ACQUIRE), used = log->head - tail;
    size_t at, first;
    if (LOG_RING_BYTES - used < size) return 0;
    if (used == 0) log->base = log->head;   /* the consumer reads it only once it sees a new head */
    at = (size_t)((log->head - log->base) & (LOG_RING_BYTES - 1));
    first = LOG_RING_BYTES - at < size ? LOG_RING_BYTES - at : size;
    memcpy(log->ring + at, line, first);
    memcpy(log->ring, line + first, size - first);
    __atomic_store_n(&log->head, log->head + size, __ATOMIC_RELEASE);
    if (log->head - log->signalled >= LOG_SIGNAL_BYTES) {
        log->signalled = log->head;
        log_signal(log);
    }
    return 1;
}

/* Once a tick: let the thread see what has gathered. NULL is fine. */
static inline void log_wake(LogWriter *log) {
    if (log && log->head != __atomic_load_n(&log->tail, __ATOMIC_ACQUIRE)) {
        log->signalled = log->head;
        log_signal(log);
    }
}

/* Lines taken that could not be written since the last call (a full disk). NULL is fine. */
static inline uint64_t log_lost(LogWriter *log) {
    if (!log || !__atomic_load_n(&log->lost_lines, __ATOMIC_RELAXED)) return 0;
    return __atomic_exchange_n(&log->lost_lines, 0, __ATOMIC_RELAXED);
}

static inline void log_reopen(LogWriter *log, int fd) {
    int old = __atomic_exchange_n(&log->next_fd, fd, __ATOMIC_ACQ_REL);
    if (old >= 0) close(old);
    log_signal(log);
}

/* Writes what is left; gives up after about a second if the descriptor is blocked. */
static inline void log_close(LogWriter *log) {
    struct timespec limit;
    if (!log) return;
    __atomic_store_n(&log->stop, 1, __ATOMIC_RELEASE);
    log_signal(log);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 1;
    if (pthread_timedjoin_np(log->thread, NULL, &limit) != 0) return; /* it may still use *log */
    close(log->fd);
    free(log);
}
#endif
