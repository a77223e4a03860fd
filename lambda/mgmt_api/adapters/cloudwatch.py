"""Metrics in CloudWatch: lines in its Embedded Metric Format, printed into the function's log.

Such a line costs no call and no permission: CloudWatch Logs makes metrics of it.
"""

from __future__ import annotations

import logging
from collections import Counter
from threading import Lock
from typing import Final

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from mgmt_api.domain.metrics import MetricName, known_code

logger = logging.getLogger(__name__)

NAMESPACE: Final = "mgmt"
_UNITS: Final[dict[MetricName, MetricUnit]] = {
    "BytesStored": MetricUnit.Bytes,
    "BytesFetched": MetricUnit.Bytes,
}
"""The units of metrics that are not plain counts."""


class CloudWatchMetrics:
    """Sums a request's counts and prints them at its end.

    Args:
        service: Distinguishes this service's figures from those of others in the same account.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._lock = Lock()
        self._counts: Counter[tuple[MetricName, str | None]] = Counter()

    def count(self, name: MetricName, value: int = 1, *, code: str | None = None) -> None:
        """Add to a count; each code has a count of its own."""
        with self._lock:
            self._counts[name, None if code is None else known_code(code)] += value

    def flush(self) -> None:
        """Print what was counted since the last time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            _print(self._service, counts)
        except Exception as error:  # noqa: BLE001  a lost figure is no reason to lose an answer
            logger.warning("metrics were lost", extra={"reason": repr(error)})


def _print(service: str, counts: Counter[tuple[MetricName, str | None]]) -> None:
    """Print a line for counts without a code, and one for each code: a line has one value for each dimension."""
    for code in dict.fromkeys(code for _, code in counts):
        metrics = EphemeralMetrics(namespace=NAMESPACE, service=service)
        if code is not None:
            metrics.add_dimension("code", code)
        for (name, its_code), value in counts.items():
            if its_code == code:
                metrics.add_metric(name, _UNITS.get(name, MetricUnit.Count), value)
        metrics.flush_metrics()
