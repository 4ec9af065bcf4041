# SPDX-License-Identifier: MIT
# What is counted and logged of an exchange, and the scene that templates are rendered in.
#
# End states, two letters, as HAProxy users know them. Who ended it: `-` nobody, it is complete;
# C client went away, c client was too slow; S upstream failed, s upstream was too slow; P we
# refused it; L answered here; K a stop cut it. When: R request head, Q request body, C connecting,
# W waiting in line for a backend, H waiting for the answer's head, D answer body, T tunnel, `-` at
# the end.

cdef inline char cut_where(const Exchange *x) noexcept nogil:
    """The second letter for one that ends before its end."""
    if x.state == EXCHANGE_TUNNEL:
        return c'T'
    if x.flags & X_ANSWER_BEGUN:
        return c'D'
    if x.state == EXCHANGE_QUEUED:
        return c'W'
    return c'H' if x.request_flow.done else c'Q'


cdef inline uint32_t status_class(uint16_t status) noexcept nogil:
    cdef uint32_t index = status // 100
    return index if index < 6 else 0


cdef void tally_backend(Engine *eng, Exchange *x) noexcept nogil:
    """One request was given to a backend and is over there, however it went."""
    cdef BackendCount *row = backend_count(board_of(eng), eng.slot, x.backend_row)
    count_add(&row.requests, 1)
    count_add(&row.status[status_class(x.status)], 1)
    count_add(&row.bytes_in, x.bytes_in)
    count_add(&row.bytes_out, x.bytes_out)
    if x.first_byte_us != 0:
        histogram_add(row.first_byte, x.first_byte_us - x.dialed_us)
    judge_backend(eng, x, outcome_of(x))


cdef inline Outcome outcome_of(const Exchange *x) noexcept nogil:
    """What an exchange that ends at its backend says about it."""
    if x.state == EXCHANGE_TUNNEL:
        return OUTCOME_SUCCESS
    if x.end_state[0] == c'S' or x.end_state[0] == c's':
        return OUTCOME_NONE if x.flags & X_BLAMELESS else OUTCOME_GATEWAY
    if x.state != EXCHANGE_RECEIVING:
        return OUTCOME_NONE
    if x.status < STATUS_FAILING_FIRST or not is_failing(
            &roster_upstream(x.roster, x.upstream_index).outlier, x.status):
        return OUTCOME_SUCCESS
    return OUTCOME_GATEWAY if 502 <= x.status <= 504 else OUTCOME_FAILURE


cdef inline void judge_backend(Engine *eng, Exchange *x, Outcome outcome) noexcept nogil:
    """Count it for or against the backend, which may be ejected by that (balance/outlier.pxd)."""
    cdef const RosterUpstream *upstream
    if not x.flags & X_UPSTREAM_BYTES:
        choose_unanswered(eng, x, outcome != OUTCOME_NONE)
    if outcome == OUTCOME_SUCCESS:
        outlier_success(backend_row(board_of(eng), x.backend_row))
    elif outcome != OUTCOME_NONE:
        count_add(&backend_count(board_of(eng), eng.slot, x.backend_row).failures, 1)
        upstream = roster_upstream(x.roster, x.upstream_index)
        outlier_failure(board_of(eng), upstream, roster_backend(x.roster.base, upstream, 0),
                        <uint32_t> x.backend, outcome == OUTCOME_GATEWAY, eng.now_ms)


cdef inline void count_request(Engine *eng, Exchange *x) noexcept nogil:
    """Count it, once, before the last of its answer leaves: who has read an answer finds it
    counted, even if we are killed right after the send."""
    cdef RouteCount *row
    if x.flags & X_COUNTED:
        return
    x.flags |= X_COUNTED
    count_add(&eng.me.requests, 1)
    if x.route != NULL:
        row = route_count(board_of(eng), eng.slot, x.route.counter)
        count_add(&row.requests, 1)
        count_add(&row.status[status_class(x.status)], 1)


cdef void tally(Engine *eng, Exchange *x) noexcept nogil:
    cdef RouteCount *row
    count_request(eng, x)
    count_add(&eng.me.bytes_in, x.bytes_in)
    count_add(&eng.me.bytes_out, x.bytes_out)
    if x.route == NULL:
        return
    row = route_count(board_of(eng), eng.slot, x.route.counter)
    count_add(&row.bytes_in, x.bytes_in)
    count_add(&row.bytes_out, x.bytes_out)
    histogram_add(row.total, eng.now_us - x.started_us)


# ---- the scene ------------------------------------------------------------------------------

