# SPDX-License-Identifier: MIT
# cython: language_level=3
"""The hot path, in the order a request meets it. This file is the table of contents."""

import hashlib
import importlib

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from posix.stat cimport fstat, struct_stat

from fastproxy.clib.atomics cimport (
    count_add, fence_all, fetch_and32, fetch_or32, load32, load64, store32, store64)
from fastproxy.clib.logwriter cimport *
from fastproxy.clib.must cimport MUST, MUST_HOT
from fastproxy.clib.posix cimport *
from fastproxy.clib.scan cimport scan_choose
from fastproxy.memory.buffer cimport *
from fastproxy.memory.limits cimport *
from fastproxy.memory.pool cimport *
from fastproxy.memory.random cimport random_next
from fastproxy.memory.span cimport *
from fastproxy.scoreboard.read cimport *
from fastproxy.scoreboard.table cimport *
from fastproxy.scoreboard.write cimport *

# bytes -> heads and bodies
from fastproxy.http1.head cimport *
from fastproxy.http1.faults cimport (
    FAULT_HOST_BAD, FAULT_NONE, fault as refuse, fault_text)
from fastproxy.http1.names cimport field_id as name_id, method_text
from fastproxy.http1.tokens cimport is_token as token_only, lower_is, name_of, next_item, value_of
from fastproxy.http1.parse cimport (
    HeadParser, parse_request, parse_response, parser_init_request, parser_init_response)
from fastproxy.http1.framing cimport frame_request, frame_response
from fastproxy.http1.chunked cimport chunked_decode, chunked_init
from fastproxy.http1.emit cimport CHUNK_SPANS, put_chunk
from fastproxy.http1.target cimport *
from fastproxy.websocket.frames cimport (
    GOODBYE_BYTES, FrameWalk, frames_between, frames_goodbye, frames_walk)
# which route, which backend, what does the other side read
from fastproxy.template.fields cimport cookie_find, cookie_next, field_next, field_value
from fastproxy.template.line cimport line_check, render_line
from fastproxy.template.render cimport render, rows_inside, template_check, text_inside
from fastproxy.template.table cimport Scene, Template
from fastproxy.grpcweb.check cimport grpc_web_check
from fastproxy.grpcweb.origin cimport origin_allowed
from fastproxy.grpcweb.table cimport *
from fastproxy.grpcweb.translate cimport (
    WEB_BINARY, WEB_NONE, WEB_ORIGIN_MAX, WEB_TEXT, WebCall, grpc_web_kind, web_bound, web_decode,
    web_decoded, web_encode, web_trailers)
from fastproxy.route.table cimport *
from fastproxy.route.match cimport (
    RouteRuntime, route_match, route_runtime_free, route_runtime_make)
from fastproxy.route.check cimport route_check
from fastproxy.balance.bound cimport bound_kept
from fastproxy.balance.keyhash cimport hash_key, mix_hashes
from fastproxy.balance.latency cimport latency_failed, latency_seen
from fastproxy.balance.table cimport *
from fastproxy.balance.live cimport (
    add_member, clear_members, drop_member, has_member, live_refresh, lives_free, lives_make,
    no_members, take_members)
from fastproxy.balance.outlier cimport (
    OUTCOME_FAILURE, OUTCOME_GATEWAY, OUTCOME_NONE, OUTCOME_SUCCESS, STATUS_FAILING_FIRST, Outcome,
    is_failing, outlier_eject, outlier_failure, outlier_forgive, outlier_success, outlier_uneject)
from fastproxy.balance.pick cimport (
    cursor_set, pick, pick_begin, roster_backend, roster_check)
from fastproxy.balance.sticky cimport (
    keeps_sessions, member_of_row, member_of_session, session_decode, session_hash, subset_find,
    unquoted)
from fastproxy.balance.sessions cimport (
    LEARNED_EVICTED, LEARNED_NEW, SESSION_GENERATIONS, Learned, sessions_find, sessions_learn)
from fastproxy.rewrite.table cimport *
from fastproxy.rewrite.apply cimport (
    PATH_ILLEGAL, PATH_OK, PATH_TOO_LONG, edit_drops, edits_emit, path_apply)
from fastproxy.rewrite.check cimport edits_check, rewrite_check
# the engine: connections, exchanges, time
from fastproxy.engine.table cimport *
from fastproxy.engine.timers cimport *
from fastproxy.engine.lifecycle cimport *
from fastproxy.engine.maps cimport *
from fastproxy.engine.parts cimport *
from fastproxy.engine.flags cimport *
from fastproxy.engine.types cimport *

include "_layout.pxi"
include "http1/door.pxi"

cdef unsigned long long _hash = int.from_bytes(
    hashlib.sha256(repr(sorted(_layout().items())).encode()).digest()[:8], "little")


def layout():
    """Every table struct as {name: (size, {field: (offset, bytes, type)})}."""
    return _layout()


def layout_hash():
    """64 bits that change when any table struct changes: plans and rosters carry it."""
    return _hash


include "engine/guest.pxi"
include "engine/loop.pxi"
include "engine/transport.pxi"
include "engine/listener.pxi"
include "engine/identity.pxi"
include "engine/client.pxi"
include "engine/client_end.pxi"
include "engine/request.pxi"
include "engine/session.pxi"
include "engine/choose.pxi"
include "engine/exchange.pxi"
include "engine/carrier.pxi"
include "engine/place.pxi"
include "engine/queue.pxi"
include "engine/flow.pxi"
include "engine/dial.pxi"
include "engine/upstream.pxi"
include "engine/pool.pxi"
include "engine/heads.pxi"
include "engine/answers.pxi"
include "engine/secure.pxi"
include "engine/grpc.pxi"
include "engine/web.pxi"
include "engine/tunnel.pxi"
include "engine/parting.pxi"
include "engine/tally.pxi"
include "engine/plan.pxi"
include "engine/doorway.pxi"
include "engine/codecs.pxi"
include "engine/face.pxi"

include "regex/door.pxi"
include "template/door.pxi"
include "route/door.pxi"
include "scoreboard/door.pxi"
include "balance/door.pxi"
include "process/door.pxi"
include "config/door.pxi"
