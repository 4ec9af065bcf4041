# SPDX-License-Identifier: MIT
# System calls that Python lacks and processes need. Included in _core.pyx.

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, unsigned long a, unsigned long b, unsigned long c,
              unsigned long d) noexcept
    int PR_SET_NO_NEW_PRIVS


def no_new_privileges():
    """From here on no exec gives this process or its children more rights (setuid programs do
    not). Cannot be undone."""
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(errno, "PR_SET_NO_NEW_PRIVS was refused")
