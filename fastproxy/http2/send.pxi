# SPDX-License-Identifier: MIT
# Frames out: what nghttp2 has to say is put together and sent, for all streams once a round; large
# pieces of a body at once, from where they lie.
#
# A piece is lent (Stream.lent) for one call of stream_write: nghttp2 makes the frames' heads, the
# bytes go to the transport as they are. The engine is in the middle of an exchange then, so nothing
# may end meanwhile: a stream that does is noted (STREAM_OVER), a dead carrier is seen by the flush.

cdef void carrier_flush(Engine *eng, Connection *conn) noexcept nogil:
    """CarrierPlug.flush: all that nghttp2 has to say, put together, until the peer takes no more of
    it."""
    cdef Session *s = <Session *> conn.carried
    cdef int sends = 0
    if s.overs:
        streams_over(s)
    while buffer_size(&conn.output) == 0:
        session_send(s)
        if conn.flags & CONN_WRITE_DEAD:
            carrier_close(eng, conn)
            return
        if not nghttp2_session_want_write(s.ng):
            break
        sends += 1
        if sends == SENDS_PER_ROUND:
            carrier_due(eng, conn)
            break
    session_after(s)


cdef bint session_send(Session *s) noexcept nogil:
    """One room full of frames. False: there is nothing that may be sent now."""
    cdef Room *room = <Room *> s.eng.http2_room
    cdef const uint8_t *frame
    cdef ssize_t size
    room.filled = room.span_count = 0
    room.full = False
    room.sending = True
    while not room.full:
        size = nghttp2_session_mem_send(s.ng, &frame)
        if size < 0:
            s.failed = 1
        if size <= 0:
            break
        if room.filled + <size_t> size > SEND_ROOM:
            room_add(room, <const char *> frame, <size_t> size)
            break
        memcpy(room.send + room.filled, frame, <size_t> size)
        room_put(room, <size_t> size)
    room.sending = False
    if room.span_count == 0:
        return False
    connection_send(s.eng, s.carrier, room.spans, room.span_count)
    return True


cdef inline void room_put(Room *room, size_t size) noexcept nogil:
    """So many bytes more stand in `send`."""
    cdef iovec *last
    cdef char *at = room.send + room.filled
    room.filled += size
    if room.span_count != 0:
        last = &room.spans[room.span_count - 1]
        if <char *> last.iov_base + last.iov_len == at:
            last.iov_len += size
            room.full = room.full or room.filled > SEND_ROOM - FRAME_BYTES
            return
    room_add(room, at, size)


cdef inline void room_add(Room *room, const char *at, size_t size) noexcept nogil:
    """These bytes, too, wherever they lie. A frame takes two spans."""
    room.spans[room.span_count].iov_base = <void *> at
    room.spans[room.span_count].iov_len = size
    room.span_count += 1
    room.full = (room.full or room.filled > SEND_ROOM - FRAME_BYTES
                 or room.span_count > SEND_SPANS - 2)


cdef int send_body(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t length,
                   nghttp2_data_source *source, void *user) noexcept nogil:
    """nghttp2 sends a DATA frame whose body is ours to add (read_body said how much)."""
    cdef Stream *stream = <Stream *> source.ptr
    cdef Room *room = <Room *> stream.session.eng.http2_room
    memcpy(room.send + room.filled, head, FRAME_HEAD)
    if buffer_size(&stream.out) != 0:
        memcpy(room.send + room.filled + FRAME_HEAD, stream.out.ptr + stream.out.off, length)
        room_put(room, FRAME_HEAD + length)
        buffer_consume(&stream.session.eng.blocks, &stream.out, <uint32_t> length)
    else:
        room_put(room, FRAME_HEAD)
        if length != 0:
            room_add(room, stream.lent.ptr, length)
        stream.lent = span(stream.lent.ptr + length, stream.lent.len - length)
    stream_taken(stream)
    return NGHTTP2_ERR_PAUSE if room.full else 0


# ---- lent bytes -------------------------------------------------------------------------------

cdef size_t stream_lend(Stream *stream, const char *data, size_t size) noexcept nogil:
    """Send of a large piece what may be sent now, without a copy. How much that was."""
    cdef Session *s = stream.session
    cdef Room *room = <Room *> s.eng.http2_room
    cdef Connection *carrier = s.carrier
    if stream.out_kind == BODY_LENGTH and size >= stream.out_left:
        size = stream.out_left
        stream.flags |= STREAM_ENDED_OUT
    elif stream.out_kind == BODY_CHUNKED:
        if stream.out_chunked.state != CHUNK_DATA:
            return 0
        if size > stream.out_chunked.remaining:
            size = stream.out_chunked.remaining
    stream.lent = span(data, size)
    stream_wake(stream)
    room.lending = True
    while stream.lent.len != 0 and may_lend(s, carrier) and session_send(s):
        pass
    room.lending = False
    size -= stream.lent.len
    if stream.out_kind == BODY_LENGTH:
        stream.out_left -= size
        if stream.lent.len != 0:
            stream.flags &= ~<uint32_t> STREAM_ENDED_OUT
    elif stream.out_kind == BODY_CHUNKED:
        stream.out_chunked.remaining -= size
        if stream.out_chunked.remaining == 0:
            stream.out_chunked.state = CHUNK_DATA_CR
    stream.lent = span(NULL, 0)
    return size


cdef inline bint stream_lends(const Stream *stream) noexcept nogil:
    """May it be sent at once? Not within nghttp2, which calls nobody back that calls it."""
    cdef const Room *room = <const Room *> stream.session.eng.http2_room
    return (not room.sending and not room.hearing and not stream.flags & STREAM_ENDED_OUT
            and stream.id != 0 and may_lend(stream.session, stream.session.carrier))


cdef inline bint may_lend(const Session *s, const Connection *carrier) noexcept nogil:
    """Would bytes leave at once?"""
    return (buffer_size(&carrier.output) == 0 and carrier.ready & READY_WRITE != 0
            and carrier.flags & CONN_WRITE_DEAD == 0 and not s.failed)


cdef void streams_over(Session *s) noexcept nogil:
    """Streams that ended while bytes were lent, and that the engine has not let go of since."""
    cdef Stream *stream = s.streams
    s.overs = 0
    while stream != NULL:
        if stream.flags & STREAM_OVER:
            stream.flags &= ~<uint32_t> STREAM_OVER
            stream_end(stream, stream.flags & STREAM_UNPROCESSED != 0)
            stream = s.streams      # whoever has ended with it
        else:
            stream = stream.next
