# SPDX-License-Identifier: MIT
# Streams: their lives, and the Transport by which the engine sees one as a connection of its own.

cdef Transport HTTP2_STREAM


cdef Stream *stream_make(Session *s, int32_t id) noexcept nogil:
    """NULL: no memory."""
    cdef uint32_t cap
    cdef Stream *stream = <Stream *> block_take(&s.eng.blocks, sizeof(Stream), &cap)
    if stream == NULL:
        return NULL
    memset(stream, 0, sizeof(Stream))
    stream.cap = <uint16_t> (cap // 1024)
    stream.session = s
    stream.id = id
    stream.taken_ms = s.eng.now_ms
    stream.next = s.streams
    if s.streams != NULL:
        s.streams.prev = stream
    s.streams = stream
    s.count += 1
    return stream


cdef void stream_unlink(Stream *stream) noexcept nogil:
    """Out of its session; what it has for the engine stays."""
    cdef Session *s = stream.session
    if s == NULL:
        return
    stream_credit_rest(stream)
    if stream.prev != NULL:
        stream.prev.next = stream.next
    else:
        s.streams = stream.next
    if stream.next != NULL:
        stream.next.prev = stream.prev
    s.count -= 1
    if s.heading == stream:
        s.heading = NULL
    stream.session = NULL


cdef void stream_free(Engine *eng, Stream *stream) noexcept nogil:
    """Nobody knows it any more."""
    cdef BlockPool *blocks = &eng.blocks
    cdef int i
    stream_unlink(stream)
    for i in range(<int> PSEUDOS):
        if stream.pseudo[i] != NULL:
            nghttp2_rcbuf_decref(stream.pseudo[i])
    buffer_drop(blocks, &stream.head)
    buffer_drop(blocks, &stream.cookies)
    buffer_drop(blocks, &stream.inbox)
    buffer_drop(blocks, &stream.out)
    if stream.out_trailers.ptr != NULL:
        block_give(blocks, stream.out_trailers.ptr, <uint32_t> stream.out_trailers.cap)
    block_give(blocks, <char *> stream, <uint32_t> stream.cap * 1024)


cdef void stream_end(Stream *stream, bint unprocessed) noexcept nogil:
    """nghttp2 is done with it, or the carrier goes: tell the engine if it does not know."""
    cdef Connection *conn = stream.conn
    cdef Engine *eng = stream.session.eng
    if (not stream.session.server and stream.flags & STREAM_ENDED_IN and conn != NULL
            and stream.inbox.ptr != NULL):
        stream_unlink(stream)   # its answer is whole, and will be read
        stream.id = 0
        stream.flags |= STREAM_ENDED_OUT
        conn.tls = NULL
        return
    stream.conn = NULL
    stream_free(eng, stream)
    if conn == NULL:
        return
    conn.carried = NULL
    if unprocessed:
        conn.flags |= CONN_UNPROCESSED
    stream_gone(eng, conn)


cdef void stream_reset(Stream *stream, uint32_t code) noexcept nogil:
    """RST_STREAM from us. What nghttp2 closes comes back by on_stream_close."""
    nghttp2_submit_rst_stream(stream.session.ng, 0, stream.id, code)
    carrier_due(stream.session.eng, stream.session.carrier)


cdef int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code,
                         void *user) noexcept nogil:
    cdef Stream *stream = <Stream *> nghttp2_session_get_stream_user_data(ng, id)
    cdef bint unprocessed
    if stream == NULL:
        return 0
    nghttp2_session_set_stream_user_data(ng, id, NULL)
    if ((code == NGHTTP2_NO_ERROR or stream.flags & STREAM_ENDED_IN) and stream.conn != NULL
            and (stream.inbox.ptr != NULL or stream_end_unread(stream))):
        # What has come is complete, and not read yet: the stream's end is in its text, or read
        # after it. Whatever the peer thinks of the rest of the request then.
        stream.id = 0
        stream.flags |= STREAM_ENDED_IN | STREAM_ENDED_OUT
        stream_heard(stream)
        return 0
    unprocessed = code == NGHTTP2_REFUSED_STREAM or (
        not stream.session.server and not stream.flags & STREAM_SENT_HEAD)
    if (<Room *> stream.session.eng.http2_room).lending and stream.conn != NULL:
        stream.id = 0
        stream.flags |= STREAM_OVER | (STREAM_UNPROCESSED if unprocessed else 0)
        stream.session.overs = 1
        return 0
    stream_end(stream, unprocessed)
    return 0


