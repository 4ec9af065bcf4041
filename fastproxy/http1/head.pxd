# SPDX-License-Identifier: MIT
"""What a message head is to everybody behind the codec: types only.

All positions are relative to `Head.base`, so a head may be parsed in the scratch and moved later
by changing one pointer. Nothing behind the codec looks at wire bytes; HTTP/2 will fill the same
struct.
"""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.memory.limits cimport HEAD_FIELDS_MAX
from fastproxy.memory.span cimport Text


cdef enum Side:
    SIDE_CLIENT = 0
    SIDE_UPSTREAM = 1
    SIDE_US = 2


cdef struct Fault:
    # What is wrong with a peer's bytes. `reason` is an index into the table of texts in
    # http1/faults.pxd; `offset` counts from the head's (or body's) first byte.
    uint16_t status
    uint16_t reason
    uint32_t offset
    uint8_t side


cdef enum Method:
    # RFC 9110 section 9; the order is that of the bits in a route's method mask (1 << method).
    METHOD_OTHER = 0
    METHOD_GET = 1
    METHOD_HEAD = 2
    METHOD_POST = 3
    METHOD_PUT = 4
    METHOD_DELETE = 5
    METHOD_PATCH = 6
    METHOD_OPTIONS = 7
    METHOD_TRACE = 8
    METHOD_CONNECT = 9


cdef enum FieldId:
    # Names that framing, rewriting or logging must recognise. Everything else is FIELD_OTHER.
    FIELD_OTHER = 0
    FIELD_HOST = 1
    FIELD_CONNECTION = 2
    FIELD_CONTENT_LENGTH = 3
    FIELD_TRANSFER_ENCODING = 4
    FIELD_EXPECT = 5
    FIELD_UPGRADE = 6
    FIELD_TE = 7
    FIELD_TRAILER = 8
    FIELD_KEEP_ALIVE = 9
    FIELD_PROXY_CONNECTION = 10
    FIELD_PROXY_AUTHENTICATE = 11
    FIELD_PROXY_AUTHORIZATION = 12
    FIELD_HTTP2_SETTINGS = 13
    FIELD_X_FORWARDED_FOR = 14
    FIELD_X_FORWARDED_PROTO = 15
    FIELD_X_FORWARDED_HOST = 16
    FIELD_X_FORWARDED_PORT = 17
    FIELD_X_FORWARDED_PREFIX = 18
    FIELD_X_REAL_IP = 19
    FIELD_FORWARDED = 20
    FIELD_VIA = 21
    FIELD_X_REQUEST_ID = 22
    FIELD_DATE = 23
    FIELD_SERVER = 24
    FIELD_ACCEPT = 25
    FIELD_USER_AGENT = 26
    FIELD_REFERER = 27
    FIELD_COOKIE = 28
    FIELD_SET_COOKIE = 29
    FIELD_LOCATION = 30
    FIELD_CONTENT_TYPE = 31
    FIELD_SEC_WEBSOCKET_KEY = 32
    FIELD_SEC_WEBSOCKET_ACCEPT = 33
    FIELD_CLIENT_CERT = 34
    FIELD_CLIENT_CERT_CHAIN = 35
    FIELD_X_FORWARDED_CLIENT_CERT = 36
    FIELD_STRICT_TRANSPORT_SECURITY = 37
    FIELD_IDS = 38


cdef struct Field:
    uint32_t name_off
    uint32_t value_off
    uint16_t name_len
    uint16_t value_len
    uint8_t id                  # FieldId
    uint8_t flags               # FieldFlag bits
    uint16_t line_len           # bytes from name_off to after CRLF: lines can be copied in runs


cdef enum FieldFlag:
    FIELD_NOMINATED = 1         # a Connection option names it: hop-by-hop, drop
    FIELD_UNDERSCORE = 2        # the name has an underscore: dropped by default


cdef struct Head:
    const char *base
    uint32_t length             # of the whole head, first byte to after the empty line
    uint32_t fields_off         # where the first field line begins
    uint16_t count              # fields used
    uint16_t status             # response only
    uint8_t minor               # HTTP/1.minor: 0 or 1
    uint8_t method              # Method; request only
    uint64_t ids                # bit 1 << FieldId for each id that some field has
    uint64_t twice              # the same for ids that more than one field has
    uint8_t last[FIELD_IDS]     # index of the last field of each id in `ids`; others mean nothing
    Text method_text            # request only
    Text target                 # request only, as received
    Text reason                 # response only
    Field fields[HEAD_FIELDS_MAX]


cdef enum BodyKind:
    BODY_NONE = 0
    BODY_LENGTH = 1
    BODY_CHUNKED = 2
    BODY_CLOSE = 3              # a response that ends when the upstream closes


cdef struct Framing:
    # How a message's body is delimited and what the connection does next (RFC 9112 section 6, 9).
    int64_t length              # BODY_LENGTH: bytes, else -1
    uint8_t body                # BodyKind
    uint8_t keep_alive          # the peer wants to go on after this message
    uint8_t expect_continue     # request: Expect: 100-continue (RFC 9110 10.1.1)
    uint8_t upgrade             # UpgradeKind
    uint8_t te_trailers         # request: TE names trailers
    int16_t host                # index of the Host field, -1 if none
    int16_t upgrade_field       # index of the Upgrade field, -1 if none


cdef enum UpgradeKind:
    UPGRADE_NONE = 0
    UPGRADE_WEBSOCKET = 1
    UPGRADE_OTHER = 2           # named by Connection, but not a protocol we tunnel: dropped
