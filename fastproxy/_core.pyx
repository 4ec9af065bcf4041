# SPDX-License-Identifier: MIT
# cython: language_level=3
"""The hot path, in the order a request meets it. This file is the table of contents."""

import hashlib

from fastproxy.clib.must cimport MUST, MUST_HOT
from fastproxy.clib.atomics cimport load64
from fastproxy.http1.head cimport Head
from fastproxy.memory.span cimport Out, Span, put_uint

include "_layout.pxi"

cdef unsigned long long _hash = int.from_bytes(
    hashlib.sha256(repr(sorted(_layout().items())).encode()).digest()[:8], "little")


def layout():
    """Every table struct as {name: (size, {field: (offset, bytes, type)})}."""
    return _layout()


def layout_hash():
    """64 bits that change when any table struct changes: plans and rosters carry it."""
    return _hash


include "balance/door.pxi"
include "scoreboard/door.pxi"
include "process/door.pxi"
include "regex/door.pxi"
include "template/door.pxi"
include "route/door.pxi"
