# SPDX-License-Identifier: MIT
"""Why a peer's bytes are refused: reasons, their statuses and texts, in one table (faults.h).

`fault()` is how every room refuses: it fills a Fault and returns -1. A client's fault answers the
table's status; an upstream's is 502 whatever it was.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.http1.head cimport SIDE_UPSTREAM, Fault

cdef extern from "fastproxy/http1/faults.h" nogil:
    enum:
        FAULT_NONE
        FAULT_REQUEST_LINE_LONG
        FAULT_METHOD_BAD
        FAULT_TARGET_BAD
        FAULT_TARGET_FORM
        FAULT_VERSION_BAD
        FAULT_VERSION_UNKNOWN
        FAULT_STATUS_BAD
        FAULT_REASON_BAD
        FAULT_BARE_CR
        FAULT_BARE_LF
        FAULT_FIELD_LONG
        FAULT_FIELDS_LONG
        FAULT_FIELDS_MANY
        FAULT_NAME_EMPTY
        FAULT_NAME_BAD
        FAULT_NAME_SPACE
        FAULT_COLON_MISSING
        FAULT_OBS_FOLD
        FAULT_VALUE_BAD
        FAULT_LENGTH_AND_CODING
        FAULT_LENGTH_BAD
        FAULT_LENGTH_TWICE
        FAULT_CODING_BAD
        FAULT_CODING_TWICE
        FAULT_CODING_UNKNOWN
        FAULT_CODING_VERSION
        FAULT_CODING_STATUS
        FAULT_HOST_MISSING
        FAULT_HOST_TWICE
        FAULT_HOST_BAD
        FAULT_EXPECT_UNKNOWN
        FAULT_BODY_VERSION
        FAULT_CONNECTION_BAD
        FAULT_AUTHORITY_BAD
        FAULT_PATH_BAD
        FAULT_PATH_ESCAPE
        FAULT_PATH_CONTROL
        FAULT_PATH_BACKSLASH
        FAULT_PATH_OVERLONG
        FAULT_PATH_SLASH
        FAULT_PATH_ABOVE_ROOT
        FAULT_PATH_DOT_PARAMETER
        FAULT_PATH_LONG
        FAULT_CHUNK_SIZE_BAD
        FAULT_CHUNK_SIZE_LONG
        FAULT_CHUNK_EXTENSION_BAD
        FAULT_CHUNK_EXTENSION_LONG
        FAULT_CHUNK_END_BAD
        FAULT_TRAILER_BAD
        FAULT_TRAILER_LONG
        FAULT_REASONS
    ctypedef struct FaultRow:
        const char *name
        const char *text
        uint16_t status
    const FaultRow fault_rows[]


cdef inline int fault(Fault *out, int reason, uint64_t offset, uint8_t side) noexcept nogil:
    """Fill `out`; always -1. `offset` counts from the first byte of the head (or body)."""
    out.status = 502 if side == SIDE_UPSTREAM else fault_rows[reason].status
    out.reason = <uint16_t> reason
    out.offset = <uint32_t> min(offset, <uint64_t> 0xffffffff)
    out.side = side
    return -1


cdef inline const char *fault_text(uint16_t reason) noexcept nogil:
    """A short English sentence for the error page and the log."""
    return fault_rows[reason if reason < FAULT_REASONS else 0].text


cdef inline const char *fault_name(uint16_t reason) noexcept nogil:
    """The reason's name in the table, for tests and logs."""
    return fault_rows[reason if reason < FAULT_REASONS else 0].name
