# SPDX-License-Identifier: MIT
# What the peer says, as HTTP/1.1 text for the engine: frames, header blocks, and requests. The
# bodies, and answers, are in hear_more.pxi.
#
# nghttp2 has checked the fields by then (RFC 9113 8.2, 8.3: names, values, order, which belong
# here, Content-Length against DATA). What is put together is looked at once more: no byte that
# could end a line or a part of it (B3 36), and the engine's strict parser reads all of it again.

cdef extern from * nogil:
    """
    static const char BASE64[65] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    """
    const char BASE64[65]


cdef inline Span rc_span(nghttp2_rcbuf *rc) noexcept nogil:
    cdef nghttp2_vec got
    if rc == NULL:
        return span(NULL, 0)
    got = nghttp2_rcbuf_get_buf(rc)
    return span(<const char *> got.base, got.len)


cdef inline bint says(Span text, const char *word, size_t length) noexcept nogil:
    return text.len == length and memcmp(text.ptr, word, length) == 0


cdef inline bint has_no_gap(Span text) noexcept nogil:
    """No space and no control character: it is one word of a request line, or an authority."""
    cdef size_t i
    for i in range(text.len):
        if <uint8_t> text.ptr[i] <= 0x20 or <uint8_t> text.ptr[i] == 0x7f:
            return False
    return True


# ---- header blocks ----------------------------------------------------------------------------

cdef int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user) noexcept nogil:
    """A header block of an upstream is under way until on_frame_recv says otherwise: its own time
    limit (of a client: watch_head). And what nghttp2 passes over, as we told it that we have no use
    for PRIORITY: floods of it, and one without a stream."""
    cdef Session *s = <Session *> user
    if not s.server and (hd.type == NGHTTP2_HEADERS or (
            hd.type == NGHTTP2_DATA and hd.length == 0)) and (
            nghttp2_session_get_stream_user_data(ng, hd.stream_id) == NULL):
        stray(s)
    if hd.type == NGHTTP2_HEADERS:
        if not s.server:
            s.head_open = not hd.flags & NGHTTP2_FLAG_END_HEADERS
            s.head_ms = s.eng.now_ms
    elif hd.type == NGHTTP2_PRIORITY or hd.type == NGHTTP2_PRIORITY_UPDATE:
        if not s.failed and hd.type == NGHTTP2_PRIORITY and hd.stream_id == 0:
            session_fault(s, NGHTTP2_ERR_PROTO)
            carrier_due(s.eng, s.carrier)
        else:
            glitch(s, GLITCH_PRIORITY)
    return 0


cdef int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame,
                          void *user) noexcept nogil:
    """A new stream (server), or one more header block of a known one: trailers, an answer."""
    cdef Session *s = <Session *> user
    cdef Stream *stream = <Stream *> nghttp2_session_get_stream_user_data(ng, frame.hd.stream_id)
    if frame.headers.cat == NGHTTP2_HCAT_REQUEST:
        stream = stream_make(s, frame.hd.stream_id)
        if stream == NULL:
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
        nghttp2_session_set_stream_user_data(ng, frame.hd.stream_id, stream)
        s.requests += 1
        carrier_idle(s.eng, s.carrier, False)
        if s.requests >= s.eng.plan.settings.requests_per_connection:
            carrier_drain(s.eng, s.carrier)
    if stream != NULL:
        stream.head_bytes = stream.head_fields = 0
    s.heading = stream
    return 0


cdef int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                   nghttp2_rcbuf *value, uint8_t flags, void *user) noexcept nogil:
    cdef Session *s = <Session *> user
    cdef Stream *stream = s.heading
    cdef Span n = rc_span(name)
    cdef Span v = rc_span(value)
    if stream == NULL or s.failed:
        return 0
    if not head_within(s, stream, n, v) or stream.flags & (STREAM_TOO_LARGE | STREAM_MALFORMED):
        return 0
    if n.len != 0 and n.ptr[0] == c':':
        return keep_pseudo(stream, n, value)
    if stream.flags & STREAM_HEAD_IN:
        return keep_line(s, &stream.head, n, v)
    if says(n, b"host", 4) and s.server:
        return keep_at(stream, PSEUDO_HOST, value)
    if says(n, b"cookie", 6):
        return keep_cookie(s, stream, v)
    if says(n, b"content-length", 14):
        stream.flags |= STREAM_LENGTH_IN
    elif says(n, b"sec-websocket-key", 17) and stream.pseudo[<int> PSEUDO_PROTOCOL] != NULL:
        return 0                # means nothing here (RFC 8441 5); we make one for HTTP/1.1
    return keep_line(s, &stream.head, n, v)


