# SPDX-License-Identifier: MIT
# The Transport of a connection that speaks TLS. Contract: `Transport` in engine/types.pxd.

cdef Transport TLS


cdef inline TlsRoom *room_of(Engine *eng) noexcept nogil:
    return <TlsRoom *> eng.tls_keys


cdef inline TlsConn *tls_of(Connection *conn) noexcept nogil:
    return <TlsConn *> conn.tls


# ---- handshake ------------------------------------------------------------------------------

cdef int tls_handshake(Engine *eng, Connection *conn) noexcept nogil:
    cdef TlsRoom *room = room_of(eng)
    cdef TlsConn *tls = tls_of(conn)
    cdef int result
    cdef bint sound
    if tls.flags & TLS_BROKEN:
        return IO_ERROR
    room_enter(eng, room, tls, READ_START_BYTES + TLS_RECORD_EXTRA)
    result = handshake_step(room, tls)
    if result == IO_ERROR:
        note_failure(eng, room, tls)
    sound = room_leave(room)
    if room_drained(room):
        conn.ready &= <uint8_t> ~READY_READ
    if not conn.ready & READY_WRITE:
        TCP.refused(eng, conn)
    if result == 1 and sound:
        return handshake_done(eng, tls)
    if result == IO_AGAIN and sound:
        return IO_AGAIN
    handshake_failed(eng, tls)
    return IO_ERROR


cdef int handshake_step(TlsRoom *room, TlsConn *tls) noexcept nogil:
    """1: it is over, or early data stands in conn.input; IO_AGAIN; IO_ERROR."""
    cdef Connection *conn = tls.conn
    cdef size_t got = 0
    cdef int result
    if tls.flags & TLS_READS_EARLY:
        result = SSL_read_early_data(tls.ssl, room.gather, TLS_RECORD_BYTES, &got)
        if result == SSL_READ_EARLY_DATA_ERROR:
            return IO_AGAIN if wants_more(room, tls, 0) else IO_ERROR
        if result == SSL_READ_EARLY_DATA_SUCCESS:
            if not buffer_add(&room.eng.blocks, &conn.input, room.gather, got):
                return IO_ERROR
            tls.flags |= TLS_EARLY
            conn.flags |= CONN_EARLY
            return 1
        tls.flags &= <uint32_t> ~TLS_READS_EARLY
    result = SSL_do_handshake(tls.ssl)
    if result == 1:
        return 1
    return IO_AGAIN if wants_more(room, tls, result) else IO_ERROR


cdef inline bint wants_more(TlsRoom *room, TlsConn *tls, int result) noexcept nogil:
    """Was that not a failure, but a matter of readiness?"""
    cdef int error = SSL_get_error(tls.ssl, result)
    if tls.flags & TLS_SOCKET:
        if error == SSL_ERROR_WANT_READ:
            room.dry = True
        elif error == SSL_ERROR_WANT_WRITE:
            tls.conn.ready &= <uint8_t> ~READY_WRITE
            ERR_clear_error()
            return True
    return error == SSL_ERROR_WANT_READ and not room.ended


cdef int handshake_done(Engine *eng, TlsConn *tls) noexcept nogil:
    """1, or IO_ERROR: it speaks nothing that we want."""
    cdef const unsigned char *name = NULL
    cdef unsigned int length = 0
    cdef bint resumed = SSL_session_reused(tls.ssl) != 0
    SSL_get0_alpn_selected(tls.ssl, &name, &length)
    tls.conn.protocol = length == 2 and memcmp(name, b"h2", 2) == 0
    if tls.flags & TLS_EARLY:
        return 1                # early_over counts it
    tls.flags |= TLS_UP
    if not tls.flags & TLS_CLIENT:
        count_add(&eng.me.tls_handshakes, 1)
        count_add(&eng.me.tls_resumed, resumed)
        return 1
    if tls.upstream.protocol == UPSTREAM_HTTP2 and tls.conn.protocol != PROTOCOL_HTTP2:
        handshake_failed(eng, tls)
        return IO_ERROR
    count_add(&eng.me.tls_upstream_handshakes, 1)
    count_add(&eng.me.tls_upstream_resumed, resumed)
    return 1


cdef void handshake_failed(Engine *eng, TlsConn *tls) noexcept nogil:
    tls.flags |= TLS_BROKEN
    if tls.flags & TLS_CLIENT:
        count_add(&eng.me.tls_upstream_failed, 1)
    else:
        count_add(&eng.me.tls_failed, 1)


cdef void handshake_left(Engine *eng, TlsConn *tls) noexcept nogil:
    """A client's, which is closed before it was over."""
    handshake_failed(eng, tls)
    if room_of(eng).debug:
        say_client(eng, room_of(eng), tls, b"it was not over in time")


# ---- reading --------------------------------------------------------------------------------

