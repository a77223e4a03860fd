"""Numbers, times and names as a person reads them."""

from __future__ import annotations

import os
import re
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Final

MEASURED_MIN_BYTES: Final = 1024 * 1024
"""A speed is worth saying from here on: fewer bytes measure the round trip and not the line."""
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")
"""How Python holds a byte that is no text."""
_SPELLED_BYTE: Final = re.compile(r"\\x[0-9a-f]{2}")
_SPELLED: Final = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")
_BIDI_CONTROLS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BREAKS: Final = "/-_.:,="
"""Where a word that is too long for a line may be broken."""
_COMMAND_OF_A_SERVICE: Final = re.compile(
    r"(?<=`mgmt) (?=(?:upload|resume|cancel|download|contents|safe|history|show|delete|undelete)\b)"
)
_NAMED_COMMAND: Final = re.compile("(?<=`)mgmt(?= )")
_PROGRAM_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


def printable(text: str) -> str:
    r"""Escape what could move a cursor, colour a terminal or turn the writing direction.

    >>> printable("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is no text
        return f"\\x{ord(character) & 0xFF:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def shown(path: bytes | str) -> str:
    r"""Write a path so that every message can carry it: bytes that are no text become \xNN.

    >>> shown(b"caf\xe9.mov")
    'caf\\xe9.mov'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def spell_path(path: bytes | str, *, is_one_line: bool = False) -> str:
    r"""Write a path as text that any record, JSON line or table can carry, and `read_path` can read back.

    Nearly every path is written as it is. In one with bytes that are no text each of these is written as \xNN, and each
    backslash is doubled; so is one in which a real backslash would look like that.

    Args:
        path: The path.
        is_one_line: Also write control characters in that way.

    >>> print(spell_path(b"caf\xe9.mov"), spell_path(rb"caf\xe9.mov"), spell_path(rb"a\b"))
    caf\xe9.mov caf\\xe9.mov a\b
    """
    return _spell(os.fsencode(path).decode("utf-8", "surrogateescape"), is_one_line=is_one_line)


def _spell(text: str, *, is_one_line: bool = False) -> str:
    if text.isprintable() and "\\" not in text:
        return text
    is_odd = any(map(_is_odd, text)) if is_one_line else _HALF_CHARACTER.search(text) is not None
    if not (is_odd or _SPELLED_BYTE.search(text)):
        return text
    return "".join(_spell_character(each, is_one_line=is_one_line) for each in text)


def _is_odd(character: str) -> bool:
    return _escape(character) != character


def _spell_character(character: str, *, is_one_line: bool) -> str:
    if character == "\\":
        return "\\\\"
    is_odd = _is_odd(character) if is_one_line else _HALF_CHARACTER.match(character) is not None
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape")) if is_odd else character


def read_path(text: str) -> str:
    r"""Read a path that `spell_path` has written.

    >>> os.fsencode(read_path(r"caf\xe9.mov")), os.fsencode(read_path(r"caf\\xe9.mov")), os.fsencode(read_path("a"))
    (b'caf\xe9.mov', b'caf\\xe9.mov', b'a')
    """
    if _SPELLED_BYTE.search(text) is None:
        return text
    return os.fsdecode(_SPELLED.sub(_read_spelled, text.encode("utf-8", "surrogateescape")))


def _read_spelled(found: re.Match[bytes]) -> bytes:
    return b"\\" if found[1] is None else bytes.fromhex(found[1].decode("ascii"))


def size_in_words(size_bytes: float) -> str:
    """Write a number of bytes with three digits and a decimal unit, as file managers do.

    >>> size_in_words(999), size_in_words(1234), size_in_words(16_777_216)
    ('999 B', '1.23 kB', '16.8 MB')
    """
    if size_bytes < 999.5:
        return f"{size_bytes:.0f} B"
    value = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= 1000
        if value < 999.5 or unit == "PB":
            break
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def duration_in_words(seconds: float) -> str:
    """Write a time span with the two digits or units that matter.

    >>> duration_in_words(0.341), duration_in_words(3.41), duration_in_words(75), duration_in_words(7500)
    ('0.34 s', '3.4 s', '1 min 15 s', '2 h 5 min')
    """
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def describe_unasked(question: str, why: str, nothing_done: str, instead: str) -> str:
    """Say that a question was not asked: what it was, why, what was therefore not done, and what to type instead.

    Args:
        question: What would have been asked, such as "whether to delete".
        why: Why it was not, such as "--json is given".
        nothing_done: What has not been done, such as "nothing was deleted".
        instead: What to type, such as "To delete without being asked, add --yes".
    """
    return f"mgmt asks {question}, and could not ask because {why}, so {nothing_done}. {instead}."


