/* SPDX-License-Identifier: MIT
 * The access log's writer: two sheets, one producer (the engine) and one consumer (a thread that
 * never takes the GIL). The engine writes its lines on one sheet, in place, while the thread writes
 * the other one to the file. Once much has gathered, or a tick has passed, and the thread is done,
 * they change. So the thread is woken once for hundreds of lines, each sheet leaves in one call,
 * and as long as the thread keeps up both stay in the cache. The engine never waits: a line that
 * does not fit on its sheet is refused.
 *
 * The thread has a table of descriptors of its own (log_apart). While two threads share one, the
 * kernel counts a reference up and down in each call of either, 50 ns of every recv and send. So
 * files are given to the thread through a socket (logdoor.h).
 *
 * A sheet goes to a file in one write (O_APPEND keeps processes apart); to pipes and sockets go
 * whole lines of at most PIPE_BUF, so that lines of several processes never mix. A longer one goes
 * in pieces; a record lock (which a death releases) keeps the other workers' threads out until it
 * is whole. It never sets O_NONBLOCK, since the description may be shared with a terminal or
 * another program.
 */
#ifndef FASTPROXY_LOGWRITER_H
#define FASTPROXY_LOGWRITER_H
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "logdoor.h"

#define LOG_SHEET_BYTES (1u << 20)
#define LOG_MUCH_BYTES 262144u      /* so much gathered: do not wait for the tick */

typedef struct LogWriter {
    /* the engine's */
    char *sheet;
    size_t length;                  /* of what stands on it */
    int give;                       /* the socket on which the thread is given files */
    /* both */
    uint32_t handed __attribute__((aligned(64)));   /* bytes of the other sheet; 0: it is free */
    uint32_t calls;                 /* grows whenever the thread shall look; it sleeps on it */
    uint32_t given;                 /* a file was given */
    uint32_t begun;                 /* LOG_APART or LOG_SHARED, once the thread runs */
    int stop;
    uint64_t lost_lines;            /* handed over, but the descriptor refused them */
    /* the thread's */
    int fd __attribute__((aligned(64)));
    int take;
    pthread_t thread;
    char sheets[2][LOG_SHEET_BYTES] __attribute__((aligned(4096)));
} LogWriter;

static inline char *log_other(LogWriter *log, const char *sheet) {
    return sheet == log->sheets[0] ? log->sheets[1] : log->sheets[0];
}

/* ---- the thread ------------------------------------------------------------------------------ */

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

/* Others wait, or may go on. Where locks are not to be had we write without. */
static inline void log_lock(int fd, short type) {
    struct flock whole;
    memset(&whole, 0, sizeof(whole));
    whole.l_type = type;
    whole.l_whence = SEEK_SET;
    while (fcntl(fd, F_SETLKW, &whole) != 0 && errno == EINTR) {}
}

/* Bytes of the whole lines that one write may hold, or of the first line if it is longer. */
static inline size_t log_piece(const char *p, size_t size) {
    const char *newline = (const char *)memrchr(p, '\n', size < PIPE_BUF ? size : PIPE_BUF);
    if (!newline) newline = (const char *)memchr(p, '\n', size);
    return (size_t)(newline - p) + 1;
}

static inline void log_sheet_out(LogWriter *log, const char *p, size_t size, int is_file) {
    if (is_file) {
        log_write(log, p, size);
        return;
    }
    while (size > 0) {
        size_t piece = log_piece(p, size);
        log_lock(log->fd, F_WRLCK);
        log_write(log, p, piece);
        log_lock(log->fd, F_UNLCK);
        p += piece;
        size -= piece;
    }
}

