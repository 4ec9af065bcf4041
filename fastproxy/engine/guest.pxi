# SPDX-License-Identifier: MIT
# The guest: uvloop, on which Python runs, lives inside the engine's epoll set.
#
# Only one of two nested epoll sets can be the outer one (the kernel refuses a circle), and the
# outer one is where the process sleeps. It is ours: traffic wakes the engine directly, with one
# epoll_wait and no Python, and uvloop's descriptor is one event among the others. To be called at
# all, the engine stands in uvloop's set with an eventfd, the *door*: readable whenever the engine
# is not in a turn, so every round of uvloop ends with a turn of ours; empty during a turn, so that
# uvloop looks ready only if it is. docs/decisions/0008 has the measurement.

cdef extern from "<dlfcn.h>" nogil:
    void *dlopen(const char *name, int flags) noexcept
    void *dlsym(void *library, const char *name) noexcept
    int RTLD_LAZY, RTLD_NOLOAD

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initial, int flags) noexcept
    int EFD_NONBLOCK, EFD_CLOEXEC

cdef enum:
    # How long the guest may be left alone: it has no timer.
    GUEST_NEVER_MS = -1

cdef extern from * nogil:
    """#define NEVER_MS UINT64_MAX"""
    const uint64_t NEVER_MS


cdef inline bint doorway_waits(const Engine *eng) noexcept nogil:
    """Are there messages for Python?"""
    return eng.knock_head != eng.knock_tail or eng.answered != NULL


cdef inline bint python_is_due(const Engine *eng) noexcept nogil:
    return eng.guest.due or doorway_waits(eng)


cdef inline uint64_t guest_deadline(Engine *eng) noexcept nogil:
    """When Python wants its turn though no event says so (CLOCK_MONOTONIC, ms): its next timer.
    0: now, as callbacks or messages wait, or as there is no guest. Also resets `due`."""
    cdef int left
    eng.guest.due = False
    if eng.guest.loop == NULL or doorway_waits(eng):
        return 0
    left = eng.guest.timeout_ms(eng.guest.loop)
    if left == GUEST_NEVER_MS:
        return NEVER_MS
    return eng.guest.now_ms(eng.guest.loop) + <uint64_t> left if left > 0 else 0


cdef const char *guest_take_in(Engine *eng, const char *library, void *loop) noexcept nogil:
    """Take uvloop's descriptor into our epoll set. The functions of libuv are those that uvloop
    itself runs on: they are looked up in `library`, its extension module. NULL, or the trouble."""
    cdef epoll_event event
    cdef int (*backend_fd)(const void *) noexcept nogil
    cdef Guest *guest = &eng.guest
    cdef void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD)
    if handle == NULL or loop == NULL:
        return b"it is not loaded"
    backend_fd = <int (*)(const void *) noexcept nogil> dlsym(handle, b"uv_backend_fd")
    guest.timeout_ms = <int (*)(const void *) noexcept nogil> dlsym(handle, b"uv_backend_timeout")
    guest.now_ms = <uint64_t (*)(const void *) noexcept nogil> dlsym(handle, b"uv_now")
    if backend_fd == NULL or guest.timeout_ms == NULL or guest.now_ms == NULL:
        return b"it hides libuv; install uvloop from PyPI"
    event.events = EPOLLIN
    event.data.u64 = EVENT_GUEST
    if epoll_ctl(eng.epfd, EPOLL_CTL_ADD, backend_fd(loop), &event) != 0:
        return b"its descriptor cannot be watched"
    guest.loop = loop
    return NULL


cdef inline void door_empty(Engine *eng) noexcept nogil:
    cdef uint64_t calls
    read(eng.guest.door, &calls, sizeof(calls))


cdef inline void door_fill(Engine *eng) noexcept nogil:
    cdef uint64_t one = 1
    write(eng.guest.door, &one, sizeof(one))
