# SPDX-License-Identifier: MIT
"""Master, control, workers, and what passes between them. Ordinary Python, no bytes."""
