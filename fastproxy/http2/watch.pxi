# SPDX-License-Identifier: MIT
# Frames that nghttp2 passes over, and that are errors all the same: DATA and HEADERS on a stream
# that the client itself has ended, reset or left out (RFC 9113 5.1, 5.1.1), and PRIORITY on itself
# (RFC 7540 5.3.1). nghttp2 forgets a stream that is closed; what comes on it then may be late, as
# we have reset it, or wrong, as the client knew. So the heads of frames are read here, too, before
# nghttp2 gets them, and of the last WATCHED streams it is remembered what the client knows.
#
# The same eyes see how long a field block takes, whatever nghttp2 thinks of it.
#
# Clients only: of an upstream such frames are counted (stray).

cdef size_t watch_frames(Session *s, const char *data, size_t size, Breach *breach) noexcept nogil:
    """How much of it nghttp2 may read now: all, or what ends with the head of a frame that is a
    breach. The rest comes again."""
    cdef Watch *w = &s.watch
    cdef size_t at = 0
    cdef size_t part
    breach[0] = BREACH_NONE
    while at < size:
        if w.pass_bytes != 0:
            part = min(<size_t> w.pass_bytes, size - at)
            w.pass_bytes -= <uint32_t> part
            at += part
            if w.pass_bytes == 0 and w.ends_head:
                s.head_open = 0
            continue
        if w.held == 0 and size - at >= FRAME_HEAD:
            memcpy(w.head, data + at, FRAME_HEAD)
            part = FRAME_HEAD
        else:
            part = min(<size_t> (w.wants - w.held), size - at)
            memcpy(w.head + w.held, data + at, part)
        at += part
        w.held += <uint8_t> part
        if w.held < w.wants:
            continue
        if w.wants == FRAME_HEAD:
            w.pass_bytes = watch_number(w.head) >> 8
            if w.head[3] == NGHTTP2_PRIORITY and w.pass_bytes == PRIORITY_BYTES:
                w.wants = FRAME_HEAD + PRIORITY_BYTES
                w.pass_bytes = 0
                continue
        w.held = 0
        w.wants = FRAME_HEAD
        watch_head(s)
        breach[0] = watch_frame(w)
        if breach[0] != BREACH_NONE:
            return at
    return at


cdef inline void watch_begin(Session *s) noexcept nogil:
    """Before the client's first byte. The preface is no frame, and due as soon as a field block."""
    s.watch.pass_bytes = NGHTTP2_CLIENT_MAGIC_LEN
    s.watch.wants = FRAME_HEAD
    s.head_open = 1
    s.head_ms = s.eng.now_ms


cdef inline void watch_head(Session *s) noexcept nogil:
    """A frame begins. A field block shall be whole in `client_header`, from the first byte of
    HEADERS to the last one of the frame with END_HEADERS; and so shall the preface, SETTINGS of
    the client with it (RFC 9113 3.4)."""
    cdef Watch *w = &s.watch
    cdef uint8_t kind = w.head[3]
    if kind == NGHTTP2_HEADERS and s.head_open == 0:
        s.head_open = 1
        s.head_ms = s.eng.now_ms
    w.ends_head = not w.began or (
        (kind == NGHTTP2_HEADERS or kind == NGHTTP2_CONTINUATION)
        and w.head[4] & NGHTTP2_FLAG_END_HEADERS != 0)
    w.began = 1
    if w.pass_bytes == 0 and w.ends_head:
        s.head_open = 0


cdef inline uint32_t watch_number(const uint8_t *at) noexcept nogil:
    return (<uint32_t> at[0] << 24 | <uint32_t> at[1] << 16 | <uint32_t> at[2] << 8
            | <uint32_t> at[3])


cdef inline uint32_t watch_stream(const Watch *w) noexcept nogil:
    """The stream of the frame whose head has come."""
    return watch_number(w.head + 5) & 0x7fffffff


cdef inline Breach watch_frame(Watch *w) noexcept nogil:
    """The head of a frame has come (of PRIORITY: all of it)."""
    cdef uint8_t kind = w.head[3]
    cdef uint32_t id = watch_stream(w)
    if kind == NGHTTP2_HEADERS or kind == NGHTTP2_DATA or kind == NGHTTP2_RST_STREAM:
        # 0 and even ones are errors that nghttp2 knows.
        return watch_stream_frame(w, kind, id >> 1) if id & 1 else BREACH_NONE
    if kind == NGHTTP2_PRIORITY and watch_number(w.head + FRAME_HEAD) & 0x7fffffff == id:
        return BREACH_ORDER
    return BREACH_NONE


cdef Breach watch_stream_frame(Watch *w, uint8_t kind, uint32_t number) noexcept nogil:
    """A frame that belongs to a client's stream, the `number`-th there may be."""
    cdef bint ends = w.head[4] & NGHTTP2_FLAG_END_STREAM != 0
    cdef Mark mark
    if number >= w.count:
        if kind == NGHTTP2_HEADERS:
            watch_opened(w, number)
            mark_set(w, number, MARK_ENDED if ends else MARK_OPEN)
        return BREACH_NONE          # idle: nghttp2 knows
    if w.count - number > WATCHED:
        return BREACH_NONE          # forgotten
    mark = mark_of(w, number)
    if kind == NGHTTP2_RST_STREAM:
        if mark == MARK_OPEN or mark == MARK_ENDED:
            mark_set(w, number, MARK_RESET)
        return BREACH_NONE
    if mark == MARK_OPEN:
        if ends:
            mark_set(w, number, MARK_ENDED)
        return BREACH_NONE
    if mark == MARK_RESET:
        mark_set(w, number, MARK_ENDED)     # the next one is not forgiven
        return BREACH_RESET
    return BREACH_CLOSED if mark == MARK_ENDED else BREACH_ORDER


cdef void watch_opened(Watch *w, uint32_t number) noexcept nogil:
    """A new stream. Those before it that were never used are closed with that (RFC 9113 5.1.1)."""
    if number - w.count >= WATCHED:
        memset(w.marks, 0, sizeof(w.marks))     # MARK_LEFT_OUT
    else:
        while w.count < number:
            mark_set(w, w.count, MARK_LEFT_OUT)
            w.count += 1
    w.count = number + 1


cdef inline Mark mark_of(const Watch *w, uint32_t number) noexcept nogil:
    return <Mark> (w.marks[number % WATCHED // 4] >> 2 * (number % 4) & 3)


cdef inline void mark_set(Watch *w, uint32_t number, Mark mark) noexcept nogil:
    cdef uint8_t *at = &w.marks[number % WATCHED // 4]
    cdef uint8_t shift = <uint8_t> (2 * (number % 4))
    at[0] = <uint8_t> (at[0] & ~(3 << shift) | <int> mark << shift)


cdef void session_breach(Session *s, Breach breach) noexcept nogil:
    """nghttp2 has read as far as this frame's head."""
    if breach == BREACH_RESET:
        nghttp2_submit_rst_stream(
            s.ng, 0, <int32_t> watch_stream(&s.watch), NGHTTP2_STREAM_CLOSED)
    elif breach == BREACH_CLOSED:
        session_fault(s, NGHTTP2_ERR_STREAM_CLOSED)
    else:
        session_fault(s, NGHTTP2_ERR_PROTO)