cdef bint stream_end_unread(const Stream *stream) noexcept nogil:
    """The peer has ended its side, which the engine does not know yet. Only a tunnel, and an answer
    without a length, have an end that is not in their text."""
    return (stream.flags & STREAM_ENDED_IN != 0 and stream.conn.flags & CONN_EOF == 0
            and (not stream.session.server or stream.flags & STREAM_TUNNEL != 0))


# ---- the transport ----------------------------------------------------------------------------

cdef inline Stream *stream_of(Connection *conn) noexcept nogil:
    """NULL: it has ended, and the engine has not let go of its connection yet."""
    return <Stream *> conn.carried


cdef ssize_t stream_read(Engine *eng, Connection *conn, char *buf, size_t size,
                         bint *drained) noexcept nogil:
    """Transport.read: the engine has taken all that came before, so the window may open again."""
    cdef Stream *stream = stream_of(conn)
    cdef uint32_t waiting
    drained[0] = True
    if stream == NULL:
        return IO_ERROR
    waiting = buffer_size(&stream.inbox)
    if waiting != 0:
        if waiting > size:
            waiting = <uint32_t> size
            drained[0] = False
        memcpy(buf, stream.inbox.ptr + stream.inbox.off, waiting)
        buffer_consume(&eng.blocks, &stream.inbox, waiting)
        if buffer_size(&stream.inbox) == 0:
            stream_credit(stream)
            drained[0] = not stream.flags & STREAM_ENDED_IN     # its end is still to be read
        return <ssize_t> waiting
    stream_credit(stream)
    return 0 if stream.flags & STREAM_ENDED_IN else IO_AGAIN


cdef void stream_credit(Stream *stream) noexcept nogil:
    """What the engine has taken, the peer may send again. Who goes on and on at full speed gets a
    larger window, up to STREAM_WINDOW_MAX."""
    cdef Session *s = stream.session
    cdef uint32_t bytes_taken = stream.uncredited
    cdef int32_t window
    if bytes_taken == 0 or s == NULL:
        return
    if stream.id == 0:
        stream_credit_rest(stream)
        return
    stream.uncredited = 0
    stream.credited += bytes_taken
    nghttp2_session_consume(s.ng, stream.id, bytes_taken)
    window = nghttp2_session_get_stream_local_window_size(s.ng, stream.id)
    if stream.credited >= 4 * STREAM_WINDOW and window < STREAM_WINDOW_MAX and (
            not stream.flags & STREAM_ENDED_IN):
        stream.credited = 0
        nghttp2_session_set_local_window_size(s.ng, 0, stream.id, STREAM_WINDOW_MAX)
    carrier_due(s.eng, s.carrier)


cdef void stream_credit_rest(Stream *stream) noexcept nogil:
    """The stream has ended, its bytes still count against the connection's window."""
    cdef Session *s = stream.session
    if stream.uncredited == 0 or s.ng == NULL:
        return
    nghttp2_session_consume_connection(s.ng, stream.uncredited)
    stream.uncredited = 0
    carrier_due(s.eng, s.carrier)


cdef ssize_t stream_write(Engine *eng, Connection *conn, iovec *spans, int count) noexcept nogil:
    """Transport.write: a head in one piece, then as much of the body as may wait here."""
    cdef Stream *stream = stream_of(conn)
    cdef ssize_t total = 0
    cdef ssize_t used
    cdef int i
    if stream == NULL or stream.session == NULL or stream.session.failed:
        return IO_ERROR
    carrier_due(eng, stream.session.carrier)
    if not stream.flags & STREAM_HEAD_OUT:
        return stream_write_head(stream, spans, count)
    for i in range(count):
        if spans[i].iov_len == 0:
            continue
        used = stream_take_body(stream, <const char *> spans[i].iov_base, spans[i].iov_len)
        if used < 0:
            return IO_ERROR
        total += used
        if <size_t> used < spans[i].iov_len:
            break
    return total