cdef ssize_t tls_read(Engine *eng, Connection *conn, char *buf, size_t size,
                      bint *drained) noexcept nogil:
    cdef TlsRoom *room = room_of(eng)
    cdef TlsConn *tls = tls_of(conn)
    cdef size_t total = 0
    cdef size_t got = 0
    cdef ssize_t why = 1
    if tls.flags & TLS_BROKEN:
        return IO_ERROR
    room_enter(eng, room, tls, size + size // 256 + TLS_RECORD_EXTRA)
    while total < size:
        if tls.flags & TLS_READS_EARLY:
            why = early_read(room, tls, buf, size)
            if why != 0:
                total = <size_t> why if why > 0 else 0
                break
            why = 1
        if SSL_read_ex(tls.ssl, buf + total, size - total, &got) != 1:
            why = read_trouble(room, tls)
            break
        total += got
        if room_drained(room):
            break
    if tls.flags & TLS_EARLY and SSL_is_init_finished(tls.ssl):
        early_over(eng, tls)
    if not room_leave(room) and why != 0:
        why = IO_ERROR
    drained[0] = room_drained(room)
    if total != 0:
        if why == IO_ERROR:
            # The next read says so; who has only ended its side may still be answered.
            if not room.ended:
                tls.flags |= TLS_BROKEN
            drained[0] = False
        elif why == 0:
            drained[0] = False          # it says so again
        return <ssize_t> total
    return why


cdef ssize_t early_read(TlsRoom *room, TlsConn *tls, char *buf, size_t size) noexcept nogil:
    """More early data, IO_AGAIN or IO_ERROR; 0: there is no more, the handshake goes on."""
    cdef size_t got = 0
    cdef int result = SSL_read_early_data(tls.ssl, buf, size, &got)
    if result == SSL_READ_EARLY_DATA_SUCCESS:
        return <ssize_t> got
    if result == SSL_READ_EARLY_DATA_ERROR:
        return IO_AGAIN if wants_more(room, tls, 0) else IO_ERROR
    tls.flags &= <uint32_t> ~TLS_READS_EARLY
    return 0


cdef void early_over(Engine *eng, TlsConn *tls) noexcept nogil:
    """The client has finished the handshake: nobody has only repeated what came."""
    tls.flags = (tls.flags & <uint32_t> ~TLS_EARLY) | TLS_UP
    tls.conn.flags &= <uint32_t> ~CONN_EARLY
    count_add(&eng.me.tls_handshakes, 1)
    count_add(&eng.me.tls_resumed, 1)


cdef ssize_t read_trouble(TlsRoom *room, TlsConn *tls) noexcept nogil:
    """What a read that brought nothing means: 0 (close_notify), IO_AGAIN or IO_ERROR. An end
    without close_notify is a cut, whatever came before."""
    if wants_more(room, tls, 0):
        return IO_AGAIN
    if tls.flags & TLS_EARLY:
        count_add(&room.eng.me.tls_failed, 1)
    if SSL_get_error(tls.ssl, 0) == SSL_ERROR_ZERO_RETURN and not tls.flags & TLS_FLOOD:
        return 0
    return IO_ERROR


cdef bint tls_unasked(Engine *eng, Connection *conn) noexcept nogil:
    """Application data, or an end? Tickets and the like are not: they are taken in."""
    cdef TlsRoom *room = room_of(eng)
    cdef TlsConn *tls = tls_of(conn)
    cdef char one
    cdef size_t got = 0
    cdef bint something
    if tls.flags & TLS_BROKEN:
        return True
    if not tls.flags & TLS_UP:
        return TCP.unasked(eng, conn)   # early data was answered, the handshake goes on
    conn.ready |= READY_READ    # whether epoll has told or not: ask the kernel
    room_enter(eng, room, tls, READ_START_BYTES + TLS_RECORD_EXTRA)
    something = (SSL_peek_ex(tls.ssl, &one, 1, &got) == 1
                 or read_trouble(room, tls) != IO_AGAIN)
    if not room_leave(room):
        return True
    if something:
        run_later(eng, conn)    # what epoll would have told of is in our hands now
    elif room_drained(room):
        conn.ready &= <uint8_t> ~READY_READ
    return something


# ---- writing --------------------------------------------------------------------------------
# What the kernel does not take stays encrypted here, while its plaintext counts as taken but for
# the last byte (`owed`): so the engine knows that something is kept, waits for room, feeds no more
# and does not close. It offers that byte again, and it is then skipped.

cdef ssize_t tls_write(Engine *eng, Connection *conn, iovec *spans, int count) noexcept nogil:
    cdef TlsRoom *room = room_of(eng)
    cdef TlsConn *tls = tls_of(conn)
    cdef size_t total = 0
    cdef size_t taken
    cdef int i
    if tls.flags & TLS_BROKEN:
        return IO_ERROR
    for i in range(count):
        total += spans[i].iov_len
    room_enter(eng, room, tls, READ_START_BYTES)
    taken = tls.owed
    if not room_send(room):
        tls.flags |= TLS_BROKEN
        return IO_ERROR
    if buffer_size(&tls.out) != 0:
        room_leave(room)
        return 0
    tls.owed = 0
    if not write_spans(room, spans, count, &taken):
        tls.flags |= TLS_BROKEN
    if taken == total and conn.flags & CONN_LAST_PIECE:
        write_bye(tls)
    if not room_leave(room) or tls.flags & TLS_BROKEN:
        return IO_ERROR
    if buffer_size(&tls.out) != 0 and taken != 0:
        tls.owed = 1
        taken -= 1
    return <ssize_t> taken


cdef bint write_spans(TlsRoom *room, iovec *spans, int count, size_t *taken) noexcept nogil:
    """Encrypt what comes behind the first `taken` bytes, while the kernel takes it. False: it
    failed."""
    cdef size_t skip = taken[0]
    cdef size_t size, wrote
    cdef const char *piece
    cdef int i = 0
    cdef Connection *conn = room.tls.conn
    while True:
        while i < count and skip >= spans[i].iov_len:
            skip -= spans[i].iov_len
            i += 1
        if i == count or not conn.ready & READY_WRITE:
            return True
        piece = write_piece(room, spans + i, count - i, skip, &size)
        if not encrypt(room.tls, piece, size, &wrote):
            # With TLS_SOCKET the rest is offered again, as libssl wants it.
            return room.tls.flags & TLS_SOCKET and wants_more(room, room.tls, 0)
        taken[0] += wrote
        skip += wrote
        if room.out_len + TLS_RECORD_BYTES + TLS_RECORD_EXTRA > TLS_OUT_BYTES and (
                not room_send(room)):
            return False


cdef inline bint encrypt(TlsConn *tls, const char *piece, size_t size,
                         size_t *wrote) noexcept nogil:
    """To a client that has sent early data and not finished yet, in half a round trip."""
    if tls.flags & TLS_EARLY:
        return SSL_write_early_data(tls.ssl, piece, size, wrote) == 1
    return SSL_write_ex(tls.ssl, piece, size, wrote) == 1


cdef inline const char *write_piece(TlsRoom *room, iovec *spans, int count, size_t skip,
                                    size_t *size) noexcept nogil:
    """What to encrypt next: whole records straight from where they lie, short spans gathered into
    one record."""
    cdef size_t left = spans[0].iov_len - skip
    cdef size_t held = 0
    cdef size_t part
    cdef int i = 0
    cdef const char *at = <const char *> spans[0].iov_base + skip
    if left >= TLS_RECORD_BYTES or count == 1:
        if count > 1:
            left -= left % TLS_RECORD_BYTES
        size[0] = left if left < TLS_WRITE_BYTES else TLS_WRITE_BYTES
        return at
    while True:
        part = TLS_RECORD_BYTES - held
        if part > left:
            part = left
        memcpy(room.gather + held, at, part)
        held += part
        i += 1
        if i == count or held == TLS_RECORD_BYTES:
            break
        at = <const char *> spans[i].iov_base
        left = spans[i].iov_len
    size[0] = held
    return room.gather


cdef inline void write_bye(TlsConn *tls) noexcept nogil:
    """close_notify, once; it leaves with room_leave."""
    if not tls.flags & (TLS_BYE | TLS_BROKEN | TLS_RESET) and tls.flags & TLS_UP:
        tls.flags |= TLS_BYE
        SSL_shutdown(tls.ssl)


cdef void tls_refused(Engine *eng, Connection *conn) noexcept nogil:
    TCP.refused(eng, conn)


cdef uint32_t tls_unsent(Engine *eng, Connection *conn) noexcept nogil:
    return TCP.unsent(eng, conn) + buffer_size(&tls_of(conn).out)


# ---- endings --------------------------------------------------------------------------------

cdef void tls_say_bye(Engine *eng, Connection *conn) noexcept nogil:
    cdef TlsRoom *room = room_of(eng)
    cdef TlsConn *tls = tls_of(conn)
    if tls.flags & (TLS_BYE | TLS_BROKEN | TLS_RESET) or not tls.flags & TLS_UP:
        return
    room_enter(eng, room, tls, READ_START_BYTES)
    write_bye(tls)
    room_leave(room)


cdef void tls_finish(Engine *eng, Connection *conn) noexcept nogil:
    tls_say_bye(eng, conn)
    TCP.finish(eng, conn)


cdef void tls_reset(Engine *eng, Connection *conn) noexcept nogil:
    tls_of(conn).flags |= TLS_RESET
    TCP.reset(eng, conn)


cdef void tls_close(Engine *eng, Connection *conn) noexcept nogil:
    """An idle connection ends with close_notify; one that is cut inside something does not."""
    cdef TlsConn *tls = tls_of(conn)
    if tls != NULL:
        if conn.state == PEER_HANDSHAKE and not tls.flags & TLS_BROKEN:
            handshake_left(eng, tls)
        if conn.state == PEER_IDLE or conn.state == PEER_PARKED:
            tls_say_bye(eng, conn)
        conn_drop(eng, tls)
        conn.tls = NULL
    TCP.close(eng, conn)
