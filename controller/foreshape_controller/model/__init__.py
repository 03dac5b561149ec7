"""Frozen types that the layers pass to each other."""