def moment_in_words(moment: datetime | None) -> str:
    """Write a time in this machine's zone; a dash where there is none."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment else "-"


def with_local_times(text: str) -> str:
    """Write the times of programs in a sentence as a person's own.

    >>> with_local_times("no time in it"), with_local_times("on 2026-02-30T00:00:00Z")
    ('no time in it', 'on 2026-02-30T00:00:00Z')
    """
    return _PROGRAM_TIME.sub(_as_local_time, text)


def _as_local_time(found: re.Match[str]) -> str:
    try:
        return moment_in_words(datetime.fromisoformat(found[0]))
    except (ValueError, OverflowError, OSError):  # not a time, or one that this machine cannot show
        return found[0]


def with_local_option(text: str) -> str:
    """Put `--local` into the commands that a sentence names, for users of the embedded backend.

    >>> with_local_option("Nothing. `mgmt history --mine` lists it, `mgmt config` sets it.")
    'Nothing. `mgmt --local history --mine` lists it, `mgmt config` sets it.'
    """
    return _COMMAND_OF_A_SERVICE.sub(" --local ", text)


def with_command_name(text: str, name: str) -> str:
    """Put another name of the program into the commands that a sentence names.

    >>> with_command_name("`mgmt --local safe clip.mp4` tells whether mgmt has stored it.", "try/mgmt")
    '`try/mgmt --local safe clip.mp4` tells whether mgmt has stored it.'
    """
    return _NAMED_COMMAND.sub(lambda _: name, text)


def speed_in_words(moved_bytes: float, seconds: float) -> str:
    """Write a speed as it follows a time; nothing where it would say nothing.

    >>> speed_in_words(200_000_000, 10), speed_in_words(3, 0.28)
    (', 20.0 MB/s', '')
    """
    if moved_bytes < MEASURED_MIN_BYTES or seconds <= 0:
        return ""
    return f", {size_in_words(moved_bytes / seconds)}/s"


def clock_in_words(seconds: float) -> str:
    """Write a time span as a clock does: short, and of steady width.

    >>> clock_in_words(4), clock_in_words(271), clock_in_words(3723)
    ('0:04', '4:31', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ratio_in_words(part: int | None, whole: int | None) -> str:
    """Write the archive's share of a size after packing; a dash where that means nothing.

    Of a few bytes the archive's framing is many times as large.

    >>> ratio_in_words(50, 200), ratio_in_words(5, 0), ratio_in_words(128, 6)
    ('25 %', '-', '-')
    """
    if part is None or not whole or part > 10 * whole:
        return "-"
    return f"{100 * part / whole:.0f} %"


def count_in_words(count: int, singular: str, plural: str | None = None) -> str:
    """Write a number of things.

    >>> count_in_words(1, "file"), count_in_words(2, "file")
    ('1 file', '2 files')
    """
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def display_width(text: str) -> int:
    """Count the columns that a text takes on a terminal: CJK and emoji take two.

    >>> display_width("clip"), display_width("\u6620\u753b")
    (4, 4)
    """
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill a text with blanks up to a number of columns.

    >>> pad("\u6620", 4) + "|", pad("7", 3, right=True)
    ('\u6620  |', '  7')
    """
    blanks = " " * (width - display_width(text))
    return blanks + text if right else text + blanks


def shorten(text: str, width: int) -> str:
    """Leave out the middle of a text that is wider than `width` columns: names differ at their ends.

    >>> shorten("A001_C003_1122AB.mov", 12), shorten("clip", 12)
    ('A001_C…B.mov', 'clip')
    """
    if display_width(text) <= width:
        return text
    tail_width = max(0, width - 1) // 2
    head, tail = _take(text, width - 1 - tail_width), _take(text[::-1], tail_width)[::-1]
    return f"{head}…{tail}"


def _take(text: str, width: int) -> str:
    """Take as many characters from the start as fit into `width` columns."""
    taken = 0
    for index, character in enumerate(text):
        taken += display_width(character)
        if taken > width:
            return text[:index]
    return text


def _take_readable(text: str, width: int, start: int) -> str:
    """Take what fits of a word that begins at `start`, up to its last sign unless most of it were lost."""
    taken = _take(text, width)
    sign = max(taken.rfind(each) for each in _BREAKS)
    return taken[: sign + 1] if sign >= start + (len(taken) - start) // 2 else taken


def fold(text: str, width: int | None, indent: str = "") -> str:
    r"""Break a text into lines of at most `width` columns; None is no limit.

    Between words where possible; a word that is too long, such as a path, after a sign where possible.

    >>> fold("one two three", 8, "  ")
    'one two\n  three'
    """
    if width is None or display_width(text) <= width:
        return text
    indent = indent if 2 * len(indent) < width else ""
    words = text.lstrip(" ")
    lines, line = [], " " * (len(text) - len(words))
    for word in words.split(" "):
        joined = f"{line} {word}" if line.strip() else line + word
        if not _fits(joined, width) and line.strip():
            lines.append(line)
            joined = indent + word
        while not _fits(joined, width):
            piece = _take_readable(joined, width, len(indent)) or joined[:1]
            lines.append(piece)
            joined = indent + joined[len(piece) :]
        line = joined
    return "\n".join([*lines, line])


def _fits(text: str, width: int) -> bool:
    """Tell whether a text has at most so many columns; its length does not matter, it may be endless."""
    return len(text) <= 4 * width + 100 and display_width(text) <= width


def show_path(target: str, base: Path) -> str:
    """Say a target's path as the team may see it: relative to `base`, or only its name; no home folders."""
    absolute = Path(os.path.abspath(target))  # noqa: PTH100  resolve() would follow links
    try:
        relative = absolute.relative_to(base).as_posix()
    except ValueError:
        relative = absolute.name
    text = os.fsencode(relative if relative != "." else absolute.name).decode("utf-8", "surrogateescape")
    return _spell(unicodedata.normalize("NFC", text))
