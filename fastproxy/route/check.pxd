# SPDX-License-Identifier: MIT
"""Is this plan's routing part sound? Asked once, when the plan is mapped.

After 0, `route_match` with any query stays inside the plan, whatever the bytes mean. Each table has
its code, so that a message can say where the damage is. What regexes compile to is not seen here:
`route_runtime_make` refuses those.
"""

from libc.stdint cimport uint32_t, uint64_t

from fastproxy.memory.span cimport Slice
from fastproxy.regex.table cimport RegexRow
from fastproxy.route.table cimport (
    ACTION_RESPONDER, ACTION_SPLIT, CandidateRow, EdgeRow, HostRow, MethodRow, NodeRow, PatternRow,
    PredicateRow, RouteRow, RouteTables, ScopeRow, SiteRow, SplitRow, TEST_REGEX)
from fastproxy.template.render cimport rows_inside, template_check, text_inside


cdef enum RouteCheck:
    ROUTE_SOUND = 0
    ROUTE_BAD_SLICE = -1        # some table lies outside of the plan
    ROUTE_BAD_ROW = -2
    ROUTE_BAD_REGEX = -3
    ROUTE_BAD_SCOPE = -4
    ROUTE_BAD_SITE = -5
    ROUTE_BAD_PATTERN = -6
    ROUTE_BAD_NODE = -7
    ROUTE_BAD_EDGE = -8
    ROUTE_BAD_CANDIDATE = -9
    ROUTE_BAD_PREDICATE = -10
    ROUTE_BAD_METHOD = -11


cdef inline bint range_inside(uint32_t first, uint32_t count, uint32_t total) noexcept nogil:
    return <uint64_t> first + count <= total


cdef inline bint hashed_table(uint32_t count) noexcept nogil:
    return count & (count - 1) == 0


cdef inline int route_check_rows(const char *base, uint64_t length,
                                 const RouteTables *tables) noexcept nogil:
    cdef const RouteRow *row = <const RouteRow *> (base + tables.rows.off)
    cdef const SplitRow *split
    cdef uint32_t i, j
    for i in range(tables.rows.count):
        if (not text_inside(row[i].name, length) or row[i].action > ACTION_RESPONDER
                or not rows_inside(row[i].split, sizeof(SplitRow), length)
                or template_check(base, length, &row[i].value) != 0):
            return ROUTE_BAD_ROW
        if row[i].action != ACTION_SPLIT:
            continue
        split = <const SplitRow *> (base + row[i].split.off)
        # A draw below split_total must find a row.
        if row[i].split.count == 0 or row[i].split_total == 0:
            return ROUTE_BAD_ROW
        for j in range(1, row[i].split.count):
            if split[j].upper < split[j - 1].upper:
                return ROUTE_BAD_ROW
        if split[row[i].split.count - 1].upper != row[i].split_total:
            return ROUTE_BAD_ROW
    return ROUTE_SOUND


cdef inline int route_check_hosts(const char *base, uint64_t length, Slice table,
                                  uint32_t sites) noexcept nogil:
    cdef const HostRow *row = <const HostRow *> (base + table.off)
    cdef uint32_t i
    if not rows_inside(table, sizeof(HostRow), length) or not hashed_table(table.count):
        return ROUTE_BAD_SCOPE
    for i in range(table.count):
        if row[i].site > sites or not text_inside(row[i].name, length):
            return ROUTE_BAD_SCOPE
    return ROUTE_SOUND


cdef inline int route_check_sites(const char *base, uint64_t length,
                                  const RouteTables *tables) noexcept nogil:
    cdef const ScopeRow *scope = <const ScopeRow *> (base + tables.scopes.off)
    cdef const SiteRow *site = <const SiteRow *> (base + tables.sites.off)
    cdef const PatternRow *pattern = <const PatternRow *> (base + tables.patterns.off)
    cdef uint32_t i
    for i in range(tables.scopes.count):
        if (route_check_hosts(base, length, scope[i].hosts, tables.sites.count) != ROUTE_SOUND
                or route_check_hosts(base, length, scope[i].suffixes,
                                     tables.sites.count) != ROUTE_SOUND
                or scope[i].fallback > tables.sites.count):
            return ROUTE_BAD_SCOPE
    for i in range(tables.sites.count):
        if (not text_inside(site[i].name, length) or site[i].root >= tables.nodes.count
                or not range_inside(site[i].pattern_first, site[i].pattern_count,
                                    tables.patterns.count)):
            return ROUTE_BAD_SITE
    for i in range(tables.patterns.count):
        if (pattern[i].regex >= tables.regexes.count
                or not range_inside(pattern[i].first, pattern[i].count, tables.candidates.count)):
            return ROUTE_BAD_PATTERN
    return ROUTE_SOUND


