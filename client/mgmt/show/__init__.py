"""The two streams of a run, which all views write to, and their style for a terminal, a file or a program.

Results go to stdout, progress and messages to stderr. A closed pipe or a full disk silences the output
and never the work.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from mgmt.errors import MgmtError
from mgmt.text import fold, printable, with_command_name, with_local_option, with_local_times
from mgmt_contract.values import Value

if TYPE_CHECKING:  # a name for an annotation: commands without bars do not import it
    from mgmt.show.underway import UnderWay

PLAIN_PROGRESS_SECONDS: Final = 30.0
"""How often something is said into a file."""
WAITING_SECONDS: Final = 1.0
"""A longer silence on a terminal makes people wonder."""
_COLORS: Final = {"red": "31", "green": "32", "magenta": "35", "dim": "2", "bold": "1"}
"""Names, so that the terminal's own palette keeps them readable on light and on dark."""
_PLAIN_SPELLING: Final = str.maketrans("✓✗→━─…", "+x>=-~")
"""One column each, for terminals whose encoding lacks our signs."""
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")
"""How Python holds a byte of a name that is no text; many readers of JSON refuse it, so it becomes \\xNN."""
_UNSEEN: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys, and what ends a line for some readers, beside what JSON itself escapes."""
_NO_ASCII: Final = re.compile("[^\x00-\x7f]")
_OBEYS_CODES: Final = 0x4
_ANSWER_COLUMNS: Final = len(" [y/N]: y")
_LABELS: Final = {"mgmt:": "red", "note:": "magenta"}


class Style(Value):
    """The style of a run's output."""

    as_json: bool = False
    verbosity: int = 0
    """-1 quiet, 0 normal, 1 verbose."""
    colors: bool = False
    """Where a stream is a terminal."""
    bars: bool = False
    is_local: bool = False
    """Whether the commands that sentences name need `--local`."""
    command: str = "mgmt"
    """How the program is called in those commands."""


