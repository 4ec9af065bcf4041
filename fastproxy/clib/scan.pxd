# SPDX-License-Identifier: MIT
"""Scanning for the end of a run of allowed bytes, as wide as the CPU allows.

Scan          a table of functions for one vector width; const, hung off the Engine, chosen once by
              `scan_choose()` at start (FASTPROXY_SIMD=avx2|sse2|swar forces one, for tests;
              an unknown name means the best). `scan_named()` takes the name directly.
value_end     first byte that no field value may hold: controls other than HTAB, and DEL.
              obs-text (0x80-0xff) is allowed (RFC 9110 5.5).
target_end    first byte that no request target may hold: controls, SP, DEL, 0x80-0xff and '#'
              (CVE-2023-45539: a fragment never belongs on the wire).
line_ends     both ends of a field line in one go; NULL if this width has no such function.
              Returns the first byte that no value may hold, sets `name_length` to the first byte
              that is no token character and `underscore` to whether one stands before that. The
              caller looks for the colon at the name's end. Returns NULL if it would rather not
              say (fewer than 32 bytes, a longer name): go byte by byte then.
char_class    what a byte may be part of: CHAR_ bits.

All return `end` if there is none, and never read a byte at or past `end`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

ctypedef const char *(*scan_fn)(const char *p, const char *end) noexcept nogil
ctypedef const char *(*scan_line_fn)(const char *p, const char *end, uint32_t *name_length,
                                     uint32_t *underscore) noexcept nogil

cdef extern from "fastproxy/clib/scan.h" nogil:
    enum:
        CHAR_TOKEN
        CHAR_VALUE
        CHAR_TARGET
        CHAR_UNDERSCORE
        CHAR_UNRESERVED
        CHAR_PATH_ODD
        CHAR_QUOTED
    const uint8_t char_class[256]
    ctypedef struct Scan:
        const char *name
        scan_fn value_end
        scan_fn target_end
        scan_line_fn line_ends
    const Scan *scan_choose() noexcept
    const Scan *scan_named(const char *name) noexcept
    uint64_t word8(const char *p) noexcept
    uint32_t word4(const char *p) noexcept
    uint32_t word2(const char *p) noexcept
