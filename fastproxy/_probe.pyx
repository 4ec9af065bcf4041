# SPDX-License-Identifier: MIT
# cython: language_level=3
"""A window into the rooms for tests, fuzzers and micro benches. The program never imports it."""

include "http1/probe.pxi"
include "route/probe.pxi"
include "balance/probe.pxi"
include "scoreboard/probe.pxi"
include "engine/probe.pxi"
