"""The team's history: pages of records."""
