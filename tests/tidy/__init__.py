"""The style, executable: what STYLE.md and design say about the tree is held against the tree."""
