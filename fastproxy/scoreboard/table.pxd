# SPDX-License-Identifier: MIT
"""The scoreboard: what all processes share. Types only.

One memfd, made by the master, mapped by everybody, sized for WORKERS_MAX etc. at start (`workers`
columns) and sparse: untouched pages cost nothing. Who writes what:

    BoardHeader          master
    WorkerRow            its worker; `pid`, `generation`, `state` by the master when it is dead
    WorkerRow.doorbell   anybody (fetch_or); the worker takes it with exchange
    WorkerRow.adopted_by, helped_by   who accepts for that slot, by compare-and-swap; cleared by the
                         master when that one is dead
    BackendRow line 0    control: who it is, weight, health, what operators and agents said
    BackendRow.ejection, .failures, .gateway_failures, .ejections, .window   workers (and
                         control's sweep), by compare-and-swap or fetch_add
    BackendRow.ewma      workers, by compare-and-swap
    UpstreamBoard.live   whoever changed who may be chosen, by fetch_add, after the change
    UpstreamBoard.ejections    who ejects, by compare-and-swap: one decision at a time
    inflight[w][b]       worker w; the total is the sum over w; zeroed by the master when w is dead
    queues[w][u]         worker w; zeroed by the master when w is dead
    SessionRow           workers, by compare-and-swap
    TicketBoard          the master, as it makes the board; then control
    RouteCount[w][r], BackendCount[w][b]   worker w, relaxed, never reset: a successor counts on
    gauges of WorkerRow  (connections, idle, upstream_*, kept_bytes, parked, queued) zeroed by the
                         master when the worker is dead; the other counters live on in its successor
    ClientIpRow          workers, by compare-and-swap; what a dead worker held is given back by the
                         master from that worker's own column

Rows are cache-line sized, and fields of different writers stand on different lines.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef enum:
    BOARD_MAGIC = 0x44424246        # "FBBD"
    BOARD_VERSION = 2


cdef enum WorkerState:
    WORKER_EMPTY = 0
    WORKER_STARTING = 1
    WORKER_SERVING = 2
    WORKER_DRAINING = 3             # accepts until EAGAIN, then stops accepting
    WORKER_GONE = 4                 # dead; its queue is up for adoption


cdef enum Doorbell:
    RING_ADOPT = 1                  # look at all slots: who is dead or stuck
    RING_PLAN = 2                   # a plan waits in the channel
    RING_ROSTER = 4
    RING_SLOT_FREED = 8
    RING_DRAIN = 16
    RING_REOPEN = 32                # reopened log fds wait in the channel
    RING_STOP = 64                  # leave now
    RING_KEYRING = 128              # new certificates wait in the channel


cdef enum HealthWord:
    HEALTH_UP = 0
    HEALTH_DOWN = 1
    HEALTH_DRAIN = 2
    HEALTH_MAINT = 3


cdef enum AdminWord:
    # BackendRow.admin: the operator's HealthWord, the agent's above it, and whether this is no
    # member any more. Nobody undoes what another said; 0 is what all must say.
    ADMIN_AGENT_SHIFT = 8
    ADMIN_GONE = 65536


cdef enum Histogram:
    # Log-linear, microseconds: 8 sub-buckets per power of two, values up to 2^36 us (19 h).
    HISTOGRAM_SUB_BITS = 3
    HISTOGRAM_BUCKETS = 280


cdef struct BoardHeader:
    uint64_t magic
    uint64_t layout_hash
    uint32_t version
    uint32_t workers                # slots laid out
    uint32_t backends               # capacity
    uint32_t routes                 # capacity
    uint64_t length
    uint64_t workers_off            # WorkerRow[workers]
    uint64_t backends_off           # BackendRow[backends]
    uint64_t inflight_off           # uint32_t[workers][backends]
    uint64_t backend_counts_off     # BackendCount[workers][backends]
    uint64_t route_counts_off       # RouteCount[workers][routes]
    uint64_t client_ips_off         # ClientIpRow[CLIENT_IP_SLOTS]
    uint64_t client_ip_held_off     # uint16_t[workers][CLIENT_IP_SLOTS]
    uint64_t started_unix_ms
    uint64_t started_mono_ms
    uint64_t plan_generation
    uint64_t roster_epoch
    uint32_t master_pid
    uint32_t control_pid
    uint32_t stopping               # 1: the master drains, nobody is respawned
    uint32_t control_generation     # grows with each respawn of control
    uint64_t client_ip_seed[2]      # secret: key of the hash given to client_ip_enter
    uint64_t upstreams_off          # UpstreamBoard[UPSTREAMS_MAX]
    uint64_t queues_off             # QueueCell[workers][UPSTREAMS_MAX]
    uint64_t sessions_off           # SessionRow[sessions]
    uint64_t tickets_off            # TicketBoard
    uint32_t sessions               # capacity, a power of two
    uint8_t reserved[68]


cdef struct WorkerRow:
    # line 0: written by the worker at each tick, read by all
    uint64_t beat_ms                # CLOCK_MONOTONIC
    uint32_t pid
    uint32_t state                  # WorkerState
    uint64_t generation             # grows with each respawn (master)
    uint64_t plan_generation        # the plan in force here
    uint64_t roster_epoch
    uint8_t pad0[24]
    # line 1: written by anybody
    uint32_t doorbell               # Doorbell bits
    uint32_t adopted_by             # slot + 1 of who accepts for this one, 0: itself
    uint32_t helped_by              # slot + 1 of who accepts beside this one, having few itself
    uint8_t pad1[52]
    # lines 2..: counters, written by the worker only
    uint64_t connections            # open client connections now
    uint64_t accepted
    uint64_t requests
    uint64_t idle                   # client connections without an exchange
    uint64_t upstream_open
    uint64_t upstream_idle
    uint64_t upstream_connects
    uint64_t upstream_reused
    uint64_t faults                 # malformed requests answered
    uint64_t refused                # closed by a limit before any request
    uint64_t accept_paused          # times accept was paused for want of fds or memory
    uint64_t adopted                # connections accepted for another slot
    uint64_t log_lines
    uint64_t log_dropped
    uint64_t kept_bytes             # held for slow peers now
    uint64_t parked                 # exchanges awaiting Python now
    uint64_t odd[16]                # COUNT_IF counters, by engine/odd names
    uint64_t bytes_in               # from clients
    uint64_t bytes_out              # to clients
    uint64_t epoll_ctl
    uint64_t turns                  # rounds of the loop
    uint64_t helped                 # connections accepted beside another worker that had many
    uint64_t queued                 # requests that wait for a free backend now
    uint64_t queue_timeouts         # those that waited in vain
    uint64_t queue_refused          # those that found too many waiting already
    uint64_t sessions_learned
    uint64_t sessions_evicted       # before they ended, for want of room
    uint64_t tls_handshakes         # with clients
    uint64_t tls_resumed            # of those, without a whole handshake
    uint64_t tls_failed
    uint64_t tls_upstream_handshakes
    uint64_t tls_upstream_resumed
    uint64_t tls_upstream_failed
    uint64_t http2_rapid_reset      # met limits of HTTP/2, in the order of http2/limits.pxd Glitch
    uint64_t http2_reset_by_us
    uint64_t http2_continuations
    uint64_t http2_header_bytes
    uint64_t http2_settings_flood
    uint64_t http2_ping_flood
    uint64_t http2_priority_flood
    uint64_t http2_empty_data
    uint64_t http2_window_flood
    uint64_t http2_stalled
    uint8_t pad2[48]


cdef struct BackendRow:
    # lines 0 to 2: control only
    uint64_t generation             # grows when the row changes owner; 0: never used
    uint32_t upstream               # index in the plan
    uint32_t weight
    uint32_t health                 # HealthWord: what the probes say
    uint32_t admin                  # AdminWord: what an operator and the backend's agent say
    uint32_t percent                # of its weight, by its agent; 100: all
    uint32_t max_connections        # by its agent; 0: as the roster says
    uint64_t up_since_ms            # mono: slow start counts from here; 0: it was always up
    uint8_t name[144]               # NUL padded
    uint8_t pad0[8]
    # line 3: workers, compare-and-swap
    uint64_t ejection               # until (mono ms) << 16 | times
    uint32_t failures               # in a row, over all workers
    uint32_t gateway_failures       # the same of those without an answer of its own
    uint64_t ejections              # so far
    uint64_t window                 # since when (mono ms) << 16 | failures since: outlier.pxd
    uint8_t pad1[32]
    # line 4: workers, compare-and-swap
    uint64_t ewma                   # when (mono ms, 32 bits) << 32 | us to the first byte (float)
    uint8_t pad2[56]


cdef struct UpstreamBoard:
    uint64_t live                   # grows when a member's words change: look again who is able
    uint64_t ejections              # decisions so far
    uint8_t pad[48]


cdef struct QueueCell:
    # What one worker has waiting for one upstream. Of all workers the least `first` has the turn.
    uint64_t first                  # line << 56 | since when its first waits (mono us); 0: nobody
    uint32_t length
    uint32_t pad


cdef struct SessionRow:
    # A learned session: which backend a cookie or header value belongs to.
    uint64_t key                    # hash of upstream and value; 0: free
    uint64_t value                  # whose it is and when it ends: balance/sessions.pxd


cdef enum:
    # One more than are in use: the next key is written where nobody reads (TICKET_KEYS_KEPT).
    TICKET_RING = 4


cdef struct TicketBoard:
    # Keys of session tickets, 80 bytes each as in nginx's files: name 16, HMAC-SHA256 key 32,
    # AES-256 key 32. The newest is at (count - 1) % TICKET_RING.
    uint64_t count                  # keys so far; published when the key is written
    uint64_t made_ms                # mono: when the newest was made
    uint8_t pad[48]
    uint8_t ring[320]


cdef struct BackendCount:
    uint64_t requests
    uint64_t status[6]              # [0]: no answer, [n]: nxx
    uint64_t connect_errors
    uint64_t timeouts
    uint64_t retries                # requests moved on from here
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t failures               # all that counted against it, connect errors among them
    uint64_t pad[3]
    uint64_t first_byte[HISTOGRAM_BUCKETS]


cdef struct RouteCount:
    uint64_t requests
    uint64_t status[6]
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t pad[7]
    uint64_t total[HISTOGRAM_BUCKETS]


cdef enum ClientIp:
    # Connections of one address, in the low bits of the word; the rest is the hash's tag.
    CLIENT_IP_COUNT_BITS = 20
    # Slots looked at for one address. A full window answers "table full", never evicts.
    CLIENT_IP_WINDOW = 32


cdef struct ClientIpRow:
    # hash >> CLIENT_IP_COUNT_BITS << CLIENT_IP_COUNT_BITS | connections; no connections: free.
    # One word, so that "this address, one more" is one compare-and-swap and a free slot needs no
    # tombstone.
    uint64_t word
