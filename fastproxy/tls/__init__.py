# SPDX-License-Identifier: MIT
"""TLS: keys and certificates, and the transport that speaks it (pieces of `_tls`)."""