static inline int log_is_file(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* The thread's last act. What is its own ends with it; what it shares it must close. */
static inline void log_leave(LogWriter *log) {
    if (log->begun == LOG_SHARED) {
        close(log->fd);
        close(log->take);
    }
}

static void *log_thread(void *arg) {
    LogWriter *log = (LogWriter *)arg;
    const char *sheet = log->sheets[0];     /* the engine began with this one */
    int is_file = log_is_file(log->fd);
    __atomic_store_n(&log->begun, log_apart(log->fd, log->take), __ATOMIC_RELEASE);
    syscall(SYS_futex, &log->begun, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    for (;;) {
        uint32_t calls = __atomic_load_n(&log->calls, __ATOMIC_ACQUIRE);
        /* Both before `handed`: what was handed over before belongs to the old file. */
        int stop = __atomic_load_n(&log->stop, __ATOMIC_ACQUIRE);
        int next = __atomic_exchange_n(&log->given, 0, __ATOMIC_ACQ_REL) ? log_take(log->take) : -1;
        uint32_t size = __atomic_load_n(&log->handed, __ATOMIC_ACQUIRE);
        if (size > 0) {
            log_sheet_out(log, sheet, size, is_file);
            sheet = log_other(log, sheet);
            __atomic_store_n(&log->handed, 0, __ATOMIC_RELEASE);
        }
        if (next >= 0) {
            close(log->fd);
            log->fd = next;
            is_file = log_is_file(next);
        }
        if (stop) {                         /* the engine has left its sheet to us */
            log_sheet_out(log, sheet, log->length, is_file);
            log_leave(log);
            return NULL;
        }
        if (size == 0 && next < 0)
            syscall(SYS_futex, &log->calls, FUTEX_WAIT_PRIVATE, calls, NULL, NULL, 0);
    }
}

/* ---- the engine ------------------------------------------------------------------------------ */

/* Owns fd from now on. NULL: no memory or no thread. */
static LogWriter *log_open(int fd) {
    sigset_t all, before;
    int failed, ends[2];
    LogWriter *log = NULL;
    if (posix_memalign((void **)&log, 4096, sizeof(LogWriter)) != 0) return NULL;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0) { free(log); return NULL; }
    memset(log, 0, offsetof(LogWriter, sheets));
    log->sheet = log->sheets[0];
    log->fd = fd;
    log->give = ends[0];
    log->take = ends[1];
    sigfillset(&all);               /* signals are for the loop's thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&log->thread, NULL, log_thread, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        close(ends[0]);
        close(ends[1]);
        free(log);
        return NULL;
    }
    while (__atomic_load_n(&log->begun, __ATOMIC_ACQUIRE) == 0)
        syscall(SYS_futex, &log->begun, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    if (log->begun == LOG_APART) {  /* it has both */
        close(fd);
        close(ends[1]);
    }
    return log;
}

static inline void log_call(LogWriter *log) {
    __atomic_fetch_add(&log->calls, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &log->calls, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Give the thread what stands on our sheet, unless it still has the other one. */
static inline void log_hand(LogWriter *log) {
    if (log->length == 0 || __atomic_load_n(&log->handed, __ATOMIC_ACQUIRE) != 0) return;
    __atomic_store_n(&log->handed, (uint32_t)log->length, __ATOMIC_RELEASE);
    log->sheet = log_other(log, log->sheet);
    log->length = 0;
    log_call(log);
}

/* Where the next line goes, and how long it may be. */
static inline char *log_room(LogWriter *log, size_t *room) {
    if (log->length >= LOG_MUCH_BYTES) log_hand(log);
    *room = LOG_SHEET_BYTES - log->length;
    return log->sheet + log->length;
}

/* A line of so many bytes, newline included, was written there. */
static inline void log_took(LogWriter *log, size_t size) { log->length += size; }

/* Once a tick: let the thread have what has gathered. NULL is fine. */
static inline void log_tick(LogWriter *log) {
    if (log) log_hand(log);
}

/* Lines taken that could not be written since the last call (a full disk). NULL is fine. */
static inline uint64_t log_lost(LogWriter *log) {
    if (!log || !__atomic_load_n(&log->lost_lines, __ATOMIC_RELAXED)) return 0;
    return __atomic_exchange_n(&log->lost_lines, 0, __ATOMIC_RELAXED);
}

/* Writes to this file from now on; owns fd, whatever comes of it. -1: it could not be given, errno
 * says why, and the log stays where it is. */
static inline int log_reopen(LogWriter *log, int fd) {
    int failed;
    log_hand(log);
    failed = log_give(log->give, fd);
    close(fd);
    if (failed) return -1;
    __atomic_store_n(&log->given, 1, __ATOMIC_RELEASE);
    log_call(log);
    return 0;
}

/* Writes what is left; gives up after about a second if the descriptor is blocked. */
static inline void log_close(LogWriter *log) {
    struct timespec limit;
    if (!log) return;
    close(log->give);
    __atomic_store_n(&log->stop, 1, __ATOMIC_RELEASE);
    log_call(log);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 1;
    if (pthread_timedjoin_np(log->thread, NULL, &limit) != 0) return; /* it may still use *log */
    free(log);
}
#endif
