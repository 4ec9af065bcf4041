# SPDX-License-Identifier: MIT
"""The engine's own types: Engine, Connection, Exchange, and the plugs between them.

A *transport* moves bytes of a connection: plain TCP, TLS, or one stream of an HTTP/2 connection,
its *carrier*. A *codec* turns bytes into heads and bodies and back: an AskerCodec serves the side
that asked, a ServerCodec the side that answers. The exchange stands between them and never asks
which protocol a side speaks. Each plug is a struct of function pointers with its contract written
here.

Worker only. Nothing here is touched by two threads but LogWriter's sheets.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.table cimport Bond, Members, PickCursor
from fastproxy.clib.logwriter cimport LogWriter
from fastproxy.clib.posix cimport iovec
from fastproxy.clib.scan cimport Scan
from fastproxy.engine.maps cimport PlanMap, RosterMap
from fastproxy.engine.parts cimport (
    DOORWAY_RING, IDLE_BUCKETS, LISTENERS_MAX, Guest, Knock, Listener, Parting)
from fastproxy.engine.table cimport Settings, UpstreamRow
from fastproxy.engine.timers cimport Timer, Wheel
from fastproxy.grpcweb.translate cimport WebCall
from fastproxy.http1.chunked cimport Chunked
from fastproxy.http1.head cimport Fault, Framing, Head
from fastproxy.http1.parse cimport HeadParser
from fastproxy.http1.target cimport TargetParts
from fastproxy.memory.buffer cimport BlockPool, Buffer
from fastproxy.memory.limits cimport (
    QUEUE_LINES, ROUTE_PARAMS_MAX, TRAILER_ROOM, UPSTREAMS_MAX, WORKERS_MAX)
from fastproxy.memory.pool cimport Pool, PoolItem
from fastproxy.memory.span cimport Out, Span
from fastproxy.rewrite.table cimport RewriteRow
from fastproxy.route.table cimport RouteHit, RouteRow
from fastproxy.template.table cimport Scene
from fastproxy.websocket.frames cimport FrameWalk
from fastproxy.scoreboard.table cimport (
    BackendCount, BackendRow, BoardHeader, RouteCount, WorkerRow)


# ---- plugs ----------------------------------------------------------------------------------

cdef struct Transport:
    # read: > 0 bytes into buf, 0 end of input, IO_AGAIN, IO_ERROR. Sets `drained` if nothing more
    #       can be there before readiness tells (for TCP: a short read without a FIN pending).
    # write: how many bytes of the spans were taken (may be any prefix, 0 included), or IO_ERROR.
    #       The caller offers the untaken rest unchanged next time.
    #       With CONN_LAST_PIECE it may hold the bytes back until `finish`, to send both at once.
    # finish: no more output will come (half close). close: forget the connection's state.
    # handshake: NULL: bytes may flow at once. Else it is called on every readiness until it says 1
    #       (done, `protocol` is known) or IO_ERROR; IO_AGAIN: not yet.
    # refused: less was taken than offered: see to it that READY_WRITE comes when more would be.
    # unsent: bytes taken that the peer has not acknowledged, to see whether a slow one moves.
    # unasked: is there anything on an idle connection that nobody asked for (or its end)?
    # reset: closing shall tell the peer that what it has is not all.
    ssize_t (*read)(Engine *, Connection *, char *, size_t, bint *) noexcept nogil
    ssize_t (*write)(Engine *, Connection *, iovec *, int) noexcept nogil
    void (*finish)(Engine *, Connection *) noexcept nogil
    void (*close)(Engine *, Connection *) noexcept nogil
    int (*handshake)(Engine *, Connection *) noexcept nogil
    void (*refused)(Engine *, Connection *) noexcept nogil
    uint32_t (*unsent)(Engine *, Connection *) noexcept nogil
    bint (*unasked)(Engine *, Connection *) noexcept nogil
    void (*reset)(Engine *, Connection *) noexcept nogil


cdef struct TlsPlug:
    # Makes a TCP connection a TLS one (transport, `tls`); a handshake follows. False: it cannot be
    # (no memory, no such context).
    # accept:  a client has come by a listener that speaks TLS.
    # connect: we have reached a backend of conn.exchange's upstream that wants TLS.
    # What may be asked of a connection with `tls`, or of a stream of one:
    # sni:        the server name that the client sent; empty: none. It lives as long as `tls`.
    # misdirected: may this host (lower case) not be asked for here, because other rules for
    #             clients' certificates hold there than the one this client came by?
    # peer:       write what the peer's certificate says (PeerText); how many bytes, 0: it has none
    #             or says nothing of the kind, -1: more than `cap`.
    bint (*accept)(Engine *, Connection *) noexcept nogil
    bint (*connect)(Engine *, Connection *) noexcept nogil
    Span (*sni)(Engine *, Connection *) noexcept nogil
    bint (*misdirected)(Engine *, Connection *, Span) noexcept nogil
    ssize_t (*peer)(Engine *, Connection *, int, char *, size_t) noexcept nogil


cdef struct CarrierPlug:
    # HTTP/2: one connection (PEER_CARRIER) carries streams, which are connections of their own
    # (CONN_STREAM). engine/carrier.pxi is the other side of this contract.
    # accept:  this client speaks HTTP/2 from its first byte on; bytes read already stand in
    #          conn.input. False: no memory.
    # connect: the same for an upstream, once it is reached.
    # stream:  upstream: one more stream, for an exchange that is about to send (an upgrade, if the
    #          last argument says so); NULL: none now.
    # pump:    what connection_pump is to others.
    # flush:   the round is over: send what the streams have given (after carrier_due).
    # timeout: the carrier's timer fired.
    # drain:   we leave: no more streams, go when the last one has ended.
    # free:    the carrier is about to be closed: end its streams, forget the session.
    bint (*accept)(Engine *, Connection *) noexcept nogil
    bint (*connect)(Engine *, Connection *) noexcept nogil
    Connection *(*stream)(Engine *, Connection *, bint) noexcept nogil
    void (*pump)(Engine *, Connection *) noexcept nogil
    void (*flush)(Engine *, Connection *) noexcept nogil
    void (*timeout)(Engine *, Connection *) noexcept nogil
    void (*drain)(Engine *, Connection *) noexcept nogil
    void (*free)(Engine *, Connection *) noexcept nogil


cdef struct AskerCodec:
    # What an exchange says to the side that asked. `data` is only lent for the call: what cannot
    # be delivered now is kept by the codec (and `blocked` says so until it is flushed).
    # head:     the final answer's head and the first body bytes; `last`: the body is complete.
    # body:     more body bytes.
    # interim:  a 1xx answer.
    # error:    no answer could be had: answer with this status and cause instead.
    # cut:      the answer began and cannot be completed: the asker must notice the truncation.
    # finished: the exchange is over, asker may go on with its next request.
    # blocked:  bytes are being kept, feed no more now.
    # resume:   request body bytes can be taken again (the upstream side has drained).
    void (*head)(Engine *, Exchange *, Head *, Span, bint) noexcept nogil
    void (*body)(Engine *, Exchange *, Span, bint) noexcept nogil
    void (*interim)(Engine *, Exchange *, Head *) noexcept nogil
    void (*error)(Engine *, Exchange *, int, const char *) noexcept nogil
    void (*cut)(Engine *, Exchange *) noexcept nogil
    void (*finished)(Engine *, Exchange *) noexcept nogil
    bint (*blocked)(Engine *, Exchange *) noexcept nogil
    void (*resume)(Engine *, Exchange *) noexcept nogil


cdef struct ServerCodec:
    # What an exchange says to the side that answers.
    # send:     the prepared request (Exchange.sent), first time or again.
    # body:     request body bytes; `last`: the body is complete. What cannot be sent is kept.
    # blocked:  bytes are being kept.
    # resume:   answer bytes can be taken again (the asker has drained).
    # drop:     the exchange is done with this connection; `reusable` says if it may be parked.
    void (*send)(Engine *, Exchange *) noexcept nogil
    void (*body)(Engine *, Exchange *, Span, bint) noexcept nogil
    bint (*blocked)(Engine *, Exchange *) noexcept nogil
    void (*resume)(Engine *, Exchange *) noexcept nogil
    void (*drop)(Engine *, Exchange *, bint) noexcept nogil


# A body filter sees each piece of a body before the other side does, and may change `piece` (to
# bytes that live at least until it is called again). A fault's status refuses the body: 0 is fine.
# NULL is the direct path.
ctypedef int (*BodyFilter)(Engine *, Exchange *, Span *, bint) noexcept nogil


# ---- connections ----------------------------------------------------------------------------

cdef struct Connection:
    PoolItem item
    int32_t fd
    uint8_t role                # Role
    uint8_t state               # PeerState
    uint8_t ready               # Ready bits
    uint8_t reading             # log2 of the next read's size
    uint32_t flags              # ConnectionFlag bits
    uint16_t listener           # client
    uint8_t protocol            # Protocol
    Timer timer
    void *tls                   # the TLS transport's own, or NULL
    void *carried               # carrier: its session; stream: what the session knows of it
    Connection *due_next        # carrier: Engine.due_carriers
    Exchange *waiting           # CONNECTING: more exchanges that want streams of it (waits_for)
    const Transport *transport
    Exchange *exchange
    Connection *run_next        # run queue, or the list of the dead
    Connection *list_next       # idle list (client), idle pool (upstream)
    Connection *list_prev
    Buffer input                # read, not yet consumed
    Buffer output               # accepted for sending, not yet taken by the transport
    HeadParser *partial         # a head that came in pieces (PEER_HEAD), else NULL
    uint64_t opened_ms
    uint64_t skip               # client: body bytes still to be thrown away (PEER_DRAINING)
    uint32_t unsent             # bytes the peer's kernel had not taken when last asked
    uint32_t requests
    uint32_t backend            # upstream: scoreboard row
    uint32_t backend_generation     # upstream: of that row
    uint32_t parked_round       # upstream: Engine.round when it was parked
    int32_t ip_slot             # client: slot in the per-address table
    uint16_t peer_port          # client
    uint8_t peer[16]            # client: IPv6, or v4-mapped; zero for unix


# ---- exchanges ------------------------------------------------------------------------------

cdef struct Flow:
    # One body on its way. What comes in (kind, left, chunked) and what goes out (out_chunked).
    int64_t left                # BODY_LENGTH: bytes still to come
    uint64_t moved              # body bytes taken so far
    BodyFilter filter           # NULL: direct
    Chunked *chunked            # BODY_CHUNKED only: decoder, in the exchange
    Out trailers                # trailer lines to pass on (flow.pxi); ptr NULL: dropped
    uint8_t kind                # BodyKind
    uint8_t out_chunked         # re-encode
    uint8_t done                # the last byte was taken


cdef struct Request:
    # A request as routing and rewriting see it. While it is being handled it lies in the engine
    # (`Engine.request`); if something must outlive the turn, a copy is made in the arena.
    Head *head
    TargetParts parts
    Span authority              # host[:port] as it will be forwarded, logged, routed
    Span host                   # lower case, no port
    Span path                   # normalised
    Span query
    uint16_t port
    RouteHit hit


cdef struct Exchange:
    PoolItem item
    uint8_t state               # ExchangeState
    uint8_t method              # Method
    uint16_t status             # sent to the asker
    uint32_t flags              # ExchangeFlag
    Connection *client          # NULL: no client (subrequest)
    Connection *upstream
    const AskerCodec *asker
    const ServerCodec *server
    PlanMap *plan
    const RouteRow *route       # NULL before routing
    const RewriteRow *rewrite
    RosterMap *roster           # held while a backend of it may be named
    uint8_t peer[16]            # of the client, which may be gone when the exchange is logged
    uint16_t peer_port
    uint16_t listener
    uint32_t upstream_index     # UpstreamRow, RosterUpstream
    int32_t backend             # index in the roster's upstream, -1: none
    uint32_t backend_row        # scoreboard row of it
    Members tried               # not to be chosen (again)
    uint64_t key                # X_HAS_KEY; the same for every try
    Exchange *queue_next        # QUEUED: in its line
    Exchange *queue_prev
    uint64_t queued_us          # since when it waits, or has waited; 0: it never did
    Connection *waits_for       # DIALING: the connection that will carry its stream, or NULL
    uint32_t queue_row          # which queue
    uint8_t queue_line          # which of its lines
    Bond bond                   # to the member of its session, to its subset
    Flow request_flow
    Flow answer_flow
    Chunked request_chunked
    Chunked answer_chunked
    Timer timer                 # total timeout
    Buffer arena                # what outlives the turn
    Span sent                   # the request head (and a short body) as sent; in the arena
    Buffer later                # body bytes behind `sent`, as sent, or dropped (body_lost)
    uint8_t body_lost           # bytes behind `sent` went unkept: they cannot be sent again
    uint32_t host_at            # `host = "upstream"`: where in `sent` the backend's name goes, or 0
    Request *kept               # Engine.request until it is forwarded, then in the arena or NULL
    char request_id[36]
    uint8_t request_id_len
    char end_state[2]           # how it ended, two letters (engine/tally.pxi)
    uint8_t interims
    uint8_t retries
    uint64_t started_us
    uint64_t dialed_us
    uint64_t connected_us
    uint64_t first_byte_us
    uint64_t body_sent_us       # when the last of a body went upstream; 0: with the head
    uint64_t bytes_in
    uint64_t bytes_out
    Exchange *next_dead         # in Engine.dead_exchanges, or before that in Engine.answered
    uint32_t allow              # 405: bits 1 << Method that would do
    WebCall *web                # gRPC-Web, to be translated; else NULL
    FrameWalk frames[2]         # tunnel: what each Role has sent, so far as it was passed on
    char event_end[3]           # event stream: the last bytes that were passed on, newest first
    uint8_t parting             # event stream: its client was told to come back elsewhere
    uint32_t sub                # subrequest: key of the waiter in Python
    Buffer collected            # subrequest: the answer


cdef struct Queue:
    Exchange *first[QUEUE_LINES]    # who waits here for one upstream, in lines (queue.pxi)
    Exchange *last[QUEUE_LINES]
    uint32_t length


# ---- the engine -----------------------------------------------------------------------------

cdef struct Engine:
    int32_t epfd
    int32_t timerfd
    Guest guest
    uint32_t slot
    uint8_t draining
    uint8_t accept_paused
    uint8_t accept_done         # drain: every door is shut, nobody comes in any more
    uint8_t reserve
    const Scan *scan
    uint64_t now_us             # CLOCK_MONOTONIC, read at each event
    uint64_t now_ms
    uint64_t wall_sec
    int64_t wall_offset_us      # CLOCK_REALTIME - CLOCK_MONOTONIC, at the last tick
    uint64_t accept_retry_ms
    Parting parting
    uint32_t round              # batches of events so far
    Wheel wheel
    Pool connections
    Pool exchanges
    BlockPool blocks
    Connection *run_head
    Connection *run_tail
    Connection *dead_connections    # closed in this round; given back at its end
    Exchange *dead_exchanges
    Connection idle             # list head: idle clients, oldest first
    uint32_t client_count
    uint32_t client_limit
    uint32_t base_fds           # descriptors open before the first connection; 0: not counted yet
    uint32_t upstream_count
    uint32_t upstream_idle_count
    Connection *parked[IDLE_BUCKETS]    # idle upstream connections, newest first, by row
    uint32_t parked_count[IDLE_BUCKETS]
    Connection *carriers[IDLE_BUCKETS]  # upstream connections that carry streams, by row
    Connection *reaching[IDLE_BUCKETS]  # the one that is about to, or NULL
    uint8_t speaks[IDLE_BUCKETS]    # by row: Speaks
    Connection *due_carriers    # have something to send when the round is over
    Connection *flushed_carriers    # those of them whose turn it is now
    const TlsPlug *tls          # NULL: there is none
    const CarrierPlug *http2
    void *tls_keys              # the TLS plug's contexts
    void *http2_room            # the HTTP/2 plug's worker-wide room
    PlanMap *plan
    RosterMap *roster
    PickCursor cursors[UPSTREAMS_MAX]
    Queue queues[UPSTREAMS_MAX]     # by RosterUpstream.queue_row
    uint32_t queue_rows         # those from here on were never used
    int32_t queue_bells[WORKERS_MAX]    # eventfd by slot: "a place is free, it is your turn"
    bint queue_due              # look at our lines when the round is over
    Listener listeners[LISTENERS_MAX]
    uint32_t listener_count
    char *board
    size_t board_length
    WorkerRow *me
    uint64_t random[2]
    char date[32]               # "Sun, 06 Nov 1994 08:49:37 GMT"
    char time_local[32]
    char time_iso[32]           # up to the second; behind it, whatever was wanted last
    uint8_t time_local_len
    uint8_t time_iso_len        # up to the second
    uint64_t knock_head
    uint64_t knock_tail
    Knock knocks[DOORWAY_RING]
    Exchange *answered          # subrequests that are complete; Python fetches them
    LogWriter *log
    uint32_t next_sub
    # worker-wide scratch, used within one event only
    HeadParser client_parser
    HeadParser upstream_parser
    Framing framing
    Request request
    Scene scene
    char *scratch               # SCRATCH_BYTES, what was read
    char *build                 # BUILD_BYTES, what will be sent
    char *path_room             # normalised and rewritten paths
    char host_room[256]
    char ip_room[64]
    char peer_room[64]
    Buffer web_room             # the last piece of a gRPC-Web answer
    char trailer_room[TRAILER_ROOM]     # trailer lines, from the bytes they came in to the send
