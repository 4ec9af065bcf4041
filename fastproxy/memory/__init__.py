# SPDX-License-Identifier: MIT
"""Spans, buffers, pools, limits, and the packer that fills tables from Python."""
