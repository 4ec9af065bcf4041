# SPDX-License-Identifier: MIT
"""The roster: who may serve an upstream, and how one is chosen. Types only.

A roster is its own memfd, apart from the plan, so that adding, removing or reweighting a backend
needs no plan. A plan names an upstream by its index; the roster has a RosterUpstream row for each.
Offsets are relative to the roster's base.

What changes from one moment to the next (health, ejections, drains) is not in here but on the
scoreboard; `live.pxd` puts both together.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.memory.span cimport Slice, Text
from fastproxy.scoreboard.table cimport BoardHeader


cdef enum:
    ROSTER_MAGIC = 0x524f5046   # "FPOR"
    ROSTER_VERSION = 2


cdef enum Algorithm:
    # Order is shared with balance/build.py (a test compares); add at the end.
    BALANCE_ROUND_ROBIN = 0
    BALANCE_RANDOM = 1
    BALANCE_P2C = 2
    BALANCE_LEAST_CONN = 3
    BALANCE_EWMA = 4
    BALANCE_HASH = 5
    ALGORITHMS = 6


cdef enum HashMethod:
    HASH_RING = 0               # ketama
    HASH_MAGLEV = 1
    HASH_RENDEZVOUS = 2
    HASH_METHODS = 3


cdef enum:
    # Members of one upstream: bits of Members, and well inside the wheel's 16-bit indices.
    BACKENDS_PER_UPSTREAM_MAX = 1024
    # Steps of one wheel; larger sums of weights are scaled down by build.py.
    WHEEL_MAX = 65536
    # Points of one ketama ring, likewise.
    RING_MAX = 1048576
    # Entries of a Maglev table: a prime above 60 x BACKENDS_PER_UPSTREAM_MAX.
    MAGLEV_SIZE = 65537
    # Tiers of one upstream: (priority, own zone or not), and the backups behind all of them.
    TIERS_MAX = 17
    # Draws of p2c and ewma.
    DRAWS_MAX = 16


cdef struct RosterHeader:
    uint64_t magic
    uint64_t layout_hash
    uint64_t epoch              # grows by one with each new roster
    uint32_t version
    uint32_t length             # bytes of the whole roster
    Slice upstreams             # RosterUpstream
    Slice backends              # RosterBackend, all of them
    Text changes                # JSON: what operators and sources changed (process/rosters.py)


cdef struct Outlier:
    # When a backend is ejected by what its answers are. 0: not for that.
    uint32_t consecutive        # failures in a row: no answer, or one of `failing`
    uint32_t consecutive_gateway    # the same of connect errors, timeouts, broken answers, 502-504
    uint32_t base_ms            # first ejection; the n-th lasts n times as long
    uint32_t longest_ms
    uint32_t most_percent       # of the members that may be ejected at once (one always may)
    uint32_t failures           # within window_ms, in a row or not
    uint32_t window_ms
    uint32_t failing[7]         # bit by status - 400: answers that are failures


cdef struct RosterUpstream:
    Slice backends              # RosterBackend rows of this upstream
    Slice wheel                 # uint16_t: smooth weighted round robin, indices into `backends`
    Slice ring                  # RingPoint, sorted (HASH_RING)
    Slice maglev                # uint16_t[MAGLEV_SIZE] (HASH_MAGLEV)
    Slice subsets               # SubsetRow, sorted by value
    Slice sessions              # uint16_t: all indices, by `session` (cookie) or by `row` (learned)
    uint8_t algorithm           # Algorithm
    uint8_t fallback            # Algorithm when there is no key to hash
    uint8_t hash_method         # HashMethod
    uint8_t draws               # p2c, ewma: members compared
    uint8_t tiers               # RosterBackend.tier is below this
    uint8_t backups             # 1: the last tier serves only when no other can
    uint8_t panic_percent       # a tier with fewer able to serve uses all it has; 0: never
    uint8_t subset_strict       # 1: nobody in the subset is nobody at all; 0: then anybody
    uint16_t bound_percent      # hash: most load of a member, of its share; 0: no bound
    uint16_t overprovision_percent      # a tier keeps all its traffic while able x this >= 100
    uint32_t slow_start_ms      # 0: none
    uint16_t slow_start_aggression      # hundredths: 100 is a straight line
    uint16_t slow_start_percent     # what a new one gets at least
    uint32_t queue_length       # requests that may wait for a free backend, over all workers
    uint32_t queue_ms           # how long one waits
    uint32_t queue_row          # UpstreamBoard row of the scoreboard: index of the upstream
    Outlier outlier


cdef enum BackendFlag:
    BACKEND_UNPROVEN = 1        # serves only once control has found it well


cdef struct RosterBackend:
    uint32_t row                # scoreboard row: stable for the life of the backend
    uint32_t generation         # of that row, to notice its reuse
    uint32_t max_connections    # requests under way from all workers; 0: no limit
    uint16_t weight             # 0 to 256; 0: no new traffic
    uint8_t tier
    uint8_t flags               # BackendFlag
    uint16_t address_len
    uint8_t address[112]        # sockaddr_in, sockaddr_in6 or sockaddr_un
    uint8_t session[16]         # how a session cookie names it (hexadecimal in the cookie)
    uint64_t hash               # of its name: where a hashed key finds it
    Text name                   # as configured: "http://127.0.0.1:9001"
    Text authority              # host[:port] for `host = "upstream"`


cdef struct RingPoint:
    uint32_t hash
    uint32_t index              # into `backends`


cdef struct Members:
    # A set of members of one upstream: bit i is index i of its `backends`.
    uint64_t bits[16]


cdef struct SubsetRow:
    Text value                  # of the label
    Members members


# ---- of the plan ------------------------------------------------------------------------------

cdef enum SessionKind:
    SESSION_NONE = 0
    SESSION_COOKIE = 1          # a cookie of ours names the member
    SESSION_LEARN_COOKIE = 2    # the application's cookie, learned when an answer sets it
    SESSION_LEARN_HEADER = 3    # a field of the request, learned when it is first seen
    SESSION_KINDS = 4


cdef struct SessionPlan:
    # How an upstream keeps sessions. Offsets are relative to the plan's base.
    Text name                   # of the cookie or field
    Text before                 # SESSION_COOKIE: "Set-Cookie: NAME="
    Text after                  # "; Path=/; HttpOnly..."
    uint64_t seed               # learned: of the upstream's name, so that keys outlive its index
    uint64_t idle_ms            # learned: forgotten when unused for so long
    uint8_t kind                # SessionKind
    uint8_t field_id            # SESSION_LEARN_HEADER: FieldId of the name
    uint8_t secure_auto         # Secure is added when the client came by TLS
    uint8_t hide                # the backend does not see our cookie


# ---- a worker's own state ---------------------------------------------------------------------

cdef struct PickCursor:
    # Where one worker stands in one upstream's wheel, for each tier: else who stands behind another
    # tier's members would have their turns, too. Its owner keeps it across picks; a new roster
    # needs no new cursor (it is reduced to the wheel's size at each pick).
    uint32_t at[TIERS_MAX]


cdef struct LiveTier:
    uint32_t first              # of Live.members and Live.upto
    uint32_t count
    uint32_t total              # sum of its weights, in 1/256: the last `upto`
    uint32_t share_upto         # of new requests, cumulative over tiers, in 1/65536
    uint8_t uniform             # all its members weigh the same
    uint8_t panic               # too few could serve: it holds all that are not drained


cdef struct Live:
    # Who may be chosen at this moment: roster and scoreboard put together by live.pxd, and kept
    # until one of them says something new. One per upstream and worker, beside the roster's map.
    uint64_t epoch              # UpstreamBoard.live it was made from
    bint made
    uint64_t until_ms           # made anew from then on: an ejection ends, a slow start rises
    Members able                # members of all tiers that get anything
    uint32_t count              # how many those are
    uint32_t tiers
    uint8_t capped              # some member has a most
    LiveTier tier[TIERS_MAX]
    uint16_t *members           # indices into `backends`, tier by tier (room for all members)
    uint32_t *upto              # cumulative weight within its tier, in 1/256
    uint32_t *most              # by index: requests under way from all workers; 0: no limit
    uint16_t *part              # by index: of its weight, what it gets now; 256: all of it


cdef struct Bound:
    # What bounded loads ask of all members, summed once per pick and only if it comes to that.
    bint summed
    uint64_t requests           # under way at all that could be chosen
    uint64_t weight             # of all those
cdef struct Bond:
    # What binds one exchange to a member of its upstream.
    uint64_t key                # learned: hash of what the request carries; 0: nothing to learn
    uint32_t member             # 1 + index of the member it is bound to; 0: to none (any more)
    uint32_t subset             # 1 + index of the SubsetRow it is kept to; 0: to none
    uint8_t kind                # SessionKind; SESSION_NONE: there is nothing to do
    uint8_t secure              # the cookie is Secure, as far as that is automatic


cdef struct Ask:
    # One pick: all that a leaf may look at. Made by `pick_ask`, on the stack.
    const char *roster
    const RosterUpstream *upstream
    const RosterBackend *backends
    Live *live
    BoardHeader *board
    PickCursor *cursor
    uint64_t *random            # state of memory/random.pxd
    Members *tried              # never chosen again; also what is not in the exchange's subset
    uint64_t now_ms
    uint64_t key                # hash of the key, if has_key
    bint has_key
    uint32_t tier               # which LiveTier this pick is from; set by `pick`
