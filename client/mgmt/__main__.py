"""`mgmt` and `python -m mgmt`."""

import gc
import os
import sys

_EXIT_INTERRUPTED = 130
"""As `CancelledError` has it; that may not be imported yet."""
_INTERRUPTED = "Interrupted before anything began."


def run() -> None:
    """Entry point of the `mgmt` command."""
    # Importing makes thousands of objects and no garbage: looking for some costs a sixth of `mgmt --help`.
    # The collector is switched on again before a command does anything.
    gc.disable()
    try:
        from mgmt.cli.main import run as run_command
    except BaseException as error:
        _end_if_interrupted(error, _INTERRUPTED)
        raise
    try:
        run_command()
    except BaseException as error:  # once more, while the first is told
        _end_if_interrupted(error)
        raise


def _end_if_interrupted(error: BaseException, message: str | None = None) -> None:
    """End the process if an interrupt is what ended everything else; not even `json` may be there to tell of it."""
    try:
        from mgmt.errors import is_interrupt

        if not is_interrupt(error):
            return
        if message is not None and sys.stderr is not None:
            sys.stderr.write(_spell(message) + "\n")
            sys.stderr.flush()
    except (OSError, KeyboardInterrupt):  # stderr cannot be written, or Ctrl-C came again
        pass
    os._exit(_EXIT_INTERRUPTED)


def _spell(message: str) -> str:
    if "--json" not in sys.argv:
        return f"mgmt: {message}"
    return (
        f'{{"type":"error","exit_code":{_EXIT_INTERRUPTED},"code":"interrupted",'
        f'"message":"{message}","operation_id":null}}'
    )


if __name__ == "__main__":
    run()
