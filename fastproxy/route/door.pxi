# SPDX-License-Identifier: MIT
# What Python asks of routing's C code: the builder's hash, and `fastproxy explain`. Included by
# _core.pyx.

from libc.stdlib cimport calloc as _calloc, free as _free
from libc.string cimport memset as _memset

from fastproxy.engine.table cimport (
    PLAN_MAGIC as _PLAN_MAGIC, PLAN_VERSION as _PLAN_VERSION, PlanHeader as _PlanHeader)
from fastproxy.http1.head cimport Head as _Head
from fastproxy.http1.tokens cimport field_taken as _field_taken
from fastproxy.memory.limits cimport HEAD_FIELDS_MAX as _HEAD_FIELDS_MAX
from fastproxy.memory.span cimport Out as _Out, Span as _Span, out_over as _out_over
from fastproxy.memory.span cimport text_span as _text_span
from fastproxy.rewrite.apply cimport (
    edit_drops as _edit_drops, edits_emit as _edits_emit, path_apply as _path_apply)
from fastproxy.rewrite.check cimport rewrite_check as _rewrite_check
from fastproxy.rewrite.table cimport EditList as _EditList, RewriteRow as _RewriteRow
from fastproxy.route.check cimport route_check as _route_check
from fastproxy.route.hash cimport route_hash as _route_hash
from fastproxy.route.match cimport (
    RouteRuntime as _RouteRuntime, route_match as _route_match,
    route_runtime_free as _route_runtime_free, route_runtime_make as _route_runtime_make)
from fastproxy.route.table cimport (
    ROUTE_HIT as _ROUTE_HIT, ROUTE_NO_HOST as _ROUTE_NO_HOST, ROUTE_NO_METHOD as _ROUTE_NO_METHOD,
    ROUTE_NO_PATH as _ROUTE_NO_PATH, RouteHit as _RouteHit, RouteQuery as _RouteQuery,
    RouteRow as _RouteRow)
from fastproxy.template.render cimport render as _render
from fastproxy.template.table cimport Scene as _Scene

_WHY = {_ROUTE_HIT: "hit", _ROUTE_NO_HOST: "no_host", _ROUTE_NO_PATH: "no_path",
        _ROUTE_NO_METHOD: "no_method"}
_EXPLAIN_ROOM = 262144


def route_hash(unsigned int seed, bytes text not None):
    """The hash under which a segment (seed: its parent node) or a host (seed 0) is looked up."""
    return _route_hash(seed, text, len(text))


cdef bytes _head_fill(_Head *head, list fields):
    """Fill a zeroed head from (name, value) pairs; the bytes it points into, to be kept."""
    cdef size_t at = 0
    ids = field_ids()
    lines = []
    for name, value in fields[:_HEAD_FIELDS_MAX]:
        if len(name) + len(value) > 65000:
            raise ValueError("a header field is too long")
        field = &head.fields[head.count]
        field.name_off = at
        field.name_len = len(name)
        field.value_off = at + len(name) + 2
        field.value_len = len(value)
        field.line_len = len(name) + len(value) + 4
        field.id = ids.get(name.decode("latin-1").lower(), 0)
        at += field.line_len
        _field_taken(head, field.id)
        lines.append(name + b": " + value + b"\r\n")
    text = b"".join(lines)
    head.base = text
    head.length = len(text)
    return text


cdef _PlanHeader *_plan_checked(bytes plan) except NULL:
    """The header of a plan all of whose routes and rewrites are sound. ValueError if not."""
    cdef const char *base = plan
    cdef _PlanHeader *header = <_PlanHeader *> base
    cdef size_t length = len(plan)
    cdef int code
    if (length < sizeof(_PlanHeader) or header.magic != _PLAN_MAGIC
            or header.version != _PLAN_VERSION or header.layout_hash != layout_hash()
            or header.length != length):
        raise ValueError("not a plan of this version of fastproxy")
    code = _route_check(base, length, &header.routes)
    if code == 0:
        code = _rewrite_check(base, length, &header.rewrites, header.routes.regexes.count)
    if code != 0:
        raise ValueError(f"the plan is damaged ({code})")
    return header


