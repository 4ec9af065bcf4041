# SPDX-License-Identifier: MIT
"""Where a message ends and what its connection does next (RFC 9112 sections 6, 7 and 9).

    frame_request(head, framing, fault)                     0, or -1 and `fault` is filled
    frame_response(head, request_method, framing, fault)

Every smuggling attack is two parties who disagree here, so whatever could be read in two ways is
refused: Content-Length beside Transfer-Encoding, either of them twice, any coding but exactly
`chunked`, any coding in HTTP/1.0, a length that is not plain digits. A request's coding that is
well formed and ends in `chunked` but names others is 501, any other is 400 (RFC 9112 6.1, 6.3).

Framing.length: with BODY_LENGTH the bytes that follow (never 0). With BODY_NONE what a
Content-Length field said about no body (0 on a request, anything on an answer to HEAD or a 304), or
-1 if there was none: who forwards the message forwards that information.

Connection's options are read here too: fields they name get FIELD_NOMINATED, unless `name_guards`
says that nobody may name them away (B3 22). Who calls: the worker, once per head.
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint64_t

from fastproxy.http1.authority cimport authority_parse
from fastproxy.http1.faults cimport (
    FAULT_BODY_VERSION, FAULT_CODING_BAD, FAULT_CODING_STATUS, FAULT_CODING_TWICE,
    FAULT_CODING_UNKNOWN, FAULT_CODING_VERSION, FAULT_CONNECTION_BAD, FAULT_EXPECT_UNKNOWN,
    FAULT_HOST_BAD, FAULT_HOST_MISSING, FAULT_HOST_TWICE, FAULT_LENGTH_AND_CODING,
    FAULT_LENGTH_BAD, FAULT_LENGTH_TWICE, fault,
)
from fastproxy.http1.head cimport (
    BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, BODY_NONE, FIELD_CONNECTION, FIELD_CONTENT_LENGTH,
    FIELD_EXPECT, FIELD_HOST, FIELD_NOMINATED, FIELD_SEC_WEBSOCKET_KEY, FIELD_TE,
    FIELD_TRANSFER_ENCODING, FIELD_UPGRADE, METHOD_CONNECT, METHOD_DELETE, METHOD_GET, METHOD_HEAD,
    SIDE_CLIENT, SIDE_UPSTREAM, UPGRADE_NONE, UPGRADE_OTHER, UPGRADE_WEBSOCKET, Fault,
    Framing, Head,
)
from fastproxy.http1.names cimport GUARD_CONNECTION, ends_are, lower8, name_guards
from fastproxy.http1.tokens cimport decimal, is_token, lower_is, name_of, next_item, value_of
from fastproxy.memory.limits cimport CONNECTION_OPTIONS_MAX
from fastproxy.memory.span cimport Span, span_equal_nocase


cdef enum OptionBits:
    OPTION_CLOSE = 1
    OPTION_KEEP_ALIVE = 2
    OPTION_UPGRADE = 4
    OPTION_BAD = 8              # not a token, or too many of them


cdef enum FieldBits:
    # Bits of Head.ids that decide anything here.
    BIT_HOST = 1 << 1
    BIT_CONNECTION = 1 << 2
    BIT_LENGTH = 1 << 3
    BIT_CODING = 1 << 4
    BIT_EXPECT = 1 << 5
    BIT_UPGRADE = 1 << 6
    BIT_TE = 1 << 7


cdef inline void _nominate(Head *head, Span name) noexcept nogil:
    """Mark every field of this name as hop-by-hop, if it may be."""
    cdef int i
    if name_guards(name) & GUARD_CONNECTION:
        return
    for i in range(head.count):
        if span_equal_nocase(name_of(head, &head.fields[i]), name):
            head.fields[i].flags |= FIELD_NOMINATED


cdef inline uint8_t _options(Head *head, Span rest, int *budget) noexcept nogil:
    """One Connection field's options. `budget` bounds the names looked up over all of them."""
    cdef Span item
    cdef uint8_t options = 0
    while next_item(&rest, &item):
        if item.len == 0:
            continue
        if lower_is(item, b"keep-alive", 10):
            options |= OPTION_KEEP_ALIVE
        elif lower_is(item, b"close", 5):
            options |= OPTION_CLOSE
        elif lower_is(item, b"upgrade", 7):
            options |= OPTION_UPGRADE
        elif is_token(item) and budget[0] > 0:
            budget[0] -= 1
            _nominate(head, item)
        else:
            options |= OPTION_BAD
    return options


