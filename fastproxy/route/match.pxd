# SPDX-License-Identifier: MIT
"""Which route? One walk over the host and one over the path's segments.

Precedence, best first:
  host     exact name, longest wildcard, the routes without host. The virtual host is chosen by the
           name alone: if none of its routes takes the path, the answer is 404, not another host.
  path     segment by segment: literal before {param} before what takes "everything below"; so the
           longest literal wins, and a dead end is taken back. Where the path ends: exact before
           prefix. "/v1/" before "/v1". Then regexes in order of the file, then "/".
  route    at one place: more conditions first, then order of the file.
A route that matches but for its method is passed over, its methods noted: if nothing else takes the
request, that is 405 with `allow`.

Cost: one table look-up per segment and candidates at the places met; not the number of routes. A
walk visits each node at most once, and stops after as many steps as there are nodes, so that even a
damaged plan ends. Regexes are bounded by regex/run.pxd; a limit counts as "no match".
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from fastproxy.http1.head cimport METHOD_OTHER
from fastproxy.memory.limits cimport ROUTE_PARAMS_MAX, ROUTE_SEGMENTS_MAX
from fastproxy.memory.span cimport Slice, Span, span, span_equal, text_span
from fastproxy.regex.run cimport (
    REGEX_YES, RegexSet, regex_group, regex_match, regex_set_free, regex_set_make)
from fastproxy.route.hash cimport route_hash
from fastproxy.route.predicates cimport predicate_holds
from fastproxy.route.table cimport (
    CandidateRow, EDGE_HEAD, EdgeRow, HostRow, MethodRow, NodeRow, PatternRow, PredicateRow,
    ROUTE_HIT, ROUTE_NO_HOST, ROUTE_NO_METHOD, ROUTE_NO_PATH, RouteHit, RouteQuery, RouteTables,
    ScopeRow, SiteRow)


cdef struct RouteRuntime:
    # What a worker makes of a plan that cannot be position independent.
    RegexSet regexes            # shared with rewriting: rows name patterns by the same index
    uint32_t count              # patterns; unused members of `regexes` if 0


cdef enum WalkStage:
    WALK_ENTER = 0              # `node` not looked at yet
    WALK_PARAM = 1              # its literal child did not lead to a route
    WALK_BELOW = 2              # nor its {param} child


cdef struct WalkStep:
    uint32_t node
    uint32_t at                 # where the node's part of the path ends: at "/" or the path's end
    uint32_t end                # where the next segment ends
    uint8_t stage               # WalkStage
    uint8_t params              # captured so far


cdef inline int route_runtime_make(RouteRuntime *runtime, const char *base,
                                   const RouteTables *tables) noexcept nogil:
    """When a plan is mapped. 0, -1 without memory, -2 - i if regex i does not compile."""
    runtime.count = tables.regexes.count
    return regex_set_make(&runtime.regexes, base, tables.regexes)


cdef inline void route_runtime_free(RouteRuntime *runtime) noexcept nogil:
    """When a plan is unmapped; once per successful make."""
    regex_set_free(&runtime.regexes)
    runtime.count = 0


cdef inline uint32_t host_find(const char *base, Slice table, Span name) noexcept nogil:
    """site + 1 of that name, 0 if it is not there."""
    cdef const HostRow *rows = <const HostRow *> (base + table.off)
    cdef uint32_t hashed, slot, _probe
    if table.count == 0:
        return 0
    hashed = route_hash(0, name.ptr, name.len)
    slot = hashed & (table.count - 1)
    for _probe in range(table.count):
        if rows[slot].site == 0:
            return 0
        if rows[slot].hash == hashed and span_equal(text_span(base, rows[slot].name), name):
            return rows[slot].site
        slot = (slot + 1) & (table.count - 1)
    return 0


cdef inline uint32_t suffix_find(const char *base, const ScopeRow *scope, Span host) noexcept nogil:
    """site + 1 of the longest wildcard that the host lies below, 0 if there is none."""
    cdef uint32_t labels = 0, site
    cdef size_t at = host.len
    cdef size_t dot
    # From the right, find where the longest suffix that exists could begin ...
    while at > 0 and labels < scope.suffix_labels:
        at -= 1
        while at > 0 and host.ptr[at] != 0x2e:
            at -= 1
        labels += 1
    # ... then try it and the shorter ones. At least one byte must stand before the dot.
    dot = at
    while dot < host.len:
        if host.ptr[dot] == 0x2e and dot > 0:
            site = host_find(base, scope.suffixes,
                             span(host.ptr + dot + 1, host.len - dot - 1))
            if site:
                return site
        dot += 1
    return 0


cdef inline uint32_t site_find(const char *base, const ScopeRow *scope, Span host) noexcept nogil:
    cdef uint32_t site = host_find(base, scope.hosts, host)
    if site == 0 and scope.suffix_labels:
        site = suffix_find(base, scope, host)
    return site if site else scope.fallback


cdef inline uint32_t edge_find(const char *base, const RouteTables *tables, uint32_t parent,
                               const char *segment, size_t length) noexcept nogil:
    """child + 1, 0 if there is none."""
    cdef const EdgeRow *rows = <const EdgeRow *> (base + tables.edges.off)
    cdef uint32_t mask = tables.edges.count - 1
    cdef size_t head = length if length < EDGE_HEAD else EDGE_HEAD
    cdef const EdgeRow *row
    cdef uint32_t slot, _probe
    if tables.edges.count == 0:
        return 0
    slot = route_hash(parent, segment, length) & mask
    for _probe in range(tables.edges.count):
        row = &rows[slot]
        if row.child == 0:
            return 0
        if (row.parent == parent and row.text.len == length
                and memcmp(row.head, segment, head) == 0
                and (length <= EDGE_HEAD or memcmp(base + row.text.off + EDGE_HEAD,
                                                   segment + EDGE_HEAD, length - EDGE_HEAD) == 0)):
            return row.child
        slot = (slot + 1) & mask
    return 0


cdef inline bint method_allowed(const char *base, const RouteTables *tables,
                                const CandidateRow *row, const RouteQuery *query) noexcept nogil:
    cdef const MethodRow *names
    cdef uint32_t i
    if row.any_method:
        return True
    if not row.methods >> query.method_id & 1:
        return False
    if query.method_id != METHOD_OTHER:
        return True
    names = <const MethodRow *> (base + tables.methods.off) + row.method_first
    for i in range(row.method_count):
        if span_equal(text_span(base, names[i].name), query.method):
            return True
    return False


cdef inline bint candidate_holds(const char *base, const RouteTables *tables,
                                 const CandidateRow *row, const RouteRuntime *runtime,
                                 const RouteQuery *query, RouteHit *hit) noexcept nogil:
    """All conditions but the path. If only the method is missing, it is noted in `allow`."""
    cdef const PredicateRow *predicates
    cdef uint32_t i
    cdef bint allowed = method_allowed(base, tables, row, query)
    if not allowed and (hit.allow | row.methods) == hit.allow:
        return False
    predicates = <const PredicateRow *> (base + tables.predicates.off) + row.predicate_first
    for i in range(row.predicate_count):
        if not predicate_holds(base, &predicates[i], query, &runtime.regexes):
            return False
    if not allowed:
        hit.allow |= row.methods
    return allowed


cdef inline bint take_first(const char *base, const RouteTables *tables, uint32_t first,
                            uint32_t count, const RouteRuntime *runtime, const RouteQuery *query,
                            uint32_t params, Span rest, RouteHit *hit) noexcept nogil:
    """The first of a place's candidates whose conditions hold."""
    cdef const CandidateRow *rows = <const CandidateRow *> (base + tables.candidates.off) + first
    cdef uint32_t i
    for i in range(count):
        if candidate_holds(base, tables, &rows[i], runtime, query, hit):
            hit.route = rows[i].route
            hit.why = ROUTE_HIT
            hit.param_count = <uint8_t> params
            if rows[i].rest and params < ROUTE_PARAMS_MAX:
                hit.params[params] = rest
                hit.param_count = <uint8_t> (params + 1)
            return True
    return False


