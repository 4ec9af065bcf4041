/* SPDX-License-Identifier: MIT
 * A thread with a table of descriptors of its own, and how it is given one that others have opened:
 * as a message (SCM_RIGHTS) on a pair of sockets, as between processes. */
#ifndef FASTPROXY_LOGDOOR_H
#define FASTPROXY_LOGDOOR_H
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LOG_APART 1u
#define LOG_SHARED 2u
#define LOG_OWN_TABLE (1u << 1)     /* CLOSE_RANGE_UNSHARE of linux/close_range.h: Linux 5.9 */

static inline int log_close_range(unsigned first, unsigned last, unsigned flags) {
#if defined(SYS_close_range)
    return first > last ? 0 : (int)syscall(SYS_close_range, first, last, flags);
#else
    (void)first; (void)last; (void)flags;
    return -1;
#endif
}

/* The calling thread leaves the table it shares, keeps these two (and 0 to 2), and closes the rest
 * of its copy: what the others close is closed. LOG_SHARED: the kernel cannot, or may not. */
static inline unsigned log_apart(int one, int other) {
    unsigned low = (unsigned)(one < other ? one : other);
    unsigned high = (unsigned)(one < other ? other : one);
    if (log_close_range(high + 1, ~0u, LOG_OWN_TABLE) != 0) return LOG_SHARED;
    if (low > 3) log_close_range(3, low - 1, 0);
    if (high > 3) log_close_range(low < 3 ? 3 : low + 1, high - 1, 0);
    return LOG_APART;
}

/* 0: it is on its way; it stays the caller's too. */
static inline int log_give(int door, int fd) {
    char byte = 0;
    struct iovec piece = {&byte, 1};
    union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr aligned; } control;
    struct msghdr message;
    struct cmsghdr *head;
    memset(&message, 0, sizeof(message));
    memset(&control, 0, sizeof(control));
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.room;
    message.msg_controllen = sizeof(control.room);
    head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof(int));
    return sendmsg(door, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* The last one given, or -1. Those before it are closed. */
static inline int log_take(int door) {
    int last = -1;
    for (;;) {
        char byte;
        struct iovec piece = {&byte, 1};
        union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr aligned; } control;
        struct msghdr message;
        struct cmsghdr *head;
        memset(&message, 0, sizeof(message));
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control.room;
        message.msg_controllen = sizeof(control.room);
        if (recvmsg(door, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1) return last;
        head = CMSG_FIRSTHDR(&message);
        if (!head || head->cmsg_type != SCM_RIGHTS) continue;
        if (last >= 0) close(last);
        memcpy(&last, CMSG_DATA(head), sizeof(int));
    }
}
#endif
