# SPDX-License-Identifier: MIT
"""The roster: who may serve an upstream right now. Types only.

A roster is its own memfd, apart from the plan, so that adding, removing or reweighting a backend
needs no plan. A plan names an upstream by its index; the roster has a RosterUpstream row for each.
Offsets are relative to the roster's base.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.memory.span cimport Slice, Text


cdef enum:
    ROSTER_MAGIC = 0x524f5046   # "FPOR"
    ROSTER_VERSION = 1


cdef struct RosterHeader:
    uint64_t magic
    uint64_t layout_hash
    uint64_t epoch              # grows by one with each new roster
    uint32_t version
    uint32_t length             # bytes of the whole roster
    Slice upstreams             # RosterUpstream
    Slice backends              # RosterBackend, all of them


cdef struct RosterUpstream:
    Slice backends              # RosterBackend rows of this upstream
    Slice wheel                 # uint16_t: smooth weighted round robin, indices into `backends`
    uint8_t algorithm           # Algorithm


cdef struct RosterBackend:
    uint32_t row                # scoreboard row: stable for the life of the backend
    uint32_t generation         # of that row, to notice its reuse
    uint16_t weight             # 0: no new traffic
    uint16_t address_len
    uint8_t address[112]        # sockaddr_in, sockaddr_in6 or sockaddr_un
    Text name                   # as configured: "http://127.0.0.1:9001"
    Text authority              # host[:port] for `host = "upstream"`


cdef enum Algorithm:
    BALANCE_ROUND_ROBIN = 0


cdef enum:
    # Members of one upstream: bits of Tried, and well inside the wheel's 16-bit indices.
    BACKENDS_PER_UPSTREAM_MAX = 1024
    # Steps of one wheel; larger sums of weights are scaled down by build.py.
    WHEEL_MAX = 65536


cdef struct PickCursor:
    # Where one worker stands in one upstream's wheel. Its owner keeps it across picks; a new
    # roster needs no new cursor (it is reduced to the wheel's size at each pick).
    uint32_t at


cdef struct Tried:
    # Which members one exchange has tried: bit i is index i of the upstream's `backends`.
    # All zero: none. 128 bytes, on the exchange.
    uint64_t bits[16]
