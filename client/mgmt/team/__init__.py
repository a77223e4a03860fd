"""What the team has uploaded: history, one record whole, short ids, and names for completion."""
