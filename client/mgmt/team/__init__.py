"""The team's uploads: history, one whole record, and short ids."""
