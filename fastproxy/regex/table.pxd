# SPDX-License-Identifier: MIT
"""Regular expressions of a plan. Types only.

Routing and rewriting both name a pattern by its index in one list; a compiled pattern holds
pointers, so the plan carries sources and each worker compiles them when it maps the plan
(`run.pxd`).
"""

from libc.stdint cimport uint32_t

from fastproxy.memory.span cimport Text


cdef struct RegexRow:
    Text pattern                # PCRE2 source
    uint32_t options            # PCRE2 compile options beside the fixed ones of run.pxd
    uint32_t reserved
