"""All output for people and programs; only `output` writes."""
