"""The log of a run: calls, their duration, decisions and the exit code; and what keeps secrets out of it.

Everything goes through the standard library's loggers named `mgmt` and below. Only commands that talk to a service
write a file, and only the last runs are kept. A run that cannot write its log goes on without. The redactor cuts
secrets out of the log and of everything that is shown, in case any code put them there.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
import shlex
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from mgmt.errors import MgmtError
from mgmt.events import Event, Finished, Notice, Progress, Renewed
from mgmt.machine.files import remove_file
from mgmt.text import printable
from mgmt_contract.version import __version__

RUNS_KEPT: Final = 20
SIZE_MAX_BYTES: Final = 5_000_000
"""Enough for some 40,000 calls; later lines are left out, except for the end."""

_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d+\.log")
LOGGER: Final = logging.getLogger("mgmt")
LOGGER.setLevel(logging.INFO)
# Lines say neither where in the code they were written nor by which thread or process, and finding that out takes
# longer than writing them (Python's documentation, "Logging HOWTO", Optimization, read 2026-11).
logging._srcfile = None  # noqa: SLF001  documented there
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class RunLog(logging.Handler):
    """The log of one run; the file is made when the run begins to talk to a service.

    Calls and retries can be shown to a person as well; what else is in the log is shown in another form.
    """

    def __init__(
        self,
        directory: Path | None,
        arguments: Sequence[str],
        redactor: Redactor,
        show_details: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.addFilter(redactor)
        self.path: Path | None = None
        """Its path, once it was begun and could be made."""
        self.problem = "this user has no home folder" if directory is None else None
        """Why there is none."""
        self._directory = directory or Path()
        self._arguments = arguments
        self._show_details = show_details
        self._file: int | None = None
        self._size_bytes = 0
        self._stages: dict[str, set[str]] = {}
        """What was written of each operation that is under way."""

    def begin(self) -> None:
        """Make the file, once, and remove those of older runs."""
        LOGGER.addHandler(self)
        if self.path is not None or self.problem is not None:
            return
        now = datetime.now(UTC)
        path = self._directory / f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{os.getpid()}.log"
        try:
            self._directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            self.problem = f"{self._directory}: {error.strerror or error}"
            return
        self.path = path
        self.write("begin", f"mgmt {__version__}: {shlex.join(('mgmt', *self._arguments))}")
        self._remove_old()

    def note(self, event: Event) -> None:
        """Write an event down; of progress only that a stage has begun."""
        match event:
            case Progress():
                stages = self._stages.setdefault(event.operation_id, set())
                if event.stage not in stages:
                    stages.add(event.stage)
                    self.write(event.stage, event.target_path, event.operation_id)
            case Renewed():
                self._stages.pop(event.former_id, None)
                self.write("begun anew", f"in place of {event.former_id}", event.operation_id)
            case Notice():
                self.write("notice", event.message, event.operation_id)
            case Finished():
                record = event.record
                self._stages.pop(record.operation_id, None)
                self.write(record.status, f"{record.target_path} as {record.s3_object_key}", record.operation_id)
                if event.error is not None:
                    self.note_error(event.error)

    def note_error(self, error: MgmtError) -> None:
        """Write an error as it is shown."""
        self.write("error", f"{error.exit_code} {error.code}: {error.message}", error.operation_id)

    def write(self, kind: str, text: str, operation_id: str | None = None) -> None:
        """Write one line, or several where the text has more; those after the first are indented."""
        LOGGER.info("%s", text, extra={"kind": kind, "operation_id": operation_id})

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record to the file; a full disk is no reason to stop an upload."""
        if self._show_details is not None and not hasattr(record, "kind"):
            self._show_details(printable(record.getMessage()))
        operation_id = getattr(record, "operation_id", None)
        about = f" [{operation_id}]" if operation_id else ""
        text = "\n    ".join(printable(line) for line in record.getMessage().split("\n"))
        time = f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
        line = f"{time}Z {getattr(record, 'kind', 'trace')}{about}: {text}\n".encode("utf-8", "backslashreplace")
        if self._file is None or self._size_bytes > SIZE_MAX_BYTES:
            return
        self._size_bytes += len(line)
        is_full = self._size_bytes > SIZE_MAX_BYTES
        with contextlib.suppress(OSError):
            os.write(self._file, b"... the log is full; only the end follows\n" if is_full else line)

    def end(self, exit_code: int) -> None:
        """Write the exit code and close the file."""
        self._size_bytes = 0
        self.write("end", f"exit code {exit_code}")
        LOGGER.removeHandler(self)
        self.acquire()  # no thread is in the middle of a line
        file, self._file = self._file, None
        self.release()
        if file is not None:
            os.close(file)

    def _remove_old(self) -> None:
        with contextlib.suppress(OSError):
            logs = sorted(path for path in self._directory.iterdir() if _NAME.fullmatch(path.name))
            for path in logs[:-RUNS_KEPT]:
                if path != self.path:
                    remove_file(path, lambda _: True)  # by its name, in a folder of our own


CUT: Final = "…"
_LENGTH_MIN: Final = 4
"""Cutting shorter ones out everywhere would break sentences; the patterns below know their places."""
TOLD_MAX_CHARACTERS: Final = 8192
"""Longest text that is kept whole: several times the longest message. The rest is left out."""

_PATTERNS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    # Each takes time in proportion to the text: a pattern that begins to match ends or gives up within some characters.
    for pattern in (
        r"(x-amz-(?:signature|credential|security-token)(?:=|%3d|\W{1,4}))[^\s&\"'<>,;)]+",
        r"((?:(?:access|refresh|id)_token|client_secret|code_verifier)(?:%3d|[\"']?\s?[:=]\s?[\"']?))[^\s&\"'<>,;)}]+",
        r"((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?)[^\s\"',;}]+",
        r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}",
        r"(://[^\s/@:]*:)[^\s/]*(?=@)",
    )
)
_TOKEN: Final = re.compile(r"\beyJ[\w-]{8,}(\.[\w.-]+)?", re.IGNORECASE)


class Redactor:
    """Cuts out the secrets of one run, and texts that look like secrets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[str] = []
        self.learn(*proxy_secrets())

    def learn(self, *secrets: str) -> None:
        """Cut these out as well from now on; from any thread."""
        with self._lock:
            known = {*self._known, *(secret for secret in secrets if len(secret) >= _LENGTH_MIN)}
            self._known = sorted(known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without its secrets."""
        for secret in self._known:
            text = text.replace(secret, CUT)
        if len(text) > TOLD_MAX_CHARACTERS:
            # Between two words: half a secret would not be recognised.
            text = "".join(text[:TOLD_MAX_CHARACTERS].rpartition(" ")[:2]) + CUT
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\1{CUT}", text)
        return _TOKEN.sub(_cut_token, text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Cut the secrets out of a log record, as a filter of the standard library's handlers."""
        record.msg, record.args = self(record.getMessage()), ()
        return True


def _cut_token(word: re.Match[str]) -> str:
    return CUT if word[1] else word[0]


def proxy_secrets() -> Iterator[str]:
    """Name the passwords of the proxies that are set, in every form in which they may appear."""
    for proxy in urllib.request.getproxies().values():
        # Not parsed as an address: a malformed one has secrets too.
        userinfo, separator, _ = proxy.rpartition("//")[2].rpartition("@")
        user, _, password = userinfo.partition(":")
        if separator and password:
            yield from (password, unquote(password))
            yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
