"""The click shell: options -> one use case -> render -> exit code. Heavy imports live inside the commands."""