cdef int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                           nghttp2_rcbuf *value, uint8_t flags, void *user) noexcept nogil:
    """nghttp2 would leave it out and go on. A message with such a field is malformed."""
    cdef Session *s = <Session *> user
    nghttp2_submit_rst_stream(ng, 0, frame.hd.stream_id, NGHTTP2_PROTOCOL_ERROR)
    carrier_due(s.eng, s.carrier)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE


cdef bint head_within(Session *s, Stream *stream, Span name, Span value) noexcept nogil:
    """Count every field, each cookie crumb too: one byte on the wire may name 4 KiB (HPACK)."""
    cdef const Settings *settings = s.eng.plan.settings
    cdef uint32_t most = settings.headers_bytes + settings.request_line_bytes
    stream.head_bytes += <uint32_t> (name.len + value.len) + FIELD_OVERHEAD
    stream.head_fields += 1
    if stream.head_bytes > HEADERS_HOPELESS * most + FIELD_OVERHEAD * HEAD_FIELDS_MAX or (
            stream.head_fields > HEADERS_HOPELESS * HEAD_FIELDS_MAX):
        session_calm(s, GLITCH_HEADERS)
        return False
    if stream.head_bytes > most + FIELD_OVERHEAD * HEAD_FIELDS_MAX or (
            stream.head_fields > HEAD_FIELDS_MAX):
        stream.flags |= STREAM_TOO_LARGE
    return True


cdef inline int keep_at(Stream *stream, int which, nghttp2_rcbuf *value) noexcept nogil:
    """Hold the value itself, not a copy; the second of a kind is malformed."""
    if stream.pseudo[which] != NULL:
        stream.flags |= STREAM_MALFORMED
        return 0
    nghttp2_rcbuf_incref(value)
    stream.pseudo[which] = value
    return 0


cdef int keep_pseudo(Stream *stream, Span name, nghttp2_rcbuf *value) noexcept nogil:
    if says(name, b":method", 7):
        return keep_at(stream, PSEUDO_METHOD, value)
    if says(name, b":path", 5):
        return keep_at(stream, PSEUDO_PATH, value)
    if says(name, b":scheme", 7):
        return keep_at(stream, PSEUDO_SCHEME, value)
    if says(name, b":authority", 10):
        return keep_at(stream, PSEUDO_AUTHORITY, value)
    if says(name, b":protocol", 9):
        return keep_at(stream, PSEUDO_PROTOCOL, value)
    if says(name, b":status", 7):
        return keep_at(stream, PSEUDO_STATUS, value)
    stream.flags |= STREAM_MALFORMED
    return 0


cdef int keep_line(Session *s, Buffer *to, Span name, Span value) noexcept nogil:
    """One field line. The blocks of a head grow by fours: nothing is copied often."""
    cdef char *at
    if not buffer_room(&s.eng.blocks, to, name.len + value.len + 4):
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    at = to.ptr + to.len
    memcpy(at, name.ptr, name.len)
    at += name.len
    at[0] = c':'
    at[1] = c' '
    at += 2
    if value.len != 0:
        memcpy(at, value.ptr, value.len)
    at += value.len
    at[0] = c'\r'
    at[1] = c'\n'
    to.len += <uint32_t> (name.len + value.len + 4)
    return 0


cdef int keep_cookie(Session *s, Stream *stream, Span value) noexcept nogil:
    """Crumbs are one field again (RFC 9113 8.2.3)."""
    cdef BlockPool *blocks = &s.eng.blocks
    if not buffer_room(blocks, &stream.cookies, value.len + 12):
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    if buffer_size(&stream.cookies) == 0:
        buffer_add(blocks, &stream.cookies, b"cookie: ", 8)
    else:
        buffer_add(blocks, &stream.cookies, b"; ", 2)
    buffer_add(blocks, &stream.cookies, value.ptr, value.len)
    return 0


# ---- frames -----------------------------------------------------------------------------------

