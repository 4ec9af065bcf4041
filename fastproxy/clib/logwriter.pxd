# SPDX-License-Identifier: MIT
"""The access log's sheets and its writer thread (logwriter.h). Extern only."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

cdef extern from "fastproxy/clib/logwriter.h" nogil:
    ctypedef struct LogWriter:
        uint64_t lost_lines
    LogWriter *log_open(int fd) noexcept
    char *log_room(LogWriter *log, size_t *room) noexcept
    void log_took(LogWriter *log, size_t size) noexcept
    void log_tick(LogWriter *log) noexcept
    uint64_t log_lost(LogWriter *log) noexcept
    int log_reopen(LogWriter *log, int fd) noexcept
    void log_close(LogWriter *log) noexcept
