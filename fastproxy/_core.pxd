# SPDX-License-Identifier: MIT
"""What the hot path lends to its sister extensions (fastproxy/tls, fastproxy/http2).

They plug in by function pointers that hang off the Engine (TlsPlug, CarrierPlug of
engine/types.pxd); `_core` never imports them, and runs without them. All functions: worker only,
without the GIL. Each one's own words are in engine/*.pxi.
"""

from libc.stdint cimport uint32_t, uint64_t

from fastproxy.clib.posix cimport iovec
from fastproxy.engine.types cimport Connection, Engine, Exchange, Transport


cdef enum Sent:
    SENT_ALL = 0
    SENT_KEPT = 1               # all was accepted, some of it is kept
    SENT_DEAD = 2               # the connection cannot be written any more


cdef class WorkerEngine:
    cdef Engine *eng
    cdef object doorway         # the module; imported late, since the master has no event loop
    cdef dict responders
    cdef dict waiting
    cdef set tasks
    cdef _answer_knocks(self)
    cdef _start_responder(self, uint32_t index, uint32_t generation)
    cdef _resume(self, uint32_t index, uint32_t generation, response)
    cdef _request(self, Exchange *x)
    cdef _deliver(self, Exchange *x)


cdef Transport TCP

# engine/transport.pxi: send or keep; offer again what was kept
cdef Sent connection_send(Engine *eng, Connection *conn, iovec *spans, int count) noexcept nogil
cdef Sent connection_flush(Engine *eng, Connection *conn) noexcept nogil
# engine/loop.pxi: pump this connection again before the turn ends
cdef void run_later(Engine *eng, Connection *conn) noexcept nogil
# engine/carrier.pxi
cdef ssize_t carrier_read(Engine *eng, Connection *conn, char *buf, size_t size) noexcept nogil
cdef void carrier_timer(Engine *eng, Connection *conn, uint64_t after_ms) noexcept nogil
cdef void carrier_idle(Engine *eng, Connection *conn, bint idle) noexcept nogil
cdef void carrier_close(Engine *eng, Connection *conn) noexcept nogil
cdef void carrier_ready(Engine *eng, Connection *conn) noexcept nogil
cdef void carrier_due(Engine *eng, Connection *carrier) noexcept nogil
cdef void carrier_unlink(Engine *eng, Connection *carrier) noexcept nogil
cdef Connection *stream_open(Engine *eng, Connection *carrier,
                             const Transport *transport) noexcept nogil
cdef void stream_gone(Engine *eng, Connection *conn) noexcept nogil
