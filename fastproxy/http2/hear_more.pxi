# SPDX-License-Identifier: MIT
# What the peer says, behind the first head: bodies, in chunks if their length is not known, and, as
# we are the client, answers.

# ---- bodies -----------------------------------------------------------------------------------

cdef int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
                       size_t size, void *user) noexcept nogil:
    cdef Session *s = <Session *> user
    cdef Stream *stream = <Stream *> nghttp2_session_get_stream_user_data(ng, id)
    cdef Buffer *to
    if stream == NULL or stream.conn == NULL:
        nghttp2_session_consume(ng, id, size)       # nobody wants it any more
        carrier_due(s.eng, s.carrier)
        return 0
    to = &stream.conn.input if s.server else &stream.inbox
    if not put_piece(s, stream, to, <const char *> data, size):
        nghttp2_session_consume(ng, id, size)
        stream_reset(stream, NGHTTP2_INTERNAL_ERROR)
        return 0
    stream.uncredited += <uint32_t> size
    stream_heard(stream)
    return 0


cdef bint put_piece(Session *s, Stream *stream, Buffer *to, const char *data,
                    size_t size) noexcept nogil:
    """Body bytes as the engine reads them. False: no memory."""
    cdef char room[24]
    cdef Out line = out_over(room, sizeof(room))
    if not stream.flags & STREAM_CHUNKED_IN:
        return buffer_add(&s.eng.blocks, to, data, size)
    put_hex(&line, size)
    put(&line, b"\r\n", 2)
    if not buffer_room(&s.eng.blocks, to, size + line.len + 2):
        return False
    buffer_add(&s.eng.blocks, to, line.ptr, line.len)
    buffer_add(&s.eng.blocks, to, data, size)
    buffer_add(&s.eng.blocks, to, b"\r\n", 2)
    return True


cdef void body_ended(Session *s, Stream *stream) noexcept nogil:
    """END_STREAM, on DATA or behind trailers."""
    cdef Buffer *to
    cdef BlockPool *blocks = &s.eng.blocks
    stream.flags |= STREAM_ENDED_IN
    if stream.conn == NULL:
        return
    to = &stream.conn.input if s.server else &stream.inbox
    if stream.flags & STREAM_CHUNKED_IN:
        if not (buffer_add(blocks, to, b"0\r\n", 3)
                and buffer_add(blocks, to, stream.head.ptr + stream.head.off,
                               buffer_size(&stream.head))
                and buffer_add(blocks, to, b"\r\n", 2)):
            stream_reset(stream, NGHTTP2_INTERNAL_ERROR)
            return
    buffer_drop(blocks, &stream.head)
    stream_heard(stream)


# ---- answers (we are the client) --------------------------------------------------------------

cdef void answer_came(Session *s, Stream *stream) noexcept nogil:
    """An interim answer or the final one, for the engine to read."""
    cdef Room *room = <Room *> s.eng.http2_room
    cdef Out out = out_over(room.text, BUILD_BYTES)
    cdef Span status = rc_span(stream.pseudo[<int> PSEUDO_STATUS])
    cdef bint interim = status.len == 3 and status.ptr[0] == c'1'
    if stream.conn == NULL:
        pseudo_drop(stream)
        return
    if buffer_size(&stream.inbox) > HEAD_BYTES_MAX:
        session_calm(s, GLITCH_HEADERS)     # interim answers, faster than they can be looked at
        return
    if stream.flags & STREAM_TUNNEL and status.len == 3 and status.ptr[0] == c'2':
        put_switched(stream, &out)
    else:
        if not interim:
            stream.flags &= ~<uint32_t> STREAM_TUNNEL
        put(&out, b"HTTP/1.1 ", 9)
        put_span(&out, status)
        put(&out, b" \r\n", 3)
        put_kept_lines(stream, &out)
        if not interim:
            put_answer_framing(stream, status, &out)
        put(&out, b"\r\n", 2)
    if not interim:
        stream.flags |= STREAM_HEAD_IN
    pseudo_drop(stream)
    buffer_drop(&s.eng.blocks, &stream.cookies)
    if out.full or not buffer_add(&s.eng.blocks, &stream.inbox, out.ptr, out.len):
        stream_reset(stream, NGHTTP2_INTERNAL_ERROR)
        return
    stream_heard(stream)


cdef void put_answer_framing(Stream *stream, Span status, Out *out) noexcept nogil:
    """How the engine knows the end: by length, by chunks; an answer that ends with its head has
    none."""
    if stream.flags & STREAM_LENGTH_IN or stream.method == METHOD_HEAD or (
            says(status, b"204", 3) or says(status, b"304", 3)):
        return
    if stream.flags & STREAM_ENDED_IN:
        put(out, b"content-length: 0\r\n", 19)
        return
    stream.flags |= STREAM_CHUNKED_IN
    put(out, b"transfer-encoding: chunked\r\n", 28)


cdef void put_switched(Stream *stream, Out *out) noexcept nogil:
    """2xx to an extended CONNECT is what 101 is to an upgrade."""
    put(out, b"HTTP/1.1 101 Switching Protocols\r\n", 34)
    put_span(out, buffer_span(&stream.head))
    put(out, b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ", 63)
    put(out, stream.accept, 28)
    put(out, b"\r\n\r\n", 4)
