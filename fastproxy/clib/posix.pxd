# SPDX-License-Identifier: MIT
"""The system calls of the engine, as the C headers declare them. Extern only."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

cdef extern from "<errno.h>" nogil:
    int errno
    int EAGAIN, EINTR, EINVAL, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO
    int EPERM
    int ENETDOWN, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, ENOPROTOOPT
    int ECONNREFUSED, ETIMEDOUT, EADDRNOTAVAIL

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *buf, size_t count) noexcept
    ssize_t write(int fd, const void *buf, size_t count) noexcept
    int close(int fd) noexcept
    int dup(int fd) noexcept

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    ctypedef uint32_t socklen_t
    ctypedef uint16_t sa_family_t
    struct sockaddr:
        sa_family_t sa_family
    struct sockaddr_storage:
        sa_family_t ss_family
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct linger:
        int l_onoff
        int l_linger
    int socket(int domain, int kind, int protocol) noexcept
    int connect(int fd, const sockaddr *address, socklen_t length) noexcept
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags) noexcept
    ssize_t sendmsg(int fd, const msghdr *message, int flags) noexcept
    int shutdown(int fd, int how) noexcept
    int getsockopt(int fd, int level, int name, void *value, socklen_t *length) noexcept
    int setsockopt(int fd, int level, int name, const void *value, socklen_t length) noexcept
    int getsockname(int fd, sockaddr *address, socklen_t *length) noexcept
    int AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC
    int MSG_NOSIGNAL, MSG_PEEK, MSG_DONTWAIT, MSG_MORE, SHUT_RD, SHUT_WR, SHUT_RDWR
    int SOL_SOCKET, SO_ERROR, SO_LINGER, SO_KEEPALIVE

cdef extern from * nogil:
    """
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    /* recv and send without the C library's, at which a thread may be cancelled: once a process has
     * a second thread (the log's) they prepare for it at each call. Nobody cancels ours. */
    static inline ssize_t recv_bytes(int fd, void *buf, size_t length, int flags) {
        return syscall(SYS_recvfrom, fd, buf, length, flags, NULL, NULL);
    }
    static inline ssize_t send_bytes(int fd, const void *buf, size_t length, int flags) {
        return syscall(SYS_sendto, fd, buf, length, flags, NULL, 0);
    }
    """
    ssize_t recv_bytes(int fd, void *buf, size_t length, int flags) noexcept
    ssize_t send_bytes(int fd, const void *buf, size_t length, int flags) noexcept

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        unsigned char s6_addr[16]
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t ntohs(uint16_t value) noexcept

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...) noexcept

cdef extern from "<linux/sockios.h>" nogil:
    unsigned long SIOCOUTQ

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *out, socklen_t size) noexcept
    int inet_pton(int family, const char *text, void *address) noexcept

cdef extern from "<sys/epoll.h>" nogil:
    """
    #ifndef EPOLLEXCLUSIVE
    #define EPOLLEXCLUSIVE (1u << 28)
    #endif
    """
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags) noexcept
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event) noexcept
    int epoll_wait(int epfd, epoll_event *events, int count, int timeout_ms) noexcept
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    unsigned int EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLET, EPOLLEXCLUSIVE

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    struct tm:
        int tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year, tm_wday
        long tm_gmtoff
    int clock_gettime(int clock, timespec *now) noexcept
    tm *gmtime_r(time_t *at, tm *out) noexcept
    tm *localtime_r(time_t *at, tm *out) noexcept
    size_t strftime(char *out, size_t size, const char *format, const tm *at) noexcept
    int CLOCK_MONOTONIC, CLOCK_REALTIME

cdef extern from "<sys/timerfd.h>" nogil:
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int timerfd_create(int clock, int flags) noexcept
    int timerfd_settime(int fd, int flags, const itimerspec *new, itimerspec *old) noexcept
    int TFD_NONBLOCK, TFD_CLOEXEC

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd,
               int64_t offset) noexcept
    int munmap(void *address, size_t length) noexcept
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE
    void *MAP_FAILED

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *buf, size_t length, unsigned int flags) noexcept

cdef extern from "<string.h>" nogil:
    void *memmem(const void *where, size_t size, const void *what, size_t length) noexcept

cdef extern from "<sys/resource.h>" nogil:
    struct rlimit:
        uint64_t rlim_cur
        uint64_t rlim_max
    int getrlimit(int resource, rlimit *out) noexcept
    int RLIMIT_NOFILE

cdef extern from "<poll.h>" nogil:
    # POLLRDHUP needs _GNU_SOURCE, which Python.h defines.
    int POLLIN, POLLRDHUP, POLLHUP, POLLERR
    ctypedef unsigned long nfds_t
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, nfds_t count, int timeout) noexcept

cdef extern from "<fcntl.h>" nogil:
    int F_GETFD
    int fcntl(int fd, int command, ...) noexcept
