"""The uploads' use cases: preview, start, sign, complete, fail, clean-up."""
