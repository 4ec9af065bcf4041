# SPDX-License-Identifier: MIT
# cython: language_level=3
"""HTTP/2 for the engine: carriers and their streams, on libnghttp2. The table of contents.

For the engine each stream is a connection that speaks HTTP/1.1; why that is so, and what it costs,
is docs/decisions/0012-http2-streams-are-connections.md.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from fastproxy._core cimport *
from fastproxy.clib.atomics cimport count_add
from fastproxy.clib.nghttp2 cimport *
from fastproxy.clib.posix cimport iovec
from fastproxy.engine.flags cimport *
from fastproxy.engine.table cimport Settings
from fastproxy.engine.types cimport *
from fastproxy.http1.chunked cimport CHUNK_DATA, CHUNK_DATA_CR, chunked_decode, chunked_init
from fastproxy.http1.framing cimport frame_request, frame_response
from fastproxy.http1.head cimport *
from fastproxy.http1.parse cimport (
    HeadParser, parse_request, parse_response, parser_init_request, parser_init_response)
from fastproxy.http1.tokens cimport name_of, value_of
from fastproxy.http2.limits cimport *
from fastproxy.http2.types cimport *
from fastproxy.memory.buffer cimport *
from fastproxy.memory.limits cimport BUILD_BYTES, HEAD_FIELDS_MAX, TRAILER_BYTES_MAX
from fastproxy.memory.random cimport random_next
from fastproxy.memory.span cimport *

include "http2/heap.pxi"
include "http2/watch.pxi"
include "http2/session.pxi"
include "http2/send.pxi"
include "http2/stream.pxi"
include "http2/hear.pxi"
include "http2/hear_more.pxi"
include "http2/speak.pxi"
include "http2/upstream.pxi"
include "http2/face.pxi"
