# SPDX-License-Identifier: MIT
# Flows: a body on its way, in either direction: what belongs to it, what of it is payload, and how
# it goes out again (sized as it came, or as chunks made anew; extensions are dropped, trailers are
# dropped unless they are asked for).

cdef inline void flow_begin(Flow *flow, const Framing *framing, Chunked *chunked,
                            uint8_t side) noexcept nogil:
    flow.kind = framing.body
    flow.left = framing.length if framing.body == BODY_LENGTH else 0
    flow.done = (framing.body == BODY_NONE
                 or (framing.body == BODY_LENGTH and framing.length == 0))
    flow.out_chunked = framing.body == BODY_CHUNKED
    if framing.body == BODY_CHUNKED:
        chunked_init(chunked, side, NULL)
        flow.chunked = chunked


cdef void trailers_pass(Engine *eng, Flow *flow) noexcept nogil:
    """Collect trailer lines instead of dropping them (RFC 9110 6.5). They mostly come with the last
    of a body and leave within the same call: room that the worker has once will do."""
    if flow.kind != BODY_CHUNKED:
        return
    flow.trailers = out_over(eng.trailer_room, TRAILER_ROOM)
    flow.chunked.trailers = &flow.trailers


cdef void trailers_keep(Engine *eng, Flow *flow) noexcept nogil:
    """Half of a trailer section has come: keep it until the rest does. Without memory: dropped."""
    cdef uint32_t cap
    cdef char *room = block_take(&eng.blocks, TRAILER_ROOM, &cap)
    if room == NULL:
        flow.trailers.len = 0
        flow.chunked.trailers = NULL
        return
    memcpy(room, flow.trailers.ptr, flow.trailers.len)
    flow.trailers.ptr = room


cdef inline void trailers_drop(Engine *eng, Flow *flow) noexcept nogil:
    if flow.trailers.ptr != NULL and flow.trailers.ptr != eng.trailer_room:
        block_give(&eng.blocks, flow.trailers.ptr, TRAILER_ROOM)
    flow.trailers.ptr = NULL


cdef inline int64_t flow_take(Engine *eng, Flow *flow, char *data, size_t size, Span *piece,
                              bint *last, Fault *fault) noexcept nogil:
    """Take body bytes: how many belong to this body, the payload among them, and whether it is
    complete. -1: `fault`. A chunked payload is compacted in place."""
    cdef size_t start = 0
    cdef size_t produced = 0
    cdef int64_t used
    last[0] = False
    if flow.kind == BODY_LENGTH:
        used = <int64_t> size if <int64_t> size < flow.left else flow.left
        piece[0] = span(data, <size_t> used)
        flow.left -= used
        if flow.left == 0:
            flow.done = True
            last[0] = True
        return used
    if flow.kind == BODY_CHUNKED:
        used = chunked_decode(flow.chunked, data, size, &start, &produced, fault)
        if used < 0:
            return -1
        piece[0] = span(data + start, produced)
        if flow.chunked.done:
            flow.done = True
            last[0] = True
        elif flow.trailers.len != 0 and flow.trailers.ptr == eng.trailer_room:
            trailers_keep(eng, flow)
        return used
    piece[0] = span(data, size)
    return <int64_t> size


cdef inline void put_body_piece(Out *out, const Flow *flow, Span piece, bint last) noexcept nogil:
    """A piece of a body as it goes out, behind a head."""
    cdef char room[24]
    cdef iovec spans[CHUNK_SPANS]
    cdef int i
    if not flow.out_chunked:
        put_span(out, piece)
        return
    for i in range(put_chunk(&flow.trailers, piece, last, room, spans)):
        put(out, <const char *> spans[i].iov_base, spans[i].iov_len)


# ---- the request's body ---------------------------------------------------------------------

cdef int64_t exchange_body_take(Engine *eng, Exchange *x, char *data, size_t size, Span *piece,
                                bint *last) noexcept nogil:
    """Decode body bytes and pass them through the filter. Returns how many bytes of `data` belong
    to this request; -1: refused (the exchange is over)."""
    cdef Fault fault
    cdef int status
    cdef int64_t used = flow_take(eng, &x.request_flow, data, size, piece, last, &fault)
    if used < 0:
        x.flags |= X_BODY_ERROR | X_ANSWER_CLOSES
        if x.flags & X_ANSWER_BEGUN:
            exchange_cut(eng, x)
        else:
            exchange_reject(eng, x, &fault)
        return -1
    if x.request_flow.filter != NULL:
        status = x.request_flow.filter(eng, x, piece, last[0])
        if status != 0:
            end_state(x, b"P", b"Q")
            x.flags |= X_BODY_ERROR | X_ANSWER_CLOSES
            x.request_flow.done = False
            exchange_fail(eng, x, status, b"the request body is larger than allowed"
                          if status == 413 else b"the request body is not valid base64")
            return -1
    x.request_flow.moved += piece.len
    x.bytes_in += piece.len
    return used


cdef size_t exchange_body(Engine *eng, Exchange *x, char *data, size_t size) noexcept nogil:
    """More of the request's body came from the asker. Returns how much of it was taken."""
    cdef Span piece
    cdef bint last
    cdef int64_t used = exchange_body_take(eng, x, data, size, &piece, &last)
    if used < 0:
        return size
    x.flags &= ~<uint32_t> X_REPLAYABLE
    if last:
        x.body_sent_us = eng.now_us
    if piece.len != 0 or last:
        x.server.body(eng, x, piece, last)
    return <size_t> used