cdef inline uint32_t segment_end(Span path, uint32_t start) noexcept nogil:
    """Where the segment that begins at `start` ends. Segments are short: a byte loop wins over
    memchr up to some 20 bytes."""
    cdef uint32_t at = start
    cdef const char *found
    while at < path.len and at - start < 16:
        if path.ptr[at] == 0x2f:
            return at
        at += 1
    if at == path.len:
        return at
    found = <const char *> memchr(path.ptr + at, 0x2f, path.len - at)
    return <uint32_t> (found - path.ptr) if found != NULL else <uint32_t> path.len


cdef inline bint walk_leave(const char *base, const RouteTables *tables, const NodeRow *node,
                            const WalkStep *step, bint root, const RouteRuntime *runtime,
                            const RouteQuery *query, RouteHit *hit) noexcept nogil:
    """Nothing further down took the path: what takes everything below this node, or from it on.
    The root's turn comes only after the regexes."""
    cdef Span path = query.path
    if root:
        return False
    if step.at < path.len and node.below_count:
        if take_first(base, tables, node.below_first, node.below_count, runtime, query,
                      step.params, span(path.ptr + step.at + 1, path.len - step.at - 1), hit):
            return True
    return node.prefix_count and take_first(
        base, tables, node.prefix_first, node.prefix_count, runtime, query, step.params,
        span(path.ptr, 0), hit)


