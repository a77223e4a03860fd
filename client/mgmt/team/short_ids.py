"""Short ids: nine characters that a person can copy, for the 36 of an operation's id.

Six tell the second in which the operation began, by the service's clock, and three come from the random end of its
id. So the service can be asked for that second, and no index of ids is needed. Two operations of one second
share a short id once in 32,768 times; then both are found.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from mgmt_contract.records import OperationRecord

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that looks like a digit, in either case."""
_SHORT_ID: Final = re.compile(f"[{_ALPHABET}]{{9}}", re.IGNORECASE)
_EPOCH: Final = datetime(2020, 1, 1, tzinfo=UTC)
_TIME_DIGITS: Final = 6
"""34 years of seconds."""
_RANDOM_DIGITS: Final = 3
_BITS_PER_DIGIT: Final = 5
_SECOND: Final = timedelta(seconds=1)


def short_id(record: OperationRecord) -> str:
    """Return an operation's short id; a dash where its id has another form."""
    try:
        end = int(record.operation_id[-4:], 16)
    except ValueError:
        return "-"
    seconds = (record.started_at - _EPOCH) // _SECOND
    return _spell(seconds, _TIME_DIGITS) + _spell(end, _RANDOM_DIGITS)


def is_short_id(text: str) -> bool:
    """Tell whether a text could be a short id; a file's name can look like one."""
    return _SHORT_ID.fullmatch(text) is not None


def second_of(text: str) -> datetime:
    """Return the beginning of the second that a short id names."""
    seconds = 0
    for digit in text[:_TIME_DIGITS].lower():
        seconds = seconds << _BITS_PER_DIGIT | _ALPHABET.index(digit)
    return _EPOCH + seconds * _SECOND


def _spell(number: int, digits: int) -> str:
    shifts = range((digits - 1) * _BITS_PER_DIGIT, -1, -_BITS_PER_DIGIT)
    return "".join(_ALPHABET[number >> shift & (1 << _BITS_PER_DIGIT) - 1] for shift in shifts)
