# SPDX-License-Identifier: MIT
"""Every fixed bound of the hot path, with its reason.

Bounds a user may tune (request line, header bytes, body, connections, timeouts) are in
`engine/settings.py`, with their defaults and the status each one answers. What stands here is
compiled in: array sizes and budgets.
"""

cdef enum:
    # One head never has more fields than this, whatever the settings say: it is the array in Head.
    # HAProxy allows 101, Envoy 100; browsers send about 20.
    HEAD_FIELDS_MAX = 128
    # The largest head a setting may allow; a field's offset must fit the parser's 32 bits and a
    # head must fit the scratch with room to spare.
    HEAD_BYTES_CEILING = 65536
    # Digits of Content-Length that cannot overflow 63 bits: 18 nines < 2^63.
    LENGTH_DIGITS_MAX = 18
    # Hex digits of a chunk size: 15 digits < 2^60. nginx broke its unbounded loop twice.
    CHUNK_DIGITS_MAX = 15
    # Bytes of chunk extension in one chunk line, and in one body. Nobody sends them; attackers do
    # (CVE-2023-39326 class).
    CHUNK_EXT_MAX = 256
    CHUNK_EXT_TOTAL_MAX = 4096
    # Options of a message's Connection fields that name other fields: each walks over all fields.
    CONNECTION_OPTIONS_MAX = 32
    # A trailer section is dropped by default, but still must end some day.
    TRAILER_BYTES_MAX = 8192
    # Room for trailer lines that are passed on: a whole section, each line of which may grow by the
    # space behind its colon (the shortest, "a:" CRLF, by a quarter).
    TRAILER_ROOM = 10240
    # Captured {params} of one path.
    ROUTE_PARAMS_MAX = 16
    # Segments of one path pattern: the depth of the tree, and so of the matcher's stack.
    ROUTE_SEGMENTS_MAX = 64

    # The worker-wide scratch: one read of a fast body. 512 KiB was measured best (decision 0010).
    SCRATCH_BYTES = 524288
    # A read starts at 16 KiB: a head nearly always fits, and a slow peer keeps at most that.
    READ_START_BYTES = 16384
    # No setting makes a read smaller than this: tiny reads cost a call per few bytes.
    READ_LEAST_BYTES = 1024
    # Heads and small bodies are put together here before one send.
    BUILD_BYTES = 163840
    # TLS: what one recv brings at most, what one send takes at most (decision 0013), the plaintext
    # of a record, and what a record has around it (RFC 8446 5.2, and TLS 1.2 with its nonce).
    TLS_RAW_BYTES = 135168
    TLS_OUT_BYTES = 67584
    TLS_WRITE_BYTES = 65536
    TLS_RECORD_BYTES = 16384
    TLS_RECORD_EXTRA = 256
    # Messages of a handshake after it (KeyUpdate, tickets of a backend) in a second: HAProxy
    # allows 100.
    TLS_MESSAGES_MAX = 100
    # Ticket keys: the current one, and those whose tickets are still taken.
    TICKET_KEYS_KEPT = 3
    # Sessions kept to be resumed with backends, per worker (rows share slots: the newest stays).
    UPSTREAM_SESSIONS = 512
    # Bytes kept for slow peers, per worker; above it reads stay at READ_START_BYTES. 24 MiB, so
    # that 2,000 readers that stop keep at most 24 + 2,000 x 16 KiB = 55 MiB, with all below 64.
    KEPT_BUDGET_BYTES = 25165824

    # Events taken from epoll at once, rounds of a turn, accepts of a wake: small batches keep the
    # latency of the last one low (HAProxy measured +18% with small batches).
    EVENTS_PER_ROUND = 200
    ROUNDS_PER_TURN = 8
    ACCEPTS_PER_WAKE = 4
    # A worker accepts beside another one that has a quarter and this many connections more, and
    # gets the first chance at each for this long.
    HELP_LEAST = 4
    HELP_FIRST_US = 200
    # Bytes moved for one connection before the others get their turn.
    QUANTUM_BYTES = 2097152

    # One tick of the timer wheel and of the worker's heartbeat.
    TICK_MS = 25
    # A beat older than this means a stuck worker: others take over its queue.
    BEAT_STALE_MS = 100
    # What a 503 of ours says, at least, and up to twice that: the interval of checks, by which a
    # backend may be back.
    RETRY_AFTER_SECONDS = 5
    # 1xx answers in a row before the final one: a storm beyond this is an upstream fault.
    INTERIM_ANSWERS_MAX = 16

    # Scoreboard capacities. Rows are sparse: memory is used only when touched.
    WORKERS_MAX = 128
    BACKENDS_MAX = 4096
    ROUTES_MAX = 16384
    UPSTREAMS_MAX = 1024
    # Priorities in the line before an upstream: HAProxy and HTTP's own `u=` (RFC 9218) have eight.
    QUEUE_CLASSES = 8
    # Lines of one queue: a line for each class, and another for those who cannot go to all members.
    QUEUE_LINES = 16
    CLIENT_IP_SLOTS = 65536
