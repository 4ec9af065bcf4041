# SPDX-License-Identifier: MIT
"""What an instance shows of itself to people and to their tools."""
