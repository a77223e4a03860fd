"""The team's uploads: history, one whole record, short ids, and names for completion."""
