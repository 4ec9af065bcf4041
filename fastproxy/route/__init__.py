# SPDX-License-Identifier: MIT
"""Which route? Hosts, paths, conditions, and what the route then does."""
