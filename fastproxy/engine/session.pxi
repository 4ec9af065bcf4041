# SPDX-License-Identifier: MIT
# Sessions of one exchange (balance/settings.py: Session). `session_prepare` reads from the request
# whom its session belongs to; `session_member` proposes that one before any pick; what the client
# is to bring next time is told by `session_answer`: a cookie of ours, or learned from the
# application's.
#
# A member that cannot serve unbinds its sessions: another is picked and takes them over. One that
# is only full (max_connections) does not: others serve the request, the session stays where it is.

cdef void session_prepare(Engine *eng, Exchange *x, Request *request,
                          const SessionPlan *plan) noexcept nogil:
    """Called by choose_prepare."""
    cdef const RosterUpstream *upstream = roster_upstream(x.roster, x.upstream_index)
    cdef Span value
    cdef uint8_t session[16]
    cdef int32_t index = -1
    if upstream == NULL:
        return
    x.bond.kind = plan.kind
    if plan.secure_auto:
        x.bond.secure = came_by_tls(x, request.head)
    if not session_value_of(x, request.head, plan, &value):
        return
    if plan.kind == SESSION_COOKIE:
        if session_decode(value, session):
            index = member_of_session(x.roster.base, upstream, session)
    else:
        index = session_find(eng, x, upstream, plan, value)
    if index >= 0 and not has_member(&x.tried, <uint32_t> index):
        x.bond.member = 1 + <uint32_t> index


cdef bint session_value_of(Exchange *x, const Head *head, const SessionPlan *plan,
                           Span *value) noexcept nogil:
    """What the request brings. False: nothing. Of several the first counts."""
    cdef Span name = text_span(x.plan.base, plan.name)
    cdef int at
    if plan.kind == SESSION_LEARN_HEADER:
        at = field_next(head, 0, plan.field_id, name)
        if at < 0:
            return False
        value[0] = field_value(head, at)
    elif not has_field(head, FIELD_COOKIE) or not cookie_find(head, name, value):
        return False
    return value.len != 0


cdef int32_t session_find(Engine *eng, Exchange *x, const RosterUpstream *upstream,
                          const SessionPlan *plan, Span value) noexcept nogil:
    """Index of the member that a learned session belongs to; -1: to nobody that is here. Only
    fields may make a new session by being sent; a cookie that is not known was not given by a
    member, or so long ago that it is forgotten."""
    cdef uint64_t key = session_key_of(eng, plan, value)
    cdef uint32_t row, generation
    cdef int32_t index = -1
    if sessions_find(board_of(eng), key, eng.now_ms, plan.idle_ms, &row, &generation):
        x.bond.key = key
        index = member_of_row(x.roster.base, upstream, row)
        if index >= 0 and generation != roster_backend(
                x.roster.base, upstream, <uint32_t> index).generation % SESSION_GENERATIONS:
            index = -1
    elif plan.kind == SESSION_LEARN_HEADER:
        x.bond.key = key
    return index


cdef inline uint64_t session_key_of(Engine *eng, const SessionPlan *plan,
                                    Span value) noexcept nogil:
    return session_hash(board_of(eng).client_ip_seed, plan.seed, unquoted(value))


cdef inline bint came_by_tls(Exchange *x, const Head *head) noexcept nogil:
    """As far as a trusted proxy before us knows: its word about the client's scheme."""
    cdef int at
    if not x.flags & X_TRUSTED or not has_field(head, FIELD_X_FORWARDED_PROTO):
        return False
    at = field_next(head, 0, FIELD_X_FORWARDED_PROTO, span(NULL, 0))
    return span_equal_nocase(field_value(head, at), span(b"https", 5))


cdef int32_t session_member(Engine *eng, Exchange *x, Ask *ask) noexcept nogil:
    """The member it is bound to, now marked as tried; -1: it cannot serve this request."""
    cdef uint32_t index = x.bond.member - 1
    ask.backends = roster_backend(ask.roster, ask.upstream, 0)
    if has_member(ask.tried, index):
        if x.backend < 0:
            x.bond.member = 0       # it could not be reached; who is only full was asked just now
        return -1
    live_refresh(ask.live, ask.upstream, ask.backends, ask.board, ask.now_ms)
    if not keeps_sessions(ask.live, ask.backends, ask.board, index, ask.now_ms):
        x.bond.member = 0
        return -1
    add_member(ask.tried, index)
    return <int32_t> index


