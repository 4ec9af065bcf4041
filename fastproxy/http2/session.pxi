# SPDX-License-Identifier: MIT
# Sessions: nghttp2 on one connection. Bytes in, frames out, timers, and leaving politely.

cdef void count_glitch(Session *s, Glitch kind) noexcept nogil:
    count_add(&s.eng.me.http2_rapid_reset + <int> kind, 1)


cdef bint glitch(Session *s, Glitch kind) noexcept nogil:
    """One more of what is legal now and then. False: too many, the connection ends."""
    cdef uint64_t now = s.eng.now_ms
    cdef uint64_t passed = now - s.looked_ms
    cdef uint64_t most
    cdef int i
    if passed >= 100:
        s.looked_ms = now
        for i in range(<int> GLITCHES):
            most = <uint64_t> GLITCH_RULES[i].burst * 1000
            s.tokens[i] = <uint32_t> min(most, s.tokens[i] + passed * GLITCH_RULES[i].rate)
    if s.tokens[<int> kind] >= 1000:
        s.tokens[<int> kind] -= 1000
        return True
    session_calm(s, kind)
    return False


cdef inline void data_sent(Session *s) noexcept nogil:
    """A DATA frame of ours may be answered by two WINDOW_UPDATEs and a PING (gRPC's probes)."""
    cdef uint32_t *window = &s.tokens[<int> GLITCH_WINDOW]
    cdef uint32_t *ping = &s.tokens[<int> GLITCH_PING]
    window[0] = min(window[0] + 2000, <uint32_t> GLITCH_RULES[<int> GLITCH_WINDOW].burst * 1000)
    ping[0] = min(ping[0] + 1000, <uint32_t> GLITCH_RULES[<int> GLITCH_PING].burst * 1000)


cdef void stray(Session *s) noexcept nogil:
    """A frame on a stream that is over."""
    s.strays += 1
    if s.strays > STRAYS_BASE + STRAYS_PER_REQUEST * s.requests:
        session_calm(s, GLITCH_HEADERS)


cdef void session_calm(Session *s, Glitch kind) noexcept nogil:
    """Enough: GOAWAY ENHANCE_YOUR_CALM, and the end."""
    if s.failed:
        return
    count_glitch(s, kind)
    nghttp2_session_terminate_session(s.ng, NGHTTP2_ENHANCE_YOUR_CALM)
    s.failed = 1
    carrier_due(s.eng, s.carrier)


# ---- making and ending ------------------------------------------------------------------------

cdef Session *session_make(Engine *eng, Connection *carrier, bint server) noexcept nogil:
    """NULL: no memory."""
    cdef Room *room = <Room *> eng.http2_room
    cdef nghttp2_settings_entry entries[5]
    cdef uint32_t cap
    cdef size_t count
    cdef int result, i
    cdef Session *s = <Session *> block_take(&eng.blocks, sizeof(Session), &cap)
    if s == NULL:
        return NULL
    memset(s, 0, sizeof(Session))
    s.cap = cap
    s.eng = eng
    s.carrier = carrier
    s.server = server
    s.looked_ms = s.heard_ms = eng.now_ms
    for i in range(<int> GLITCHES):
        s.tokens[i] = <uint32_t> GLITCH_RULES[i].burst * 1000
    if server:
        watch_begin(s)
        result = nghttp2_session_server_new3(
            &s.ng, room.server, s, room.options, &room.memory)
    else:
        result = nghttp2_session_client_new3(
            &s.ng, room.client, s, room.options, &room.memory)
    if result == 0:
        count = session_settings(s, entries)
        result = nghttp2_submit_settings(s.ng, 0, entries, count)
    if result == 0:
        result = nghttp2_session_set_local_window_size(s.ng, 0, 0, CONNECTION_WINDOW)
    if result != 0:
        session_forget(s)
        return NULL
    carrier.carried = s
    carrier_due(eng, carrier)
    return s


cdef size_t session_settings(Session *s, nghttp2_settings_entry *entries) noexcept nogil:
    cdef const Settings *settings = s.eng.plan.settings
    entries[0].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
    entries[0].value = STREAM_WINDOW
    entries[1].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
    entries[1].value = settings.http2_streams if s.server else 0
    entries[2].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
    entries[2].value = settings.headers_bytes + settings.request_line_bytes
    if s.server:
        entries[3].settings_id = NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
        entries[3].value = 1
        entries[4].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
        entries[4].value = 1
        return 5
    entries[3].settings_id = NGHTTP2_SETTINGS_ENABLE_PUSH
    entries[3].value = 0
    return 4


