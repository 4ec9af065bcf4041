# SPDX-License-Identifier: MIT
# cython: language_level=3
"""A window into the rooms for tests, fuzzers and micro benches. The program never imports it."""

include "http1/probe.pxi"
include "http1/timing.pxi"
include "websocket/probe.pxi"
include "grpcweb/probe.pxi"
include "route/probe.pxi"
include "template/probe.pxi"
include "scoreboard/probe.pxi"
include "balance/probe.pxi"
include "engine/probe.pxi"

# ---- for bench/budgets.py ---------------------------------------------------------------------

cdef extern from *:
    """
    /* Where callgrind ends one count and begins the next: --dump-before=fastproxy_count_mark. */
    __attribute__((noinline)) static void fastproxy_count_mark(void) { __asm__ volatile(""); }
    #if defined(FASTPROXY_DEBUG)
    #define BUILT_FOR_DEBUG 1
    #else
    #define BUILT_FOR_DEBUG 0
    #endif
    #if defined(__clang__)
    #define BUILT_BY "clang"
    #define BUILT_BY_MAJOR __clang_major__
    #else
    #define BUILT_BY "gcc"
    #define BUILT_BY_MAJOR __GNUC__
    #endif
    """
    void fastproxy_count_mark()
    const char *BUILT_BY
    const char *BUILT_WITH "__VERSION__"
    int BUILT_BY_MAJOR
    bint BUILT_FOR_DEBUG


def count_mark():
    """Ends a count; without callgrind it does nothing."""
    fastproxy_count_mark()


def built():
    """(compiler and its major version, all that it calls itself, is this a debug build?)"""
    return f"{BUILT_BY.decode()}-{BUILT_BY_MAJOR}", BUILT_WITH.decode(), BUILT_FOR_DEBUG
