# SPDX-License-Identifier: MIT
"""The lives of connections and exchanges: states, what each one guarantees, and who may move where.

A state is an invariant: the comment at its value says which pointers are set. The tables below are
the only place that knows the legal moves; `connection_move` and `exchange_move` (engine/*.pxi) are
the only ones that write a state, and an unknown move is our bug (MUST). ARCHITECTURE.md's pictures
are drawn from these tables by ci/draw_states.py.
"""

from libc.stdint cimport uint32_t


cdef enum PeerState:
    PEER_FREE = 0           # in the pool; fd is -1
    # the client side
    PEER_IDLE = 1           # exchange NULL, input empty, keep-alive timer
    PEER_HEAD = 2           # exchange NULL, input holds a part of a head, header timer
    PEER_RUNNING = 3        # exchange set, exchange.client is this
    PEER_DRAINING = 4       # exchange NULL, the answer is done, `skip` body bytes still come
    PEER_CLOSING = 5        # exchange NULL, only output is left; then shut down and linger
    PEER_LINGERING = 6      # exchange NULL, our side is shut down; input is thrown away
    PEER_TUNNEL = 7         # exchange set, both sides relay bytes
    PEER_HANDSHAKE = 8      # exchange NULL, the transport shakes hands: no byte of HTTP yet
    # the upstream side
    PEER_CONNECTING = 9     # exchange set, waits for the first writability, then for the handshake
    PEER_BUSY = 10          # exchange set, exchange.upstream is this
    PEER_PARKED = 11        # exchange NULL, in the idle pool; readable means EOF or fault
    # either side
    PEER_CARRIER = 12       # exchange NULL, carries streams, which are connections of their own
    PEER_STATES = 13


cdef enum ExchangeState:
    EXCHANGE_FREE = 0       # in the pool
    EXCHANGE_ROUTED = 1     # plan and roster held; what it is and where it goes is worked out
    EXCHANGE_JUDGED = 2     # the verdict was PASS
    EXCHANGE_PARKED = 3     # awaiting Python; arena holds the request
    EXCHANGE_QUEUED = 4     # in the line of its upstream: all that could serve are full
    EXCHANGE_DIALING = 5    # a candidate is set, upstream may be NULL or CONNECTING
    EXCHANGE_WAITING = 6    # upstream BUSY, the head was sent (the body may still flow)
    EXCHANGE_RECEIVING = 7  # the final answer's head has come and went to the client
    EXCHANGE_TUNNEL = 8     # 101 was validated and sent; bytes flow both ways
    EXCHANGE_FINISHED = 9   # counted, logged; upstream NULL, client NULL; about to be freed
    EXCHANGE_STATES = 10


cdef extern from * nogil:
    """
    #include <stdint.h>
    #define MAY(s) (1u << (s))
    /* From (row) to (bits). FREE is entered by release only, left by taking from the pool. */
    static const uint32_t PEER_MOVES[13] = {
        /* FREE       */ MAY(1) | MAY(8) | MAY(9),
        /* IDLE       */ MAY(2) | MAY(3) | MAY(12) | MAY(0),
        /* HEAD       */ MAY(3) | MAY(12) | MAY(0),
        /* RUNNING    */ MAY(1) | MAY(4) | MAY(5) | MAY(7) | MAY(0),
        /* DRAINING   */ MAY(1) | MAY(0),
        /* CLOSING    */ MAY(6) | MAY(0),
        /* LINGERING  */ MAY(0),
        /* TUNNEL     */ MAY(5) | MAY(0),
        /* HANDSHAKE  */ MAY(1) | MAY(12) | MAY(0),
        /* CONNECTING */ MAY(10) | MAY(12) | MAY(0),
        /* BUSY       */ MAY(7) | MAY(11) | MAY(0),
        /* PARKED     */ MAY(10) | MAY(0),
        /* CARRIER    */ MAY(0),
    };
    static const uint32_t EXCHANGE_MOVES[10] = {
        /* FREE      */ MAY(1),
        /* ROUTED    */ MAY(2) | MAY(3) | MAY(9),
        /* JUDGED    */ MAY(5) | MAY(9),
        /* PARKED    */ MAY(9),
        /* QUEUED    */ MAY(5) | MAY(9),
        /* DIALING   */ MAY(4) | MAY(6) | MAY(9),
        /* WAITING   */ MAY(5) | MAY(7) | MAY(8) | MAY(9),
        /* RECEIVING */ MAY(9),
        /* TUNNEL    */ MAY(9),
        /* FINISHED  */ MAY(0),
    };
    #undef MAY
    static const char *const PEER_NAMES[13] = {"FREE", "IDLE", "HEAD", "RUNNING", "DRAINING",
        "CLOSING", "LINGERING", "TUNNEL", "HANDSHAKE", "CONNECTING", "BUSY", "PARKED", "CARRIER"};
    static const char *const EXCHANGE_NAMES[10] = {"FREE", "ROUTED", "JUDGED", "PARKED", "QUEUED",
        "DIALING", "WAITING", "RECEIVING", "TUNNEL", "FINISHED"};
    """
    const uint32_t PEER_MOVES[13]
    const uint32_t EXCHANGE_MOVES[10]
    const char *const PEER_NAMES[13]
    const char *const EXCHANGE_NAMES[10]


cdef inline bint peer_may(uint32_t source, uint32_t target) noexcept nogil:
    return source < PEER_STATES and target < PEER_STATES and (PEER_MOVES[source] >> target) & 1


cdef inline bint exchange_may(uint32_t source, uint32_t target) noexcept nogil:
    return (source < EXCHANGE_STATES and target < EXCHANGE_STATES
            and (EXCHANGE_MOVES[source] >> target) & 1)
