# SPDX-License-Identifier: MIT
# What TLS says in the error log, in lines as process/log.py writes them: why a backend is not
# believed (a warning), and why the handshake of a client failed (for who debugs: any scanner makes
# such lines). There are only so many a second, the others are counted in the next one.

cdef enum:
    SAID_MS = 1000
    SAID_BACKENDS = 1           # in so many milliseconds
    SAID_CLIENTS = 20
    SAID_BYTES = 512

cdef const char *SPEAK_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 36\r\n"
    b"Connection: close\r\n\r\nThis port speaks TLS: use https://.\n")
"""Whoever asks in plain text gets it so."""


cdef void note_failure(Engine *eng, TlsRoom *room, TlsConn *tls) noexcept nogil:
    """A handshake failed, libssl's reasons are still there. A backend's certificate that is not
    valid is worth a line, and the client is told so much; all else is counted."""
    cdef unsigned long code
    cdef long result
    cdef const char *why
    if not tls.flags & TLS_CLIENT:
        code = ERR_peek_error()
        if ERR_GET_LIB(code) == ERR_LIB_SSL and ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST:
            room_offer(eng, tls.conn, <char *> SPEAK_TLS, strlen(SPEAK_TLS))
        if room.debug:
            why = ERR_reason_error_string(ERR_peek_last_error())
            if tls.flags & TLS_UNNAMED:
                why = b"no certificate is for the name it asks for"
            elif why == NULL:
                why = b"the connection was closed"
            say_client(eng, room, tls, why)
        return
    if not tls.upstream.verify:
        return
    result = SSL_get_verify_result(tls.ssl)
    if result == X509_V_OK:
        return
    tls.conn.flags |= CONN_UNTRUSTED
    say_backend(eng, room, tls, X509_verify_cert_error_string(result))


cdef void say_client(Engine *eng, TlsRoom *room, TlsConn *tls, const char *why) noexcept nogil:
    cdef char line[SAID_BYTES]
    cdef Out out = out_over(line, SAID_BYTES)
    cdef const PlanHeader *header = eng.plan.header
    cdef uint16_t listener = tls.conn.listener
    cdef long result = SSL_get_verify_result(tls.ssl)
    if not said_begin(eng, &room.said_clients, SAID_CLIENTS, b"debug", &out):
        return
    put_text(&out, b"TLS handshake of ")
    put_peer(&out, tls.conn)
    if listener < header.listeners.count:
        put_text(&out, b" at ")
        put_span(&out, text_span(eng.plan.base, (<const ListenerRow *> (
            eng.plan.base + header.listeners.off))[listener].name))
    put_text(&out, b" failed: ")
    put_text(&out, why)
    if result != X509_V_OK:
        put_text(&out, b" (")
        put_text(&out, X509_verify_cert_error_string(result))
        put_text(&out, b")")
    said_end(&room.said_clients, &out)


cdef void say_backend(Engine *eng, TlsRoom *room, TlsConn *tls, const char *why) noexcept nogil:
    cdef char line[SAID_BYTES]
    cdef Out out = out_over(line, SAID_BYTES)
    cdef Exchange *x = tls.conn.exchange
    if not said_begin(eng, &room.said_backends, SAID_BACKENDS, b"warning", &out):
        return
    put_span(&out, text_span(x.roster.base, roster_backend(
        x.roster.base, (<const RosterUpstream *> (
            x.roster.base + x.roster.header.upstreams.off)) + x.upstream_index,
        <uint32_t> x.backend).name))
    put_text(&out, b": its certificate is not valid: ")
    put_text(&out, why)
    said_end(&room.said_backends, &out)


cdef void put_peer(Out *out, const Connection *conn) noexcept nogil:
    """Address and port of a client."""
    cdef char room[46]
    cdef bint v4 = conn.peer[10] == 0xff and conn.peer[11] == 0xff
    if conn.flags & CONN_UNIX:
        put_text(out, b"a client by unix socket")
        return
    if v4:
        inet_ntop(AF_INET, conn.peer + 12, room, sizeof(room))
        put_text(out, room)
    else:
        inet_ntop(AF_INET6, conn.peer, room, sizeof(room))
        put_char(out, c'[')
        put_text(out, room)
        put_char(out, c']')
    put_char(out, c':')
    put_uint(out, conn.peer_port)


cdef bint said_begin(Engine *eng, Said *said, uint32_t most, const char *level,
                     Out *out) noexcept nogil:
    """The line up to its message. False: not now."""
    cdef timespec now
    cdef tm parts
    cdef char stamp[32]
    if said.since_ms == 0 or eng.now_ms - said.since_ms >= SAID_MS:
        said.since_ms = eng.now_ms
        said.count = 0
    if said.count == most:
        said.unsaid += 1
        return False
    said.count += 1
    clock_gettime(CLOCK_REALTIME, &now)
    gmtime_r(&now.tv_sec, &parts)
    put(out, stamp, strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts))
    stamp[0] = c'.'
    stamp[1] = <char> (48 + now.tv_nsec // 100000000)
    stamp[2] = <char> (48 + now.tv_nsec // 10000000 % 10)
    stamp[3] = <char> (48 + now.tv_nsec // 1000000 % 10)
    put(out, stamp, 4)
    put_text(out, b"Z ")
    put_text(out, level)
    put_text(out, b" worker ")
    put_uint(out, eng.slot)
    put_text(out, b": ")
    return True


cdef void said_end(Said *said, Out *out) noexcept nogil:
    if said.unsaid != 0:
        put_text(out, b" (and ")
        put_uint(out, said.unsaid)
        put_text(out, b" more failed)")
    said.unsaid = 0
    put_text(out, b"\n")
    if not out.full:
        write(2, out.ptr, out.len)
