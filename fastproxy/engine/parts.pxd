# SPDX-License-Identifier: MIT
"""Parts of the engine that know nothing of connections and exchanges. Types only; worker only."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


# ---- listeners ------------------------------------------------------------------------------

cdef enum:
    LISTENERS_MAX = 4096        # slots x listeners
    IDLE_BUCKETS = 4096


cdef struct Listener:
    int32_t fd
    int32_t slot                # -1: shared (unix)
    uint16_t index
    uint8_t armed               # in the epoll set
    uint8_t wanted              # should be in it
    uint8_t helping             # wanted because its owner has many connections and we have few
    uint8_t streak              # rounds running that brought a connection, up to ACCEPTS_PER_WAKE
    uint32_t round              # Engine.round of the last wake
    uint64_t seen_us            # when the one that is left to a helper was seen


cdef enum Odd:
    # Index into WorkerRow.odd: survivable, and worth a look if it grows.
    ODD_IP_TABLE_FULL = 0
    ODD_NO_FD = 1
    ODD_KNOCK_LOST = 2
    ODD_SUBREQUEST_LARGE = 3


cdef enum:
    DOORWAY_RING = 4096


cdef struct Knock:
    # For Python: this exchange is PARKED and wants a reply.
    uint32_t index
    uint32_t generation


# ---- a stop ---------------------------------------------------------------------------------

cdef enum PartingWhat:
    PARTING_NOBODY = 0
    PARTING_CARRIERS = 1        # clients that speak HTTP/2, when the drain begins
    PARTING_STREAMS = 2         # WebSockets and event streams, when its time is nearly over


cdef struct Parting:
    # Whom a stop tells to go now, one after the other (parting.pxi).
    uint64_t since_ms
    uint64_t window_ms          # how long the last one waits for his turn
    uint64_t streams_ms         # when it is the turn of the streams
    uint64_t spread_ms          # the longest that a window may be
    uint32_t count              # how many there were at `since_ms`
    uint32_t told
    uint32_t index              # of the connection that is looked at next
    uint8_t what                # PartingWhat


# ---- the event loop -------------------------------------------------------------------------

cdef struct Guest:
    # The event loop that Python runs on, as the engine sees it (guest.pxi). loop NULL: there is
    # none, turns do not wait.
    void *loop
    int32_t door                # eventfd, readable for the guest while we want to be called
    uint8_t due                 # it has events
    int (*timeout_ms)(const void *) noexcept nogil      # until its next timer; -1: it has none
    uint64_t (*now_ms)(const void *) noexcept nogil
