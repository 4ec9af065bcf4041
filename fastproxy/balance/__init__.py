# SPDX-License-Identifier: MIT
"""Which backend? Rosters, their builder, and the leaves that pick."""
