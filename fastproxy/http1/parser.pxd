# SPDX-License-Identifier: MIT
"""The parser of heads as data: its limits, where it stands, and how one begins.

The contract is in parse.pxd, which is also where everybody else cimports these names from.
"""

from libc.stdint cimport uint8_t, uint32_t

from fastproxy.clib.scan cimport Scan
from fastproxy.http1.head cimport SIDE_CLIENT, SIDE_UPSTREAM, Head
from fastproxy.memory.limits cimport HEAD_BYTES_CEILING, HEAD_FIELDS_MAX


cdef enum:
    # Lengths in a Field are 16 bits wide: no field line may be longer, whatever the settings say.
    FIELD_BYTES_CEILING = 65535


cdef struct HeadLimits:
    uint32_t line_bytes         # request or status line; else 414
    uint32_t field_bytes        # one field line; else 431
    uint32_t fields_bytes       # all field lines and the empty one; else 431
    uint32_t fields_max         # number of fields; else 431


cdef enum ParserState:
    # What the byte at `at` belongs to; `line` is the first byte of its line.
    AT_START = 0                # request: nothing read, one empty line may come
    AT_BLANK_LF = 1             # the LF of that empty line
    AT_METHOD = 2
    AT_TARGET = 3               # mark: the target's first byte
    AT_VERSION = 4              # mark: the version's first byte
    AT_STATUS = 5               # response; mark: the code's first byte
    AT_STATUS_END = 6           # SP, or CR
    AT_REASON = 7               # mark: the reason's first byte
    AT_LINE_LF = 8
    AT_FIELD = 9                # first byte of a field line or of the empty line
    AT_NAME = 10                # name_class: classes of the bytes read
    AT_OWS = 11                 # name_end is set
    AT_VALUE = 12               # mark: the value's first byte
    AT_VALUE_LF = 13            # value_end is set, at - 1 is the CR
    AT_LAST_LF = 14             # the LF of the empty line


cdef struct HeadParser:
    uint32_t at                 # first byte not looked at
    uint32_t line
    uint32_t mark
    uint32_t name_end
    uint8_t state               # ParserState
    uint8_t side
    uint8_t name_class
    const Scan *scan
    HeadLimits limits
    Head head


cdef inline void _init(HeadParser *p, const Scan *scan, const HeadLimits *limits, uint8_t side,
                       uint8_t state) noexcept nogil:
    p.at = 0
    p.line = 0
    p.mark = 0
    p.name_end = 0
    p.state = state
    p.side = side
    p.name_class = 0
    p.scan = scan
    p.limits.line_bytes = min(limits.line_bytes, <uint32_t> HEAD_BYTES_CEILING)
    p.limits.field_bytes = min(limits.field_bytes, <uint32_t> FIELD_BYTES_CEILING)
    p.limits.fields_bytes = min(limits.fields_bytes, <uint32_t> HEAD_BYTES_CEILING)
    p.limits.fields_max = min(limits.fields_max, <uint32_t> HEAD_FIELDS_MAX)
    p.head.base = NULL
    p.head.length = 0
    p.head.fields_off = 0
    p.head.count = 0
    p.head.status = 0
    p.head.minor = 0
    p.head.method = 0
    p.head.ids = 0
    p.head.twice = 0
    p.head.method_text.off = 0
    p.head.method_text.len = 0
    p.head.target.off = 0
    p.head.target.len = 0
    p.head.reason.off = 0
    p.head.reason.len = 0


cdef inline void parser_init_request(HeadParser *p, const Scan *scan,
                                     const HeadLimits *limits) noexcept nogil:
    """Begin a request. Limits are copied, and lowered to what Head can hold."""
    _init(p, scan, limits, SIDE_CLIENT, AT_START)


cdef inline void parser_init_response(HeadParser *p, const Scan *scan,
                                      const HeadLimits *limits) noexcept nogil:
    """Begin a response (an interim one too: each head needs its own)."""
    _init(p, scan, limits, SIDE_UPSTREAM, AT_VERSION)


cdef inline bint parser_started(const HeadParser *p) noexcept nogil:
    """Some byte of a head was seen: a timeout now is 408, before it is an idle connection."""
    return p.at > 0
