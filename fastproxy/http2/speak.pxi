# SPDX-License-Identifier: MIT
# What the engine says, in HTTP/1.1 text, as frames: a head becomes HEADERS, its body DATA. nghttp2
# asks for the body when the peer's window is open; until then a little of it waits in Stream.out.

cdef extern from "fastproxy/clib/sha1.h" nogil:
    void websocket_accept(const char *key, size_t length, char *out) noexcept


cdef enum:
    # Fields that mean something to one HTTP/1.1 connection only (RFC 9113 8.2.2), by FieldId.
    HOP_FIELDS = (1 << 2) | (1 << 4) | (1 << 6) | (1 << 9) | (1 << 10) | (1 << 13)


cdef inline void nv_set(nghttp2_nv *nv, const char *name, size_t namelen,
                        Span value) noexcept nogil:
    nv.name = <uint8_t *> name
    nv.namelen = namelen
    nv.value = <uint8_t *> value.ptr
    nv.valuelen = value.len
    nv.flags = NGHTTP2_NV_FLAG_NONE


cdef inline bint names(const nghttp2_nv *nv, const char *name, size_t length) noexcept nogil:
    """Is it this field?"""
    return span_equal_nocase(span(<const char *> nv.name, nv.namelen), span(name, length))


cdef size_t fields_as_nv(const Head *head, nghttp2_nv *nv, uint64_t drop,
                         bint keeps_te) noexcept nogil:
    """Field lines as name and value; hop-by-hop ones are not there. nghttp2 copies them, and puts
    the names in lower case."""
    cdef size_t count = 0
    cdef const Field *field
    cdef Span name
    cdef uint16_t i
    for i in range(head.count):
        field = &head.fields[i]
        if field.id == FIELD_TE:
            if not keeps_te:        # else it is ours, and Connection names it
                continue
        elif (drop >> field.id) & 1 or field.flags & FIELD_NOMINATED:
            continue
        name = name_of(head, field)
        nv_set(&nv[count], name.ptr, name.len, value_of(head, field))
        if field.id == FIELD_SET_COOKIE:
            nv[count].flags = NGHTTP2_NV_FLAG_NO_INDEX      # seen once, and nobody's to guess
        count += 1
    return count


cdef ssize_t stream_say_head(Stream *stream, const char *base, size_t size) noexcept nogil:
    """Submit the head that begins these bytes. How many it is; 0: it is not whole; -1: refused."""
    cdef Room *room = <Room *> stream.session.eng.http2_room
    cdef HeadParser *parser = &room.parser
    cdef Fault fault
    cdef int64_t used
    if stream.session.server:
        parser_init_response(parser, stream.session.eng.scan, &room.limits)
        used = parse_response(parser, base, size, &fault)
    else:
        parser_init_request(parser, stream.session.eng.scan, &room.limits)
        used = parse_request(parser, base, size, &fault)
    if used <= 0:
        return <ssize_t> used
    if stream.session.server:
        if say_answer(stream, &parser.head) != 0:
            return -1
    elif say_request(stream, &parser.head) != 0:
        return -1
    return <ssize_t> used


