"""Medians of what is measured again and again, with no more measurements than they need."""

from __future__ import annotations

from collections.abc import Callable


def assert_median_at_most(limit: float, measure: Callable[[], float], count: int) -> None:
    """Measure until it is certain that the median of `count` measurements is at most `limit`, or is not.

    Args:
        limit: What the median may be.
        measure: Takes one measurement.
        count: An odd number.
    """
    measured: list[float] = []
    half = count // 2
    while sum(each <= limit for each in measured) <= half:
        assert sum(each > limit for each in measured) <= half, f"most are above {limit}: {measured}"
        measured.append(measure())
