"""Mutation fuzzing of everything that reads a stranger's bytes; see __main__.py."""
