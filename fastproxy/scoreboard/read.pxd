# SPDX-License-Identifier: MIT
"""Where things stand on the scoreboard, and the questions asked of it while serving.

Every function takes the mapped header; rows are found by offset, so each process may map the board
anywhere. Indices are ours (slots, plan and roster rows checked on mapping), never a peer's:
MUST_HOT guards them. Workers, control and master may call all of it.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.clib.atomics cimport load32, load64
from fastproxy.clib.must cimport MUST_HOT
from fastproxy.memory.limits cimport CLIENT_IP_SLOTS, UPSTREAMS_MAX, WORKERS_MAX
from fastproxy.scoreboard.table cimport (
    BOARD_MAGIC, BOARD_VERSION, HISTOGRAM_BUCKETS, HISTOGRAM_SUB_BITS,
    BackendCount, BackendRow, BoardHeader, ClientIpRow, QueueCell, RouteCount, SessionRow,
    TicketBoard, UpstreamBoard, WorkerRow)

cdef extern from *:
    """
    static inline uint32_t fastproxy_top_bit(uint64_t v)
        { return 63u - (uint32_t)__builtin_clzll(v); }
    """
    uint32_t fastproxy_top_bit(uint64_t v) noexcept nogil


cdef inline bint board_region(
    BoardHeader *board, uint64_t start, uint64_t rows, uint64_t row_size
) noexcept nogil:
    """Does this array lie inside the board, behind the header, on a cache line of its own?"""
    cdef uint64_t size = rows * row_size    # rows and sizes are capped, so this cannot wrap
    return (start % 64 == 0 and start >= sizeof(BoardHeader) and start <= board.length
            and size <= board.length - start)


cdef inline bint board_check(
    BoardHeader *board, uint64_t mapped, uint64_t layout_hash
) noexcept nogil:
    """Is this a board of this very build, whole and inside `mapped` bytes? Ask once, on mapping:
    nothing below checks an offset again."""
    if mapped < sizeof(BoardHeader) or board.magic != BOARD_MAGIC:
        return False
    if board.version != BOARD_VERSION or board.layout_hash != layout_hash:
        return False
    if board.length != mapped or board.workers == 0 or board.workers > WORKERS_MAX:
        return False
    if board.backends > (1 << 24) or board.routes > (1 << 24):
        return False
    if board.sessions > (1 << 24) or board.sessions & (board.sessions - 1):
        return False
    return (
        board_region(board, board.workers_off, board.workers, sizeof(WorkerRow))
        and board_region(board, board.backends_off, board.backends, sizeof(BackendRow))
        and board_region(board, board.inflight_off,
                         <uint64_t> board.workers * board.backends, sizeof(uint32_t))
        and board_region(board, board.backend_counts_off,
                         <uint64_t> board.workers * board.backends, sizeof(BackendCount))
        and board_region(board, board.route_counts_off,
                         <uint64_t> board.workers * board.routes, sizeof(RouteCount))
        and board_region(board, board.client_ips_off, CLIENT_IP_SLOTS, sizeof(ClientIpRow))
        and board_region(board, board.client_ip_held_off,
                         <uint64_t> board.workers * CLIENT_IP_SLOTS, sizeof(uint16_t))
        and board_region(board, board.upstreams_off, UPSTREAMS_MAX, sizeof(UpstreamBoard))
        and board_region(board, board.queues_off, <uint64_t> board.workers * UPSTREAMS_MAX,
                         sizeof(QueueCell))
        and board_region(board, board.sessions_off, board.sessions, sizeof(SessionRow))
        and board_region(board, board.tickets_off, 1, sizeof(TicketBoard))
    )


cdef inline WorkerRow *worker_row(BoardHeader *board, uint32_t worker) noexcept nogil:
    MUST_HOT(worker < board.workers)
    return <WorkerRow *> (<char *> board + board.workers_off) + worker


cdef inline TicketBoard *ticket_board(BoardHeader *board) noexcept nogil:
    return <TicketBoard *> (<char *> board + board.tickets_off)


cdef inline BackendRow *backend_row(BoardHeader *board, uint32_t backend) noexcept nogil:
    MUST_HOT(backend < board.backends)
    return <BackendRow *> (<char *> board + board.backends_off) + backend


cdef inline uint32_t *inflight_cell(
    BoardHeader *board, uint32_t worker, uint32_t backend
) noexcept nogil:
    """Requests worker has under way at backend. Written by that worker only (`inflight_add`)."""
    MUST_HOT(worker < board.workers and backend < board.backends)
    return (<uint32_t *> (<char *> board + board.inflight_off)
            + <uint64_t> worker * board.backends + backend)


cdef inline uint32_t inflight_total(BoardHeader *board, uint32_t backend) noexcept nogil:
    """Requests all workers have under way at backend: a sum of single-writer cells, so it may be
    off by what happens while summing, never by more, and it cannot drift."""
    cdef uint32_t worker
    cdef uint32_t total = 0
    for worker in range(board.workers):
        total += load32(inflight_cell(board, worker, backend))
    return total


cdef inline BackendCount *backend_count(
    BoardHeader *board, uint32_t worker, uint32_t backend
) noexcept nogil:
    MUST_HOT(worker < board.workers and backend < board.backends)
    return (<BackendCount *> (<char *> board + board.backend_counts_off)
            + <uint64_t> worker * board.backends + backend)


cdef inline RouteCount *route_count(
    BoardHeader *board, uint32_t worker, uint32_t route
) noexcept nogil:
    MUST_HOT(worker < board.workers and route < board.routes)
    return (<RouteCount *> (<char *> board + board.route_counts_off)
            + <uint64_t> worker * board.routes + route)


cdef inline UpstreamBoard *upstream_board(BoardHeader *board, uint32_t upstream) noexcept nogil:
    MUST_HOT(upstream < UPSTREAMS_MAX)
    return <UpstreamBoard *> (<char *> board + board.upstreams_off) + upstream


cdef inline QueueCell *queue_cell(
    BoardHeader *board, uint32_t worker, uint32_t upstream
) noexcept nogil:
    """What this worker has waiting for an upstream. Written by it only."""
    MUST_HOT(worker < board.workers and upstream < UPSTREAMS_MAX)
    return (<QueueCell *> (<char *> board + board.queues_off)
            + <uint64_t> worker * UPSTREAMS_MAX + upstream)


cdef inline uint32_t queue_total(BoardHeader *board, uint32_t upstream) noexcept nogil:
    """Requests all workers have waiting for an upstream."""
    cdef uint32_t worker
    cdef uint32_t total = 0
    for worker in range(board.workers):
        total += load32(&queue_cell(board, worker, upstream).length)
    return total


cdef inline SessionRow *session_rows(BoardHeader *board) noexcept nogil:
    """SessionRow[board.sessions], shared by all workers."""
    return <SessionRow *> (<char *> board + board.sessions_off)


cdef inline ClientIpRow *client_ip_rows(BoardHeader *board) noexcept nogil:
    """ClientIpRow[CLIENT_IP_SLOTS], shared by all workers."""
    return <ClientIpRow *> (<char *> board + board.client_ips_off)


cdef inline uint16_t *client_ip_held(BoardHeader *board, uint32_t worker) noexcept nogil:
    """uint16_t[CLIENT_IP_SLOTS]: what this worker holds in each slot, for the day it dies."""
    MUST_HOT(worker < board.workers)
    return (<uint16_t *> (<char *> board + board.client_ip_held_off)
            + <uint64_t> worker * CLIENT_IP_SLOTS)


cdef inline uint32_t histogram_index(uint64_t us) noexcept nogil:
    """Bucket of a time in microseconds: exact below 8, then 8 buckets per power of two, so that a
    bucket's middle is never further than 1/16 from the value. The last bucket takes the rest."""
    cdef uint32_t power
    cdef uint32_t index
    if us < (1 << HISTOGRAM_SUB_BITS):
        return <uint32_t> us
    power = fastproxy_top_bit(us) - HISTOGRAM_SUB_BITS
    index = ((power + 1) << HISTOGRAM_SUB_BITS) + <uint32_t> ((us >> power) & 7)
    return index if index < HISTOGRAM_BUCKETS else HISTOGRAM_BUCKETS - 1


cdef inline bint is_ejected(BackendRow *row, uint64_t now_ms) noexcept nogil:
    """Is this backend out of the game by the workers' own judgement (outliers)?"""
    return (load64(&row.ejection) >> 16) > now_ms


cdef inline uint64_t back_since(BackendRow *row, uint64_t now_ms) noexcept nogil:
    """When this backend came (back), by a good check or as its ejection ended; 0: it was never
    away."""
    cdef uint64_t since = load64(&row.up_since_ms)
    cdef uint64_t until = load64(&row.ejection) >> 16
    return until if since < until <= now_ms else since


cdef inline bint is_serving(BackendRow *row) noexcept nogil:
    """Do control's probes and the operator both let new requests go there? HEALTH_UP is 0."""
    return (load32(&row.health) | load32(&row.admin)) == 0
