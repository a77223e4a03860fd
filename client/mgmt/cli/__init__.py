"""The click shell: options -> one use case -> render -> exit code. Heavy imports live inside the commands."""

import gc

# Importing makes thousands of objects and no garbage: looking for some costs a sixth of `mgmt --help`.
# The collector is switched on again before a command does anything.
gc.disable()
