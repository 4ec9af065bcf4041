# SPDX-License-Identifier: MIT
# Routing, templates and rewriting for tests and micro benches. Included by _probe.pyx.

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.stdlib cimport posix_memalign
from libc.string cimport memcpy, memset

from fastproxy.http1.head cimport FIELD_UNDERSCORE, Field, Head
from fastproxy.http1.tokens cimport field_taken
from fastproxy.memory.limits cimport HEAD_FIELDS_MAX
from fastproxy.memory.span cimport Out, Slice, Span, out_over, span
from fastproxy.rewrite.apply cimport edit_drops, edits_emit, path_apply, path_legal
from fastproxy.rewrite.check cimport edits_check, rewrite_check
from fastproxy.rewrite.table cimport EditList, RewriteRow, RewriteTables
from fastproxy.route.check cimport route_check
from fastproxy.route.match cimport (
    RouteRuntime, route_match, route_runtime_free, route_runtime_make)
from fastproxy.route.table cimport RouteHit, RouteQuery, RouteRow, RouteTables
from fastproxy.template.fields cimport cookie_find, query_find
from fastproxy.template.render cimport render
from fastproxy.template.table cimport Scene

from time import perf_counter_ns

cdef extern from "Python.h":
    const char *PyBytes_AS_STRING(object text)

