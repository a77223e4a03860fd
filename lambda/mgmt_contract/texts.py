"""How long a text of a message may be, and how a text is made to fit: both ends measure in the same way.

A text is measured in what it becomes as JSON, because that is what an answer's size is made of: a control character
becomes six bytes there. One text can be cut without harm to the others, an answer that is too large cannot.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Sequence
from typing import Final

TEXT_MAX_BYTES: Final = 2048
"""Longest text, in UTF-8 as JSON writes it between its quotes: a path of many folders, or a message's sentences."""

GLOBS_MAX_BYTES: Final = 1024
"""All globs of an upload together, measured in the same way, and one byte more for each."""

_CUT: Final = "…"
_HALF_MAX_BYTES: Final = (TEXT_MAX_BYTES - len(_CUT.encode())) // 2
"""The most that is left of each end of a text that is cut."""
_JSON_CHARACTER_MAX_BYTES: Final = 6
"""A control character: a backslash, a u and four digits."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's control characters (Cc), and halves of characters, which UTF-8 cannot write."""


def size_as_json(text: str) -> int:
    r"""Count the bytes of a text in JSON, without its quotes.

    >>> size_as_json("caf\u00e9"), size_as_json("a\"b"), size_as_json("\x1b")
    (5, 4, 6)
    """
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")) - 2


def is_short(text: str) -> bool:
    """Tell whether a text keeps to `TEXT_MAX_BYTES`."""
    if len(text) > TEXT_MAX_BYTES:
        return False
    return len(text) * _JSON_CHARACTER_MAX_BYTES <= TEXT_MAX_BYTES or size_as_json(text) <= TEXT_MAX_BYTES


def holds_control_character(text: str) -> bool:
    """Tell whether a text holds a control character or half a character."""
    return _CONTROL.search(text) is not None


def cut_text(text: str) -> str:
    r"""Return a text that keeps to `TEXT_MAX_BYTES`: a longer one loses its middle.

    What is left of a path are its first folders and its name, and of a message what happened and what to do.

    >>> cut_text("day1/" + 5000 * "x" + "/clip.mp4")[:8], cut_text("day1/" + 5000 * "x" + "/clip.mp4")[-9:]
    ('day1/xxx', '/clip.mp4')
    """
    if is_short(text):
        return text
    half = _HALF_MAX_BYTES
    return f"{_beginning(text[:half], half)}{_CUT}{_beginning(text[-half:][::-1], half)[::-1]}"


def fit_text(text: str) -> str:
    r"""Return a text that any message can carry: control characters written out, the middle cut where it is too long.

    >>> fit_text("take\n1.mov")
    'take\\n1.mov'
    """
    if len(text) > 2 * TEXT_MAX_BYTES:
        text = text[:TEXT_MAX_BYTES] + text[-TEXT_MAX_BYTES:]  # of more nothing could be left
    return cut_text(_CONTROL.sub(_write_out, text))


def may_be_cut(text: str) -> bool:
    r"""Tell whether a text may be what `cut_text` has left of a longer one, so that it must not be taken for that.

    It is a guess on the safe side: a whole text of nearly the greatest length with `…` in its middle is told alike.

    >>> may_be_cut(cut_text("day1/" + 5000 * "x")), may_be_cut("day1/…/clip.mp4"), may_be_cut("x" * 2048)
    (True, False, False)
    """
    least = _HALF_MAX_BYTES - _JSON_CHARACTER_MAX_BYTES  # of each half: where the next character did not fit
    if len(text) < 2 * least // _JSON_CHARACTER_MAX_BYTES or _CUT not in text:
        return False
    halves = ((text[: found.start()], text[found.end() :]) for found in re.finditer(_CUT, text[: _HALF_MAX_BYTES + 1]))
    return any(all(least < size_as_json(half) <= _HALF_MAX_BYTES for half in each) for each in halves)


def fit_globs(globs: Sequence[str]) -> tuple[str, ...]:
    r"""Return globs that a message can carry as they are; none of them where it cannot: a part would say too little.

    >>> fit_globs(["*.tmp", "cache"]), fit_globs(["*.tmp", "\n"]), fit_globs(["*"] * 1000)
    (('*.tmp', 'cache'), (), ())
    """
    are_sayable = not any(map(holds_control_character, globs))
    return tuple(globs) if are_sayable and globs_size(globs) <= GLOBS_MAX_BYTES else ()


def globs_size(globs: Sequence[str]) -> int:
    """Count the bytes of globs in a record."""
    return sum(size_as_json(glob) + 1 for glob in globs)


def _write_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def _beginning(text: str, size_max_bytes: int) -> str:
    """Return as much of a text's beginning as fits."""
    count = bisect.bisect_right(range(len(text) + 1), size_max_bytes, key=lambda length: size_as_json(text[:length]))
    return text[: count - 1]