cdef void session_forget(Session *s) noexcept nogil:
    if s.ng != NULL:
        nghttp2_session_del(s.ng)
    block_give(&s.eng.blocks, <char *> s, s.cap)


cdef bint carrier_accept(Engine *eng, Connection *conn) noexcept nogil:
    """CarrierPlug.accept."""
    return session_make(eng, conn, True) != NULL


cdef bint carrier_connect(Engine *eng, Connection *conn) noexcept nogil:
    """CarrierPlug.connect."""
    return session_make(eng, conn, False) != NULL


cdef void carrier_free(Engine *eng, Connection *conn) noexcept nogil:
    """CarrierPlug.free: its streams end; what waits for them is told."""
    cdef Session *s = <Session *> conn.carried
    if s == NULL:
        return
    s.failed = 1
    while s.streams != NULL:
        stream_end(s.streams, not s.server and not s.streams.flags & STREAM_SENT_HEAD)
    conn.carried = NULL
    session_forget(s)


# ---- bytes in ---------------------------------------------------------------------------------

cdef void carrier_pump(Engine *eng, Connection *conn) noexcept nogil:
    """CarrierPlug.pump: what is kept moves on, what has come is read."""
    cdef Session *s = <Session *> conn.carried
    cdef ssize_t got
    cdef int steps = 0
    if conn.flags & CONN_SHUT:
        session_discard(s)
        return
    if buffer_size(&conn.output) != 0 and conn.ready & READY_WRITE:
        if connection_flush(eng, conn) == SENT_DEAD:
            carrier_close(eng, conn)
            return
        carrier_due(eng, conn)
    if buffer_size(&conn.input) != 0:
        session_read_input(s)
    while not s.failed and conn.ready & READY_READ:
        if buffer_size(&conn.output) > SEND_ROOM:
            break               # it does not read what we answer: we do not read what it asks
        got = carrier_read(eng, conn, eng.scratch, SEND_ROOM)
        if got == IO_AGAIN:
            break
        if got <= 0:
            carrier_close(eng, conn)
            return
        session_read(s, eng.scratch, <size_t> got)
        steps += 1
        if steps == 8:
            run_later(eng, conn)
            break
    if conn.ready & READY_DEAD and not conn.ready & READY_READ:
        carrier_close(eng, conn)


cdef void session_discard(Session *s) noexcept nogil:
    """We have said our last word: what still comes is not looked at."""
    cdef ssize_t got = 1
    while got > 0 and s.carrier.ready & READY_READ:
        got = carrier_read(s.eng, s.carrier, s.eng.scratch, SEND_ROOM)
    if (got <= 0 and got != IO_AGAIN) or s.carrier.ready & READY_DEAD:
        carrier_close(s.eng, s.carrier)


cdef void session_read_input(Session *s) noexcept nogil:
    """What was read before it was known to be HTTP/2."""
    cdef Buffer held = s.carrier.input
    memset(&s.carrier.input, 0, sizeof(Buffer))
    session_read(s, held.ptr + held.off, buffer_size(&held))
    buffer_drop(&s.eng.blocks, &held)


cdef void session_read(Session *s, const char *data, size_t size) noexcept nogil:
    cdef ssize_t used
    cdef size_t part = size
    cdef Breach breach = BREACH_NONE
    cdef Room *room = <Room *> s.eng.http2_room
    s.heard_ms = s.eng.now_ms
    room.hearing = True
    while size != 0 and not s.failed:
        if s.server:
            part = watch_frames(s, data, size, &breach)
        used = nghttp2_session_mem_recv(s.ng, <const uint8_t *> data, part)
        if used < 0 and not s.failed:
            session_fault(s, <int> used)
        elif breach != BREACH_NONE and not s.failed:
            session_breach(s, breach)
        data += part
        size -= part
    room.hearing = False
    carrier_due(s.eng, s.carrier)
    if s.ready == 1:
        s.ready = 2
        carrier_ready(s.eng, s.carrier)
        streams_unasked(s)


cdef void session_fault(Session *s, int trouble) noexcept nogil:
    """nghttp2 gave up on what it read: say so, as far as that can be said, and end."""
    cdef uint32_t code
    s.failed = 1
    count_add(&s.eng.me.faults, 1)
    if trouble == NGHTTP2_ERR_FLOODED:
        count_glitch(s, GLITCH_PING)
        nghttp2_session_terminate_session(s.ng, NGHTTP2_ENHANCE_YOUR_CALM)
    elif trouble == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
        count_glitch(s, GLITCH_CONTINUATION)
        nghttp2_session_terminate_session(s.ng, NGHTTP2_ENHANCE_YOUR_CALM)
    elif trouble != NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        code = NGHTTP2_PROTOCOL_ERROR
        if trouble == NGHTTP2_ERR_NOMEM:
            code = NGHTTP2_INTERNAL_ERROR
        elif trouble == NGHTTP2_ERR_STREAM_CLOSED:
            code = NGHTTP2_STREAM_CLOSED
        nghttp2_session_terminate_session(s.ng, code)


