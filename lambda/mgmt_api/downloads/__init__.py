"""Getting stored archives back: URLs to read them, and what the storage states of them now."""
