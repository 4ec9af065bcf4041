# SPDX-License-Identifier: MIT
# cython: language_level=3
"""TLS for the engine, on both sides: libssl behind the plugs Transport and TlsPlug.

A sister of `_core`: it hangs itself on an Engine, and is built only where libssl 3 is.
"""

import hashlib
import socket as sockets

from fastproxy.tls import keyring as keyring_room

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, strlen

from fastproxy._core cimport TCP, WorkerEngine, run_later
from fastproxy.balance.pick cimport roster_backend
from fastproxy.balance.table cimport RosterBackend, RosterUpstream
from fastproxy.clib.atomics cimport count_add, fence_all, load64
from fastproxy.clib.openssl cimport *
from fastproxy.clib.posix cimport *
from fastproxy.engine.flags cimport *
from fastproxy.engine.lifecycle cimport PEER_HANDSHAKE, PEER_IDLE, PEER_PARKED
from fastproxy.engine.table cimport (
    UPSTREAM_AUTO, UPSTREAM_HTTP1, UPSTREAM_HTTP2, ListenerRow, PlanHeader)
from fastproxy.engine.types cimport Connection, Engine, Exchange, TlsPlug, Transport
from fastproxy.memory.buffer cimport buffer_add, buffer_consume, buffer_drop, buffer_size
from fastproxy.memory.limits cimport *
from fastproxy.memory.pool cimport SLAB_ITEMS, pool_at, pool_give, pool_init, pool_take
from fastproxy.memory.span cimport (
    Out, Span, ascii_lower, out_over, put, put_char, put_span, put_text, put_uint, span, text_span)
from fastproxy.scoreboard.read cimport ticket_board
from fastproxy.scoreboard.table cimport TICKET_RING, BoardHeader, TicketBoard
from fastproxy.tls.types cimport *

include "tls/bio.pxi"
include "tls/transport.pxi"
include "tls/plug.pxi"
include "tls/hello.pxi"
include "tls/tickets.pxi"
include "tls/client.pxi"
include "tls/said.pxi"
include "tls/identity.pxi"
include "tls/contexts.pxi"
include "tls/keys.pxi"
include "tls/face.pxi"

plugs_init()
