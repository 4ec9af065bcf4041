# SPDX-License-Identifier: MIT
"""What an HTTP/2 connection is made of: Session and Stream. Types only; worker only.

A Session belongs to a carrier (a Connection in PEER_CARRIER), a Stream to a session. For the engine
a stream is a Connection without an fd, which speaks HTTP/1.1 text: `Stream.conn`. It may go before
the stream does (the answer is handed over, its last bytes wait for the peer's window), and the
stream before it (the peer has reset it); whoever goes tells the other.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.clib.nghttp2 cimport (
    nghttp2_mem, nghttp2_option, nghttp2_rcbuf, nghttp2_session, nghttp2_session_callbacks)
from fastproxy.clib.posix cimport iovec
from fastproxy.engine.types cimport Connection, Engine
from fastproxy.http1.chunked cimport Chunked
from fastproxy.http1.framing cimport Framing
from fastproxy.http1.parse cimport HeadLimits, HeadParser
from fastproxy.http2.limits cimport GLITCHES, HEAP_LISTS, SEND_SPANS
from fastproxy.memory.buffer cimport Buffer
from fastproxy.memory.span cimport Out, Span


cdef enum Pseudo:
    # Pseudo-header fields as they come (RFC 9113 8.3), and Host, which is compared with one.
    PSEUDO_METHOD = 0
    PSEUDO_SCHEME = 1
    PSEUDO_AUTHORITY = 2
    PSEUDO_PATH = 3
    PSEUDO_PROTOCOL = 4
    PSEUDO_STATUS = 5
    PSEUDO_HOST = 6
    PSEUDOS = 7


cdef enum StreamFlag:
    STREAM_HEAD_IN = 1          # the peer's head is whole; what comes behind it are trailers
    STREAM_CHUNKED_IN = 2       # its body goes to the engine in chunks: its length is not known
    STREAM_ENDED_IN = 4         # the peer has sent END_STREAM
    STREAM_TUNNEL = 8           # extended CONNECT: bytes both ways (RFC 8441)
    STREAM_TOO_LARGE = 16       # its header block is over the limits: 431
    STREAM_MALFORMED = 32       # refused by us, nothing of it goes to the engine
    STREAM_HEAD_OUT = 64        # our final head is with nghttp2
    STREAM_ENDED_OUT = 128      # and all of our body is in `out`
    STREAM_WAITS = 256          # the data provider said DEFERRED: `out` was empty
    STREAM_RESET = 512          # closing shall be a reset: what was sent is not all
    STREAM_HEAD_METHOD = 1024   # HEAD: an answer has no body
    STREAM_LENGTH_IN = 2048     # the peer's head had a Content-Length
    STREAM_BODILESS_IN = 4096   # upstream: the answer's status has no body
    STREAM_SENT_END = 8192      # END_STREAM of ours has left
    STREAM_SENT_HEAD = 16384    # upstream: the request has left, it may have been looked at
    STREAM_OVER = 32768         # nghttp2 is done with it, the engine is told by the flush
    STREAM_UNPROCESSED = 65536  # and the peer has not looked at it


cdef struct Stream:
    Session *session
    Connection *conn            # NULL: the engine is done with it
    Stream *next                # of the session
    Stream *prev
    int32_t id                  # 0: not with nghttp2 yet (upstream)
    uint32_t flags              # StreamFlag bits
    nghttp2_rcbuf *pseudo[7]    # held until the head is whole
    Buffer head                 # text of the peer's head as it comes
    Buffer cookies              # its cookie crumbs, joined
    uint32_t head_bytes         # by RFC 9113 6.5.2, of the current header block
    uint32_t head_fields
    Buffer inbox                # upstream: text for the engine that it has not read
    uint32_t uncredited         # body bytes the engine has, for which the window is not open again
    uint32_t credited           # since the window was enlarged last
    uint64_t taken_ms           # when bytes left `out` last
    Buffer out                  # body bytes for the peer
    Span lent                   # more of them, behind `out`, within one call of stream_write
    uint64_t out_left           # of a sized body
    uint8_t out_kind            # BodyKind
    uint8_t method              # Method of the request
    uint16_t cap                # KiB of the block this stands in
    Chunked out_chunked
    Out out_trailers            # lines of the engine's trailers, in a block of their own
    char accept[28]             # upstream tunnel: Sec-WebSocket-Accept to answer with


cdef enum Mark:
    # What a client knows of a stream, two bits each (watch.pxi).
    MARK_LEFT_OUT = 0           # a later one was used first
    MARK_OPEN = 1
    MARK_ENDED = 2              # it has sent END_STREAM
    MARK_RESET = 3              # it has sent RST_STREAM


cdef enum Breach:
    BREACH_NONE = 0
    BREACH_RESET = 1            # on a stream that it has reset: an error of the stream
    BREACH_CLOSED = 2           # on a stream that it has ended: of the connection
    BREACH_ORDER = 3            # on one left out, PRIORITY on itself: of the connection


cdef struct Watch:
    # A client's frames, as far as their heads.
    uint32_t pass_bytes         # of a payload that are still to come
    uint32_t count              # of the streams there were: the next one's number, or more
    uint8_t held                # bytes of `head`
    uint8_t wants               # how many it shall be
    uint8_t began               # the first frame has begun
    uint8_t ends_head           # this one ends what is due in `client_header`
    uint8_t head[14]            # and PRIORITY's payload
    uint8_t marks[64]           # Mark of the last WATCHED streams


cdef struct Session:
    nghttp2_session *ng
    Engine *eng
    Connection *carrier
    Stream *streams
    Stream *heading             # whose header block is read, or NULL
    uint32_t count              # of streams
    uint32_t requests           # that ever were
    uint32_t strays             # upstream: frames on streams that are over
    uint32_t cap                # of the block this stands in
    uint8_t server              # we are
    uint8_t going               # 1: told that we leave; 2: told which stream is the last
    uint8_t failed              # nothing more can be read or written
    uint8_t head_open           # a header block, or the preface, has begun and not ended
    uint8_t ready               # upstream: its SETTINGS have come: 1, and the engine knows: 2
    uint8_t asked               # a PING of ours is on its way
    uint8_t overs               # there may be streams with STREAM_OVER
    uint64_t head_ms            # since when
    uint64_t heard_ms           # when the peer said something last
    uint64_t looked_ms          # of the token buckets
    uint32_t tokens[10]         # of GLITCHES, in thousandths
    Watch watch


cdef union HeapPiece:
    # What stands before a piece of nghttp2's memory: its list, or 0 if it is of another size; in a
    # free one the next of its list.
    size_t index
    HeapPiece *next


cdef struct Heap:
    # nghttp2's memory (heap.pxi).
    HeapPiece *free[HEAP_LISTS]
    size_t kept_bytes           # in the lists


cdef struct Room:
    # Worker-wide, used within one call only; hangs off Engine.http2_room.
    nghttp2_session_callbacks *server
    nghttp2_session_callbacks *client
    nghttp2_option *options
    nghttp2_mem memory
    Heap heap
    HeadParser parser
    HeadLimits limits
    Framing framing
    char *text                  # heads put together
    char *send                  # frames put together
    size_t filled               # bytes of it
    iovec spans[SEND_SPANS]     # what is sent: parts of `send`, lent bytes between them
    int span_count
    bint full                   # no frame more
    bint sending                # nghttp2_session_mem_send is on the stack
    bint hearing                # nghttp2_session_mem_recv is
    bint lending                # the engine is (send.pxi)