cdef inline int route_check_tree(const char *base, uint64_t length,
                                 const RouteTables *tables) noexcept nogil:
    cdef const NodeRow *node = <const NodeRow *> (base + tables.nodes.off)
    cdef const EdgeRow *edge = <const EdgeRow *> (base + tables.edges.off)
    cdef uint32_t i, total = tables.candidates.count
    for i in range(tables.nodes.count):
        if (node[i].param > tables.nodes.count
                or not range_inside(node[i].exact_first, node[i].exact_count, total)
                or not range_inside(node[i].below_first, node[i].below_count, total)
                or not range_inside(node[i].prefix_first, node[i].prefix_count, total)):
            return ROUTE_BAD_NODE
    if not hashed_table(tables.edges.count):
        return ROUTE_BAD_EDGE
    for i in range(tables.edges.count):
        if edge[i].child > tables.nodes.count or not text_inside(edge[i].text, length):
            return ROUTE_BAD_EDGE
    return ROUTE_SOUND


cdef inline int route_check_candidates(const char *base, uint64_t length,
                                       const RouteTables *tables) noexcept nogil:
    cdef const CandidateRow *row = <const CandidateRow *> (base + tables.candidates.off)
    cdef const PredicateRow *predicate = <const PredicateRow *> (base + tables.predicates.off)
    cdef const MethodRow *method = <const MethodRow *> (base + tables.methods.off)
    cdef uint32_t i
    for i in range(tables.candidates.count):
        if (row[i].route >= tables.rows.count
                or not range_inside(row[i].predicate_first, row[i].predicate_count,
                                    tables.predicates.count)
                or not range_inside(row[i].method_first, row[i].method_count,
                                    tables.methods.count)):
            return ROUTE_BAD_CANDIDATE
    for i in range(tables.predicates.count):
        if (not text_inside(predicate[i].name, length)
                or not text_inside(predicate[i].value, length)
                or (predicate[i].test == TEST_REGEX
                    and predicate[i].regex >= tables.regexes.count)):
            return ROUTE_BAD_PREDICATE
    for i in range(tables.methods.count):
        if not text_inside(method[i].name, length):
            return ROUTE_BAD_METHOD
    return ROUTE_SOUND


cdef inline int route_check(const char *base, uint64_t length,
                            const RouteTables *tables) noexcept nogil:
    """ROUTE_SOUND (0), or what is damaged. `length`: bytes of the whole plan."""
    cdef const RegexRow *regex
    cdef uint32_t i
    cdef int code
    if not (rows_inside(tables.rows, sizeof(RouteRow), length)
            and rows_inside(tables.regexes, sizeof(RegexRow), length)
            and rows_inside(tables.scopes, sizeof(ScopeRow), length)
            and rows_inside(tables.sites, sizeof(SiteRow), length)
            and rows_inside(tables.patterns, sizeof(PatternRow), length)
            and rows_inside(tables.nodes, sizeof(NodeRow), length)
            and rows_inside(tables.edges, sizeof(EdgeRow), length)
            and rows_inside(tables.candidates, sizeof(CandidateRow), length)
            and rows_inside(tables.predicates, sizeof(PredicateRow), length)
            and rows_inside(tables.methods, sizeof(MethodRow), length)):
        return ROUTE_BAD_SLICE
    regex = <const RegexRow *> (base + tables.regexes.off)
    for i in range(tables.regexes.count):
        if not text_inside(regex[i].pattern, length):
            return ROUTE_BAD_REGEX
    code = route_check_rows(base, length, tables)
    if code == ROUTE_SOUND:
        code = route_check_sites(base, length, tables)
    if code == ROUTE_SOUND:
        code = route_check_tree(base, length, tables)
    if code == ROUTE_SOUND:
        code = route_check_candidates(base, length, tables)
    return code