cdef inline uint8_t _connection(Head *head) noexcept nogil:
    """What all Connection fields say together."""
    cdef int i, budget = CONNECTION_OPTIONS_MAX
    cdef uint8_t options = 0
    cdef Span value
    if not head.ids & BIT_CONNECTION:
        return 0
    if not head.twice & BIT_CONNECTION:
        value = _last(head, FIELD_CONNECTION)
        if value.len == 10 and ends_are(lower8(value.ptr), lower8(value.ptr + 2),
                                        b"keep-alive", 10):
            return OPTION_KEEP_ALIVE
        return _options(head, value, &budget)
    for i in range(head.count):
        if head.fields[i].id == FIELD_CONNECTION:
            options |= _options(head, value_of(head, &head.fields[i]), &budget)
    return options


cdef inline bint _te_trailers(const Head *head) noexcept nogil:
    """Does some TE field list `trailers`?"""
    cdef Span rest, item
    cdef int i
    if not head.ids & BIT_TE:
        return False
    for i in range(head.count):
        if head.fields[i].id != FIELD_TE:
            continue
        rest = value_of(head, &head.fields[i])
        while next_item(&rest, &item):
            if lower_is(item, b"trailers", 8):
                return True
    return False


cdef inline Span _last(const Head *head, uint8_t id) noexcept nogil:
    """Value of the last field of an id that is there."""
    return value_of(head, &head.fields[head.last[id]])


cdef inline int _at(const Head *head, uint8_t id, int reason, uint8_t side,
                    Fault *out) noexcept nogil:
    """Refuse the head for its last field of an id that is there."""
    return fault(out, reason, head.fields[head.last[id]].name_off, side)


cdef inline int _coding_reason(Span rest) noexcept nogil:
    """Why this Transfer-Encoding, which is not plain `chunked`, is refused."""
    cdef Span item
    cdef int others = 0, chunked = 0
    while next_item(&rest, &item):
        if chunked or not is_token(item):
            return FAULT_CODING_BAD
        if lower_is(item, b"chunked", 7):
            chunked = 1
        else:
            others += 1
    return FAULT_CODING_UNKNOWN if chunked and others else FAULT_CODING_BAD


cdef inline int _coded(const Head *head, Framing *f, uint8_t side, Fault *out) noexcept nogil:
    """A message with Transfer-Encoding."""
    cdef Span coding = _last(head, FIELD_TRANSFER_ENCODING)
    cdef int reason = 0
    if head.ids & BIT_LENGTH:
        reason = FAULT_LENGTH_AND_CODING
    elif head.twice & BIT_CODING:
        reason = FAULT_CODING_TWICE
    elif head.minor == 0:
        reason = FAULT_CODING_VERSION
    elif not lower_is(coding, b"chunked", 7):
        reason = _coding_reason(coding)
    if reason:
        return _at(head, FIELD_TRANSFER_ENCODING, reason, side, out)
    f.body = BODY_CHUNKED
    return 0


cdef inline int _body(const Head *head, Framing *f, uint8_t side, Fault *out) noexcept nogil:
    """Content-Length and Transfer-Encoding, the same for both directions."""
    f.length = -1
    f.body = BODY_NONE
    if head.ids & BIT_CODING:
        return _coded(head, f, side, out)
    if head.ids & BIT_LENGTH:
        if head.twice & BIT_LENGTH:
            return _at(head, FIELD_CONTENT_LENGTH, FAULT_LENGTH_TWICE, side, out)
        f.length = decimal(_last(head, FIELD_CONTENT_LENGTH))
        if f.length < 0:
            return _at(head, FIELD_CONTENT_LENGTH, FAULT_LENGTH_BAD, side, out)
        if f.length > 0:
            f.body = BODY_LENGTH
    return 0


cdef inline void _start(const Head *head, uint8_t options, Framing *f) noexcept nogil:
    """What framing says the same way in both directions."""
    f.host = <int16_t> head.last[<int> FIELD_HOST] if head.ids & BIT_HOST else -1
    f.upgrade_field = <int16_t> head.last[<int> FIELD_UPGRADE] if head.ids & BIT_UPGRADE else -1
    f.upgrade = UPGRADE_NONE
    f.expect_continue = 0
    f.te_trailers = 0
    if options & (OPTION_CLOSE | OPTION_BAD):
        f.keep_alive = 0
    else:
        f.keep_alive = head.minor == 1 or (options & OPTION_KEEP_ALIVE) != 0


