# SPDX-License-Identifier: MIT
"""Is this plan's rewriting part sound? Asked once, when the plan is mapped.

`edits_check` is for the Edit rows that others point to: the engine calls it for the
`reply_headers` of each RouteRow, since routing knows nothing of edits.
"""

from libc.stdint cimport uint32_t, uint64_t

from fastproxy.http1.head cimport FIELD_IDS
from fastproxy.memory.span cimport Slice
from fastproxy.rewrite.table cimport (
    EDIT_REMOVE, Edit, PATH_REGEX, PATH_TEMPLATE, PathEdit, RewriteRow, RewriteTables)
from fastproxy.template.render cimport rows_inside, template_check, text_inside


cdef enum RewriteCheck:
    REWRITE_SOUND = 0
    REWRITE_BAD_SLICE = -1
    REWRITE_BAD_EDIT = -2
    REWRITE_BAD_PATH = -3


cdef inline int edits_check(const char *base, uint64_t length, Slice edits) noexcept nogil:
    cdef const Edit *row = <const Edit *> (base + edits.off)
    cdef uint32_t i
    if not rows_inside(edits, sizeof(Edit), length):
        return REWRITE_BAD_SLICE
    for i in range(edits.count):
        if (row[i].verb > EDIT_REMOVE or row[i].id >= FIELD_IDS
                or not text_inside(row[i].name, length)
                or template_check(base, length, &row[i].value) != 0):
            return REWRITE_BAD_EDIT
    return REWRITE_SOUND


cdef inline int rewrite_check(const char *base, uint64_t length, const RewriteTables *tables,
                              uint32_t regexes) noexcept nogil:
    """REWRITE_SOUND (0) or what is damaged. `regexes`: how many patterns the plan has. Row 0 must
    exist, since every route names a row."""
    cdef const RewriteRow *row = <const RewriteRow *> (base + tables.rows.off)
    cdef const PathEdit *path
    cdef uint32_t i, j
    if tables.rows.count == 0 or not rows_inside(tables.rows, sizeof(RewriteRow), length):
        return REWRITE_BAD_SLICE
    for i in range(tables.rows.count):
        if (edits_check(base, length, row[i].request.edits) != REWRITE_SOUND
                or edits_check(base, length, row[i].response.edits) != REWRITE_SOUND):
            return REWRITE_BAD_EDIT
        if not rows_inside(row[i].paths, sizeof(PathEdit), length):
            return REWRITE_BAD_SLICE
        path = <const PathEdit *> (base + row[i].paths.off)
        for j in range(row[i].paths.count):
            if (path[j].verb > PATH_TEMPLATE or not text_inside(path[j].prefix, length)
                    or template_check(base, length, &path[j].value) != 0
                    or (path[j].verb == PATH_REGEX and path[j].regex >= regexes)):
                return REWRITE_BAD_PATH
    return REWRITE_SOUND