cdef dict _explain_edits(const char *base, const _EditList *edits, const _Scene *scene,
                         const _Head *head, list fields):
    cdef char *room = <char *> _calloc(1, _EXPLAIN_ROOM)
    cdef _Out out = _out_over(room, _EXPLAIN_ROOM)
    cdef _Span name
    cdef int id
    if room == NULL:
        raise MemoryError
    ids = field_ids()
    dropped = []
    for field, value in fields:
        name = _span(field, len(field))
        id = ids.get(field.decode("latin-1").lower(), 0)
        if _edit_drops(base, edits, name, id):
            dropped.append(field)
    _edits_emit(&out, base, edits, scene, head)
    lines = out.ptr[:out.len].splitlines()
    _free(room)
    return {"dropped": dropped, "written": lines}


def explain(bytes plan not None, int listener, bytes method not None, bytes host not None,
            bytes path not None, bytes query not None, list headers not None):
    """What the hot path makes of a request: {why, route, name, allow, params, target, request}.

    `host` in lower case without port, `path` normalised, `query` without "?": as the engine would
    hand them over. `target` is what the upstream would read, None if the rewritten path is refused;
    `request` tells which of `headers` the route's edits drop and which lines they write. What only
    a running proxy knows (client address, backend, times) renders as nothing. `value`: Location of
    a redirect or body of a reply.
    """
    cdef const char *base = plan
    cdef _PlanHeader *header = _plan_checked(plan)
    cdef _RouteRuntime runtime
    cdef _RouteQuery asked
    cdef _RouteHit hit
    cdef _Head head
    cdef _Scene scene
    known = method_ids()
    _memset(&head, 0, sizeof(head))
    kept = _head_fill(&head, headers)
    asked.head = &head
    asked.host = _span(host, len(host))
    asked.path = _span(path, len(path))
    asked.query = _span(query, len(query))
    asked.method = _span(method, len(method))
    asked.method_id = known.get(method.decode("latin-1"), 0)
    asked.listener = listener
    if _route_runtime_make(&runtime, base, &header.routes) != 0:
        raise ValueError("a regex of the plan does not compile")
    try:
        _route_match(base, &header.routes, &runtime, &asked, &hit)
        answer = {
            "why": _WHY[hit.why],
            "allow": [name for name, bit in known.items() if hit.allow >> bit & 1],
        }
        if hit.why == _ROUTE_HIT:
            _scene_fill(&scene, &asked, &hit)
            answer.update(_explain_hit(base, header, &runtime, &asked, &hit, &scene, headers))
        return answer
    finally:
        _route_runtime_free(&runtime)


cdef void _scene_fill(_Scene *scene, const _RouteQuery *asked, const _RouteHit *hit) noexcept:
    """The part of a scene that a request alone gives."""
    cdef int i
    _memset(scene, 0, sizeof(_Scene))
    scene.request = asked.head
    scene.host = asked.host
    scene.authority = asked.host
    scene.method = asked.method
    scene.target = asked.path
    scene.path = asked.path
    scene.query = asked.query
    scene.scheme = _span("http", 4)
    scene.protocol = _span("HTTP/1.1", 8)
    scene.param_count = hit.param_count
    for i in range(hit.param_count):
        scene.params[i] = hit.params[i]


cdef dict _explain_hit(const char *base, const _PlanHeader *header, const _RouteRuntime *runtime,
                       const _RouteQuery *asked, const _RouteHit *hit, _Scene *scene,
                       list headers):
    cdef const _RouteRow *route = <const _RouteRow *> (base + header.routes.rows.off) + hit.route
    cdef const _RewriteRow *rewrite
    cdef char *room
    cdef _Out out
    cdef _Span target
    cdef int code
    if route.rewrite >= header.rewrites.rows.count:
        raise ValueError("the plan is damaged")
    room = <char *> _calloc(1, _EXPLAIN_ROOM)
    if room == NULL:
        raise MemoryError
    rewrite = <const _RewriteRow *> (base + header.rewrites.rows.off) + route.rewrite
    scene.route = _text_span(base, route.name)
    out = _out_over(room, _EXPLAIN_ROOM)
    code = _path_apply(base, rewrite, &runtime.regexes, asked.path, asked.query, scene, &out,
                       &target)
    rewritten = target.ptr[:target.len] if code == 0 else None
    out = _out_over(room, _EXPLAIN_ROOM)
    _render(&out, base, &route.value, scene)
    value = out.ptr[:out.len]
    _free(room)
    return {
        "route": hit.route,
        "name": scene.route.ptr[:scene.route.len].decode(errors="replace"),
        "params": [hit.params[i].ptr[:hit.params[i].len] for i in range(hit.param_count)],
        "target": rewritten,
        "value": value,
        "request": _explain_edits(base, &rewrite.request, scene, asked.head, headers),
    }
