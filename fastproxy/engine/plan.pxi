# SPDX-License-Identifier: MIT
# Plans and rosters as a worker maps them: checked once, swapped by one pointer, unmapped when the
# last exchange that began with them is over.

cdef inline BoardHeader *board_of(Engine *eng) noexcept nogil:
    return <BoardHeader *> eng.board


cdef inline const UpstreamRow *upstream_row(const Exchange *x) noexcept nogil:
    return (<const UpstreamRow *> (x.plan.base + x.plan.header.upstreams.off)) + x.upstream_index


cdef inline const ListenerRow *listener_row(const Exchange *x) noexcept nogil:
    return plan_listener(x.plan, x.listener)


cdef inline const ListenerRow *plan_listener(const PlanMap *plan, uint16_t index) noexcept nogil:
    """The row of this listener; a plan with fewer names its last."""
    cdef uint32_t count = plan.header.listeners.count
    return ((<const ListenerRow *> (plan.base + plan.header.listeners.off))
            + (index if index < count else count - 1))


cdef uint16_t listener_port(const Exchange *x) noexcept nogil:
    """The port the client came to. The plan does not know it if any free one was asked for."""
    cdef sockaddr_storage address
    cdef socklen_t size = sizeof(address)
    cdef uint16_t port = listener_row(x).port
    if port != 0 or x.flags & X_PEER_UNIX or x.client == NULL:
        return port
    # A stream has no socket of its own; who asks for port 0 and HTTP/2 is told 0.
    if getsockname(x.client.fd, <sockaddr *> &address, &size) != 0:
        return 0
    if address.ss_family == AF_INET6:
        return ntohs((<sockaddr_in6 *> &address).sin6_port)
    return ntohs((<sockaddr_in *> &address).sin_port)


cdef inline const RosterUpstream *roster_upstream(const RosterMap *roster,
                                                  uint32_t index) noexcept nogil:
    """NULL: this roster is older than the plan and does not know the upstream yet."""
    if index >= roster.header.upstreams.count:
        return NULL
    return (<const RosterUpstream *> (roster.base + roster.header.upstreams.off)) + index


# ---- mapping --------------------------------------------------------------------------------

