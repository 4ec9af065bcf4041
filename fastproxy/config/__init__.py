# SPDX-License-Identifier: MIT
"""From a file to a plan: load, check, convert, describe, compile. Runs before the first byte."""