cdef int say_answer(Stream *stream, Head *head) noexcept nogil:
    """An answer's head, interim or final. 0 if nghttp2 took it."""
    cdef Room *room = <Room *> stream.session.eng.http2_room
    cdef nghttp2_nv nv[1 + 128]
    cdef char digits[3]
    cdef size_t count
    cdef Fault fault
    cdef int status = head.status
    if status == 101:
        status = 200
    digits[0] = <char> (48 + status // 100)
    digits[1] = <char> (48 + status // 10 % 10)
    digits[2] = <char> (48 + status % 10)
    nv_set(&nv[0], b":status", 7, span(digits, 3))
    if frame_response(head, stream.method, &room.framing, &fault) != 0:
        return -1
    count = 1 + fields_as_nv(head, &nv[1], HOP_FIELDS, False)
    if head.status < 200 and head.status != 101:
        return nghttp2_submit_headers(stream.session.ng, NGHTTP2_FLAG_NONE, stream.id, NULL, nv,
                                      count, NULL)
    if head.status == 101:
        if not stream.flags & STREAM_TUNNEL:
            return -1
        count = 1 + without_accept(&nv[1], count - 1)
        room.framing.body = BODY_CLOSE
    else:
        stream.flags &= ~<uint32_t> STREAM_TUNNEL
    return say_final(stream, nv, count)


cdef size_t without_accept(nghttp2_nv *nv, size_t count) noexcept nogil:
    """Sec-WebSocket-Accept answers a key that the client did not send (RFC 8441 5)."""
    cdef size_t kept = 0
    cdef size_t i
    for i in range(count):
        if not names(&nv[i], b"sec-websocket-accept", 20):
            nv[kept] = nv[i]
            kept += 1
    return kept


cdef int say_final(Stream *stream, const nghttp2_nv *nv, size_t count) noexcept nogil:
    """The head that a body follows, or that ends it all."""
    cdef nghttp2_data_provider provider
    cdef nghttp2_data_provider *body = NULL
    cdef int32_t result
    out_begin(stream, &(<Room *> stream.session.eng.http2_room).framing)
    if not stream.flags & STREAM_ENDED_OUT:
        provider.source.ptr = stream
        provider.read_callback = read_body
        body = &provider
        stream.flags |= STREAM_WAITS        # there is nothing yet; stream_wake asks for it
    stream.flags |= STREAM_HEAD_OUT
    if stream.session.server:
        return nghttp2_submit_response(stream.session.ng, stream.id, nv, count, body)
    result = nghttp2_submit_request(stream.session.ng, NULL, nv, count, body, stream)
    if result < 0:
        return result
    stream.id = result
    return 0


cdef void out_begin(Stream *stream, const Framing *framing) noexcept nogil:
    """How the engine delimits the body that it is about to give."""
    stream.out_kind = framing.body
    stream.out_left = <uint64_t> framing.length if framing.body == BODY_LENGTH else 0
    if framing.body == BODY_CHUNKED:
        chunked_init(&stream.out_chunked, SIDE_US, &stream.out_trailers)
    if framing.body == BODY_NONE:
        stream.flags |= STREAM_ENDED_OUT


cdef int say_request(Stream *stream, Head *head) noexcept nogil:
    """A request's head, toward an upstream."""
    cdef Room *room = <Room *> stream.session.eng.http2_room
    cdef nghttp2_nv nv[5 + 128]
    cdef Fault fault
    cdef size_t count = 4
    cdef Span method = text_span(head.base, head.method_text)
    cdef Span path = text_span(head.base, head.target)
    cdef Span key
    if frame_request(head, &room.framing, &fault) != 0 or room.framing.host < 0:
        return -1
    stream.method = head.method
    if room.framing.upgrade == UPGRADE_WEBSOCKET:
        if nghttp2_session_get_remote_settings(
                stream.session.ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) != 1:
            return -1
        key = value_of(head, &head.fields[head.last[<int> FIELD_SEC_WEBSOCKET_KEY]])
        websocket_accept(key.ptr, key.len, stream.accept)
        stream.flags |= STREAM_TUNNEL
        method = span(b"CONNECT", 7)
        nv_set(&nv[4], b":protocol", 9, span(b"websocket", 9))
        count = 5
        room.framing.body = BODY_CLOSE
    nv_set(&nv[0], b":method", 7, method)
    nv_set(&nv[1], b":scheme", 7, span(
        b"https", 5 if stream.session.carrier.flags & CONN_SECURE else 4))
    nv_set(&nv[2], b":authority", 10, value_of(head, &head.fields[room.framing.host]))
    nv_set(&nv[3], b":path", 5, path)
    count += fields_as_nv(head, &nv[count], HOP_FIELDS | 1 << FIELD_HOST,
                          room.framing.te_trailers)
    if stream.flags & STREAM_TUNNEL:
        count = 5 + without_key(&nv[5], count - 5)
    return say_final(stream, nv, count)


cdef size_t without_key(nghttp2_nv *nv, size_t count) noexcept nogil:
    """Sec-WebSocket-Key has no meaning in HTTP/2 (RFC 8441 5)."""
    cdef size_t kept = 0
    cdef size_t i
    for i in range(count):
        if not names(&nv[i], b"sec-websocket-key", 17):
            nv[kept] = nv[i]
            kept += 1
    return kept


# ---- bodies -----------------------------------------------------------------------------------

cdef ssize_t stream_take_body(Stream *stream, const char *data, size_t size) noexcept nogil:
    """Body bytes as the engine gives them: how many are taken (what fits in `out`); -1: they are
    not what the head promised."""
    cdef BlockPool *blocks = &stream.session.eng.blocks
    cdef size_t room
    cdef size_t lent
    cdef ssize_t used
    if size >= LEND_LEAST and stream_lends(stream):
        lent = stream_lend(stream, data, size)
        if lent == size:
            return <ssize_t> size
        if lent != 0:
            used = stream_take_body(stream, data + lent, size - lent)
            return used if used < 0 else used + <ssize_t> lent
    room = buffer_size(&stream.out)
    room = STREAM_KEEPS - room if room < STREAM_KEEPS else 0
    if stream.flags & STREAM_ENDED_OUT:
        return <ssize_t> size           # behind the end: nothing is
    if size > room:
        size = room
    if size == 0:
        return 0
    if not buffer_room(blocks, &stream.out, size):
        return -1
    if stream.out_kind == BODY_CHUNKED:
        return take_chunks(stream, data, size)
    if stream.out_kind == BODY_LENGTH:
        if size > stream.out_left:
            size = stream.out_left
        stream.out_left -= size
    buffer_add(blocks, &stream.out, data, size)
    if stream.out_kind == BODY_LENGTH and stream.out_left == 0:
        stream.flags |= STREAM_ENDED_OUT
    stream_wake(stream)
    return <ssize_t> size


cdef ssize_t take_chunks(Stream *stream, const char *data, size_t size) noexcept nogil:
    """Chunks lose their framing; trailer lines are collected."""
    cdef char *at = stream.out.ptr + stream.out.len
    cdef size_t start = 0
    cdef size_t produced = 0
    cdef Fault fault
    cdef int64_t used
    if (stream.out_chunked.state != CHUNK_DATA or stream.out_chunked.remaining < size) and (
            not trailers_room(stream, size)):
        return -1
    memcpy(at, data, size)
    used = chunked_decode(&stream.out_chunked, at, size, &start, &produced, &fault)
    if used < 0:
        return -1
    if start != 0 and produced != 0:
        memmove(at, at + start, produced)
    stream.out.len += <uint32_t> produced
    if buffer_size(&stream.out) == 0:
        buffer_drop(&stream.session.eng.blocks, &stream.out)
    if stream.out_chunked.done:
        stream.flags |= STREAM_ENDED_OUT
    stream_wake(stream)
    return <ssize_t> used


cdef bint trailers_room(Stream *stream, size_t size) noexcept nogil:
    """These bytes may hold trailer lines: make sure that so much fits. The engine gives them apart
    from the data, so this is nearly always the smallest block."""
    cdef BlockPool *blocks = &stream.session.eng.blocks
    cdef Out *lines = &stream.out_trailers
    cdef uint32_t cap
    cdef char *room
    if size > TRAILER_BYTES_MAX:
        size = TRAILER_BYTES_MAX
    if lines.cap - lines.len >= size:
        return True
    room = block_take(blocks, lines.len + size, &cap)
    if room == NULL:
        return False
    if lines.ptr != NULL:
        memcpy(room, lines.ptr, lines.len)
        block_give(blocks, lines.ptr, <uint32_t> lines.cap)
    lines.ptr = room
    lines.cap = cap
    return True


cdef void stream_wake(Stream *stream) noexcept nogil:
    """There is something for the data provider that said DEFERRED."""
    if stream.flags & STREAM_WAITS and stream.session != NULL and stream.id != 0:
        stream.flags &= ~<uint32_t> STREAM_WAITS
        nghttp2_session_resume_data(stream.session.ng, stream.id)
        carrier_due(stream.session.eng, stream.session.carrier)


cdef ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
                       uint32_t *flags, nghttp2_data_source *source, void *user) noexcept nogil:
    """nghttp2 may send `length` bytes of this stream now."""
    cdef Stream *stream = <Stream *> source.ptr
    cdef size_t held = buffer_size(&stream.out)
    cdef size_t size = held if held != 0 else stream.lent.len
    if held == 0 and size > LENT_FRAME:
        size = LENT_FRAME
    if size > length:
        size = length
    if size != 0:
        flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY       # send_body adds them
    if held + stream.lent.len == size:
        if stream.flags & STREAM_ENDED_OUT:
            flags[0] |= NGHTTP2_DATA_FLAG_EOF
            say_trailers(stream, flags)
        elif size == 0:
            stream.flags |= STREAM_WAITS
            return NGHTTP2_ERR_DEFERRED
    return <ssize_t> size


cdef void say_trailers(Stream *stream, uint32_t *flags) noexcept nogil:
    """Behind the last DATA, if there are any."""
    cdef nghttp2_nv nv[128]
    cdef Out *lines = &stream.out_trailers
    cdef size_t count = 0
    cdef size_t at = 0
    cdef const char *end
    cdef const char *colon
    cdef const char *line
    if lines.ptr == NULL:
        return
    while at < lines.len and count < HEAD_FIELDS_MAX:
        line = lines.ptr + at
        end = <const char *> memchr(line, c'\r', lines.len - at)
        colon = <const char *> memchr(line, c':', lines.len - at)
        if end == NULL or colon == NULL or colon > end:
            break
        nv_set(&nv[count], line, <size_t> (colon - line),
               span(colon + 2, <size_t> (end - colon) - 2))
        count += 1
        at = <size_t> (end - lines.ptr) + 2
    if count != 0 and nghttp2_submit_trailer(stream.session.ng, stream.id, nv, count) == 0:
        flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
