"""Numbers, times and names as a person reads them."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Final

_BIDI_CONTROLS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""Escape what could move a cursor, colour a terminal or turn the writing direction.

    >>> printable("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


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
    """Write a time span with the two units that matter.

    >>> duration_in_words(0.34), duration_in_words(75), duration_in_words(7500)
    ('0.3 s', '1 min 15 s', '2 h 5 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment_in_words(moment: datetime | None) -> str:
    """Write a time in this machine's zone; a dash where there is none."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment else "-"


def ratio_in_words(part: int | None, whole: int | None) -> str:
    """Write how much is left of a size after packing; a dash where that says nothing.

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
