# SPDX-License-Identifier: MIT
"""Who of an upstream's members is well: checks, agents, and what their answers look like."""
