"""The difference between this machine's clock and another one's, from the Date of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from mgmt.text import duration_in_words

WRONG_FROM: Final = timedelta(minutes=5)
"""Smaller differences harm nothing; servers that check times usually allow five minutes."""
_YEARS: Final = range(2020, 3000)


def read_date(headers: Mapping[str, str]) -> datetime | None:
    """Read the time at which an answer was made, by the other side's clock; None where it says none."""
    try:
        moment = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    if moment.year not in _YEARS:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def describe_wrong_clock(theirs: datetime | None, ours: datetime, host: str) -> str | None:
    """Say in a sentence that this machine's clock is wrong; None where it is right, or nothing is known.

    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> describe_wrong_clock(noon, noon + timedelta(hours=2), "issuer.example")
    "This machine's clock is 2 h 0 min ahead of that of issuer.example: set it right."
    >>> describe_wrong_clock(noon, noon + timedelta(minutes=1), "issuer.example")
    """
    if theirs is None or abs(ours - theirs) < WRONG_FROM:
        return None
    way = "ahead of" if ours > theirs else "behind"
    span = duration_in_words(abs(ours - theirs).total_seconds())
    return f"This machine's clock is {span} {way} that of {host}: set it right."
