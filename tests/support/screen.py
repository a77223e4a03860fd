"""A real terminal of a chosen size, held by tmux: what a person would see, and in which colours."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 0.05


class Screen:
    """The screen of one command that runs in a terminal of its own."""

    def __init__(self, socket: Path) -> None:
        self._tmux = ("tmux", "-S", os.fspath(socket))
        self._exit_file = socket.with_suffix(".exit")

    def call(self, *arguments: str, timeout_seconds: float = 30) -> str:
        """Talk to tmux; return what it says."""
        command = [*self._tmux, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout_seconds)
        return done.stdout

    def begin(self, command: Sequence[str], size: tuple[int, int], folder: Path, environment: Sequence[str]) -> None:
        """Start a command; when it has ended, the shell around it stays and leaves the screen as it is."""
        line = shlex.join(["env", "-i", *environment, "TERM=screen-256color", *command])
        ended = f"echo $? > {shlex.quote(os.fspath(self._exit_file))}; {shlex.join(self._tmux)} wait-for -S ended"
        place = ["-x", str(size[0]), "-y", str(size[1]), "-c", os.fspath(folder)]
        self.call("-f", "/dev/null", "new-session", "-d", *place, f"trap : INT; {line}; {ended}; read _")

    def text(self) -> str:
        """Return what is on the screen, without colours."""
        return self.call("capture-pane", "-p", "-t", "0").rstrip("\n")

    def unwrapped(self) -> list[str]:
        """Return the lines as they were written: one that the terminal had to wrap is longer than the screen."""
        return [line.rstrip() for line in self.call("capture-pane", "-p", "-J", "-t", "0").splitlines()]

    def colored(self) -> str:
        """Return what is on the screen, with the escape codes of its colours."""
        return self.call("capture-pane", "-e", "-p", "-t", "0").rstrip("\n")

    def press(self, key: str) -> None:
        """Press a key, such as C-c."""
        self.call("send-keys", "-t", "0", key)

    def shows_cursor(self) -> bool:
        """Tell whether the cursor is visible."""
        return self.call("display-message", "-p", "-t", "0", "#{cursor_flag}").strip() == "1"

    def wait_until(self, holds: Callable[[str], object], seconds: float = 60) -> str:
        """Look until the screen is as wanted; return its text.

        Raises:
            AssertionError: If it does not come to that in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self.text()
            if holds(text):
                return text
            threading.Event().wait(_LOOK_SECONDS)
        raise AssertionError(f"the screen stays:\n{self.text()}")

    def wait_for_end(self) -> int:
        """Wait until the command has ended; return its exit code."""
        self.call("wait-for", "ended", timeout_seconds=60)
        return int(self._exit_file.read_text())


@contextmanager
def screen_of(
    command: Sequence[str], size: tuple[int, int], folder: Path, environment: Mapping[str, str]
) -> Iterator[Screen]:
    """Run a command in a terminal of its own; its screen stays when it ends.

    Args:
        command: What to run.
        size: Columns and lines.
        folder: Where to run it.
        environment: All that the command sees, beside the terminal's own kind.
    """
    # A folder of its own: a socket's path must be short, and the terminal before this one may still be ending.
    with tempfile.TemporaryDirectory(prefix="screen-") as place:
        screen = Screen(Path(place) / "tmux")
        screen.begin(command, size, folder, [f"{name}={value}" for name, value in environment.items()])
        try:
            yield screen
        finally:
            screen.call("kill-server")
