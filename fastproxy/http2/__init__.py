# SPDX-License-Identifier: MIT
"""HTTP/2, both sides: what stands in the extension `_http2`."""
