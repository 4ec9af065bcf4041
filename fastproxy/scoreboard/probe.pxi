# SPDX-License-Identifier: MIT
# The scoreboard's rooms for tests: one mapping and the functions the engine calls on it.

from libc.stdint cimport uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

from fastproxy.clib.atomics cimport count_add, fetch_add64, store64
from fastproxy.memory.limits cimport UPSTREAMS_MAX
from fastproxy.scoreboard.read cimport (
    backend_count, backend_row, board_check, histogram_index, inflight_cell, inflight_total,
    is_ejected, is_serving, queue_total, route_count, upstream_board, worker_row)
from fastproxy.scoreboard.table cimport BoardHeader
from fastproxy.scoreboard.write cimport (
    claim_give, claim_take, client_ip_enter, client_ip_leave, histogram_add, inflight_add,
    inflight_enter, queue_count_in)

cdef extern from "<sched.h>" nogil:
    int sched_yield() noexcept


cdef class BoardProbe:
    """Like an engine's view of the board."""
    cdef BoardHeader *header
    cdef size_t length

    def __cinit__(self, int fd, size_t length):
        cdef void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if at == MAP_FAILED:
            raise OSError("mmap")
        self.header = <BoardHeader *> at
        self.length = length

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, self.length)

    def check(self, size_t length, unsigned long long layout_hash):
        return bool(board_check(self.header, length, layout_hash))

    def request(self, unsigned int worker, unsigned int backend, unsigned int route,
                unsigned int status, unsigned long long us):
        """What the engine's tally does at the end of one exchange."""
        self._count(worker, backend, route, status, us)

    cdef void _count(self, unsigned int worker, unsigned int backend, unsigned int route,
                     unsigned int status, unsigned long long us) noexcept nogil:
        count_add(&worker_row(self.header, worker).requests, 1)
        count_add(&backend_count(self.header, worker, backend).requests, 1)
        count_add(&backend_count(self.header, worker, backend).status[status], 1)
        histogram_add(backend_count(self.header, worker, backend).first_byte, us)
        count_add(&route_count(self.header, worker, route).requests, 1)
        count_add(&route_count(self.header, worker, route).status[status], 1)
        histogram_add(route_count(self.header, worker, route).total, us)

    def time_request(self, unsigned int worker, unsigned int backend, unsigned int route,
                     unsigned int rounds):
        """Nanoseconds of what one exchange writes: in flight and out again, and the tally."""
        cdef unsigned int i
        cdef double began
        with nogil:
            began = _seconds()
            for i in range(rounds):
                inflight_add(inflight_cell(self.header, worker, backend), 1)
                self._count(worker, backend, route, 2, 100 + (i & 1023))
                inflight_add(inflight_cell(self.header, worker, backend), -1)
            began = _seconds() - began
        return began / rounds * 1e9

    def inflight(self, unsigned int worker, unsigned int backend, int change):
        inflight_add(inflight_cell(self.header, worker, backend), change)

    def inflight_total(self, unsigned int backend):
        return inflight_total(self.header, backend)

    def inflight_enter(self, unsigned int worker, unsigned int backend, unsigned int most):
        return bool(inflight_enter(self.header, worker, backend, most))

    def inflight_churn(self, unsigned int worker, unsigned int backend, unsigned int most,
                       unsigned int times):
        """Have a place so many times (or give up), for the race of several processes: how often one
        was had, and the most holders ever seen. Those are counted apart, in a word that belongs to
        no upstream of the test."""
        cdef uint64_t *holders = &upstream_board(self.header, UPSTREAMS_MAX - 1).live
        cdef uint64_t now, worst = 0
        cdef unsigned int had = 0
        cdef uint64_t tries = 0
        with nogil:
            while had < times and tries < <uint64_t> times * 1000:
                tries += 1
                if not inflight_enter(self.header, worker, backend, most):
                    if tries % 1024 == 0:
                        sched_yield()       # who holds a place may be waiting for this CPU
                    continue
                had += 1
                now = fetch_add64(holders, 1) + 1
                worst = now if now > worst else worst
                fetch_add64(holders, <uint64_t> -1)
                inflight_add(inflight_cell(self.header, worker, backend), -1)
        return had, worst

    def queue_count_in(self, unsigned int worker, unsigned int upstream, unsigned int most):
        return bool(queue_count_in(self.header, worker, upstream, most))

    def queue_total(self, unsigned int upstream):
        return queue_total(self.header, upstream)

    def client_ip_enter(self, unsigned int worker, unsigned long long hash, unsigned int limit):
        return client_ip_enter(self.header, worker, hash, limit)

    def client_ip_leave(self, unsigned int worker, int slot):
        client_ip_leave(self.header, worker, slot)

    def client_ip_churn(self, unsigned int worker, unsigned long long hash, unsigned int limit,
                        unsigned int times):
        """Enter and leave many times: for the race of several processes. The most refused."""
        cdef unsigned int i
        cdef unsigned int refused = 0
        cdef int slot
        for i in range(times):
            slot = client_ip_enter(self.header, worker, hash, limit)
            if slot < 0:
                refused += 1
            client_ip_leave(self.header, worker, slot)
        return refused

    def claim(self, unsigned int slot, unsigned int by):
        return bool(claim_take(&worker_row(self.header, slot).adopted_by, by))

    def release(self, unsigned int slot, unsigned int by):
        claim_give(&worker_row(self.header, slot).adopted_by, by)

    def eject(self, unsigned int backend, unsigned long long until_ms):
        store64(&backend_row(self.header, backend).ejection, until_ms << 16 | 1)

    def is_ejected(self, unsigned int backend, unsigned long long now_ms):
        return bool(is_ejected(backend_row(self.header, backend), now_ms))

    def is_serving(self, unsigned int backend):
        return bool(is_serving(backend_row(self.header, backend)))


def probe_histogram_index(unsigned long long us):
    return histogram_index(us)
