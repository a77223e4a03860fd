"""A terminal of any width, to see what a person sees."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Mapping

from support.inputs import Desk, finish
from support.team import Run


def run_in_terminal(
    desk: Desk, *arguments: str, columns: int, environment: Mapping[str, str | None] | None = None
) -> Run:
    """Run the command with a terminal for all its streams; what it wrote there is its stdout."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = {"TERM": "xterm-256color", **(environment or {})}
    try:
        process = desk.begin(*arguments, environment=given, stdin=theirs, stdout=theirs, stderr=theirs)
    finally:
        os.close(theirs)
    said = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return Run(finish(process).exit_code, said.decode("utf-8", "surrogateescape"), "")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError as error:
        if error.errno == errno.EIO:  # Linux says so when the last program has left the terminal
            return b""
        raise
