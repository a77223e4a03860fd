"""What every call works with: the stores it reads and writes, and one result for each of its items."""
