# SPDX-License-Identifier: MIT
# The scoreboard as the Python side of master, control and worker sees it. Included in _core.pyx.
# What must be atomic is a method; the rest is read and written through `memoryview(board)` by
# `scoreboard/segment.py`. Slots are checked: here a caller may be wrong.

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.mman cimport (
    MAP_FAILED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, mprotect, munmap)
from posix.stat cimport fstat, struct_stat
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close

from fastproxy.clib.atomics cimport load32, load64, store32, store64
from fastproxy.memory.limits cimport (
    BACKENDS_MAX, BEAT_STALE_MS, CLIENT_IP_SLOTS, ROUTES_MAX, UPSTREAMS_MAX, WORKERS_MAX)
from fastproxy.scoreboard.read cimport (
    board_check, inflight_total, ticket_board, worker_row)
from fastproxy.scoreboard.table cimport (
    BOARD_MAGIC, BOARD_VERSION, HISTOGRAM_BUCKETS, TICKET_RING, BoardHeader, TicketBoard,
    WorkerRow)
from fastproxy.scoreboard.write cimport (
    board_beat, board_reclaim, doorbell_set, doorbell_take, live_moved)


cdef extern from *:
    """
    typedef volatile uint64_t volatile_u64;
    """
    ctypedef unsigned long long volatile_u64

cdef enum:
    # `segment.create` puts nothing but the header there.
    HEADER_PAGE = 4096
    TICKET_BYTES = 80


cdef inline unsigned long long board_now_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <unsigned long long> now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef class Board:
    """One mapping of the scoreboard. ValueError if it is not a board of this build; OSError if it
    cannot be mapped.

    The master may be root and writes where the header says the arrays are, while every worker can
    write the header. So the header's page is a private, read-only copy here, checked once: a worker
    taken over by an attacker can spoil numbers, not lead the master's pen. The header's few living
    words are read and written through `fd` (`segment.header`, `segment.set_header`).
    """

    cdef BoardHeader *header
    cdef size_t length
    cdef readonly int fd            # our own, close-on-exec

    def __cinit__(self, int fd):
        cdef struct_stat status
        self.header = NULL
        self.fd = -1
        if fstat(fd, &status) != 0:
            raise OSError(errno, "the scoreboard cannot be looked at")
        if status.st_size < HEADER_PAGE:
            raise ValueError(f"no scoreboard: {status.st_size} bytes")
        self.length = <size_t> status.st_size
        cdef void *at = mmap(NULL, self.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if at == MAP_FAILED:
            raise OSError(errno, "the scoreboard cannot be mapped")
        self.header = <BoardHeader *> at
        self.freeze_header(fd)
        if not board_check(self.header, self.length, _hash):
            raise ValueError("the scoreboard was made by another build of fastproxy, or is damaged")
        self.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)
        if self.fd < 0:
            raise OSError(errno, "the scoreboard's fd cannot be kept")

    cdef int freeze_header(self, int fd) except -1:
        cdef volatile_u64 *word = <volatile_u64 *> &self.header.reserved[60]
        if mmap(self.header, HEADER_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0
                ) == MAP_FAILED:
            raise OSError(errno, "the scoreboard's header cannot be mapped")
        word[0] = word[0]           # a private page is a copy from its first write on
        if mprotect(self.header, HEADER_PAGE, PROT_READ) != 0:
            raise OSError(errno, "the scoreboard's header cannot be protected")
        return 0

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, self.length)
        if self.fd >= 0:
            close(self.fd)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.header, <Py_ssize_t> self.length, 0, flags)

    cdef WorkerRow *row(self, unsigned int slot) except NULL:
        if slot >= self.header.workers:
            raise IndexError(f"no worker slot {slot}: the board has {self.header.workers}")
        return worker_row(self.header, slot)

    @property
    def workers(self):
        """Slots laid out."""
        return self.header.workers

    def ring(self, unsigned int slot, unsigned int bits):
        """Leave a reason at a slot's doorbell (then write its eventfd)."""
        self.row(slot)
        doorbell_set(self.header, slot, bits)

    def take(self, unsigned int slot):
        """All reasons left since the last take."""
        self.row(slot)
        return doorbell_take(self.header, slot)

    def state(self, unsigned int slot):
        """WorkerState of a slot."""
        return load32(&self.row(slot).state)

    def set_state(self, unsigned int slot, unsigned int state):
        store32(&self.row(slot).state, state)

    def pid(self, unsigned int slot):
        return load32(&self.row(slot).pid)

    def begin(self, unsigned int slot, unsigned int pid, unsigned long long generation):
        """The master, after forking a worker for this slot."""
        cdef WorkerRow *row = self.row(slot)
        store64(&row.generation, generation)
        store32(&row.pid, pid)

    def beat(self, unsigned int slot):
        """This slot's worker lives, now."""
        self.row(slot)
        board_beat(self.header, slot, board_now_ms())

    def beat_age_ms(self, unsigned int slot):
        """Milliseconds since the slot's last beat."""
        cdef unsigned long long beat = load64(&self.row(slot).beat_ms)
        cdef unsigned long long now = board_now_ms()
        return now - beat if now > beat else 0

    def reclaim(self, unsigned int slot):
        """Take back what the slot's dead worker held; client connections given back."""
        self.row(slot)
        return board_reclaim(self.header, slot)

    def touch(self, unsigned int upstream):
        """Words of this upstream's members have changed: workers look again who is able."""
        if upstream >= UPSTREAMS_MAX:
            raise IndexError(f"no upstream {upstream}")
        live_moved(self.header, upstream)

    def rotate_tickets(self, bytes key not None):
        """A new key of session tickets (80 bytes) is in force; the two before it still open
        theirs. Control only."""
        cdef TicketBoard *tickets = ticket_board(self.header)
        cdef const char *source = key
        if len(key) != TICKET_BYTES:
            raise ValueError(f"a ticket key has {TICKET_BYTES} bytes, not {len(key)}")
        memcpy(tickets.ring + tickets.count % TICKET_RING * TICKET_BYTES, source, TICKET_BYTES)
        store64(&tickets.made_ms, board_now_ms())
        store64(&tickets.count, tickets.count + 1)

    def ticket_age_ms(self):
        """How old the newest key of session tickets is."""
        return board_now_ms() - load64(&ticket_board(self.header).made_ms)

    def inflight(self, unsigned int backend):
        """Requests under way at a backend, over all workers."""
        if backend >= self.header.backends:
            raise IndexError(f"no backend row {backend}")
        return inflight_total(self.header, backend)


def board_words():
    """Numbers of the board's format that Python needs to lay one out."""
    return {"magic": BOARD_MAGIC, "version": BOARD_VERSION, "buckets": HISTOGRAM_BUCKETS,
            "workers_max": WORKERS_MAX, "backends_max": BACKENDS_MAX, "routes_max": ROUTES_MAX,
            "upstreams_max": UPSTREAMS_MAX, "client_ip_slots": CLIENT_IP_SLOTS,
            "beat_stale_ms": BEAT_STALE_MS, "ticket_bytes": TICKET_BYTES}
