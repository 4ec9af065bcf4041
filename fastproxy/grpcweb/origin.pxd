# SPDX-License-Identifier: MIT
"""May a script of this origin call? (CORS; the answer is for the browser, which enforces it.)"""

from libc.stdint cimport uint32_t

from fastproxy.grpcweb.table cimport GrpcWebRow, OriginRow
from fastproxy.memory.span cimport Span, span_equal, text_span


cdef inline bint origin_allowed(const char *base, const GrpcWebRow *row,
                                Span origin) noexcept nogil:
    cdef const OriginRow *origins = <const OriginRow *> (base + row.origins.off)
    cdef uint32_t i
    if origin.len == 0:
        return False
    if row.any_origin:
        return True
    for i in range(row.origins.count):
        if span_equal(text_span(base, origins[i].text), origin):
            return True
    return False
