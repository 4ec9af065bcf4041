# SPDX-License-Identifier: MIT
"""What control and the workers show of themselves to people."""