cdef void scene_fill(Engine *eng, Exchange *x, Request *request, const Head *answer) noexcept nogil:
    """All that a variable may name, as far as it is known by now. Every member is set, since the
    scene is that of the exchange before."""
    cdef Scene *scene = &eng.scene
    scene.response = answer
    scene.worker = <uint16_t> eng.slot
    scene.scheme = span(b"https", 5 if x.flags & X_SECURE else 4)
    scene.listener = text_span(x.plan.base, listener_row(x).name)
    scene.server_port = listener_port(x)
    scene.time_iso = time_iso(eng)
    scene.time_local = span(eng.time_local, eng.time_local_len)
    scene.request_id = span(x.request_id, x.request_id_len)
    scene.status = x.status
    scene.retries = x.retries
    scene.bytes_in = x.bytes_in
    scene.bytes_out = x.bytes_out
    scene.end_letters[0] = x.end_state[0] if x.end_state[0] != 0 else c'-'
    scene.end_letters[1] = x.end_state[1] if x.end_state[1] != 0 else c'-'
    scene.end_state = span(scene.end_letters, 2)
    scene.time_total_us = eng.now_us - x.started_us
    scene.time_connect_us = x.connected_us - x.dialed_us if x.connected_us != 0 else 0
    scene.time_first_byte_us = x.first_byte_us - x.started_us if x.first_byte_us != 0 else 0
    scene.protocol = span(b"HTTP/2.0" if x.flags & X_HTTP2 else b"HTTP/1.0" if x.flags & X_CLIENT_10
                          else b"HTTP/1.1", 8)
    scene_of_peer(eng, x, scene, request)
    scene_of_route(x, scene)
    scene_of_head(scene, request)


cdef inline void scene_of_route(Exchange *x, Scene *scene) noexcept nogil:
    """Where it went."""
    scene.route = scene.upstream = scene.backend = span(NULL, 0)
    if x.route == NULL:
        return
    scene.route = text_span(x.plan.base, x.route.name)
    if x.route.action <= ACTION_SPLIT:
        scene.upstream = text_span(x.plan.base, upstream_row(x).name)
    if x.backend >= 0:
        scene.backend = text_span(x.roster.base, roster_backend(
            x.roster.base, roster_upstream(x.roster, x.upstream_index),
            <uint32_t> x.backend).name)


cdef inline void scene_of_head(Scene *scene, const Request *request) noexcept nogil:
    """What was asked for; NULL: that is not known (any more)."""
    cdef const Head *head
    cdef uint16_t i
    scene.param_count = 0
    if request == NULL:
        scene.request = NULL
        scene.method = scene.target = scene.host = scene.authority = span(NULL, 0)
        scene.path = scene.query = span(NULL, 0)
        return
    head = request.head
    scene.request = head
    scene.method = text_span(head.base, head.method_text)
    scene.target = text_span(head.base, head.target)
    scene.host = request.host
    scene.authority = request.authority
    scene.path = request.path
    scene.query = request.query
    scene.param_count = request.hit.param_count
    for i in range(request.hit.param_count):
        scene.params[i] = request.hit.params[i]


cdef inline Span time_iso(Engine *eng) noexcept nogil:
    """2026-11-22T14:38:26.123456Z; the part up to the second is formatted once a second."""
    cdef uint64_t now = wall_us(eng)
    cdef uint64_t second = now // 1000000
    if second != eng.wall_sec:
        clock_strings(eng)
    write_millionths(eng.time_iso + eng.time_iso_len, <uint32_t> (now - second * 1000000))
    eng.time_iso[eng.time_iso_len + 7] = c'Z'
    return span(eng.time_iso, eng.time_iso_len + 8)


cdef inline void scene_of_peer(Engine *eng, Exchange *x, Scene *scene,
                               Request *request) noexcept nogil:
    """Who asked."""
    if x.flags & X_PEER_UNIX:
        scene.client_port = 0
        scene.client_ip = scene.peer_ip = span(b"unix", 4)
        return
    scene.client_port = x.peer_port
    scene.peer_ip = span(eng.ip_room, address_text(x.peer, eng.ip_room))
    scene.client_ip = scene.peer_ip
    if request != NULL and x.flags & X_TRUSTED:
        scene.client_ip = client_address(eng, x, request.head, scene.peer_ip)


cdef void scene_of_request(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    scene_fill(eng, x, request, NULL)


cdef void scene_of_answer(Engine *eng, Exchange *x, const Head *answer) noexcept nogil:
    scene_fill(eng, x, x.kept, answer)


# ---- the access log -------------------------------------------------------------------------

cdef void access_log(Engine *eng, Exchange *x) noexcept nogil:
    """One line, rendered where the writer's thread will take it from; without room it is dropped
    and counted (never waits)."""
    cdef Out out
    cdef size_t room
    if eng.log == NULL or (x.route != NULL and not x.route.log):
        return
    out.ptr = log_room(eng.log, &room)
    out = out_over(out.ptr, room)
    scene_fill(eng, x, x.kept, NULL)
    render_line(&out, x.plan.base, &x.plan.settings.log_line, &eng.scene)
    put_char(&out, c'\n')
    if out.full:
        count_add(&eng.me.log_dropped, 1)
        return
    log_took(eng.log, out.len)
    count_add(&eng.me.log_lines, 1)
