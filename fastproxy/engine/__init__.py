# SPDX-License-Identifier: MIT
"""The one knot: loop, connections, exchanges. Its .pxi files are parts of _core."""
