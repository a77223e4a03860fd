"""`mgmt` and `python -m mgmt`."""

from __future__ import annotations

import os
import sys
from typing import Final

_EXIT_INTERRUPTED: Final = 130
"""As `CancelledError` has it; that may not be imported yet."""


def run() -> None:
    """Entry point of the `mgmt` command."""
    try:
        from mgmt.cli.main import run as run_command

        run_command()
    except KeyboardInterrupt:  # while modules are loaded; whatever comes later tells of it by itself
        sys.stderr.write("mgmt: Interrupted before anything began.\n")
        os._exit(_EXIT_INTERRUPTED)


if __name__ == "__main__":
    run()