cdef ssize_t stream_write_head(Stream *stream, iovec *spans, int count) noexcept nogil:
    """The first bytes of a message. The engine gives a whole head at once, but not always in one
    span: then it is put together here."""
    cdef Room *room = <Room *> stream.session.eng.http2_room
    cdef const char *base = <const char *> spans[0].iov_base
    cdef size_t size = spans[0].iov_len
    cdef size_t rest
    cdef ssize_t used
    cdef ssize_t taken
    cdef int i
    cdef int first = 1
    used = stream_say_head(stream, base, size)
    if used == 0:
        size = 0
        first = count
        for i in range(count):
            if size + spans[i].iov_len > BUILD_BYTES:
                return IO_ERROR
            if spans[i].iov_len != 0:
                memcpy(room.text + size, spans[i].iov_base, spans[i].iov_len)
            size += spans[i].iov_len
        base = room.text
        used = stream_say_head(stream, base, size)
    if used <= 0:
        stream_reset(stream, NGHTTP2_INTERNAL_ERROR)
        return IO_ERROR
    rest = size - <size_t> used
    if rest == 0 and first == count:
        return used
    if not stream.flags & STREAM_HEAD_OUT:      # it was an interim answer, and more stands behind
        spans[0].iov_base = <void *> (base + used)
        spans[0].iov_len = rest
        taken = stream_write_head(stream, spans, count)
    else:
        taken = stream_take_body(stream, base + used, rest) if rest != 0 else 0
        if taken >= 0 and <size_t> taken == rest and first < count:
            used += taken
            taken = stream_write(stream.session.eng, stream.conn, &spans[first], count - first)
    return taken if taken < 0 else used + taken


cdef void stream_finish(Engine *eng, Connection *conn) noexcept nogil:
    """Transport.finish: no more of it comes. Only what has no other end needs that: a tunnel."""
    cdef Stream *stream = stream_of(conn)
    conn.flags |= CONN_SHUT
    if stream == NULL or stream.flags & STREAM_ENDED_OUT:
        return
    if stream.flags & STREAM_TUNNEL or stream.out_kind == BODY_CLOSE:
        stream_ended_out(stream)


cdef void stream_ended_out(Stream *stream) noexcept nogil:
    stream.flags |= STREAM_ENDED_OUT
    stream_wake(stream)


cdef void stream_close(Engine *eng, Connection *conn) noexcept nogil:
    """Transport.close: the engine is done with it. If all was said and heard it ends by itself;
    else the peer must be told."""
    cdef Stream *stream = stream_of(conn)
    cdef Session *s
    conn.carried = NULL
    conn.tls = NULL
    if stream == NULL:
        return
    s = stream.session
    stream.conn = NULL
    if stream.id == 0:
        stream_free(eng, stream)    # never asked, or ended already
        return
    stream_credit(stream)
    carrier_due(eng, s.carrier)
    if stream.flags & STREAM_RESET or not stream.flags & STREAM_ENDED_OUT:
        stream_reset(stream, NGHTTP2_INTERNAL_ERROR if s.server else NGHTTP2_CANCEL)
    elif not stream.flags & STREAM_ENDED_IN and not s.server and not says_goodbye(stream):
        stream_reset(stream, NGHTTP2_CANCEL)
    elif not stream.flags & STREAM_ENDED_IN and stream.flags & STREAM_SENT_END:
        stream_reset(stream, NGHTTP2_NO_ERROR)


cdef inline bint says_goodbye(const Stream *stream) noexcept nogil:
    """A tunnel toward an upstream that we end by a close frame: may that go out first? Then the
    stream is reset behind its END_STREAM, as one of a server is."""
    cdef int32_t size = <int32_t> buffer_size(&stream.out)
    return (stream.flags & STREAM_TUNNEL != 0
            and nghttp2_session_get_remote_window_size(stream.session.ng) >= size
            and nghttp2_session_get_stream_remote_window_size(
                stream.session.ng, stream.id) >= size)


