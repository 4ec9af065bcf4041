# SPDX-License-Identifier: MIT
# Between libssl and the socket: a BIO that works on the worker's memory. One recv brings many
# records, one send takes many (decision 0013). What is left over at the end of a call is copied
# into the connection's own buffers, so that an idle connection owns none.

cdef int bio_read(BIO *bio, char *buf, int size) noexcept nogil:
    """libssl wants bytes of a record. At the end of all of them it is told to wait: whoever called
    looks at `ended`, and libssl, which would take it for fatal, can still write."""
    cdef TlsRoom *room = <TlsRoom *> BIO_get_data(bio)
    cdef size_t count
    BIO_clear_retry_flags(bio)
    if room.tls.flags & TLS_FLOOD:
        return -1
    if room.in_len == 0 and not room_fill(room):
        BIO_set_retry_read(bio)
        return -1
    count = room.in_len if room.in_len < <size_t> size else <size_t> size
    memcpy(buf, room.in_ptr, count)
    room.in_ptr += count
    room.in_len -= count
    return <int> count


cdef int bio_write(BIO *bio, const char *buf, int size) noexcept nogil:
    """libssl has bytes of records. Never refused: what the kernel does not take is kept, and who
    encrypts looks at that (write.pxi)."""
    cdef TlsRoom *room = <TlsRoom *> BIO_get_data(bio)
    BIO_clear_retry_flags(bio)
    if room.out_len + <size_t> size > TLS_OUT_BYTES and not room_send(room):
        return -1
    if <size_t> size > TLS_OUT_BYTES:
        return -1
    memcpy(room.out + room.out_len, buf, <size_t> size)
    room.out_len += <size_t> size
    return size


cdef long bio_ctrl(BIO *bio, int what, long number, void *ptr) noexcept nogil:
    return 1 if what == BIO_CTRL_FLUSH else 0


# ---- a call of a plug's function ------------------------------------------------------------

cdef inline void room_enter(Engine *eng, TlsRoom *room, TlsConn *tls, size_t want) noexcept nogil:
    """This connection's bytes are moved from now on; `want`: what to ask of the kernel at once."""
    room.eng = eng
    room.tls = tls
    room.in_ptr = tls.raw.ptr + tls.raw.off
    room.in_len = buffer_size(&tls.raw)
    room.in_kept = room.in_len != 0
    room.want = want if want < TLS_RAW_BYTES else TLS_RAW_BYTES
    room.out_len = 0
    room.dry = tls.flags & TLS_DRY and tls.dry_round == eng.round
    room.ended = False
    ERR_clear_error()


cdef inline bint room_leave(TlsRoom *room) noexcept nogil:
    """What was encrypted goes out, what is left over is kept. False: the connection is broken."""
    cdef Engine *eng = room.eng
    cdef TlsConn *tls = room.tls
    cdef bint sound = room_send(room)
    tls.flags &= <uint32_t> ~TLS_DRY
    if room.dry:
        tls.flags |= TLS_DRY
        tls.dry_round = eng.round
    if room.in_kept:
        buffer_consume(&eng.blocks, &tls.raw, buffer_size(&tls.raw) - <uint32_t> room.in_len)
    elif room.in_len != 0 and not buffer_add(&eng.blocks, &tls.raw, room.in_ptr, room.in_len):
        sound = False
    if not sound:
        tls.flags |= TLS_BROKEN
    return sound


cdef inline bint room_drained(const TlsRoom *room) noexcept nogil:
    """Is there nothing more before readiness tells? (With TLS_SOCKET libssl has said so.)"""
    return room.dry and room.in_len == 0 and SSL_pending(room.tls.ssl) == 0


cdef bint room_fill(TlsRoom *room) noexcept nogil:
    """Ask the kernel for more. False: nothing now, or (`ended`) never."""
    cdef Engine *eng = room.eng
    cdef TlsConn *tls = room.tls
    cdef Connection *conn = tls.conn
    cdef ssize_t got
    if room.in_kept:
        buffer_drop(&eng.blocks, &tls.raw)
        room.in_kept = False
    if room.dry or room.ended or not conn.ready & READY_READ:
        return False
    while True:
        got = recv_bytes(conn.fd, room.raw, room.want, 0)
        if got >= 0 or errno != EINTR:
            break
    if got <= 0:
        room.dry = got < 0 and errno == EAGAIN
        room.ended = not room.dry
        return False
    room.in_ptr = room.raw
    room.in_len = <size_t> got
    # As tcp_read: a short one emptied the queue, if no FIN stands behind it.
    room.dry = (<size_t> got < room.want and not conn.ready & READY_FIN
                and not conn.flags & CONN_UNIX)
    return True


cdef bint room_send(TlsRoom *room) noexcept nogil:
    """Offer the kernel what was encrypted, older things first; keep what it does not take. False:
    the socket is dead, or there is no memory."""
    cdef Engine *eng = room.eng
    cdef TlsConn *tls = room.tls
    cdef Connection *conn = tls.conn
    cdef uint32_t size = buffer_size(&tls.out)
    cdef ssize_t sent = 0
    if size != 0 and conn.ready & READY_WRITE:
        sent = room_offer(eng, conn, tls.out.ptr + tls.out.off, size)
        if sent < 0:
            return False
        buffer_consume(&eng.blocks, &tls.out, <uint32_t> sent)
        keep_change(eng, -sent)
        size -= <uint32_t> sent
    if room.out_len == 0:
        return True
    sent = 0
    if size == 0 and conn.ready & READY_WRITE:
        sent = room_offer(eng, conn, room.out, room.out_len)
        if sent < 0:
            return False
    if <size_t> sent < room.out_len:
        if not buffer_add(&eng.blocks, &tls.out, room.out + sent, room.out_len - <size_t> sent):
            return False
        keep_change(eng, <int64_t> room.out_len - sent)
    room.out_len = 0
    return True


cdef inline ssize_t room_offer(Engine *eng, Connection *conn, char *ptr,
                               size_t size) noexcept nogil:
    """How much the kernel took, or IO_ERROR. READY_WRITE is kept right."""
    cdef iovec one
    cdef ssize_t sent
    one.iov_base = ptr
    one.iov_len = size
    sent = TCP.write(eng, conn, &one, 1)
    if sent >= 0 and <size_t> sent < size:
        conn.ready &= <uint8_t> ~READY_WRITE
    return sent


cdef inline void keep_change(Engine *eng, int64_t change) noexcept nogil:
    """Bytes kept for slow peers, over all connections of this worker (engine/transport.pxi)."""
    eng.me.kept_bytes = <uint64_t> (<int64_t> eng.me.kept_bytes + change)
