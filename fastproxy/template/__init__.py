# SPDX-License-Identifier: MIT
"""Texts with {variables}: compiled to parts, rendered on the hot path."""
