# SPDX-License-Identifier: MIT
"""A hierarchical timer wheel with lazy deadlines.

Three levels of 256 slots, one tick = TICK_MS: 6.4 s, 27 min, 116 h. A Timer lives inside its owner
and is linked into one slot. Setting a later deadline, or clearing it, only writes `deadline_ms`;
the link stays and is looked at again when its slot comes (Varghese and Lauck, 1987, with lazy
cancel). A request that moves its deadline six times thus costs six stores and no list work.

Rules: `timer_unlink` before the owner dies. `wheel_advance` collects what is due into a list; the
caller fires it (so that an owner may set its timer again, or die, while the list is worked on).
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastproxy.memory.limits cimport TICK_MS

cdef enum:
    WHEEL_BITS = 8
    WHEEL_SLOTS = 256
    WHEEL_LEVELS = 3


cdef struct Timer:
    Timer *next                 # NULL: not linked
    Timer *prev
    uint64_t deadline_ms        # wanted; 0: none
    uint64_t at_tick            # where it is linked
    uint8_t owner               # TimerOwner, the engine's business


cdef struct Wheel:
    Timer slots[WHEEL_LEVELS][WHEEL_SLOTS]  # list heads
    uint64_t tick               # the last one worked on


cdef inline void list_init(Timer *head) noexcept nogil:
    head.next = head
    head.prev = head


cdef inline void timer_unlink(Timer *timer) noexcept nogil:
    if timer.next != NULL:
        timer.next.prev = timer.prev
        timer.prev.next = timer.next
        timer.next = NULL
        timer.prev = NULL
    timer.deadline_ms = 0


cdef inline void list_add(Timer *head, Timer *timer) noexcept nogil:
    timer.prev = head.prev
    timer.next = head
    head.prev.next = timer
    head.prev = timer


cdef inline void wheel_init(Wheel *wheel, uint64_t now_ms) noexcept nogil:
    cdef int level, slot
    wheel.tick = now_ms // TICK_MS
    for level in range(WHEEL_LEVELS):
        for slot in range(WHEEL_SLOTS):
            list_init(&wheel.slots[level][slot])


cdef inline void wheel_link(Wheel *wheel, Timer *timer, uint64_t tick) noexcept nogil:
    """Link at `tick`, or at the far end of the wheel (it is looked at again there)."""
    cdef uint64_t ahead
    cdef int level = 0
    if tick <= wheel.tick:
        tick = wheel.tick + 1
    ahead = tick - wheel.tick
    if ahead >= <uint64_t> 1 << (WHEEL_BITS * WHEEL_LEVELS):
        tick = wheel.tick + (<uint64_t> 1 << (WHEEL_BITS * WHEEL_LEVELS)) - 1
        ahead = tick - wheel.tick
    while ahead >= <uint64_t> 1 << (WHEEL_BITS * (level + 1)):
        level += 1
    timer.at_tick = tick
    list_add(&wheel.slots[level][(tick >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1)], timer)


cdef inline void timer_set(Wheel *wheel, Timer *timer, uint64_t deadline_ms) noexcept nogil:
    """Fire at or up to one tick after `deadline_ms`."""
    cdef uint64_t tick = deadline_ms // TICK_MS + 1
    if timer.next != NULL and timer.at_tick <= tick:
        timer.deadline_ms = deadline_ms
        return
    timer_unlink(timer)
    timer.deadline_ms = deadline_ms
    wheel_link(wheel, timer, tick)


cdef inline void timer_clear(Timer *timer) noexcept nogil:
    timer.deadline_ms = 0


cdef inline void wheel_advance(Wheel *wheel, uint64_t now_ms, Timer *due) noexcept nogil:
    """Move on to `now_ms`; timers whose deadline has come are linked into `due` (a list head)."""
    cdef uint64_t target = now_ms // TICK_MS
    cdef Timer moved
    cdef Timer *timer
    cdef int level
    while wheel.tick < target:
        wheel.tick += 1
        list_init(&moved)
        for level in range(WHEEL_LEVELS):
            list_take(&wheel.slots[level][(wheel.tick >> (WHEEL_BITS * level))
                                          & (WHEEL_SLOTS - 1)], &moved)
            if (wheel.tick >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1) != 0:
                break
        while moved.next != &moved:
            timer = moved.next
            moved.next = timer.next
            timer.next.prev = &moved
            timer.next = NULL
            timer.prev = NULL
            if timer.deadline_ms == 0:
                continue
            if timer.deadline_ms <= now_ms:
                list_add(due, timer)
            else:
                wheel_link(wheel, timer, timer.deadline_ms // TICK_MS + 1)


cdef inline void list_take(Timer *source, Timer *target) noexcept nogil:
    """Append all of `source` to `target`; `source` is empty then."""
    if source.next == source:
        return
    source.next.prev = target.prev
    target.prev.next = source.next
    source.prev.next = target
    target.prev = source.prev
    list_init(source)
