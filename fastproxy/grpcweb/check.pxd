# SPDX-License-Identifier: MIT
"""Is this plan's gRPC-Web part sound? Asked once, when the plan is mapped. 0: yes."""

from libc.stdint cimport uint32_t, uint64_t

from fastproxy.grpcweb.table cimport GrpcWebRow, GrpcWebTables, OriginRow
from fastproxy.template.render cimport rows_inside, text_inside


cdef inline int grpc_web_check(const char *base, uint64_t length,
                               const GrpcWebTables *tables) noexcept nogil:
    cdef const GrpcWebRow *rows
    cdef const OriginRow *origins
    cdef uint32_t i, j
    if tables.rows.count == 0 or not rows_inside(tables.rows, sizeof(GrpcWebRow), length):
        return -1
    rows = <const GrpcWebRow *> (base + tables.rows.off)
    for i in range(tables.rows.count):
        if not (rows_inside(rows[i].origins, sizeof(OriginRow), length)
                and text_inside(rows[i].allow, length) and text_inside(rows[i].expose, length)):
            return -1
        origins = <const OriginRow *> (base + rows[i].origins.off)
        for j in range(rows[i].origins.count):
            if not text_inside(origins[j].text, length):
                return -1
    return 0
