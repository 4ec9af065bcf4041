# SPDX-License-Identifier: MIT
"""A template: text with variables, compiled. Redirects, header edits, fixed replies and access-log
lines are all templates; `render.pxd` is the one place that knows what a variable is.

Types only. Offsets are relative to the plan's base.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.http1.head cimport Head
from fastproxy.memory.limits cimport ROUTE_PARAMS_MAX
from fastproxy.memory.span cimport Slice, Span, Text


cdef enum Variable:
    # Order is shared with template/variables.py through `_core.variables()`; add at the end.
    VAR_LITERAL = 0             # nothing: only what stands in front of it
    VAR_CLIENT_IP = 1           # the resolved client (trusted hops walked)
    VAR_CLIENT_PORT = 2
    VAR_SCHEME = 3
    VAR_HOST = 4                # lower case, without port
    VAR_AUTHORITY = 5           # host[:port] as the client gave it
    VAR_METHOD = 6
    VAR_TARGET = 7              # as received
    VAR_PATH = 8                # normalised, before any rewrite
    VAR_QUERY = 9               # without "?"
    VAR_ARGS = 10               # "?query" or empty
    VAR_REQUEST_ID = 11
    VAR_HEADER = 12             # text: name; request header, several joined by ", "
    VAR_RESPONSE_HEADER = 13    # text: name
    VAR_COOKIE = 14             # text: name
    VAR_PARAM = 15              # arg: index into Scene.params
    VAR_QUERY_PARAM = 16        # text: name; raw, first one
    VAR_ROUTE = 17
    VAR_UPSTREAM = 18
    VAR_BACKEND = 19
    VAR_LISTENER = 20
    VAR_SERVER_PORT = 21
    VAR_STATUS = 22
    VAR_BYTES_IN = 23
    VAR_BYTES_OUT = 24          # response body bytes
    VAR_TIME_TOTAL = 25         # seconds, six digits: 0.001234
    VAR_TIME_CONNECT = 26
    VAR_TIME_FIRST_BYTE = 27
    VAR_RETRIES = 28
    VAR_END_STATE = 29          # two letters
    VAR_TIME_LOCAL = 30         # 22/Nov/2026:14:38:26 +0000
    VAR_TIME_ISO = 31           # 2026-11-22T14:38:26.123456Z
    VAR_PROTOCOL = 32           # HTTP/1.1
    VAR_PEER_IP = 33            # the socket's peer, trusted or not
    VAR_REQUEST_LINE = 34       # method SP target SP protocol
    VAR_WORKER = 35
    VAR_CAPTURE = 36            # arg: group of a regex rewrite; only rewrite/apply.pxd renders it
    VARIABLES = 37


cdef enum Escape:
    ESCAPE_HEADER = 0           # a field value: CTL bytes (CR, LF, NUL, TAB, DEL...) are left out
    ESCAPE_LOG = 1              # inside "..." of a log line: \xHH for quotes, backslash, CTL, >0x7e
    ESCAPE_JSON = 2             # inside a JSON string
    ESCAPE_JSON_NUMBER = 3      # a bare JSON number (0 or null where there is none)
    ESCAPE_TARGET = 4           # a target or Location: what a URI may not hold becomes %XX
    ESCAPE_HTML = 5             # text of an HTML body: & < > " ' become entities
    ESCAPES = 6


cdef enum PartKind:
    # What stands in for a variable: how it is found in the scene, and written (places.pxd).
    PART_OTHER = 0              # several pieces, or something to look for by its name
    PART_TEXT = 1               # the Span at `at`
    PART_NUMBER = 2             # the uint64_t at `at`
    PART_STATUS = 3             # a number too, 0: there is none yet
    PART_SECONDS = 4            # microseconds at `at`, written as seconds
    PART_LAPSE = 5              # seconds too, 0: not known
    PART_FIELD = 6              # a request header of which the parser has noted the id
    PART_LITERAL = 7            # nothing


cdef struct TemplatePart:
    uint8_t variable
    uint8_t escape              # Escape
    uint16_t arg                # PARAM, CAPTURE: index; HEADER, RESPONSE_HEADER: FieldId
    uint8_t kind                # PartKind
    uint16_t at                 # where in the scene
    Text lead                   # the literal in front of it; a block may be read behind it
    Text text                   # HEADER, COOKIE, QUERY_PARAM...: the name


cdef struct Template:
    Slice parts                 # TemplatePart rows; count 0 renders as empty


cdef struct Scene:
    # All that a variable may name. The engine fills it on its stack when a template is to be
    # rendered; spans live as long as the exchange's turn. An absent thing is a span of length 0.
    const Head *request
    const Head *response
    Span client_ip
    Span peer_ip
    Span scheme
    Span host
    Span authority
    Span method
    Span target
    Span path
    Span query
    Span request_id
    Span route
    Span upstream
    Span backend
    Span listener
    Span time_local
    Span time_iso
    Span protocol
    Span end_state
    Span params[ROUTE_PARAMS_MAX]
    uint16_t param_count
    char end_letters[2]         # what end_state names
    uint64_t client_port
    uint64_t server_port
    uint64_t status
    uint64_t retries
    uint64_t worker
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t time_total_us
    uint64_t time_connect_us
    uint64_t time_first_byte_us
