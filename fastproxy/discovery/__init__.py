# SPDX-License-Identifier: MIT
"""Who exists? Names, files and other sources of backends: control's work, in plain asyncio."""