cdef inline bint walk(const char *base, const RouteTables *tables, uint32_t root,
                      const RouteRuntime *runtime, const RouteQuery *query,
                      RouteHit *hit) noexcept nogil:
    """The path's segments down the tree, best child first, back where one leads nowhere."""
    cdef WalkStep[ROUTE_SEGMENTS_MAX + 2] steps
    cdef WalkStep *step = &steps[0]
    cdef const NodeRow *nodes = <const NodeRow *> (base + tables.nodes.off)
    cdef const NodeRow *node
    cdef Span path = query.path
    cdef uint32_t budget = tables.nodes.count
    cdef uint32_t depth = 0, child
    step.node = root
    step.at = 0
    step.stage = WALK_ENTER
    step.params = 0
    while True:
        step = &steps[depth]
        node = &nodes[step.node]
        child = 0
        if step.stage == WALK_ENTER:
            step.stage = WALK_PARAM
            if budget == 0:
                return False
            budget -= 1
            if step.at >= path.len:
                step.stage = WALK_BELOW
                if node.exact_count and take_first(
                        base, tables, node.exact_first, node.exact_count, runtime, query,
                        step.params, span(path.ptr, 0), hit):
                    return True
            else:
                step.end = segment_end(path, step.at + 1)
                child = edge_find(base, tables, step.node, path.ptr + step.at + 1,
                                  step.end - step.at - 1)
        if child == 0 and step.stage == WALK_PARAM:
            step.stage = WALK_BELOW
            if node.param and step.end > step.at + 1 and step.params < ROUTE_PARAMS_MAX:
                child = node.param
                hit.params[step.params] = span(path.ptr + step.at + 1, step.end - step.at - 1)
        if child and depth <= ROUTE_SEGMENTS_MAX:
            depth += 1
            steps[depth].node = child - 1
            steps[depth].at = step.end
            steps[depth].stage = WALK_ENTER
            # Down the {param} child one more is captured: then `stage` has already moved on.
            steps[depth].params = step.params + (step.stage == WALK_BELOW)
            continue
        if walk_leave(base, tables, node, step, depth == 0, runtime, query, hit):
            return True
        if depth == 0:
            return False
        depth -= 1


cdef inline bint match_patterns(const char *base, const RouteTables *tables, const SiteRow *site,
                                const RouteRuntime *runtime, const RouteQuery *query,
                                RouteHit *hit) noexcept nogil:
    """Regexes in order. Groups become params only once the other conditions hold, since those may
    run regexes too."""
    cdef const PatternRow *rows = <const PatternRow *> (base + tables.patterns.off)
    cdef const PatternRow *row
    cdef Span[ROUTE_PARAMS_MAX] groups
    cdef uint32_t i
    cdef int group
    for i in range(site.pattern_count):
        row = &rows[site.pattern_first + i]
        if regex_match(&runtime.regexes, row.regex, query.path) != REGEX_YES:
            continue
        for group in range(ROUTE_PARAMS_MAX):
            groups[group] = regex_group(&runtime.regexes, group + 1, query.path)
        if take_first(base, tables, row.first, row.count, runtime, query, 0,
                      span(query.path.ptr, 0), hit):
            hit.param_count = ROUTE_PARAMS_MAX
            for group in range(ROUTE_PARAMS_MAX):
                hit.params[group] = groups[group]
            return True
    return False


cdef inline void route_match(const char *base, const RouteTables *tables,
                             const RouteRuntime *runtime, const RouteQuery *query,
                             RouteHit *hit) noexcept nogil:
    """Fill `hit`. `base` is the plan's; `query.head` may be NULL (no headers). Spans of
    `hit.params` point into `query.path`. A path that does not begin with "/" matches no route."""
    cdef const ScopeRow *scope
    cdef const SiteRow *site
    cdef const NodeRow *root
    cdef uint32_t found
    hit.route = 0
    hit.allow = 0
    hit.param_count = 0
    hit.why = ROUTE_NO_HOST
    if query.listener >= tables.scopes.count:
        return
    scope = <const ScopeRow *> (base + tables.scopes.off) + query.listener
    found = site_find(base, scope, query.host)
    if found == 0:
        return
    hit.why = ROUTE_NO_PATH
    if query.path.len == 0 or query.path.ptr[0] != 0x2f:
        return
    site = <const SiteRow *> (base + tables.sites.off) + (found - 1)
    if walk(base, tables, site.root, runtime, query, hit):
        return
    if site.pattern_count and match_patterns(base, tables, site, runtime, query, hit):
        return
    root = <const NodeRow *> (base + tables.nodes.off) + site.root
    if root.below_count and take_first(
            base, tables, root.below_first, root.below_count, runtime, query, 0,
            span(query.path.ptr + 1, query.path.len - 1), hit):
        return
    if hit.allow:
        hit.why = ROUTE_NO_METHOD
