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
    """Collect trailer lines instead of dropping them (RFC 9110 6.5). Without memory: dropped."""
    cdef uint32_t cap
    if flow.kind != BODY_CHUNKED:
        return
    flow.trailers.ptr = block_take(&eng.blocks, TRAILER_ROOM, &cap)
    if flow.trailers.ptr != NULL:
        flow.trailers.cap = TRAILER_ROOM
        flow.chunked.trailers = &flow.trailers


cdef inline void trailers_drop(Engine *eng, Flow *flow) noexcept nogil:
    if flow.trailers.ptr != NULL:
        block_give(&eng.blocks, flow.trailers.ptr, BLOCK_SMALLEST)
        flow.trailers.ptr = NULL


cdef inline int64_t flow_take(Flow *flow, char *data, size_t size, Span *piece, bint *last,
                              Fault *fault) noexcept nogil:
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
