# SPDX-License-Identifier: MIT
# The tables of lifecycle.pxd as the compiler sees them, for tests/tidy/test_states.py; the timer
# wheel, for bench/micro.

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from fastproxy.engine.lifecycle cimport (
    EXCHANGE_NAMES, EXCHANGE_STATES, PEER_NAMES, PEER_STATES, exchange_may, peer_may)
from fastproxy.engine.timers cimport (
    Timer, Wheel, list_init, timer_clear, timer_set, timer_unlink, wheel_advance, wheel_init)
from fastproxy.memory.limits cimport TICK_MS

cdef enum:
    # A power of two: as many connections of a busy worker, each with its timer.
    WHEEL_TIMERS = 1024
    # What they wait for: an upstream's answer, say. Within the first level of the wheel.
    WHEEL_WAIT_MS = 5000


def peer_states():
    """Names of the states of a connection, by number."""
    return [PEER_NAMES[i].decode() for i in range(<int> PEER_STATES)]


def exchange_states():
    """Names of the states of an exchange, by number."""
    return [EXCHANGE_NAMES[i].decode() for i in range(<int> EXCHANGE_STATES)]


def peer_move(uint32_t source, uint32_t target):
    """May a connection move so? Any number is answered."""
    return bool(peer_may(source, target))


def exchange_move(uint32_t source, uint32_t target):
    """May an exchange move so? Any number is answered."""
    return bool(exchange_may(source, target))


def time_timers(str what, int rounds):
    """Nanoseconds of one operation on the wheel, over WHEEL_TIMERS timers in turn.

    "arm": link a timer and take it out again; "re-arm": a later deadline; "cancel": none any more;
    "tick": move the wheel on by one tick and set those that are due again.
    """
    cdef Wheel *wheel = <Wheel *> calloc(1, sizeof(Wheel))
    cdef Timer *timers = <Timer *> calloc(WHEEL_TIMERS, sizeof(Timer))
    cdef int kind = ["arm", "re-arm", "cancel", "tick"].index(what)
    cdef uint64_t now_ms = 1000000
    cdef int i
    cdef double began
    if wheel == NULL or timers == NULL:
        free(wheel)
        free(timers)
        raise MemoryError
    with nogil:
        wheel_init(wheel, now_ms)
        if kind != 0:
            for i in range(<int> WHEEL_TIMERS):
                timer_set(wheel, &timers[i], now_ms + 1 + i * WHEEL_WAIT_MS // WHEEL_TIMERS)
        began = _seconds()
        if kind == 3:
            for i in range(rounds):
                now_ms += TICK_MS
                _tick(wheel, now_ms)
        else:
            for i in range(rounds):
                _one_timer(kind, wheel, &timers[i & (WHEEL_TIMERS - 1)], now_ms + i)
        began = _seconds() - began
    free(wheel)
    free(timers)
    return began / rounds * 1e9


cdef inline void _one_timer(int kind, Wheel *wheel, Timer *timer, uint64_t now_ms) noexcept nogil:
    if kind == 2:
        timer_clear(timer)
        return
    timer_set(wheel, timer, now_ms + WHEEL_WAIT_MS)
    if kind == 0:
        timer_unlink(timer)


cdef void _tick(Wheel *wheel, uint64_t now_ms) noexcept nogil:
    cdef Timer due
    cdef Timer *timer
    list_init(&due)
    wheel_advance(wheel, now_ms, &due)
    while due.next != &due:
        timer = due.next
        timer_unlink(timer)
        timer_set(wheel, timer, now_ms + WHEEL_WAIT_MS)
