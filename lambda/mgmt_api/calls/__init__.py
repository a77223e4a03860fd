"""Shared by every call: the stores, reading ahead, and one result for each item."""
