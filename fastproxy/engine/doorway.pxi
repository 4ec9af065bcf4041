# SPDX-License-Identifier: MIT
# The doorway to Python: parked exchanges knock, Python answers; and exchanges that have no client.
#
# The engine puts (index, generation) into a ring; after the turn, with the GIL back, the worker's
# loop takes them out and runs handlers (engine/doorway.py). A stale answer (the client went away
# meanwhile) finds no exchange of that generation and is dropped.
#
# A subrequest is an exchange whose asker is the COLLECTOR: head and body are gathered in the
# exchange, which stands in a list until Python fetches them (no answer may be lost, and so not in a
# ring). It is routed and limited like any other request.

cdef enum:
    # Largest answer a subrequest collects: it is held in memory as a whole.
    COLLECTED_MAX = 1048000


cdef void knock(Engine *eng, Exchange *x) noexcept nogil:
    """Tell Python that it is parked. A full ring (thousands since the last look) refuses it with
    503, which ends the exchange."""
    cdef Knock *place
    eng.me.parked += 1
    if eng.knock_head - eng.knock_tail == DOORWAY_RING:
        count_add(&eng.me.odd[<int> ODD_KNOCK_LOST], 1)
        exchange_fail(eng, x, 503, b"too many requests wait for a handler")
        return
    place = &eng.knocks[eng.knock_head % DOORWAY_RING]
    place.index = x.item.index
    place.generation = x.item.generation
    eng.knock_head += 1


cdef bint exchange_resume(Engine *eng, uint32_t index, uint32_t generation, int status, Span fields,
                          Span body) noexcept nogil:
    """Python's answer to a parked exchange. False: it is not there any more."""
    cdef Exchange *x = <Exchange *> pool_find(&eng.exchanges, index, generation)
    if x == NULL or x.state != EXCHANGE_PARKED:
        return False
    clock_read(eng)
    x.status = <uint16_t> status
    x.flags |= X_ANSWER_BEGUN
    end_state(x, b"L", b"-")
    if x.client != NULL:
        answer_send(eng, x, status, fields, body)
    else:
        collector_own(eng, x, fields, body)
    if x.state != EXCHANGE_FINISHED:
        exchange_finish(eng, x)
    carriers_flush(eng)
    bury_the_dead(eng)
    return True


# ---- the collector --------------------------------------------------------------------------

cdef void collector_head(Engine *eng, Exchange *x, Head *head, Span piece,
                         bint last) noexcept nogil:
    """AskerCodec.head: keep the lines as they would have gone to a client, then the body. The
    first four bytes say how long the head is."""
    cdef Out out = out_over(eng.build, BUILD_BYTES)
    put_fields(&out, x.plan.base, NULL, head, DROP_FROM_ANSWER, FIELD_NOMINATED)
    collector_own(eng, x, span(out.ptr, out.len), piece)


cdef void collector_own(Engine *eng, Exchange *x, Span fields, Span body) noexcept nogil:
    cdef uint32_t length = <uint32_t> fields.len
    if (buffer_add(&eng.blocks, &x.collected, <const char *> &length, 4)
            and buffer_add(&eng.blocks, &x.collected, fields.ptr, fields.len)):
        collector_body(eng, x, body, False)


cdef void collector_body(Engine *eng, Exchange *x, Span piece, bint last) noexcept nogil:
    """AskerCodec.body."""
    if (buffer_size(&x.collected) + piece.len > COLLECTED_MAX
            or not buffer_add(&eng.blocks, &x.collected, piece.ptr, piece.len)):
        count_add(&eng.me.odd[<int> ODD_SUBREQUEST_LARGE], 1)
        buffer_drop(&eng.blocks, &x.collected)
        x.status = 502
        x.flags &= ~<uint32_t> X_UPSTREAM_KEEPS
        exchange_finish(eng, x)


cdef void collector_interim(Engine *eng, Exchange *x, Head *head) noexcept nogil:
    """AskerCodec.interim: nobody waits for it."""


cdef void collector_error(Engine *eng, Exchange *x, int status, const char *cause) noexcept nogil:
    """AskerCodec.error: the status alone."""


cdef void collector_cut(Engine *eng, Exchange *x) noexcept nogil:
    """AskerCodec.cut: half an answer is none."""
    buffer_drop(&eng.blocks, &x.collected)
    x.status = 502


cdef void collector_finished(Engine *eng, Exchange *x) noexcept nogil:
    """AskerCodec.finished: hold it until Python has fetched it."""
    x.flags |= X_HELD
    x.next_dead = eng.answered
    eng.answered = x


cdef bint collector_blocked(Engine *eng, Exchange *x) noexcept nogil:
    """AskerCodec.blocked: never; the size is bounded."""
    return False


cdef void collector_resume(Engine *eng, Exchange *x) noexcept nogil:
    """AskerCodec.resume: the whole body went with the head."""


cdef uint32_t subrequest_begin(Engine *eng, char *data, size_t size,
                               uint16_t listener) noexcept nogil:
    """Begin an exchange without a client from whole request bytes (head and body, at most
    FIRST_PIECE_MAX of body). Its key, or 0: the bytes are no request, or no memory."""
    cdef HeadParser *parser = &eng.client_parser
    cdef Fault fault
    cdef Exchange *x
    cdef int64_t used
    cdef uint32_t key
    clock_read(eng)
    parser_init_request(parser, eng.scan, &eng.plan.request_limits)
    used = parse_request(parser, data, size, &fault)
    if used <= 0:
        return 0
    x = exchange_take(eng, NULL, &COLLECTOR)
    if x == NULL:
        return 0
    eng.next_sub += 1
    key = eng.next_sub
    x.sub = key
    x.listener = listener
    x.flags |= X_NO_CLIENT_LOG
    if size - <size_t> used > FIRST_PIECE_MAX:
        exchange_fail(eng, x, 413, b"a subrequest's body is too large")
    else:
        exchange_begin(eng, x, &parser.head, data + used, size - <size_t> used)
    carriers_flush(eng)
    bury_the_dead(eng)
    return key
