"""What is counted of the service's work: names, codes, and the port that takes the counts."""

from __future__ import annotations

from typing import Final, Literal, Protocol

from mgmt_contract.problems import PROBLEMS

MetricName = Literal["UploadsStarted", "UploadsDone", "UploadsFailed", "BytesStored", "Problems", "FallBacks"]
"""Uploads and stored bytes count where the records change, so that a call that is repeated counts once. Problems are
answers: of a whole request, or of one item. Fall-backs are URLs that boto3 had to make the long way."""

OTHER_CODE: Final = "other"


class Metrics(Protocol):
    """Counts, from any thread, and never raises: nothing of the work may depend on it."""

    def count(self, name: MetricName, value: int = 1, *, code: str | None = None) -> None:
        """Add to a count; those of different codes are told apart."""

    def flush(self) -> None:
        """Hand on what was counted since the last time."""


class NoMetrics:
    """Counts nothing: for one machine, where nobody collects it."""

    def count(self, name: MetricName, value: int = 1, *, code: str | None = None) -> None:
        """Pass over it."""

    def flush(self) -> None:
        """Do nothing."""


def known_code(code: str) -> str:
    """Return a problem's code as it may name a metric: each is paid for, and a client may report any text."""
    return code if code in PROBLEMS else OTHER_CODE
