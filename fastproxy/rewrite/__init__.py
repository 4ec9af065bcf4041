# SPDX-License-Identifier: MIT
"""What does the other side read? Edits of fields and paths."""
