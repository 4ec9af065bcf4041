# SPDX-License-Identifier: MIT
"""Which route? The compiled form of all routes. Types only.

Offsets are relative to the plan's base. Matching structures (host hash, suffix trie, path radix,
predicates) are this stage's own; the engine reads only RouteRow and calls `route_match`.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.http1.head cimport Head
from fastproxy.memory.limits cimport ROUTE_PARAMS_MAX
from fastproxy.memory.span cimport Slice, Span, Text
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
    Template value
    Slice reply_headers         # Edit rows (rewrite/table.pxd), EDIT_ADD only
    uint64_t max_body           # bytes; 0: unlimited
    uint64_t request_timeout_ms # 0: off


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
    Span params[ROUTE_PARAMS_MAX]   # into query.path


cdef struct RouteTables:
    # The part of the plan's header that belongs to this stage.
    Slice rows                  # RouteRow
    Slice regexes               # RegexRow: compiled by each worker when it maps the plan


cdef struct RegexRow:
    Text pattern                # PCRE2 source
    uint32_t options            # PCRE2 compile options