cdef int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user) noexcept nogil:
    cdef Session *s = <Session *> user
    cdef Stream *stream
    cdef uint8_t kind = frame.hd.type
    if kind == NGHTTP2_HEADERS or kind == NGHTTP2_DATA:
        stream = <Stream *> nghttp2_session_get_stream_user_data(ng, frame.hd.stream_id)
        if kind == NGHTTP2_HEADERS:
            if not s.server:
                s.head_open = 0
            if stream != NULL:
                head_came(s, stream, frame.hd.flags & NGHTTP2_FLAG_END_STREAM != 0)
        elif frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            if stream != NULL:
                body_ended(s, stream)
        elif frame.hd.length == frame.data.padlen:
            glitch(s, GLITCH_EMPTY_DATA)
    elif kind == NGHTTP2_RST_STREAM:
        if s.server:
            glitch(s, GLITCH_RESET)
        elif nghttp2_session_get_stream_user_data(ng, frame.hd.stream_id) == NULL:
            stray(s)
    elif kind == NGHTTP2_SETTINGS and not frame.hd.flags & NGHTTP2_FLAG_ACK:
        if glitch(s, GLITCH_SETTINGS) and not s.server and s.ready == 0:
            s.ready = 1
    elif kind == NGHTTP2_PING:
        if frame.hd.flags & NGHTTP2_FLAG_ACK:
            s.asked = 0
        else:
            glitch(s, GLITCH_PING)
    elif kind == NGHTTP2_WINDOW_UPDATE:
        glitch(s, GLITCH_WINDOW)
    elif kind == NGHTTP2_GOAWAY and not s.server:
        s.going = 2
        carrier_unlink(s.eng, s.carrier)
        carrier_due(s.eng, s.carrier)
    return 0


cdef int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int code,
                          void *user) noexcept nogil:
    """nghttp2 answers it by RST_STREAM or GOAWAY."""
    cdef Session *s = <Session *> user
    count_add(&s.eng.me.faults, 1)
    return 0


cdef void head_came(Session *s, Stream *stream, bint ended) noexcept nogil:
    """A header block is whole."""
    if s.failed:
        return
    if stream.flags & STREAM_HEAD_IN:
        body_ended(s, stream)   # trailers: nghttp2 saw to it that END_STREAM is there
        return
    if stream.flags & STREAM_MALFORMED:
        stream_reset(stream, NGHTTP2_PROTOCOL_ERROR)
        return
    if ended:
        stream.flags |= STREAM_ENDED_IN
    if s.server:
        request_came(s, stream)
    else:
        answer_came(s, stream)
    buffer_drop(&s.eng.blocks, &stream.head)


cdef void request_came(Session *s, Stream *stream) noexcept nogil:
    """The stream becomes a connection of the engine's, with a request in its input."""
    cdef Room *room = <Room *> s.eng.http2_room
    cdef Out out = out_over(room.text, BUILD_BYTES)
    cdef Connection *conn
    cdef int code
    stream.flags |= STREAM_HEAD_IN
    code = put_request(s, stream, &out)
    pseudo_drop(stream)
    if code != 0:
        stream_reset(stream, <uint32_t> code)
        return
    conn = stream_open(s.eng, s.carrier, &HTTP2_STREAM)
    if conn == NULL or out.full or not buffer_add(&s.eng.blocks, &conn.input, out.ptr, out.len):
        if conn != NULL:
            carrier_close(s.eng, conn)
        stream_reset(stream, NGHTTP2_REFUSED_STREAM)
        return
    conn.carried = stream
    stream.conn = conn
    stream_heard(stream)


cdef void pseudo_drop(Stream *stream) noexcept nogil:
    cdef int i
    for i in range(<int> PSEUDOS):
        if stream.pseudo[i] != NULL:
            nghttp2_rcbuf_decref(stream.pseudo[i])
            stream.pseudo[i] = NULL


