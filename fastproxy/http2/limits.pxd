# SPDX-License-Identifier: MIT
"""Every bound of an HTTP/2 connection, with its reason, and the table of what is abuse.

What is legal once is an attack a thousand times a second. Each kind has a token bucket per
connection: `burst` of them at once, `rate` a second for ever. Who takes more is sent away with
GOAWAY ENHANCE_YOUR_CALM, and it is counted under the kind's name (`fastproxy status`).
"""

from libc.stdint cimport uint16_t, uint32_t


cdef enum:
    # What a stream may send before its other side has taken it, and all streams together. RFC 9113
    # begins with 64 KiB for both; one stream shall not be able to use up the connection's.
    STREAM_WINDOW = 65536
    CONNECTION_WINDOW = 1048576
    # A stream whose data goes through as fast as it comes gets a larger window, up to this: a
    # window a round trip is all that a distant client can send.
    STREAM_WINDOW_MAX = 524288
    # Answer bytes a stream takes from the engine before the client's window lets them out.
    STREAM_KEEPS = 65536
    # One flush puts so much together before it is sent, and stops when the peer takes no more.
    SEND_ROOM = 131072
    # Spans of one send: a frame of lent bytes takes two.
    SEND_SPANS = 20
    # A frame: its head, and the most that one carries as long as the peer does not allow more (RFC
    # 9113 6.5.2).
    FRAME_HEAD = 9
    PRIORITY_BYTES = 5
    FRAME_BYTES = 16393
    # One of lent bytes fills a TLS record with its head.
    LENT_FRAME = 16375
    # Pieces of a body from this size on do not wait for the end of the round.
    LEND_LEAST = 16384
    # Flushes of that size in one round: then others have their turn.
    SENDS_PER_ROUND = 8
    # nghttp2's memory: pieces of up to 1 KiB stand in lists by their size, so many bytes of all; a
    # thousand streams take about 2 MiB. None is larger than this, whatever it asks for.
    HEAP_HEAD = 16
    HEAP_STEP = 64
    HEAP_LISTS = 17
    HEAP_KEEPS = 2097152
    HEAP_MOST = 1 << 30
    # A head of ours as text: what the engine can build, and less than a Field's offsets can say.
    HEAD_BYTES_MAX = 131072
    # Frames of one header block beside the first (CONTINUATION flood, CVE-2024-27316).
    CONTINUATIONS_MAX = 8
    # Entries of one SETTINGS frame; there are eight kinds.
    SETTINGS_ENTRIES_MAX = 32
    # PING and SETTINGS acknowledgements that may wait to be sent (a peer that does not read).
    ACKS_MAX = 64
    # What a field costs beside its bytes (RFC 9113 6.5.2), so that many empty ones cost, too.
    FIELD_OVERHEAD = 32
    # A header block this many times over the limits is not answered 431 any more: the connection
    # ends, and with it the decoding.
    HEADERS_HOPELESS = 2
    # An upstream may send so many frames without data on streams that are over (we have cancelled
    # them, and it did not know yet): so many for each request, and some more.
    STRAYS_PER_REQUEST = 4
    STRAYS_BASE = 64
    # Of a client's last streams, so many, it is remembered whether it has ended them: what it still
    # sends on one is recent, and two bits each are little.
    WATCHED = 256
    # How long after the first GOAWAY ("no new streams soon") the second one names the last.
    GOAWAY_NOTICE_MS = 250
    # How often a carrier with streams is looked at: is one of them stuck?
    CARRIER_LOOK_MS = 1000
    # Toward upstreams: silence with streams under way for so long is asked by PING, and no answer
    # for as long again means that the peer is gone.
    PING_AFTER_MS = 15000


cdef enum Glitch:
    # In the order of the counters in WorkerRow, from http2_rapid_reset on.
    GLITCH_RESET = 0            # RST_STREAM of a client (rapid reset, CVE-2023-44487)
    GLITCH_RESET_BY_US = 1      # made us send RST_STREAM (MadeYouReset, CVE-2025-8671)
    GLITCH_CONTINUATION = 2     # more of them than CONTINUATIONS_MAX
    GLITCH_HEADERS = 3          # a header block beyond HEADERS_HOPELESS (HPACK bomb, cookie crumbs)
    GLITCH_SETTINGS = 4
    GLITCH_PING = 5
    GLITCH_PRIORITY = 6         # PRIORITY and PRIORITY_UPDATE
    GLITCH_EMPTY_DATA = 7       # DATA without data that ends nothing
    GLITCH_WINDOW = 8           # WINDOW_UPDATE
    GLITCH_STALLED = 9          # a window that stayed shut for `client_write`
    GLITCHES = 10


cdef struct GlitchRule:
    uint16_t burst
    uint16_t rate               # a second


cdef extern from * nogil:
    """
    /* burst, rate a second. Browsers cancel some dozens of requests when a page is left; a flood is
       thousands. Some peers send a WINDOW_UPDATE or two for each DATA frame, some PING to measure
       the line while data flows: a DATA frame of ours brings as many back (data_sent). */
    static const struct { unsigned short burst, rate; } GLITCH_RULES[10] = {
        /* RESET        */ {200, 33},
        /* RESET_BY_US  */ {100, 10},
        /* CONTINUATION */ {1, 0},
        /* HEADERS      */ {1, 0},
        /* SETTINGS     */ {32, 1},
        /* PING         */ {64, 10},
        /* PRIORITY     */ {256, 64},
        /* EMPTY_DATA   */ {64, 10},
        /* WINDOW       */ {8192, 8192},
        /* STALLED      */ {16, 1},
    };
    """
    const GlitchRule GLITCH_RULES[10]