cdef void session_learn(Engine *eng, Exchange *x, uint64_t key, uint32_t index) noexcept nogil:
    """From now on the session `key` belongs to this member."""
    cdef const RosterBackend *backend = roster_backend(
        x.roster.base, roster_upstream(x.roster, x.upstream_index), index)
    cdef Learned done = sessions_learn(
        board_of(eng), key, backend.row, backend.generation, eng.now_ms,
        upstream_row(x).session.idle_ms)
    if done == LEARNED_NEW or done == LEARNED_EVICTED:
        count_add(&eng.me.sessions_learned, 1)
    if done == LEARNED_EVICTED:
        count_add(&eng.me.sessions_evicted, 1)


cdef void session_placed(Engine *eng, Exchange *x) noexcept nogil:
    """It has a place at x.backend: what it was to learn is learned now, so that requests of one new
    session that come at the same time go to one member."""
    if x.bond.member == 0:
        session_learn(eng, x, x.bond.key, <uint32_t> x.backend)


# ---- the answer -----------------------------------------------------------------------------

cdef void session_answer(Engine *eng, Exchange *x, const Head *head, Out *out) noexcept nogil:
    """A final answer's head goes to the client: add our cookie if it has none that is right, or
    learn the application's. An edit of Set-Cookie is about the backend's, never about ours."""
    cdef const SessionPlan *plan = &upstream_row(x).session
    if x.bond.kind == SESSION_COOKIE:
        if x.bond.member == 0 and x.backend >= 0:
            put_session_cookie(x, plan, out)
    elif x.bond.kind == SESSION_LEARN_COOKIE and has_field(head, FIELD_SET_COOKIE):
        session_learn_cookies(eng, x, head, plan)


cdef void put_session_cookie(Exchange *x, const SessionPlan *plan, Out *out) noexcept nogil:
    cdef const RosterBackend *backend = roster_backend(
        x.roster.base, roster_upstream(x.roster, x.upstream_index), <uint32_t> x.backend)
    cdef char digits[32]
    cdef const uint8_t *at = &backend.session[0]
    cdef int i
    for i in range(4):
        hex_digits(&digits[8 * i], <uint32_t> at[0] << 24 | <uint32_t> at[1] << 16
                   | <uint32_t> at[2] << 8 | at[3])
        at += 4
    put_span(out, text_span(x.plan.base, plan.before))
    put(out, digits, sizeof(digits))
    put_span(out, text_span(x.plan.base, plan.after))
    if x.bond.secure:
        put(out, b"; Secure", 8)
    put(out, b"\r\n", 2)


cdef void session_learn_cookies(Engine *eng, Exchange *x, const Head *head,
                                const SessionPlan *plan) noexcept nogil:
    """The backend that answers has set the application's cookie: the session is its own. An empty
    value takes the cookie away."""
    cdef Span name = text_span(x.plan.base, plan.name)
    cdef Span line, value
    cdef const char *end
    cdef size_t at
    cdef int index = field_next(head, 0, FIELD_SET_COOKIE, name)
    while index >= 0:
        line = field_value(head, index)
        end = <const char *> memchr(line.ptr, c';', line.len)
        if end != NULL:
            line.len = <size_t> (end - line.ptr)
        at = 0
        if cookie_next(line, &at, name, &value) and unquoted(value).len != 0:
            session_learn(eng, x, session_key_of(eng, plan, value), <uint32_t> x.backend)
        index = field_next(head, index + 1, FIELD_SET_COOKIE, name)


# ---- what the backend reads -----------------------------------------------------------------

cdef void put_other_cookies(Out *out, Head *head, Span name) noexcept nogil:
    """`hide`: Cookie lines that have ours, without it; the originals will not be copied."""
    cdef Span line, part, value
    cdef const char *found
    cdef size_t at, none
    cdef bint some
    cdef int index = field_next(head, 0, FIELD_COOKIE, name)
    while index >= 0:
        line = field_value(head, index)
        at = 0
        if cookie_next(line, &at, name, &value):
            head.fields[index].flags |= FIELD_NOMINATED
            some = False
            while line.len != 0:
                found = <const char *> memchr(line.ptr, c';', line.len)
                part = span(line.ptr, <size_t> (found - line.ptr) if found != NULL else line.len)
                line.ptr += part.len
                line.len -= part.len
                if line.len != 0:           # the semicolon
                    line.ptr += 1
                    line.len -= 1
                part = trimmed(part)
                none = 0
                if part.len != 0 and not cookie_next(part, &none, name, &value):
                    put(out, b"; " if some else b"Cookie: ", 2 if some else 8)
                    put_span(out, part)
                    some = True
            if some:
                put(out, b"\r\n", 2)
        index = field_next(head, index + 1, FIELD_COOKIE, name)
