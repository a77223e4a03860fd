"""A person at a terminal, reading each question before answering."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest


class Person:
    """A person at a terminal, reading each question before answering."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        import pty

        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mgmt", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=environment,
            cwd=cwd,
        )
        os.close(theirs)
        self.seen = ""
        self._read = 0

    def answer(self, question: str, text: str) -> None:
        """Wait for a question and type an answer."""
        self.read_until(question)
        os.write(self._terminal, text.encode())

    def read_until(self, words: str, seconds: float = 30) -> None:
        """Wait until something is shown."""
        deadline = time.monotonic() + seconds
        while (found := self.seen.find(words, self._read)) < 0:
            assert time.monotonic() < deadline, f"{words!r} is not asked: {self.seen}"
            if select.select([self._terminal], [], [], 1)[0]:
                self.seen += os.read(self._terminal, 4096).decode(errors="replace")
        self._read = found + len(words)

    def interrupt(self) -> None:
        """Press Ctrl-C until something happens, as a person does.

        Once is not enough for a program this quick: GNU readline under Python misses an interrupt that comes after
        the prompt is drawn and before it begins to wait.
        """
        self._process.send_signal(signal.SIGINT)
        while not select.select([self._terminal], [], [], 1)[0]:
            self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for the command; return its exit code."""
        while select.select([self._terminal], [], [], 30)[0]:
            try:
                data = os.read(self._terminal, 4096)
            except OSError:  # Linux: the other side is closed
                break
            if not data:
                break
            self.seen += data.decode(errors="replace")
        return self._process.wait(30)

    def close(self) -> None:
        """End the command, whatever it does."""
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


@contextmanager
def people() -> Iterator[Callable[..., Person]]:
    """Give what sits somebody down at a terminal of their own, and end all their commands in the end."""
    pytest.importorskip("pty", reason="terminals of POSIX")
    seated: list[Person] = []

    def sit_down(*arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Person:
        seated.append(Person(*arguments, environment=environment, cwd=cwd))
        return seated[-1]

    try:
        yield sit_down
    finally:
        for each in seated:
            each.close()
