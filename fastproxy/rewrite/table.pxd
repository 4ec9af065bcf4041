# SPDX-License-Identifier: MIT
"""What the other side reads: edits of header fields and of the path. Types only.

Offsets are relative to the plan's base.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastproxy.memory.span cimport Slice, Text
from fastproxy.template.table cimport Template


cdef enum EditVerb:
    EDIT_SET = 0                # drop every such field, then add one
    EDIT_ADD = 1                # add one more line
    EDIT_APPEND = 2             # ", value" joined onto what is there, else as SET
    EDIT_REMOVE = 3


cdef struct Edit:
    uint8_t verb
    uint8_t id                  # FieldId of the name, FIELD_OTHER if unknown
    uint16_t reserved
    Text name                   # as it shall be written
    Template value


cdef struct EditList:
    Slice edits                 # Edit rows, in order of configuration
    uint32_t ids                # bit (id & 31) for each known name touched: a quick "not me"
    uint8_t touches_other       # some edit names a FIELD_OTHER


cdef enum PathVerb:
    PATH_KEEP = 0
    PATH_STRIP = 1              # drop `prefix` from the front, keep a leading "/"
    PATH_ADD = 2                # put `prefix` in front
    PATH_REGEX = 3              # the part that matches becomes `value`, where $1 is VAR_CAPTURE
    PATH_TEMPLATE = 4           # the whole path from a template


cdef struct PathEdit:
    uint8_t verb
    uint8_t reserved
    uint16_t regex              # index into the plan's regex list
    Text prefix
    Template value


cdef struct RewriteRow:
    # Everything a route changes; one row per route that changes anything. Row 0 changes nothing.
    EditList request
    EditList response
    Slice paths                 # PathEdit rows, applied in order
    uint8_t needs_request       # some response edit reads the request: it must be kept


cdef struct RewriteTables:
    # The part of the plan's header that belongs to this stage.
    Slice rows                  # RewriteRow; row 0 changes nothing
