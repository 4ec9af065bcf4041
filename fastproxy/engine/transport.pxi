# SPDX-License-Identifier: MIT
# Transports: plain TCP (and unix sockets), and what every connection needs of one. TLS and streams
# of HTTP/2 are transports of sister extensions.
# The contract of the function pointers stands at `Transport` in types.pxd.

cdef ssize_t tcp_read(Engine *eng, Connection *conn, char *buf, size_t size,
                      bint *drained) noexcept nogil:
    cdef ssize_t got
    while True:
        got = recv_bytes(conn.fd, buf, size, 0)
        if got >= 0 or errno != EINTR:
            break
    if got > 0:
        # A short read emptied the queue, and new bytes make a new edge. Not so with a FIN behind
        # them (its edge was already seen), nor for unix sockets, which may stop at a message.
        drained[0] = (<size_t> got < size
                      and not conn.ready & READY_FIN and not conn.flags & CONN_UNIX)
        return got
    drained[0] = True
    if got == 0:
        return 0
    return IO_AGAIN if errno == EAGAIN else IO_ERROR


cdef ssize_t tcp_write(Engine *eng, Connection *conn, iovec *spans, int count) noexcept nogil:
    cdef msghdr message
    cdef ssize_t sent
    cdef int flags = MSG_NOSIGNAL
    if conn.flags & CONN_LAST_PIECE:
        flags |= MSG_MORE       # the FIN of tcp_finish leaves in the same packet
    while True:
        if count == 1:
            sent = send_bytes(conn.fd, spans[0].iov_base, spans[0].iov_len, flags)
        else:
            memset(&message, 0, sizeof(message))
            message.msg_iov = spans
            message.msg_iovlen = count
            sent = sendmsg(conn.fd, &message, flags)
        if sent >= 0 or errno != EINTR:
            break
    if sent >= 0:
        return sent
    return 0 if errno == EAGAIN else IO_ERROR


cdef void tcp_finish(Engine *eng, Connection *conn) noexcept nogil:
    shutdown(conn.fd, SHUT_WR)


cdef void tcp_close(Engine *eng, Connection *conn) noexcept nogil:
    close(conn.fd)


cdef void tcp_refused(Engine *eng, Connection *conn) noexcept nogil:
    """Watch for EPOLLOUT (EPOLL_CTL_MOD looks anew, so an edge between the refusal and now is not
    lost)."""
    cdef epoll_event event
    if conn.flags & CONN_WATCHES_WRITE:
        return
    conn.flags |= CONN_WATCHES_WRITE
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
    event.data.u64 = (<uint64_t> conn.item.generation << 32) | conn.item.index
    count_add(&eng.me.epoll_ctl, 1)
    epoll_ctl(eng.epfd, EPOLL_CTL_MOD, conn.fd, &event)


cdef uint32_t tcp_unsent(Engine *eng, Connection *conn) noexcept nogil:
    """What our kernel holds for the peer and the peer's has not acknowledged (tcp(7), SIOCOUTQ)."""
    cdef int held = 0
    if ioctl(conn.fd, SIOCOUTQ, &held) != 0 or held < 0:
        return 0
    return <uint32_t> held


cdef bint tcp_unasked(Engine *eng, Connection *conn) noexcept nogil:
    """Ask the kernel: is anything there to read (bytes nobody asked for, or FIN)?"""
    cdef char one
    if recv_bytes(conn.fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 or errno != EAGAIN:
        return True
    conn.ready &= <uint8_t> ~READY_READ
    return False


cdef void tcp_reset(Engine *eng, Connection *conn) noexcept nogil:
    """Closing shall send RST."""
    cdef linger now
    now.l_onoff = 1
    now.l_linger = 0
    setsockopt(conn.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))


# ---- connections ----------------------------------------------------------------------------

cdef inline void connection_move(Connection *conn, uint8_t state) noexcept nogil:
    MUST_HOT(peer_may(conn.state, state))
    conn.state = state


cdef Connection *connection_open(Engine *eng, int fd, uint8_t role) noexcept nogil:
    """A connection for this fd, registered once; NULL: no memory (fd is closed). A client is
    writable from the start, and being told so would cost a wake: EPOLLOUT is asked for when it
    first refuses bytes (connection_refused)."""
    cdef epoll_event event
    cdef Connection *conn = <Connection *> pool_take(&eng.connections)
    if conn == NULL:
        close(fd)
        return NULL
    conn.fd = fd
    conn.role = role
    conn.transport = &TCP
    conn.opened_ms = eng.now_ms
    conn.ip_slot = -1
    conn.reading = 14           # READ_START_BYTES
    conn.timer.owner = TIMER_CONNECTION
    event.events = EPOLLIN | EPOLLRDHUP | EPOLLET
    if role == ROLE_CLIENT:
        conn.ready = READY_WRITE
    else:
        event.events |= EPOLLOUT
        conn.flags |= CONN_WATCHES_WRITE
    event.data.u64 = (<uint64_t> conn.item.generation << 32) | conn.item.index
    count_add(&eng.me.epoll_ctl, 1)
    if epoll_ctl(eng.epfd, EPOLL_CTL_ADD, fd, &event) != 0:
        close(fd)
        pool_give(&eng.connections, &conn.item)
        return NULL
    return conn


