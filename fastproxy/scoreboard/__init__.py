# SPDX-License-Identifier: MIT
"""Shared memory of all processes: who may write what stands in table.pxd."""
