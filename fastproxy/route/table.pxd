# SPDX-License-Identifier: MIT
"""Which route? The compiled form of all routes. Types only.

Offsets are relative to the plan's base. Matching structures (host hash, suffix trie, path radix,
predicates) are this stage's own; the engine reads only RouteRow and calls `route_match`.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.http1.head cimport Head
from fastproxy.memory.limits cimport ROUTE_PARAMS_MAX
from fastproxy.memory.span cimport Slice, Span, Text
from fastproxy.regex.table cimport RegexRow
from fastproxy.template.table cimport Template


cdef enum ActionKind:
    ACTION_UPSTREAM = 0         # target: upstream index
    ACTION_SPLIT = 1            # split: SplitRow rows, by cumulated weight
    ACTION_REDIRECT = 2         # status, value: Location
    ACTION_REPLY = 3            # status, reply_headers, value: the body
    ACTION_RESPONDER = 4        # target: index of a Python responder (doorway)


cdef struct SplitRow:
    uint32_t upper              # cumulated weight: chosen if draw < upper
    uint32_t upstream


cdef struct RouteRow:
    Text name                   # shown in logs, counters and explain
    uint32_t counter            # scoreboard route row
    uint8_t action              # ActionKind
    uint8_t log                 # write an access-log line
    uint16_t status             # REDIRECT, REPLY
    uint32_t target
    uint32_t rewrite            # RewriteRow index
    uint32_t split_total
    Slice split                 # SplitRow
    Template value              # REDIRECT: Location; REPLY: the body; SPLIT: what decides, if any
    Slice reply_headers         # Edit rows (rewrite/table.pxd), EDIT_ADD only
    uint64_t max_body           # bytes; 0: unlimited
    uint64_t request_timeout_ms  # 0: off
    uint32_t grpc_web           # GrpcWebRow: gRPC-Web is translated as it says; 0: not at all
    uint32_t split_fixed        # SPLIT: bytes of `value` that are the same for all


cdef struct RouteQuery:
    # What routing looks at; made by the engine once per request.
    const Head *head
    Span host                   # lower case, no port, no trailing dot
    Span path                   # normalised
    Span query                  # without "?"
    Span method
    uint8_t method_id           # Method
    uint16_t listener           # index


cdef enum RouteWhy:
    ROUTE_HIT = 0
    ROUTE_NO_HOST = 1           # 421: no virtual host of that name and no default
    ROUTE_NO_PATH = 2           # 404
    ROUTE_NO_METHOD = 3         # 405: `allow` says which would do


cdef struct RouteHit:
    uint32_t route              # RouteRow index, valid if why == ROUTE_HIT
    uint32_t allow              # NO_METHOD: bits 1 << Method
    uint8_t why
    uint8_t param_count
    Span params[ROUTE_PARAMS_MAX]  # into query.path


cdef struct RouteTables:
    # The part of the plan's header that belongs to this stage. All but `rows` and `regexes` is read
    # only by match.pxd; rows of one kind stand in one array, others name them by index.
    Slice rows                  # RouteRow
    Slice regexes               # RegexRow: compiled by each worker when it maps the plan
    Slice scopes                # ScopeRow: one per listener
    Slice sites                 # SiteRow
    Slice patterns              # PatternRow
    Slice nodes                 # NodeRow
    Slice edges                 # EdgeRow: open addressing, a power of two, at most half full
    Slice candidates            # CandidateRow
    Slice predicates            # PredicateRow
    Slice methods               # MethodRow


cdef struct ScopeRow:
    # What one listener answers for: its virtual hosts.
    Slice hosts                 # HostRow: exact names; a power of two, at most half full
    Slice suffixes              # HostRow: "example.com" of "*.example.com"; likewise, or none
    uint32_t suffix_labels      # labels of the longest suffix: no need to try more
    uint32_t fallback           # site + 1 of the routes without host; 0: none


cdef struct HostRow:
    Text name
    uint32_t hash
    uint32_t site               # + 1; 0: empty


cdef struct SiteRow:
    # One virtual host: a tree of path segments, then regexes, then the routes for "/".
    Text name
    uint32_t root               # NodeRow
    uint32_t pattern_first      # PatternRow
    uint32_t pattern_count


cdef struct PatternRow:
    uint32_t regex              # RegexRow
    uint32_t first              # CandidateRow
    uint32_t count


cdef struct NodeRow:
    # One place in the tree. The ranges name CandidateRow.
    uint32_t param              # NodeRow + 1 of the {param} child; 0: none
    uint32_t exact_first        # the path ends here
    uint32_t exact_count
    uint32_t below_first        # prefix "/v1/", or "/v1/{rest...}": the path goes on
    uint32_t below_count
    uint32_t prefix_first       # prefix "/v1": the path ends here or goes on
    uint32_t prefix_count
    uint32_t reserved           # 32 bytes: never across a cache line


cdef enum:
    EDGE_HEAD = 16


cdef struct EdgeRow:
    # From `parent` by the segment `text` to `child`. 32 bytes, with the segment's first bytes in
    # it: a short segment costs one cache line.
    uint32_t child              # + 1; 0: empty
    uint32_t parent
    Text text
    uint8_t head[EDGE_HEAD]     # of the text, padded with NUL


cdef struct CandidateRow:
    # One route at one place. Candidates of a place are tried in order.
    uint32_t route              # RouteRow
    uint32_t predicate_first    # PredicateRow
    uint32_t predicate_count
    uint32_t method_first       # MethodRow: names that Method does not know
    uint16_t method_count
    uint16_t methods            # bits 1 << Method; bit 0 (OTHER): some of `method_first`
    uint8_t any_method          # methods are not asked
    uint8_t rest                # the bytes below the node are one more param
    uint64_t reserved           # 32 bytes


cdef struct MethodRow:
    Text name


cdef enum PredicateKind:
    PREDICATE_HEADER = 0
    PREDICATE_QUERY = 1
    PREDICATE_COOKIE = 2


cdef enum PredicateTest:
    TEST_PRESENT = 0
    TEST_ABSENT = 1
    TEST_EQUAL = 2
    TEST_REGEX = 3


cdef struct PredicateRow:
    uint8_t kind                # PredicateKind
    uint8_t test                # PredicateTest
    uint8_t id                  # HEADER: FieldId
    uint8_t reserved
    uint32_t regex              # TEST_REGEX
    Text name
    Text value                  # TEST_EQUAL
