# SPDX-License-Identifier: MIT
"""fastproxy: load balancer, reverse proxy and API gateway.

The way of a request is the tree of folders; ARCHITECTURE.md draws the map.
"""

__version__ = "0.1.0"
