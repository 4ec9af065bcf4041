# SPDX-License-Identifier: MIT
"""Extern C only: what the rooms may call, declared once."""