cdef const char *map_file(int fd, size_t least, size_t *length) noexcept nogil:
    """Map a memfd privately; NULL if it is too small or cannot be mapped."""
    cdef struct_stat facts
    cdef void *base
    if fstat(fd, &facts) != 0 or <size_t> facts.st_size < least:
        return NULL
    base = mmap(NULL, <size_t> facts.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
    if base == MAP_FAILED:
        return NULL
    length[0] = <size_t> facts.st_size
    return <const char *> base


cdef const char *plan_trouble(const char *base, size_t length, uint64_t layout) noexcept nogil:
    """NULL if every offset of the plan is sound, else what is wrong. Asked once, on mapping."""
    cdef const PlanHeader *header = <const PlanHeader *> base
    cdef const ListenerRow *listeners
    cdef const UpstreamRow *upstreams
    cdef const Text *responders
    cdef uint32_t i
    if header.magic != PLAN_MAGIC or header.version != PLAN_VERSION:
        return b"not a plan"
    if header.layout_hash != layout:
        return b"made by another build"
    if header.length != length:
        return b"of another length than it says"
    if not (rows_inside(header.listeners, sizeof(ListenerRow), length)
            and rows_inside(header.upstreams, sizeof(UpstreamRow), length)
            and rows_inside(header.responders, sizeof(Text), length)
            and rows_inside(header.settings.trusted, sizeof(CidrRow), length)
            and text_inside(header.settings.via_name, length)):
        return b"a table lies outside"
    if header.listeners.count == 0 or header.upstreams.count > UPSTREAMS_MAX:
        return b"no listeners, or too many upstreams"
    listeners = <const ListenerRow *> (base + header.listeners.off)
    for i in range(header.listeners.count):
        if not (text_inside(listeners[i].name, length) and text_inside(listeners[i].hsts, length)):
            return b"a listener's name lies outside"
    upstreams = <const UpstreamRow *> (base + header.upstreams.off)
    for i in range(header.upstreams.count):
        if not (text_inside(upstreams[i].name, length) and text_inside(upstreams[i].host, length)):
            return b"an upstream's name lies outside"
        if template_check(base, length, &upstreams[i].key) != 0:
            return b"an upstream's key is damaged"
        if template_check(base, length, &upstreams[i].queue_priority) != 0:
            return b"a queue's priority is damaged"
        if (not session_sound(&upstreams[i].session, length)
                or template_check(base, length, &upstreams[i].subset) != 0):
            return b"an upstream's session or subset is damaged"
    responders = <const Text *> (base + header.responders.off)
    for i in range(header.responders.count):
        if not text_inside(responders[i], length):
            return b"a responder's name lies outside"
    if line_check(base, length, &header.settings.log_line) != 0:
        return b"the log line is damaged"
    if rewrite_check(base, length, &header.rewrites, header.routes.regexes.count) != 0:
        return b"the rewrites are damaged"
    if grpc_web_check(base, length, &header.grpc_web) != 0:
        return b"what translates gRPC-Web is damaged"
    if route_check(base, length, &header.routes) != 0:
        return b"the routes are damaged"
    return routes_trouble(base, header)


cdef inline bint session_sound(const SessionPlan *plan, size_t length) noexcept nogil:
    return (plan.kind < SESSION_KINDS and plan.field_id < FIELD_IDS
            and text_inside(plan.name, length) and text_inside(plan.before, length)
            and text_inside(plan.after, length))


cdef const char *routes_trouble(const char *base, const PlanHeader *header) noexcept nogil:
    """What the route stage cannot know: the tables that its rows point into."""
    cdef const RouteRow *routes = <const RouteRow *> (base + header.routes.rows.off)
    cdef const SplitRow *split
    cdef uint32_t i, j
    for i in range(header.routes.rows.count):
        if (routes[i].counter >= ROUTES_MAX or routes[i].rewrite >= header.rewrites.rows.count
                or routes[i].grpc_web >= header.grpc_web.rows.count):
            return b"a route names a row that does not exist"
        if routes[i].action == ACTION_UPSTREAM and routes[i].target >= header.upstreams.count:
            return b"a route names an upstream that does not exist"
        if routes[i].action == ACTION_RESPONDER and routes[i].target >= header.responders.count:
            return b"a route names a responder that does not exist"
        if routes[i].action == ACTION_REPLY and edits_check(
                base, header.length, routes[i].reply_headers) != 0:
            return b"a reply's headers are damaged"
        if routes[i].action != ACTION_SPLIT:
            continue
        if routes[i].split.count == 0 or routes[i].split_total == 0:
            return b"a split is empty"
        split = <const SplitRow *> (base + routes[i].split.off)
        for j in range(routes[i].split.count):
            if split[j].upstream >= header.upstreams.count:
                return b"a split names an upstream that does not exist"
    return NULL


cdef inline void head_limits(const Settings *settings, PlanMap *plan) noexcept nogil:
    """The parser's limits: as configured for requests, the same room for answers."""
    plan.request_limits.line_bytes = settings.request_line_bytes
    plan.request_limits.field_bytes = settings.header_bytes
    plan.request_limits.fields_bytes = settings.headers_bytes
    plan.request_limits.fields_max = settings.header_count
    plan.answer_limits = plan.request_limits


cdef const char *plan_map(int fd, uint64_t layout, PlanMap **made) noexcept nogil:
    """Map and check. NULL, or why it cannot be used."""
    cdef size_t length = 0
    cdef const char *trouble
    cdef RouteRuntime *runtime
    cdef PlanMap *plan
    cdef const char *base = map_file(fd, sizeof(PlanHeader), &length)
    if base == NULL:
        return b"cannot be mapped"
    trouble = plan_trouble(base, length, layout)
    runtime = <RouteRuntime *> calloc(1, sizeof(RouteRuntime))
    plan = <PlanMap *> calloc(1, sizeof(PlanMap))
    if trouble == NULL and (runtime == NULL or plan == NULL):
        trouble = b"out of memory"
    if trouble == NULL and route_runtime_make(
            runtime, base, &(<const PlanHeader *> base).routes) != 0:
        trouble = b"a regular expression does not compile here"
    if trouble != NULL:
        free(runtime)
        free(plan)
        munmap(<void *> base, length)
        return trouble
    plan.base = base
    plan.header = <const PlanHeader *> base
    plan.settings = &plan.header.settings
    plan.runtime = runtime
    plan.length = length
    plan.holders = 1
    head_limits(plan.settings, plan)
    made[0] = plan
    return NULL


cdef void plan_swap(Engine *eng, PlanMap *plan) noexcept nogil:
    """In force for every request that begins from now on."""
    cdef PlanMap *old = eng.plan
    eng.plan = plan
    eng.client_limit = client_limit_of(eng, plan.settings)
    store64(&eng.me.plan_generation, plan.header.generation)
    if old != NULL:
        plan_release(eng, old)


cdef const char *plan_adopt(Engine *eng, int fd, uint64_t layout) noexcept nogil:
    """Map, check, swap. NULL, or why the plan in force stays."""
    cdef PlanMap *plan = NULL
    cdef const char *trouble = plan_map(fd, layout, &plan)
    if trouble == NULL:
        plan_swap(eng, plan)
    return trouble


cdef enum:
    # Descriptors kept back for what is no connection: plans and logs as they are handed over, files
    # and sockets of Python responders.
    RESERVED_FDS = 16


cdef uint32_t client_limit_of(Engine *eng, const Settings *settings) noexcept nogil:
    """Connections of this worker: as configured, if there are descriptors for so many; else half of
    those that are left, since each client may need an upstream connection."""
    cdef rlimit fds
    cdef uint64_t left = 1024
    if eng.base_fds == 0:
        eng.base_fds = fds_open()
    if getrlimit(RLIMIT_NOFILE, &fds) == 0:
        left = fds.rlim_cur if fds.rlim_cur < 10000000 else 10000000
    left = left - eng.base_fds if left > eng.base_fds else 1
    if settings.connections != 0:
        return settings.connections if settings.connections < left else <uint32_t> left
    left = left - RESERVED_FDS if left > RESERVED_FDS + 2 else 2
    return <uint32_t> (left // 2 if left < 1000000 else 500000)


cdef uint32_t fds_open() noexcept nogil:
    """How many descriptors this process has open now; those above 4095 are not looked for."""
    cdef uint32_t count = 0
    cdef int fd
    for fd in range(4096):
        if fcntl(fd, F_GETFD) >= 0:
            count += 1
    return count


cdef inline void plan_release(Engine *eng, PlanMap *plan) noexcept nogil:
    plan.holders -= 1
    if plan.holders == 0:
        route_runtime_free(<RouteRuntime *> plan.runtime)
        free(plan.runtime)
        munmap(<void *> plan.base, plan.length)
        free(plan)


cdef const char *roster_map(int fd, uint64_t layout, RosterMap **made) noexcept nogil:
    """The same for a roster."""
    cdef size_t length = 0
    cdef RosterMap *roster
    cdef Live *lives
    cdef const char *base = map_file(fd, sizeof(RosterHeader), &length)
    if base == NULL:
        return b"cannot be mapped"
    if roster_check(base, length, layout) != 0:
        munmap(<void *> base, length)
        return b"damaged, or made by another build"
    roster = <RosterMap *> calloc(1, sizeof(RosterMap))
    lives = lives_make(base)
    if roster == NULL or lives == NULL:
        free(roster)
        lives_free(lives)
        munmap(<void *> base, length)
        return b"out of memory"
    roster.base = base
    roster.lives = lives
    roster.header = <const RosterHeader *> base
    roster.length = length
    roster.holders = 1
    made[0] = roster
    return NULL


cdef void roster_swap(Engine *eng, RosterMap *roster) noexcept nogil:
    """Upstreams that are new begin their round; the others go on with theirs."""
    cdef RosterMap *old = eng.roster
    cdef uint32_t known = 0 if old == NULL else old.header.upstreams.count
    cdef uint32_t i
    eng.roster = roster
    for i in range(known, roster.header.upstreams.count):
        pick_begin(&eng.cursors[i], roster_upstream(roster, i), eng.slot, board_of(eng).workers)
    if old != NULL:
        roster_release(eng, old)
    store64(&eng.me.roster_epoch, roster.header.epoch)


cdef const char *roster_adopt(Engine *eng, int fd, uint64_t layout) noexcept nogil:
    cdef RosterMap *roster = NULL
    cdef const char *trouble = roster_map(fd, layout, &roster)
    if trouble == NULL:
        roster_swap(eng, roster)
    return trouble


cdef const char *both_adopt(Engine *eng, int plan_fd, int roster_fd,
                            uint64_t layout) noexcept nogil:
    """A plan with the roster that was made for it: both or neither, so that no request meets a
    route to an upstream that it has no roster of."""
    cdef PlanMap *plan = NULL
    cdef RosterMap *roster = NULL
    cdef const char *trouble = plan_map(plan_fd, layout, &plan)
    if trouble != NULL:
        return trouble
    trouble = roster_map(roster_fd, layout, &roster)
    if trouble != NULL:
        plan_release(eng, plan)
        return trouble
    plan_swap(eng, plan)
    roster_swap(eng, roster)
    return NULL


cdef inline void roster_release(Engine *eng, RosterMap *roster) noexcept nogil:
    roster.holders -= 1
    if roster.holders == 0:
        munmap(<void *> roster.base, roster.length)
        lives_free(roster.lives)
        free(roster)