cdef int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user) noexcept nogil:
    """Answered before the request was whole: the rest is not wanted, and that is no error. It is
    said behind our END_STREAM (RFC 9113 8.1)."""
    cdef Session *s = <Session *> user
    cdef Stream *stream
    if frame.hd.type == NGHTTP2_RST_STREAM:
        if s.server and frame.rst_stream.error_code not in (
                NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR, NGHTTP2_CANCEL):
            glitch(s, GLITCH_RESET_BY_US)
        return 0
    if frame.hd.type != NGHTTP2_DATA and frame.hd.type != NGHTTP2_HEADERS:
        return 0
    if frame.hd.type == NGHTTP2_DATA:
        data_sent(s)
    stream = <Stream *> nghttp2_session_get_stream_user_data(ng, frame.hd.stream_id)
    if stream == NULL:
        return 0
    stream.flags |= STREAM_SENT_HEAD
    if not frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        return 0
    stream.flags |= STREAM_SENT_END
    if stream.conn == NULL and not stream.flags & STREAM_ENDED_IN and (
            s.server or stream.flags & STREAM_TUNNEL):
        stream_reset(stream, NGHTTP2_NO_ERROR)
    return 0


cdef void stream_refused(Engine *eng, Connection *conn) noexcept nogil:
    """Transport.refused: READY_WRITE comes when `out` has room again (stream_taken)."""


cdef uint32_t stream_unsent(Engine *eng, Connection *conn) noexcept nogil:
    """Transport.unsent."""
    cdef Stream *stream = stream_of(conn)
    return buffer_size(&stream.out) if stream != NULL else 0


cdef bint stream_unasked(Engine *eng, Connection *conn) noexcept nogil:
    """Transport.unasked: streams are never idle."""
    return True


cdef void stream_shall_reset(Engine *eng, Connection *conn) noexcept nogil:
    """Transport.reset: the answer is cut, or the client took nothing for too long."""
    cdef Stream *stream = stream_of(conn)
    if stream == NULL:
        return
    stream.flags |= STREAM_RESET
    if stream.session != NULL and buffer_size(&stream.out) != 0 and (
            eng.now_ms - stream.taken_ms >= eng.plan.settings.client_write_ms):
        count_glitch(stream.session, GLITCH_STALLED)


# ---- looking after them -----------------------------------------------------------------------

cdef void streams_look(Session *s) noexcept nogil:
    """Is one of them stuck behind a window that does not open? And does the peer live?"""
    cdef Stream *stream = s.streams
    cdef Stream *following
    cdef uint64_t longest = s.eng.plan.settings.client_write_ms
    cdef uint64_t now = s.eng.now_ms
    while stream != NULL and not s.failed:
        following = stream.next
        if (s.server and longest != 0 and buffer_size(&stream.out) != 0
                and now - stream.taken_ms > longest):
            count_glitch(s, GLITCH_STALLED)
            stream_reset(stream, NGHTTP2_CANCEL)
        stream = following
    if s.server or now - s.heard_ms < PING_AFTER_MS:
        return
    if s.asked:
        s.failed = 1            # it was asked, and did not answer
        return
    s.asked = 1
    s.heard_ms = now            # the answer has as long to come
    nghttp2_submit_ping(s.ng, 0, NULL)


cdef void stream_taken(Stream *stream) noexcept nogil:
    """nghttp2 took body bytes out of `out`: the engine may go on."""
    cdef Connection *conn = stream.conn
    stream.taken_ms = stream.session.eng.now_ms
    if conn == NULL or conn.ready & READY_WRITE or buffer_size(&stream.out) > STREAM_KEEPS // 2:
        return
    conn.ready |= READY_WRITE
    run_later(stream.session.eng, conn)


cdef void stream_heard(Stream *stream) noexcept nogil:
    """There is something for the engine to read."""
    if stream.conn == NULL:
        return
    stream.conn.ready |= READY_READ
    run_later(stream.session.eng, stream.conn)
