# SPDX-License-Identifier: MIT
"""Which routes translate gRPC-Web, and whose scripts may call them. Types only.

Offsets are relative to the plan's base. RouteRow.grpc_web names a row; row 0 is nobody's, so that 0
means "no".
"""

from libc.stdint cimport uint8_t, uint32_t

from fastproxy.memory.span cimport Slice, Text


cdef struct GrpcWebRow:
    Slice origins               # OriginRow
    Text allow                  # Access-Control-Allow-Headers
    Text expose                 # Access-Control-Expose-Headers
    uint32_t max_age            # seconds
    uint8_t any_origin
    uint8_t credentials


cdef struct OriginRow:
    Text text                   # as browsers write it: lower case


cdef struct GrpcWebTables:
    Slice rows                  # GrpcWebRow
