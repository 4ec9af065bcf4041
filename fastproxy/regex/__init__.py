# SPDX-License-Identifier: MIT
"""PCRE2 with limits: the list a plan carries, compiled by each worker for itself."""
