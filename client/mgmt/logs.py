"""A log file per run: calls, their duration, decisions and the exit code; never a secret.

Only commands that talk to a service write one, and only the last runs are kept. A run that cannot write its
log goes on without.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

from mgmt.errors import MgmtError
from mgmt.events import AlreadyThere, Event, Finished, Notice, Progress, Renewed, Stage, Trace
from mgmt.machine.removal import remove_file
from mgmt.text import printable
from mgmt_contract.version import __version__

RUNS_KEPT: Final = 20
SIZE_MAX_BYTES: Final = 5_000_000
"""Enough for some 40,000 calls; later lines are left out, except for the end."""

_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d+\.log")


class RunLog:
    """The log of one run, for any thread; the file is made when the run begins to talk to a service."""

    def __init__(self, directory: Path | None, arguments: Sequence[str], redact: Callable[[str], str]) -> None:
        self.path: Path | None = None
        """Its path, once it was begun and could be made."""
        self.problem: str | None = None
        """Why there is none."""
        self._directory = directory or Path()
        if directory is None:
            self.problem = "this user has no home folder"
        self._arguments = arguments
        self._redact = redact
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size_bytes = 0
        self._is_full = False
        self._stages: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Make the file, once, and remove those of older runs."""
        with self._lock:
            if self.path is not None or self.problem is not None:
                return
            try:
                self._directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._directory.mkdir(mode=0o700, exist_ok=True)
                name = f"{_now():%Y%m%dT%H%M%S}.{_now().microsecond // 1000:03}Z-{os.getpid()}.log"
                path = self._directory / name
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
                self.path = path
            except OSError as error:
                self.problem = f"{self._directory}: {error.strerror or error}"
                return
        self.write("begin", f"mgmt {__version__}: {shlex.join(('mgmt', *self._arguments))}")
        self._remove_old()

    def note(self, event: Event) -> None:
        """Write an event down; of progress only that a stage has begun."""
        match event:
            case Progress():
                self._note_stage(event)
            case Renewed():
                self._forget_stages(event.former_id)
                self.write("begun anew", f"in place of {event.former_id}", event.operation_id)
            case Trace():
                self.write("trace", event.message)
            case Notice():
                self.write("notice", event.message, event.operation_id)
            case AlreadyThere():
                self._forget_stages(event.operation_id)
                self.write("already there", f"{event.target_path} as {event.s3_object_key}", event.operation_id)
            case Finished():
                record = event.record
                self._forget_stages(record.operation_id)
                self.write(record.status, f"{record.target_path} as {record.s3_object_key}", record.operation_id)
                if event.error is not None:
                    self.note_error(event.error)

    def note_error(self, error: MgmtError) -> None:
        """Write an error as it is shown."""
        self.write("error", f"{error.exit_code} {error.code}: {error.message}", error.operation_id)

    def write(self, kind: str, text: str, operation_id: str | None = None) -> None:
        """Write one line, or several where the text has more; those after the first are indented."""
        if self._file is None:
            return
        about = f" [{operation_id}]" if operation_id else ""
        safe = "\n    ".join(printable(line) for line in self._redact(text).split("\n"))
        said = f"{_now():%Y-%m-%dT%H:%M:%S.%f}"[:-3] + f"Z {kind}{about}: {safe}\n"
        self._append(said.encode("utf-8", "backslashreplace"))

    def end(self, exit_code: int) -> None:
        """Write the exit code and close the file."""
        self._is_full = False
        self._size_bytes = 0
        self.write("end", f"exit code {exit_code}")
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _note_stage(self, event: Progress) -> None:
        stage = (event.operation_id, event.stage)
        if stage not in self._stages:
            self._stages.add(stage)
            self.write(event.stage, event.target_path, event.operation_id)

    def _forget_stages(self, operation_id: str) -> None:
        self._stages.difference_update([(operation_id, stage) for stage in get_args(Stage)])

    def _append(self, line: bytes) -> None:
        with self._lock, contextlib.suppress(OSError):  # a full disk is no reason to stop an upload
            if self._file is None or self._is_full:
                return
            self._size_bytes += len(line)
            self._is_full = self._size_bytes > SIZE_MAX_BYTES
            os.write(self._file, b"... the log is full; only the end follows\n" if self._is_full else line)

    def _remove_old(self) -> None:
        with contextlib.suppress(OSError):
            logs = sorted(path for path in self._directory.iterdir() if _NAME.fullmatch(path.name))
            for path in logs[:-RUNS_KEPT]:
                if path != self.path:
                    remove_file(path, lambda _: True)  # by its name, in a folder of our own


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
