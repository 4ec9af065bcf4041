# SPDX-License-Identifier: MIT
# What `fastproxy explain` asks of the hot path besides routing: a path's normal form.

from fastproxy.http1.faults cimport fault_text as _fault_text
from fastproxy.http1.head cimport Fault as _Fault
from fastproxy.http1.target cimport (
    PATH_MERGE_SLASHES as _PATH_MERGE, PATH_REFUSE_SLASH as _PATH_REFUSE,
    path_normalise as _path_normalise)
from fastproxy.memory.span cimport Span as _PathSpan, span as _path_span


def normal_path(bytes path not None, bint merge_slashes, bint reject_encoded_slash):
    """The form of a path that routes match and upstreams read. ValueError: it would get 400."""
    cdef bytearray room = bytearray(len(path) + 1)
    cdef int options = (_PATH_MERGE if merge_slashes else 0) | (
        _PATH_REFUSE if reject_encoded_slash else 0)
    cdef _PathSpan raw = _path_span(path, len(path))
    cdef _PathSpan normal
    cdef _Fault fault
    cdef char *start = room
    if _path_normalise(raw, start, raw.len, options, &normal, &fault) < 0:
        raise ValueError(_fault_text(fault.reason).decode())
    return normal.ptr[:normal.len]