_METHODS = ["", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"]


cdef Span _span(bytes text):
    return span(PyBytes_AS_STRING(text), len(text))


cdef class ProbeHead:
    """A Head over bytes of its own, from a list of (name, value)."""

    cdef Head head
    cdef bytes text

    def __cinit__(self, fields, ids):
        lines = []
        at = 0
        memset(&self.head, 0, sizeof(Head))
        for name, value in fields[:HEAD_FIELDS_MAX]:
            field = &self.head.fields[self.head.count]
            lines += [name, b": ", value, b"\r\n"]
            field.name_off = at
            field.name_len = len(name)
            field.value_off = at + len(name) + 2
            field.value_len = len(value)
            field.line_len = len(name) + len(value) + 4
            field.id = ids.get(name.decode("latin-1").lower(), 0)
            if b"_" in name:
                field.flags |= FIELD_UNDERSCORE
            field_taken(&self.head, field.id)
            at += field.line_len
        self.text = b"".join(lines)
        self.head.base = self.text
        self.head.length = len(self.text)


cdef class ProbeScene:
    """A Scene from keywords: spans as bytes, numbers as int, `request` and `response` as ProbeHead,
    `params` as a list of bytes."""

    cdef Scene scene
    cdef list kept

    def __cinit__(self, **values):
        memset(&self.scene, 0, sizeof(Scene))
        self.kept = list(values.values())
        for name, value in values.items():
            self._set(name, value)

    cdef _set(self, str name, value):
        scene = &self.scene
        if name == "request":
            scene.request = &(<ProbeHead> value).head
        elif name == "response":
            scene.response = &(<ProbeHead> value).head
        elif name == "params":
            scene.param_count = len(value)
            for i, one in enumerate(value):
                scene.params[i] = _span(one)
        elif isinstance(value, bytes):
            self._set_span(name, value)
        else:
            self._set_number(name, value)

    cdef _set_span(self, str name, bytes value):
        scene = &self.scene
        s = _span(value)
        if name == "client_ip":
            scene.client_ip = s
        elif name == "peer_ip":
            scene.peer_ip = s
        elif name == "scheme":
            scene.scheme = s
        elif name == "host":
            scene.host = s
        elif name == "authority":
            scene.authority = s
        elif name == "method":
            scene.method = s
        elif name == "target":
            scene.target = s
        elif name == "path":
            scene.path = s
        elif name == "query":
            scene.query = s
        elif name == "request_id":
            scene.request_id = s
        elif name == "route":
            scene.route = s
        elif name == "upstream":
            scene.upstream = s
        elif name == "backend":
            scene.backend = s
        elif name == "listener":
            scene.listener = s
        elif name == "time_local":
            scene.time_local = s
        elif name == "time_iso":
            scene.time_iso = s
        elif name == "protocol":
            scene.protocol = s
        elif name == "end_state":
            scene.end_state = s
        else:
            raise KeyError(name)

    cdef _set_number(self, str name, value):
        scene = &self.scene
        if name == "client_port":
            scene.client_port = value
        elif name == "server_port":
            scene.server_port = value
        elif name == "status":
            scene.status = value
        elif name == "retries":
            scene.retries = value
        elif name == "worker":
            scene.worker = value
        elif name == "bytes_in":
            scene.bytes_in = value
        elif name == "bytes_out":
            scene.bytes_out = value
        elif name == "time_total_us":
            scene.time_total_us = value
        elif name == "time_connect_us":
            scene.time_connect_us = value
        elif name == "time_first_byte_us":
            scene.time_first_byte_us = value
        else:
            raise KeyError(name)


cdef class ProbePlan:
    """A blob with a RouteTables row at `routes_at` and a RewriteTables row at `rewrites_at`, copied
    to memory that ends where the plan ends, so that a sanitizer sees a read beyond it."""

    cdef char *base
    cdef size_t length
    cdef RouteTables *routes
    cdef RewriteTables *rewrites
    cdef RouteRuntime runtime
    cdef bint made
    cdef dict ids

    def __cinit__(self, bytes plan, size_t routes_at, size_t rewrites_at, dict ids):
        self.made = False
        self.length = len(plan)
        if posix_memalign(<void **> &self.base, 64, self.length):
            raise MemoryError
        memcpy(self.base, PyBytes_AS_STRING(plan), self.length)
        self.routes = <RouteTables *> (self.base + routes_at)
        self.rewrites = <RewriteTables *> (self.base + rewrites_at)
        self.ids = ids

    def __dealloc__(self):
        if self.made:
            route_runtime_free(&self.runtime)
        free(self.base)

    def check(self):
        """(route_check, rewrite_check, edits_check of all replies)."""
        cdef uint32_t i
        cdef int replies = 0
        cdef Slice edits
        routes = route_check(self.base, self.length, self.routes)
        rewrites = rewrite_check(self.base, self.length, self.rewrites, self.routes.regexes.count)
        if routes == 0:
            for i in range(self.routes.rows.count):
                edits = (<RouteRow *> (self.base + self.routes.rows.off) + i).reply_headers
                replies = min(replies, edits_check(self.base, self.length, edits))
        return routes, rewrites, replies

    def make(self):
        """Compile the regexes: what a worker does on mapping."""
        code = route_runtime_make(&self.runtime, self.base, self.routes)
        self.made = code == 0
        return code

    def limited(self):
        return self.runtime.regexes.limited[0]

    def match(self, host=b"", path=b"/", query=b"", method=b"GET", headers=(), int listener=0):
        """(why, route, allow, params)"""
        cdef tuple texts = (host, path, query, method)
        cdef ProbeHead head = ProbeHead(headers, self.ids)
        cdef RouteQuery wanted
        cdef RouteHit hit
        self._query(&wanted, head, texts, listener)
        with nogil:
            route_match(self.base, self.routes, &self.runtime, &wanted, &hit)
        params = [hit.params[i].ptr[:hit.params[i].len] for i in range(hit.param_count)]
        return hit.why, hit.route, hit.allow, params

    cdef void _query(self, RouteQuery *wanted, ProbeHead head, tuple texts, int listener):
        host, path, query, method = texts
        wanted.head = &head.head
        wanted.host = _span(host)
        wanted.path = _span(path)
        wanted.query = _span(query)
        wanted.method = _span(method)
        name = method.decode("latin-1")
        wanted.method_id = _METHODS.index(name) if name in _METHODS[1:] else 0
        wanted.listener = listener

    def time_match(self, requests, long rounds):
        """ns per route_match over the (host, path) pairs of `requests`, `rounds` times."""
        cdef ProbeHead head = ProbeHead((), self.ids)
        cdef size_t count = len(requests), i
        cdef RouteQuery *wanted = <RouteQuery *> calloc(count, sizeof(RouteQuery))
        cdef RouteHit hit
        cdef long round
        cdef tuple texts
        for i, (host, path) in enumerate(requests):
            texts = (host, path, b"", b"GET")
            self._query(&wanted[i], head, texts, 0)
        start = perf_counter_ns()
        with nogil:
            for round in range(rounds):
                for i in range(count):
                    route_match(self.base, self.routes, &self.runtime, &wanted[i], &hit)
        spent = perf_counter_ns() - start
        free(wanted)
        return spent / (rounds * count)

    def path(self, uint32_t row, path, query, ProbeScene scene, size_t room=65536, before=b""):
        """(code, result or None, all of `out`)."""
        cdef char *room_ptr = <char *> calloc(1, room + 1)
        cdef Out out = out_over(room_ptr, room)
        cdef Span result = span(NULL, 0)
        cdef Span start = _span(before)
        if start.len:
            memcpy(out.ptr, start.ptr, start.len)
        out.len = start.len
        cdef Span sent = _span(path), asked = _span(query)
        rows = <RewriteRow *> (self.base + self.rewrites.rows.off)
        code = path_apply(self.base, &rows[row], &self.runtime.regexes, sent, asked, &scene.scene,
                          &out, &result)
        got = result.ptr[:result.len] if code == 0 else None
        whole = out.ptr[:out.len]
        free(room_ptr)
        return code, got, whole

    def edits(self, uint32_t row, bint response, fields, ProbeScene scene, size_t room=65536):
        """The head's lines after the edits: what is kept in order, then what is emitted."""
        cdef ProbeHead head = ProbeHead(fields, self.ids)
        cdef char *room_ptr = <char *> calloc(1, room + 1)
        cdef Out out = out_over(room_ptr, room)
        cdef Span name
        cdef int id
        rows = <RewriteRow *> (self.base + self.rewrites.rows.off) + row
        edits = &rows.response if response else &rows.request
        kept = []
        for field, value in fields:
            name = _span(field)
            id = self.ids.get(field.decode("latin-1").lower(), 0)
            if not edit_drops(self.base, edits, name, id):
                kept.append((field, value))
        edits_emit(&out, self.base, edits, &scene.scene, &head.head)
        got = out.ptr[:out.len]
        full = out.full
        free(room_ptr)
        return kept, got, full

    def time_edits(self, uint32_t row, fields, ProbeScene scene, int rounds):
        """ns to ask for each field whether it stays, and to write what the edits bring in."""
        cdef ProbeHead head = ProbeHead(fields, self.ids)
        cdef const EditList *edits = &(
            <RewriteRow *> (self.base + self.rewrites.rows.off) + row).request
        cdef const Field *field
        cdef char[8192] room
        cdef Out out
        cdef int i, at, dropped = 0
        cdef double began
        with nogil:
            began = _seconds()
            for i in range(rounds):
                out = out_over(room, sizeof(room))
                for at in range(head.head.count):
                    field = &head.head.fields[at]
                    dropped += edit_drops(
                        self.base, edits, span(head.head.base + field.name_off, field.name_len),
                        field.id)
                edits_emit(&out, self.base, edits, &scene.scene, &head.head)
            began = _seconds() - began
        return began / rounds * 1e9, dropped // rounds, out.ptr[:out.len]

    def reply(self, uint32_t route, ProbeScene scene):
        """(fields, value) of a route's fixed reply or redirect."""
        cdef EditList edits
        row = <RouteRow *> (self.base + self.routes.rows.off) + route
        edits.edits = row.reply_headers
        cdef char *room = <char *> calloc(1, 65536)
        cdef Out out = out_over(room, 65536)
        edits_emit(&out, self.base, &edits, &scene.scene, NULL)
        fields = out.ptr[:out.len]
        out.len = 0
        render(&out, self.base, &row.value, &scene.scene)
        value = out.ptr[:out.len]
        free(room)
        return fields, value


def head_of(fields, ids):
    """A ProbeHead."""
    return ProbeHead(fields, ids)


def scene_of(**values):
    """A ProbeScene."""
    return ProbeScene(**values)


def find_query(bytes query, bytes name):
    cdef Span value, sent = _span(query), wanted = _span(name)
    return value.ptr[:value.len] if query_find(sent, wanted, &value) else None


def find_cookie(fields, ids, bytes name):
    cdef ProbeHead head = ProbeHead(fields, ids)
    cdef Span value
    return value.ptr[:value.len] if cookie_find(&head.head, _span(name), &value) else None


def legal_path(bytes path):
    return bool(path_legal(_span(path)))
