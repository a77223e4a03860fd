"""Restoring archived objects: how long each tier takes, and what it costs.

Times: Amazon S3 User Guide, "Understanding archive retrieval options", read 2026-11; the longest that is typical.
Prices: us-east-1, as quoted of Amazon's price list in May 2026 (usage.ai, "Glacier and Deep Archive Pricing", and AWS
re:Post, "Manage data retrieval and storage costs", read 2026-11). Other regions differ, and prices change: they are for
choosing a tier, not for a bill.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

RestoreTier = Literal["Expedited", "Standard", "Bulk"]
ArchiveKind = Literal["GLACIER", "DEEP_ARCHIVE", "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"]
"""A storage class, or an archive tier of INTELLIGENT_TIERING."""

PRICES_OF: Final = "us-east-1, May 2026"
DAYS_DEFAULT: Final = 7
DAYS_MAX: Final = 30
"""Our own limit: each day costs as much as a day in STANDARD."""

_HOUR_SECONDS: Final = 3600
_GB: Final = 10**9
_EXPEDITED_BYTES_PER_SECOND: Final = 300 * 10**6
"""The most that is typical of objects of 250 MB and more."""


class RestoreTerms(NamedTuple):
    """What one tier takes for one kind of archived object."""

    ready_in_seconds: int
    dollars_per_gb: float
    dollars_per_request: float
    bytes_per_second: int | None = None
    """How fast a large object is read besides; None where the time does not depend on the size."""


TERMS: Final[dict[tuple[ArchiveKind, RestoreTier], RestoreTerms]] = {
    ("GLACIER", "Expedited"): RestoreTerms(5 * 60, 0.03, 0.01, _EXPEDITED_BYTES_PER_SECOND),
    ("GLACIER", "Standard"): RestoreTerms(5 * _HOUR_SECONDS, 0.01, 0.00005),
    ("GLACIER", "Bulk"): RestoreTerms(12 * _HOUR_SECONDS, 0.0, 0.0),
    ("DEEP_ARCHIVE", "Standard"): RestoreTerms(12 * _HOUR_SECONDS, 0.02, 0.0001),
    ("DEEP_ARCHIVE", "Bulk"): RestoreTerms(48 * _HOUR_SECONDS, 0.0025, 0.000025),
    ("ARCHIVE_ACCESS", "Expedited"): RestoreTerms(5 * 60, 0.03, 0.01, _EXPEDITED_BYTES_PER_SECOND),
    ("ARCHIVE_ACCESS", "Standard"): RestoreTerms(5 * _HOUR_SECONDS, 0.0, 0.0),
    ("ARCHIVE_ACCESS", "Bulk"): RestoreTerms(12 * _HOUR_SECONDS, 0.0, 0.0),
    ("DEEP_ARCHIVE_ACCESS", "Standard"): RestoreTerms(12 * _HOUR_SECONDS, 0.0, 0.0),
    ("DEEP_ARCHIVE_ACCESS", "Bulk"): RestoreTerms(48 * _HOUR_SECONDS, 0.0, 0.0),
}


def price_of(terms: RestoreTerms, size_bytes: int) -> float:
    """Say in dollars what restoring one object costs, without the days that its copy stays.

    >>> price_of(TERMS["DEEP_ARCHIVE", "Standard"], 500 * 10**9)
    10.0001
    """
    return round(terms.dollars_per_gb * size_bytes / _GB + terms.dollars_per_request, 6)


def seconds_of(terms: RestoreTerms, size_bytes: int) -> int:
    """Say how long restoring one object typically takes.

    >>> seconds_of(TERMS["GLACIER", "Expedited"], 500 * 10**9) // 60
    32
    """
    return terms.ready_in_seconds + (size_bytes // terms.bytes_per_second if terms.bytes_per_second else 0)
