"""The service's metrics: names, codes, and the port that takes the counts."""

from __future__ import annotations

from typing import Final, Literal, Protocol

from mgmt_contract.problems import PROBLEMS

MetricName = Literal[
    "UploadsStarted",
    "UploadsDone",
    "UploadsFailed",
    "BytesStored",
    "DownloadsDone",
    "BytesFetched",
    "RestoresAsked",
    "UploadsDeleted",
    "Problems",
    "FallBacks",
    "Settled",
    "Orphans",
    "RemovalsFailed",
]
"""Uploads, downloads, deletions and bytes count where the records change, so that a call that is repeated counts once;
bytes fetched are what clients report. Problems are answers: of a whole request, or of one item. Fall-backs are URLs
that boto3 had to sign itself. Settled are operations that the worker has ended without a client, orphans what it found
in the storage or the records alone, failed removals the deleted uploads that it could not give up this time."""

OTHER_CODE: Final = "other"


class Metrics(Protocol):
    """Takes counts from any thread and never raises: no call may fail for a metric."""

    def count(self, name: MetricName, value: int = 1, *, code: str | None = None) -> None:
        """Add to a count; each code has a count of its own."""

    def flush(self) -> None:
        """Hand on the counts since the last time."""


class NoMetrics:
    """Counts nothing: on one machine, no counts are collected."""

    def count(self, name: MetricName, value: int = 1, *, code: str | None = None) -> None:
        """Pass over it."""

    def flush(self) -> None:
        """Do nothing."""


def known_code(code: str) -> str:
    """Return a problem's code as it may name a metric: each metric costs money, and a client may report any text."""
    return code if code in PROBLEMS else OTHER_CODE
