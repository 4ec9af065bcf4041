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

from libc.stdint cimport uint8_t, uint16_t, uint64_t

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
    SIDE_CLIENT, SIDE_UPSTREAM, UPGRADE_NONE, UPGRADE_OTHER, UPGRADE_WEBSOCKET, Fault, Field,
    Framing, Head,
)
from fastproxy.http1.names cimport GUARD_CONNECTION, name_guards
from fastproxy.http1.tokens cimport decimal, is_token, lower_is, name_of, next_item, value_of
from fastproxy.memory.limits cimport CONNECTION_OPTIONS_MAX
from fastproxy.memory.span cimport Span, span_equal_nocase


cdef enum OptionBits:
    OPTION_CLOSE = 1
    OPTION_KEEP_ALIVE = 2
    OPTION_UPGRADE = 4
    OPTION_BAD = 8              # not a token, or too many of them


cdef struct Seen:
    # What one pass over the fields found. Indexes of the last field of each kind, -1 if none.
    int host
    int length
    int coding
    int expect
    int upgrade
    int key
    uint16_t hosts
    uint16_t lengths
    uint16_t codings
    uint16_t expects
    uint16_t upgrades
    uint16_t keys
    uint8_t options             # OptionBits
    uint8_t te_trailers


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


cdef inline bint _names_trailers(Span rest) noexcept nogil:
    """TE: does it list `trailers`?"""
    cdef Span item
    while next_item(&rest, &item):
        if lower_is(item, b"trailers", 8):
            return True
    return False


cdef inline void _look(Head *head, Seen *seen) noexcept nogil:
    """One pass: find and count the fields that matter here."""
    cdef int i, budget = CONNECTION_OPTIONS_MAX
    cdef Field *field
    seen.host = seen.length = seen.coding = seen.expect = seen.upgrade = seen.key = -1
    seen.hosts = seen.lengths = seen.codings = seen.expects = seen.upgrades = seen.keys = 0
    seen.options = seen.te_trailers = 0
    for i in range(head.count):
        field = &head.fields[i]
        if field.id == FIELD_HOST:
            seen.host = i
            seen.hosts += 1
        elif field.id == FIELD_CONNECTION:
            seen.options |= _options(head, value_of(head, field), &budget)
        elif field.id == FIELD_CONTENT_LENGTH:
            seen.length = i
            seen.lengths += 1
        elif field.id == FIELD_TRANSFER_ENCODING:
            seen.coding = i
            seen.codings += 1
        elif field.id == FIELD_EXPECT:
            seen.expect = i
            seen.expects += 1
        elif field.id == FIELD_UPGRADE:
            seen.upgrade = i
            seen.upgrades += 1
        elif field.id == FIELD_TE:
            seen.te_trailers |= _names_trailers(value_of(head, field))
        elif field.id == FIELD_SEC_WEBSOCKET_KEY:
            seen.key = i
            seen.keys += 1


cdef inline int _at(const Head *head, int index, int reason, uint8_t side,
                    Fault *out) noexcept nogil:
    return fault(out, reason, head.fields[index].name_off, side)


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


cdef inline int _body(const Head *head, const Seen *seen, Framing *f, uint8_t side,
                      Fault *out) noexcept nogil:
    """Content-Length and Transfer-Encoding, the same for both directions."""
    cdef Span coding
    f.length = -1
    f.body = BODY_NONE
    if seen.codings:
        if seen.lengths:
            return _at(head, seen.coding, FAULT_LENGTH_AND_CODING, side, out)
        if seen.codings > 1:
            return _at(head, seen.coding, FAULT_CODING_TWICE, side, out)
        if head.minor == 0:
            return _at(head, seen.coding, FAULT_CODING_VERSION, side, out)
        coding = value_of(head, &head.fields[seen.coding])
        if not lower_is(coding, b"chunked", 7):
            return _at(head, seen.coding, _coding_reason(coding), side, out)
        f.body = BODY_CHUNKED
    elif seen.lengths:
        if seen.lengths > 1:
            return _at(head, seen.length, FAULT_LENGTH_TWICE, side, out)
        f.length = decimal(value_of(head, &head.fields[seen.length]))
        if f.length < 0:
            return _at(head, seen.length, FAULT_LENGTH_BAD, side, out)
        if f.length > 0:
            f.body = BODY_LENGTH
    return 0