cdef int put_request(Session *s, Stream *stream, Out *out) noexcept nogil:
    """The whole head in HTTP/1.1. 0, or the code of the RST_STREAM that answers it."""
    cdef Span method = rc_span(stream.pseudo[<int> PSEUDO_METHOD])
    cdef Span path = rc_span(stream.pseudo[<int> PSEUDO_PATH])
    cdef Span authority = rc_span(stream.pseudo[<int> PSEUDO_AUTHORITY])
    cdef Span host = rc_span(stream.pseudo[<int> PSEUDO_HOST])
    cdef Span protocol = rc_span(stream.pseudo[<int> PSEUDO_PROTOCOL])
    cdef Span scheme = rc_span(stream.pseudo[<int> PSEUDO_SCHEME])
    if not (has_no_gap(method) and has_no_gap(path) and has_no_gap(authority)
            and has_no_gap(host)):
        return NGHTTP2_PROTOCOL_ERROR
    if authority.len == 0:
        authority = host
    elif host.ptr != NULL and not span_equal_nocase(host, authority):
        return NGHTTP2_PROTOCOL_ERROR       # two answers to "for whom?" (RFC 9113 8.3.1)
    if says(method, b"CONNECT", 7):
        if protocol.ptr == NULL:
            path = authority
        elif says(protocol, b"websocket", 9):
            return put_websocket(s, stream, path, authority, out)
        else:
            return NGHTTP2_PROTOCOL_ERROR
    elif protocol.ptr != NULL or path.len == 0 or (
            path.ptr[0] != c'/' and not (says(path, b"*", 1) and says(method, b"OPTIONS", 7))):
        return NGHTTP2_PROTOCOL_ERROR
    elif not says(scheme, b"https", 5) and not says(scheme, b"http", 4):
        return NGHTTP2_PROTOCOL_ERROR
    stream.method = METHOD_HEAD if says(method, b"HEAD", 4) else METHOD_GET
    put_request_line(method, path, authority, out)
    put_kept_lines(stream, out)
    if not stream.flags & (STREAM_ENDED_IN | STREAM_LENGTH_IN):
        stream.flags |= STREAM_CHUNKED_IN
        put(out, b"transfer-encoding: chunked\r\n", 28)
    put(out, b"\r\n", 2)
    return 0


cdef inline void put_request_line(Span method, Span path, Span authority, Out *out) noexcept nogil:
    put_span(out, method)
    put_char(out, c' ')
    put_span(out, path)
    put(out, b" HTTP/1.1\r\n", 11)
    if authority.ptr != NULL:
        put(out, b"host: ", 6)
        put_span(out, authority)
        put(out, b"\r\n", 2)


cdef inline void put_kept_lines(Stream *stream, Out *out) noexcept nogil:
    """The fields as they came; one of a head that is too large says so to the parser, too."""
    put_span(out, buffer_span(&stream.head))
    if buffer_size(&stream.cookies) != 0:
        put_span(out, buffer_span(&stream.cookies))
        put(out, b"\r\n", 2)
    if stream.flags & STREAM_TOO_LARGE:
        put_too_large(out)


cdef void put_too_large(Out *out) noexcept nogil:
    """More fields than any limit allows: the engine answers 431, as it does to HTTP/1.1."""
    cdef int i
    for i in range(<int> HEAD_FIELDS_MAX + 1):
        put(out, b"x: \r\n", 5)


cdef int put_websocket(Session *s, Stream *stream, Span path, Span authority,
                       Out *out) noexcept nogil:
    """Extended CONNECT (RFC 8441) as the upgrade that HTTP/1.1 knows."""
    cdef char key[24]
    if path.len == 0 or path.ptr[0] != c'/' or stream.flags & (STREAM_ENDED_IN | STREAM_LENGTH_IN):
        return NGHTTP2_PROTOCOL_ERROR
    stream.flags |= STREAM_TUNNEL
    stream.method = METHOD_GET
    put_request_line(span(b"GET", 3), path, authority, out)
    put_kept_lines(stream, out)
    random_key(s.eng.random, key)
    put(out, b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ", 60)
    put(out, key, 24)
    put(out, b"\r\n\r\n", 4)
    return 0


cdef void random_key(uint64_t *random, char *out) noexcept nogil:
    """16 random bytes in base64. It need not be secret: it proves that the other side speaks
    WebSocket (RFC 6455 1.3)."""
    cdef uint64_t bits = 0
    cdef int i
    for i in range(21):
        if i % 10 == 0:
            bits = random_next(random)
        out[i] = BASE64[bits & 63]
        bits >>= 6
    out[21] = BASE64[(bits & 3) << 4]       # the last of 128 bits are two
    out[22] = out[23] = c'='