class Output:
    """The two streams of a run; writing is safe from any thread and survives a closed pipe and a full disk."""

    def __init__(self, style: Style, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.style = style
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.failure: OSError | None = None
        """Why results are missing on stdout, such as a full disk; None for a pipe that its reader closed."""
        self._lock = threading.Lock()
        self._closed: set[int] = set()
        self._bars: Any = None

    @contextmanager
    def bars(self, underway: UnderWay) -> Iterator[None]:
        """Show the bars on stderr while the context lasts; lines are then written above it."""
        from mgmt.show.bars import open_bars

        def spell(text: str) -> str:
            return _spell(text, self.stderr)

        self._bars = open_bars(underway, self.stderr, colors=self.style.colors, spell=spell)
        try:
            with self._bars:
                yield
        finally:
            self._bars = None

    @contextmanager
    def lines_end_with(self, line_end: str) -> Iterator[None]:
        """End the lines of stdout with other characters while the context lasts."""
        reconfigure = getattr(self.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(newline=line_end)
        yield
        if reconfigure is not None:
            try:
                reconfigure(newline=None)
            except OSError as error:  # it writes out what is left, and meets a full disk as every line does
                self._give_up(self.stdout, error)

    @property
    def width(self) -> int | None:
        """Columns of the terminal on stdout; None where stdout is not a terminal."""
        return _width_of(self.stdout)

    def line(self, text: str) -> None:
        """Write a result line to stdout."""
        self._write(self.stdout, text)

    def sentence(self, text: str, mark: str = "", indent: str = "") -> None:
        """Write a result that a person reads as text: broken between words on a narrow terminal.

        Args:
            text: The sentence.
            mark: One painted sign that stands before it.
            indent: Blanks before all of it.
        """
        before = f"{indent}{mark} " if mark else indent
        columns = len(indent) + 2 * bool(mark)
        room = self.width - columns if self.width is not None else None
        self.line(before + fold(self.with_commands(text), room, f"{indent}  "))

    def verdict(self, text: str, color: str) -> None:
        """Write the one line that counts, broken between words on a narrow terminal."""
        self.line(self.paint(self.paint(fold(printable(text), self.width, "  "), "bold"), color))

    def question(self, text: str) -> str:
        """Break a yes-or-no question between words on a narrow terminal; its last line has room for the answer."""
        width = _width_of(self.stderr)
        return fold(text, None if width is None else width - _ANSWER_COLUMNS, "  ")

    def with_commands(self, text: str) -> str:
        """Write the commands that a text names so that they reach the service that this one did."""
        text = with_local_option(text) if self.style.is_local else text
        return with_command_name(text, self.style.command) if self.style.command != "mgmt" else text

    def aside(self, text: str) -> None:
        """Write a progress line to stderr, unless quiet; broken between words on a narrow terminal."""
        if self.style.verbosity >= 0:
            self._write_folded(text)

    def whole(self, text: str) -> None:
        """Write a line to stderr that a person copies: never broken, and shown even if quiet."""
        self._write(self.stderr, printable(text))

    def note(self, text: str) -> None:
        """Write a notice to stderr, unless quiet."""
        self.aside(f"note: {printable(with_local_times(text))}")

    def json(self, value: Mapping[str, Any]) -> None:
        """Write a JSON line to stdout."""
        self.line(_json(value, self.stdout))

    def error(self, error: MgmtError) -> None:
        """Write an error to stderr, as a sentence or as a JSON line."""
        if self.style.as_json:
            value = {
                "type": "error",
                "exit_code": error.exit_code,
                "code": error.code,
                "message": error.message,
                "operation_id": error.operation_id,
            }
            self._write(self.stderr, _json(value, self.stderr))
        else:
            self._write_folded(f"mgmt: {printable(with_local_times(error.message))}")
            for line in error.details:
                self._write(self.stderr, line)

    def paint(self, text: str, color: str) -> str:
        """Colour a part of a result line where colours are wanted and stdout shows them."""
        return self._paint(text, color, self.stdout)

    def _paint(self, text: str, color: str, stream: TextIO) -> str:
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self.style.colors and stream.isatty() else text

    def _write_folded(self, text: str) -> None:
        folded = fold(self.with_commands(text), _width_of(self.stderr), "  ")
        for label, color in _LABELS.items():
            if folded.startswith(label):
                folded = self._paint(label, color, self.stderr) + folded.removeprefix(label)
        self._write(self.stderr, folded)

    def _write(self, stream: TextIO, text: str) -> None:
        text = _spell(text, stream)
        with self._lock:
            if id(stream) in self._closed:
                return
            try:
                if self._bars is not None and stream.isatty():
                    self._bars.console.print(_as_is(text), soft_wrap=True)
                else:
                    stream.write(text + "\n")
                    stream.flush()
            except OSError as error:
                self._give_up(stream, error)

    def _give_up(self, stream: TextIO, error: OSError) -> None:
        """Write nothing more to a stream that failed; results that are missing are told at the end."""
        self._closed.add(id(stream))
        if stream is self.stdout and not isinstance(error, BrokenPipeError):
            self.failure = error


def obeys_colors(streams: Iterable[TextIO]) -> bool:
    """Have terminals obey colours: those of Windows show the codes as signs until they are asked to, and some for ever.

    Source: SetConsoleMode, ENABLE_VIRTUAL_TERMINAL_PROCESSING, Windows API reference, read 2026-11.
    """
    if sys.platform == "win32":
        import ctypes
        import msvcrt

        kernel = ctypes.windll.kernel32
        for stream in streams:
            if stream.isatty():
                handle, mode = ctypes.c_void_p(msvcrt.get_osfhandle(stream.fileno())), ctypes.c_ulong()
                is_console = kernel.GetConsoleMode(handle, ctypes.byref(mode))  # NUL is taken for a terminal too
                if is_console and not kernel.SetConsoleMode(handle, mode.value | _OBEYS_CODES):
                    return False
    return True


def _width_of(stream: TextIO) -> int | None:
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _spell(text: str, stream: TextIO) -> str:
    """Replace our own signs where the stream's encoding has none of them."""
    if text.isascii():
        return text
    try:
        "✓→━─…".encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN_SPELLING)
    return text


def _as_is(text: str) -> Any:
    """Give a line that may hold our own colours to rich, which would show their codes otherwise."""
    from rich.text import Text

    return Text.from_ansi(text)


def _json(value: Mapping[str, Any], stream: TextIO) -> str:
    """Write a JSON line; in ASCII where the stream is not in Unicode, as files on Windows: so no name is lost."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    text = _HALF_CHARACTER.sub(lambda found: f"\\\\x{ord(found[0]) & 0xFF:02x}", text)
    is_unicode = (stream.encoding or "utf-8").lower().startswith("utf")
    return text if is_unicode else _NO_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
