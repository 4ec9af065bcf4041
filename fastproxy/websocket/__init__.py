# SPDX-License-Identifier: MIT
"""WebSocket frames on their way through a tunnel: where one ends and the next begins."""
