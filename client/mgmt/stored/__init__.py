"""Reading what is stored: an upload's archive by ranges, the index of what is in it, and single members."""
