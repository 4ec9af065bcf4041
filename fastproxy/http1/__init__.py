# SPDX-License-Identifier: MIT
"""HTTP/1.1's grammar: bytes to heads and bodies and back. Knows no socket."""
