"""Downloading: open, and the report of the end."""

from __future__ import annotations

from typing import Literal

from mgmt_contract.messages.objects import SignedRequest, StoredVersion
from mgmt_contract.problems import Problem
from mgmt_contract.records import DownloadRecord, UploadRecord
from mgmt_contract.values import StrictValue, Value


class DownloadItem(StrictValue):
    """One download to begin, or to go on with under the same id."""

    operation_id: str
    """Minted by the client for this download; it stays the same until the download has ended."""
    upload_id: str
    """The upload whose object is to be fetched: the version that it stored, also where a later one replaced it."""
    target_path: str
    """Where the client puts what it fetches, as the team may see it."""


class OpenDownloadsRequest(StrictValue):
    """Ask for the URLs of stored archives."""

    items: list[DownloadItem]


class DownloadResult(Value):
    """How one download stands.

    `opened`: fetch with `request`, any ranges, until it expires; then open again. `archived`: S3 has to be asked for
    a restore first. `restoring`: it has been asked. `gone`, `differs`: the recorded version is not there, or its size
    or checksum is not the recorded one; both with a problem. `done`: this very download has ended with success
    before. `problem`: refused. Only what is opened is recorded.
    """

    operation_id: str
    outcome: Literal["opened", "archived", "restoring", "gone", "differs", "done", "problem"]
    upload: UploadRecord | None = None
    """The record of the upload, with size, checksum and content digest to compare with."""
    request: SignedRequest | None = None
    index_request: SignedRequest | None = None
    """The GET of the archive's index, where it has one; its size and checksum are in `upload`."""
    stored: StoredVersion | None = None
    record: DownloadRecord | None = None
    """The download's own record, of one that was opened or done."""
    problem: Problem | None = None


class OpenDownloadsResponse(Value):
    """Results in the order of the items."""

    results: list[DownloadResult]


class DownloadEnd(StrictValue):
    """The end of one download: success where there is no `error_code`."""

    operation_id: str
    received_bytes: int
    error_code: str | None = None
    error_message: str | None = None


class EndDownloadsRequest(StrictValue):
    """Record the ends of downloads."""

    items: list[DownloadEnd]