cdef inline void _start(const Head *head, const Seen *seen, Framing *f) noexcept nogil:
    """What framing says the same way in both directions."""
    f.host = seen.host
    f.upgrade_field = seen.upgrade
    f.upgrade = UPGRADE_NONE
    f.expect_continue = 0
    f.te_trailers = 0
    if seen.options & (OPTION_CLOSE | OPTION_BAD):
        f.keep_alive = 0
    else:
        f.keep_alive = head.minor == 1 or (seen.options & OPTION_KEEP_ALIVE) != 0


cdef inline int _host(const Head *head, const Seen *seen, Fault *out) noexcept nogil:
    """Exactly one valid Host; HTTP/1.0 may go without (RFC 9112 3.2)."""
    cdef Span host
    cdef uint16_t port
    if seen.hosts == 0:
        if head.minor == 0:
            return 0
        return fault(out, FAULT_HOST_MISSING, head.fields_off, SIDE_CLIENT)
    if seen.hosts > 1:
        return _at(head, seen.host, FAULT_HOST_TWICE, SIDE_CLIENT, out)
    if authority_parse(value_of(head, &head.fields[seen.host]), &host, &port) < 0:
        return _at(head, seen.host, FAULT_HOST_BAD, SIDE_CLIENT, out)
    return 0


cdef inline uint8_t _request_upgrade(const Head *head, const Seen *seen,
                                     const Framing *f) noexcept nogil:
    """Only a bodiless HTTP/1.1 GET with Connection: upgrade asks for one (B3 19 to 21).

    RFC 6455 4.1 wants exactly one Sec-WebSocket-Key; without it the upstream gets a plain GET.
    """
    if seen.upgrades == 0 or not seen.options & OPTION_UPGRADE or head.minor == 0:
        return UPGRADE_NONE
    if head.method != METHOD_GET or f.body != BODY_NONE:
        return UPGRADE_NONE
    if seen.upgrades == 1 and seen.keys == 1 and head.fields[seen.key].value_len > 0 and \
            lower_is(value_of(head, &head.fields[seen.upgrade]), b"websocket", 9):
        return UPGRADE_WEBSOCKET
    return UPGRADE_OTHER


cdef inline int frame_request(Head *head, Framing *f, Fault *out) noexcept nogil:
    """Fill `f` and mark nominated fields. 0, or -1: `out` says what is wrong."""
    cdef Seen seen
    _look(head, &seen)
    _start(head, &seen, f)
    if _body(head, &seen, f, SIDE_CLIENT, out) < 0 or _host(head, &seen, out) < 0:
        return -1
    if seen.options & OPTION_BAD:
        return fault(out, FAULT_CONNECTION_BAD, head.fields_off, SIDE_CLIENT)
    if seen.expects and head.minor == 1:
        if seen.expects > 1 or \
                not lower_is(value_of(head, &head.fields[seen.expect]), b"100-continue", 12):
            return _at(head, seen.expect, FAULT_EXPECT_UNKNOWN, SIDE_CLIENT, out)
        f.expect_continue = f.body != BODY_NONE
    if head.minor == 0 and f.body != BODY_NONE and head.method in (
            METHOD_GET, METHOD_HEAD, METHOD_DELETE):
        return _at(head, seen.length, FAULT_BODY_VERSION, SIDE_CLIENT, out)
    f.te_trailers = seen.te_trailers
    f.upgrade = _request_upgrade(head, &seen, f)
    return 0


cdef inline int frame_response(Head *head, uint8_t request_method, Framing *f,
                               Fault *out) noexcept nogil:
    """Fill `f` for the answer to a request of `request_method`. All faults are 502.

    f.upgrade is only set on a 101 that names `websocket`; whether it was asked for, and its
    Sec-WebSocket-Accept, is the caller's to check.
    """
    cdef Seen seen
    cdef bint bodiless
    _look(head, &seen)
    _start(head, &seen, f)
    if seen.codings and (head.status < 200 or head.status == 204):
        return _at(head, seen.coding, FAULT_CODING_STATUS, SIDE_UPSTREAM, out)
    if _body(head, &seen, f, SIDE_UPSTREAM, out) < 0:
        return -1
    bodiless = head.status < 200 or head.status == 204 or head.status == 304 or \
        request_method == METHOD_HEAD or (request_method == METHOD_CONNECT and head.status < 300)
    if bodiless:
        f.body = BODY_NONE
    elif f.body == BODY_NONE and f.length < 0:
        f.body = BODY_CLOSE
        f.keep_alive = 0
    if head.status == 101 and seen.upgrades and seen.options & OPTION_UPGRADE:
        f.upgrade = UPGRADE_OTHER
        if seen.upgrades == 1 and \
                lower_is(value_of(head, &head.fields[seen.upgrade]), b"websocket", 9):
            f.upgrade = UPGRADE_WEBSOCKET
    return 0