# ---- after that ---------------------------------------------------------------------------------

cdef void session_after(Session *s) noexcept nogil:
    """All is said for now: is this the end, and if not, what is waited for?"""
    cdef Connection *conn = s.carrier
    cdef Engine *eng = s.eng
    cdef bint sent = buffer_size(&conn.output) == 0
    if sent and (s.failed or (not nghttp2_session_want_read(s.ng)
                              and not nghttp2_session_want_write(s.ng))):
        session_shut(s)
        return
    if sent and s.going == 2 and s.count == 0:
        session_shut(s)
        return
    session_timer(s)


cdef void session_shut(Session *s) noexcept nogil:
    """Nothing is left to say. A client may still be sending: as after HTTP/1.1's last answer, it is
    read on for a while, so that a reset does not destroy what it has not read (RFC 9113 5.4.1)."""
    cdef Connection *conn = s.carrier
    cdef Engine *eng = s.eng
    if conn.flags & (CONN_EOF | CONN_SHUT) or conn.ready & READY_DEAD or not s.server:
        carrier_close(eng, conn)
        return
    conn.flags |= CONN_SHUT
    s.failed = 1
    conn.transport.finish(eng, conn)
    carrier_timer(eng, conn, eng.plan.settings.lingering_ms)


cdef void session_timer(Session *s) noexcept nogil:
    """What is waited for, and how long. A carrier without streams is idle."""
    cdef const Settings *settings = s.eng.plan.settings
    cdef uint64_t after
    if s.carrier.flags & CONN_SHUT:
        return
    if s.server and s.count == 0 and s.going == 0:
        carrier_idle(s.eng, s.carrier, True)
    if s.going == 1:
        after = GOAWAY_NOTICE_MS
    elif s.count != 0 or s.head_open:
        after = CARRIER_LOOK_MS
    elif buffer_size(&s.carrier.output) != 0:
        after = settings.client_write_ms
    else:
        after = settings.keepalive_ms if s.server else settings.upstream_keepalive_ms
    if (s.going == 1 or s.count != 0 or s.head_open) and s.carrier.timer.deadline_ms != 0 and (
            s.carrier.timer.deadline_ms <= s.eng.now_ms + after):
        return                  # however much is sent meanwhile, that look is not put off
    carrier_timer(s.eng, s.carrier, after)


cdef void carrier_timeout(Engine *eng, Connection *conn) noexcept nogil:
    """CarrierPlug.timeout: what was waited for did not come, or it is time to look."""
    cdef Session *s = <Session *> conn.carried
    if conn.flags & CONN_SHUT:
        carrier_close(eng, conn)
        return
    if s.failed or session_dawdles(s) or (s.count == 0 and buffer_size(&conn.output) != 0):
        carrier_close(eng, conn)    # half a header block, or what we say is not read
        return
    if s.count != 0 and s.going != 1:
        streams_look(s)
    elif s.going == 1 or s.head_open == 0:
        session_leave(s)
    carrier_due(eng, conn)


cdef inline bint session_dawdles(const Session *s) noexcept nogil:
    """Is half a header block, or of the preface, all that has come for too long?"""
    cdef uint64_t longest = s.eng.plan.settings.client_header_ms
    return s.head_open != 0 and longest != 0 and s.eng.now_ms - s.head_ms >= longest


cdef void session_leave(Session *s) noexcept nogil:
    """GOAWAY with the last stream's number; closed when it is sent and the streams have ended."""
    cdef int32_t last = nghttp2_session_get_last_proc_stream_id(s.ng)
    s.going = 2
    nghttp2_submit_goaway(s.ng, 0, last, NGHTTP2_NO_ERROR, NULL, 0)


cdef void carrier_drain(Engine *eng, Connection *conn) noexcept nogil:
    """CarrierPlug.drain: in two steps, so that what the peer has sent meanwhile is still served
    (RFC 9113 6.8)."""
    cdef Session *s = <Session *> conn.carried
    if s.going != 0 or s.failed:
        return
    s.going = 1 if s.server else 2
    if s.server:
        nghttp2_submit_shutdown_notice(s.ng)
    carrier_due(eng, conn)
