# SPDX-License-Identifier: MIT
"""Plans and rosters as a worker has them mapped. Types only; plan.pxi maps and frees them."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from fastproxy.balance.table cimport Live, RosterHeader
from fastproxy.engine.table cimport PlanHeader, Settings
from fastproxy.http1.parse cimport HeadLimits


cdef struct PlanMap:
    # A plan as mapped. Freed when no exchange holds it and a newer one is in force.
    const char *base
    const PlanHeader *header
    const Settings *settings
    void *runtime               # RouteRuntime of route/match.pxd
    size_t length
    uint32_t holders
    uint8_t retired
    HeadLimits request_limits
    HeadLimits answer_limits


cdef struct RosterMap:
    const char *base
    const RosterHeader *header
    Live *lives                 # by upstream: who may be chosen now
    size_t length
    uint32_t holders
    uint8_t retired
