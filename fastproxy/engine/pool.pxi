# SPDX-License-Identifier: MIT
# The pool of idle upstream connections: per worker and backend, newest first. What may be kept is
# decided in `parked_put`, what may be used again in `parked_take`; an idle connection that becomes
# readable (a FIN, or bytes nobody asked for) is closed by upstream_pump.

cdef bint parked_put(Engine *eng, Connection *conn, const Settings *settings) noexcept nogil:
    """Keep it for the next exchange if it is clean and there is room. This function decides."""
    cdef uint32_t row = conn.backend
    conn.requests += 1
    if (conn.ready & (READY_FIN | READY_DEAD) or conn.flags & (CONN_EOF | CONN_WRITE_DEAD)
            or buffer_size(&conn.input) != 0 or buffer_size(&conn.output) != 0
            or conn.requests >= settings.upstream_requests or eng.draining
            or eng.parked_count[row] >= settings.upstream_idle or conn.flags & CONN_STREAM
            or eng.now_ms - conn.opened_ms >= settings.upstream_age_ms):
        return False
    if conn.ready & READY_READ and conn.transport.unasked(eng, conn):
        return False
    connection_move(conn, PEER_PARKED)
    conn.parked_round = eng.round
    conn.flags |= CONN_REUSED | CONN_IN_LIST
    conn.list_prev = NULL
    conn.list_next = eng.parked[row]
    if conn.list_next != NULL:
        conn.list_next.list_prev = conn
    eng.parked[row] = conn
    eng.parked_count[row] += 1
    eng.upstream_idle_count += 1
    connection_timer(eng, conn, settings.upstream_keepalive_ms)
    return True


cdef void parked_unlink(Engine *eng, Connection *conn) noexcept nogil:
    if not conn.flags & CONN_IN_LIST:
        return
    conn.flags &= <uint32_t> ~CONN_IN_LIST
    if conn.list_prev != NULL:
        conn.list_prev.list_next = conn.list_next
    else:
        eng.parked[conn.backend] = conn.list_next
    if conn.list_next != NULL:
        conn.list_next.list_prev = conn.list_prev
    eng.parked_count[conn.backend] -= 1
    eng.upstream_idle_count -= 1


cdef enum:
    # How many connections parked in this very round are passed over for an older one.
    PARKED_PASSED_OVER = 16


cdef Connection *parked_take(Engine *eng, const RosterBackend *backend,
                             bint must_be_alive) noexcept nogil:
    """The newest idle connection to this backend that is still good, or NULL.

    Good is what epoll has told of it by now. That is nothing yet for one parked in this very round
    (an older one is better), and a request that could not be sent twice is worth being sure:
    both ask the transport first. So does what came unasked: it may be a ticket of TLS.
    """
    cdef Connection *conn
    cdef int passed
    while True:
        conn = eng.parked[backend.row]
        passed = 0
        while (conn != NULL and conn.parked_round == eng.round and conn.list_next != NULL
               and passed < PARKED_PASSED_OVER):
            conn = conn.list_next
            passed += 1
        if conn == NULL:
            return NULL
        if (conn.ready & (READY_FIN | READY_DEAD)
                or conn.backend_generation != backend.generation
                or eng.now_ms - conn.opened_ms >= eng.plan.settings.upstream_age_ms
                or ((must_be_alive or conn.ready & READY_READ or conn.parked_round == eng.round)
                    and conn.transport.unasked(eng, conn))):
            upstream_close(eng, conn)
            continue
        parked_unlink(eng, conn)
        timer_clear(&conn.timer)
        return conn


cdef bint parked_close_any(Engine *eng) noexcept nogil:
    """Give one idle upstream connection up for its fd."""
    cdef uint32_t row
    if eng.upstream_idle_count == 0:
        return False
    for row in range(<uint32_t> IDLE_BUCKETS):
        if eng.parked[row] != NULL:
            upstream_close(eng, eng.parked[row])
            return True
    return False
