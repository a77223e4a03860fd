"""Deletions: recorded and undone here; the bytes are removed long after, and not by a call."""
