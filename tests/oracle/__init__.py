"""Slow, obvious twins of the hot path, to compare it with."""
