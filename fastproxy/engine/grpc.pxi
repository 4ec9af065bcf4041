# SPDX-License-Identifier: MIT
# gRPC (PROTOCOL-HTTP2.md of grpc/grpc): which messages are gRPC, the deadline a call brings along,
# and what an error of our own says to a caller who reads no status line.
#
# All else of gRPC is HTTP: its messages are a body, its status stands in trailers, a call that is
# cut or cancelled is a stream that is reset. A backend's grpc-status is the application's own and
# never judged; what is no gRPC in an answer (a balancer's 503) is passed on as it is.

cdef enum GrpcStatus:
    GRPC_UNKNOWN = 2
    GRPC_DEADLINE_EXCEEDED = 4
    GRPC_PERMISSION_DENIED = 7
    GRPC_RESOURCE_EXHAUSTED = 8
    GRPC_UNIMPLEMENTED = 12
    GRPC_INTERNAL = 13
    GRPC_UNAVAILABLE = 14
    GRPC_UNAUTHENTICATED = 16

cdef enum:
    # Digits of grpc-timeout; more are no timeout.
    GRPC_TIMEOUT_DIGITS = 8


cdef inline bint is_grpc(const Head *head) noexcept nogil:
    """Is this a gRPC message? Its status is in trailers, so these are always passed on."""
    cdef Span kind
    if not has_field(head, FIELD_CONTENT_TYPE):
        return False
    kind = value_of(head, &head.fields[head.last[<int> FIELD_CONTENT_TYPE]])
    return kind.len >= 16 and lower_is(span(kind.ptr, 16), b"application/grpc", 16) and (
        kind.len == 16 or kind.ptr[16] in (c'+', c';'))


cdef inline bint streams(const Exchange *x, const Head *answer) noexcept nogil:
    """Does silence belong to this answer? A gRPC call and an event stream are as patient as a
    tunnel (timeouts.tunnel_idle); what has a length is no stream."""
    cdef Span kind
    if x.flags & X_GRPC:
        return True
    if x.answer_flow.kind <= BODY_LENGTH or not has_field(answer, FIELD_CONTENT_TYPE):
        return False
    kind = value_of(answer, &answer.fields[answer.last[<int> FIELD_CONTENT_TYPE]])
    return kind.len >= 17 and lower_is(span(kind.ptr, 17), b"text/event-stream", 17)


cdef uint64_t stream_idle_ms(const Exchange *x) noexcept nogil:
    """How long its upstream may be silent; one that takes no bytes is not silent but stuck."""
    if buffer_size(&x.upstream.output) != 0:
        return upstream_row(x).idle_ms
    return x.plan.settings.tunnel_idle_ms


# ---- deadlines ------------------------------------------------------------------------------

cdef void grpc_deadline(Engine *eng, Exchange *x, const Head *head) noexcept nogil:
    """The call's own total timeout, if it is shorter than the route's. The field itself is passed
    on as it came: the backend has the same deadline, and is cancelled when ours is over."""
    cdef uint64_t within_ms
    cdef Span name
    cdef uint16_t i
    for i in range(head.count):
        name = name_of(head, &head.fields[i])
        if name.len == 12 and lower_is(name, b"grpc-timeout", 12):
            within_ms = grpc_timeout_ms(value_of(head, &head.fields[i]))
            if within_ms != 0 and (
                    x.timer.deadline_ms == 0 or eng.now_ms + within_ms < x.timer.deadline_ms):
                timer_set(&eng.wheel, &x.timer, eng.now_ms + within_ms)


cdef uint64_t grpc_timeout_ms(Span value) noexcept nogil:
    """1 to 8 digits and one of H M S m u n, as milliseconds, rounded up; "0n" is 1. 0: it is no
    timeout, and means nothing."""
    cdef uint64_t number = 0
    cdef char unit
    cdef size_t i
    if value.len < 2 or value.len > GRPC_TIMEOUT_DIGITS + 1:
        return 0
    for i in range(value.len - 1):
        if not c'0' <= value.ptr[i] <= c'9':
            return 0
        number = number * 10 + <uint64_t> (value.ptr[i] - c'0')
    unit = value.ptr[value.len - 1]
    if unit == c'H':
        number *= 3600000
    elif unit == c'M':
        number *= 60000
    elif unit == c'S':
        number *= 1000
    elif unit == c'u':
        number = (number + 999) // 1000
    elif unit == c'n':
        number = (number + 999999) // 1000000
    elif unit != c'm':
        return 0
    return number if number != 0 else 1


cdef inline bint grpc_deadline_came(Engine *eng, const Exchange *x) noexcept nogil:
    """Was it the call's own deadline that fired? It is told from the route's by being sooner."""
    return x.route == NULL or x.route.request_timeout_ms == 0 or (
        eng.now_us - x.started_us < x.route.request_timeout_ms * 1000)


# ---- errors ---------------------------------------------------------------------------------

cdef int grpc_status_of(const Exchange *x, int status) noexcept nogil:
    """grpc-status for an error of ours: http-grpc-status-mapping.md of grpc/grpc, and better where
    we know more: what was too large, and what was too late (once a backend had it)."""
    if status == 400:
        return GRPC_INTERNAL
    if status == 401:
        return GRPC_UNAUTHENTICATED
    if status == 403:
        return GRPC_PERMISSION_DENIED
    if status == 404:
        return GRPC_UNIMPLEMENTED
    if status == 413 or status == 431:
        return GRPC_RESOURCE_EXHAUSTED
    if status == 504 and x.end_state[1] != c'C':
        return GRPC_DEADLINE_EXCEEDED
    if status == 429 or 502 <= status <= 504:
        return GRPC_UNAVAILABLE
    return GRPC_UNKNOWN


cdef void put_grpc_error(Exchange *x, Out *fields, int status, Span message) noexcept nogil:
    """The fields of an answer that is nothing but a status ("Trailers-Only"), with HTTP's 200."""
    if x.web != NULL:
        put_web_kind(x.web, fields, True)
        put_web_origin(x, fields)
    else:
        put_text(fields, b"Content-Type: application/grpc\r\n")
    put_text(fields, b"grpc-status: ")
    put_uint(fields, <uint64_t> status)
    put_text(fields, b"\r\ngrpc-message: ")
    put_percent_encoded(fields, message)
    put(fields, b"\r\n", 2)


cdef void put_percent_encoded(Out *out, Span text) noexcept nogil:
    """As grpc-message wants it: all but printable ASCII, and "%" itself, is encoded."""
    cdef uint8_t byte
    cdef size_t i
    for i in range(text.len):
        byte = <uint8_t> text.ptr[i]
        if 0x20 <= byte <= 0x7e and byte != c'%':
            put_char(out, <char> byte)
        else:
            put_char(out, c'%')
            put_char(out, hex_upper(byte >> 4))
            put_char(out, hex_upper(byte & 15))


cdef inline char hex_upper(uint8_t nibble) noexcept nogil:
    return <char> (48 + nibble if nibble < 10 else 55 + nibble)