cdef void connection_free(Engine *eng, Connection *conn) noexcept nogil:
    """Close the fd and let everything go. Every path of every connection ends here, once."""
    MUST(conn.state != PEER_FREE and conn.exchange == NULL)
    timer_unlink(&conn.timer)
    keep_change(eng, -<int64_t> buffer_size(&conn.output))
    buffer_drop(&eng.blocks, &conn.input)
    buffer_drop(&eng.blocks, &conn.output)
    if conn.partial != NULL:
        block_give(&eng.blocks, <char *> conn.partial, partial_cap())
        conn.partial = NULL
    if conn.state == PEER_CARRIER:
        eng.http2.free(eng, conn)
        carrier_unlink(eng, conn)
        carrier_not_reached(eng, conn)
    conn.transport.close(eng, conn)
    conn.fd = -1
    connection_move(conn, PEER_FREE)
    if not conn.flags & CONN_QUEUED:
        conn.run_next = eng.dead_connections
        eng.dead_connections = conn


cdef inline uint32_t partial_cap() noexcept nogil:
    """The block that holds a HeadParser."""
    return BLOCK_SMALLEST << (2 * block_class(sizeof(HeadParser)))


cdef inline void keep_change(Engine *eng, int64_t change) noexcept nogil:
    """Bytes kept for slow peers, over all connections of this worker."""
    eng.me.kept_bytes = <uint64_t> (<int64_t> eng.me.kept_bytes + change)


cdef inline ssize_t connection_read(Engine *eng, Connection *conn, char *buf,
                                    size_t size) noexcept nogil:
    """Transport.read with the readiness bit kept right."""
    cdef bint drained = False
    cdef ssize_t got = conn.transport.read(eng, conn, buf, size, &drained)
    if drained:
        conn.ready &= <uint8_t> ~READY_READ
    if got == 0:
        conn.flags |= CONN_EOF
    return got


cdef inline size_t read_size(Engine *eng, Connection *conn, uint32_t largest) noexcept nogil:
    """How much to read next: doubles while sends take everything, small again when the worker
    keeps much for slow peers."""
    cdef size_t size = <size_t> 1 << conn.reading
    if eng.me.kept_bytes >= KEPT_BUDGET_BYTES:
        size = READ_START_BYTES
    if largest < READ_LEAST_BYTES:
        largest = READ_LEAST_BYTES
    return size if size < largest else largest


cdef bint connection_moves(Engine *eng, Connection *conn) noexcept nogil:
    """A timer says the peer takes nothing: is that so? A full send buffer wakes us when a third is
    free again and not sooner, however steadily the peer reads."""
    cdef uint32_t held = conn.transport.unsent(eng, conn)
    cdef bint moved = held < conn.unsent
    conn.unsent = held
    return moved


cdef inline void connection_refused(Engine *eng, Connection *conn) noexcept nogil:
    """It took less than it was offered: readiness will tell when it takes more."""
    conn.ready &= <uint8_t> ~READY_WRITE
    conn.unsent = conn.transport.unsent(eng, conn)
    conn.transport.refused(eng, conn)


cdef Sent connection_send(Engine *eng, Connection *conn, iovec *spans, int count) noexcept nogil:
    """Send these spans, keep what the transport does not take now. Order is kept: behind kept
    bytes everything is kept."""
    cdef ssize_t sent = 0
    cdef size_t left
    cdef int i
    cdef size_t total = 0
    if conn.flags & CONN_WRITE_DEAD:
        return SENT_DEAD
    for i in range(count):
        total += spans[i].iov_len
    if total == 0:
        return SENT_ALL if buffer_size(&conn.output) == 0 else SENT_KEPT
    if buffer_size(&conn.output) == 0 and conn.ready & READY_WRITE:
        sent = conn.transport.write(eng, conn, spans, count)
        if sent == IO_ERROR:
            conn.flags |= CONN_WRITE_DEAD
            return SENT_DEAD
        if <size_t> sent == total:
            return SENT_ALL
        connection_refused(eng, conn)
    left = total - <size_t> sent
    if not buffer_room(&eng.blocks, &conn.output, left):
        conn.flags |= CONN_WRITE_DEAD
        return SENT_DEAD
    for i in range(count):
        if <size_t> sent >= spans[i].iov_len:
            sent -= spans[i].iov_len
            continue
        buffer_add(&eng.blocks, &conn.output, <char *> spans[i].iov_base + sent,
                   spans[i].iov_len - <size_t> sent)
        sent = 0
    keep_change(eng, <int64_t> left)
    return SENT_KEPT


cdef inline Sent connection_send_span(Engine *eng, Connection *conn, Span data) noexcept nogil:
    cdef iovec one
    one.iov_base = <void *> data.ptr
    one.iov_len = data.len
    return connection_send(eng, conn, &one, 1)


cdef Sent connection_flush(Engine *eng, Connection *conn) noexcept nogil:
    """Offer the kept bytes again."""
    cdef iovec one
    cdef ssize_t sent
    cdef uint32_t size = buffer_size(&conn.output)
    if size == 0:
        return SENT_ALL
    if conn.flags & CONN_WRITE_DEAD:
        return SENT_DEAD
    if not conn.ready & READY_WRITE:
        return SENT_KEPT
    one.iov_base = conn.output.ptr + conn.output.off
    one.iov_len = size
    sent = conn.transport.write(eng, conn, &one, 1)
    if sent == IO_ERROR:
        conn.flags |= CONN_WRITE_DEAD
        return SENT_DEAD
    keep_change(eng, -sent)
    buffer_consume(&eng.blocks, &conn.output, <uint32_t> sent)
    if <uint32_t> sent < size:
        connection_refused(eng, conn)
        return SENT_KEPT
    return SENT_ALL