cdef inline int _host(const Head *head, Fault *out) noexcept nogil:
    """Exactly one valid Host; HTTP/1.0 may go without (RFC 9112 3.2)."""
    cdef Span host
    cdef uint16_t port
    if not head.ids & BIT_HOST:
        if head.minor == 0:
            return 0
        return fault(out, FAULT_HOST_MISSING, head.fields_off, SIDE_CLIENT)
    if head.twice & BIT_HOST:
        return _at(head, FIELD_HOST, FAULT_HOST_TWICE, SIDE_CLIENT, out)
    if authority_parse(_last(head, FIELD_HOST), &host, &port) < 0:
        return _at(head, FIELD_HOST, FAULT_HOST_BAD, SIDE_CLIENT, out)
    return 0


cdef inline bint _is_websocket(const Head *head) noexcept nogil:
    """Exactly one Upgrade field, and it says `websocket` alone."""
    return not head.twice & BIT_UPGRADE and lower_is(_last(head, FIELD_UPGRADE), b"websocket", 9)


cdef inline uint8_t _request_upgrade(const Head *head, uint8_t options,
                                     const Framing *f) noexcept nogil:
    """Only a bodiless HTTP/1.1 GET with Connection: upgrade asks for one (B3 19 to 21).

    RFC 6455 4.1 wants exactly one Sec-WebSocket-Key; without it the upstream gets a plain GET.
    """
    cdef uint64_t key = (<uint64_t> 1) << FIELD_SEC_WEBSOCKET_KEY
    if not head.ids & BIT_UPGRADE or not options & OPTION_UPGRADE or head.minor == 0:
        return UPGRADE_NONE
    if head.method != METHOD_GET or f.body != BODY_NONE:
        return UPGRADE_NONE
    if _is_websocket(head) and head.ids & key and not head.twice & key and \
            _last(head, FIELD_SEC_WEBSOCKET_KEY).len > 0:
        return UPGRADE_WEBSOCKET
    return UPGRADE_OTHER


cdef inline int frame_request(Head *head, Framing *f, Fault *out) noexcept nogil:
    """Fill `f` and mark nominated fields. 0, or -1: `out` says what is wrong."""
    cdef uint8_t options = _connection(head)
    _start(head, options, f)
    if _body(head, f, SIDE_CLIENT, out) < 0 or _host(head, out) < 0:
        return -1
    if options & OPTION_BAD:
        return _at(head, FIELD_CONNECTION, FAULT_CONNECTION_BAD, SIDE_CLIENT, out)
    if head.ids & BIT_EXPECT and head.minor == 1:
        if head.twice & BIT_EXPECT or \
                not lower_is(_last(head, FIELD_EXPECT), b"100-continue", 12):
            return _at(head, FIELD_EXPECT, FAULT_EXPECT_UNKNOWN, SIDE_CLIENT, out)
        f.expect_continue = f.body != BODY_NONE
    if head.minor == 0 and f.body != BODY_NONE and head.method in (
            METHOD_GET, METHOD_HEAD, METHOD_DELETE):
        return _at(head, FIELD_CONTENT_LENGTH, FAULT_BODY_VERSION, SIDE_CLIENT, out)
    f.te_trailers = _te_trailers(head)
    f.upgrade = _request_upgrade(head, options, f)
    return 0


cdef inline int frame_response(Head *head, uint8_t request_method, Framing *f,
                               Fault *out) noexcept nogil:
    """Fill `f` for the answer to a request of `request_method`. All faults are 502.

    f.upgrade is only set on a 101 that names `websocket`; whether it was asked for, and its
    Sec-WebSocket-Accept, is the caller's to check.
    """
    cdef uint8_t options = _connection(head)
    cdef bint bodiless
    _start(head, options, f)
    if head.ids & BIT_CODING and (head.status < 200 or head.status == 204):
        return _at(head, FIELD_TRANSFER_ENCODING, FAULT_CODING_STATUS, SIDE_UPSTREAM, out)
    if _body(head, f, SIDE_UPSTREAM, out) < 0:
        return -1
    bodiless = head.status < 200 or head.status == 204 or head.status == 304 or \
        request_method == METHOD_HEAD or (request_method == METHOD_CONNECT and head.status < 300)
    if bodiless:
        f.body = BODY_NONE
    elif f.body == BODY_NONE and f.length < 0:
        f.body = BODY_CLOSE
        f.keep_alive = 0
    if head.status == 101 and head.ids & BIT_UPGRADE and options & OPTION_UPGRADE:
        f.upgrade = UPGRADE_WEBSOCKET if _is_websocket(head) else UPGRADE_OTHER
    return 0
