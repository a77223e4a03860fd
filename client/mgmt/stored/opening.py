"""Opening a download at the service, what its answers mean, and reporting its end."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import Final

from mgmt.errors import CancelledError, LocalStateError, MgmtError, RefusedError, UnavailableError
from mgmt.service import error_in
from mgmt.session import Session
from mgmt_contract.messages.downloads import (
    DownloadEnd,
    DownloadItem,
    DownloadResult,
    EndDownloadsRequest,
    OpenDownloadsRequest,
)
from mgmt_contract.messages.history import RecordResult
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.records import DownloadRecord, UploadRecord
from mgmt_contract.texts import fit_text

_log: Final = logging.getLogger(__name__)
_RENEWABLE_CODES: Final = frozenset({"operation-differs", "operation-failed", "not-allowed"})
"""What an earlier run has opened cannot go on; the same download can, as an operation of its own."""
_KEPT_ENDS_MAX: Final = 20
"""Ends of earlier downloads that are reported along with one: far fewer than a service takes in one call."""


class NotReadableError(RefusedError):
    """An object in an archived storage class, which S3 has to restore before it can be read."""

    def __init__(self, upload: UploadRecord, result: DownloadResult) -> None:
        stored = result.stored
        kind = None if stored is None else stored.archive_tier or stored.storage_class
        self.upload = upload
        self.kind = kind or "an archive"
        """Its storage class, or its tier of INTELLIGENT_TIERING."""
        self.is_restoring = result.outcome == "restoring"
        what = f"{upload.s3_object_key} is in the storage class {self.kind}"
        if self.is_restoring:
            said = f"{what}, and S3 is restoring it, which takes hours. Run the same command again later."
        else:
            said = f"{what}, which cannot be read before S3 has restored it. `mgmt download` asks for that."
        super().__init__(said, code=result.outcome, operation_id=result.operation_id)


def ask_to_open(session: Session, operation_id: str, upload: UploadRecord, target_path: str) -> DownloadResult:
    """Begin a download, or go on with it under the same id.

    File systems take names and paths that no message can carry; those are written as it can.

    Raises:
        MgmtError: The service's refusal of the whole call.
    """
    item = DownloadItem(operation_id, upload.operation_id, fit_text(target_path))
    return session.api.open_downloads(OpenDownloadsRequest([item])).results[0]


def is_over(result: DownloadResult) -> bool:
    """Tell whether a download that was begun before cannot go on, and has to be begun anew under another id."""
    return result.outcome == "done" or (result.problem is not None and result.problem.code in _RENEWABLE_CODES)


def take_request(upload: UploadRecord, result: DownloadResult) -> SignedRequest:
    """Return the URL of a download that was opened.

    Raises:
        MgmtError: What the answer says instead: a problem, or an archived storage class.
    """
    error = error_in(result)
    if error is not None:
        raise error
    if result.request is None:
        raise NotReadableError(upload, result)
    return result.request


def report_end(
    session: Session, record: DownloadRecord, received_bytes: int, error: MgmtError | None
) -> DownloadRecord:
    """Report the end of a download; a report that is lost is no failure of it, and goes along with the next one.

    Returns:
        The record as it stands, or as it would.

    Raises:
        CancelledError: If the command was stopped meanwhile.
    """
    end = DownloadEnd(
        record.operation_id,
        received_bytes,
        error_code=error.code if error is not None else None,
        error_message=fit_text(error.message) if error is not None else None,
    )
    try:
        result = _report(session, end)
    except CancelledError:
        raise
    except MgmtError as failure:
        _log.info("The end of the download is not reported: %s", failure.message)
        if not isinstance(failure, RefusedError):
            _keep(session, end)
    else:
        if isinstance(result.record, DownloadRecord):
            return result.record
        _log.info("The service does not take the end of the download: %s", result.outcome)
    return replace(
        record,
        status="success" if error is None else "failed",
        phase="done" if error is None else "failed",
        result_path=record.target_path if error is None else None,
        received_bytes=received_bytes,
        error_code=end.error_code,
        error_message=end.error_message,
    )


def _report(session: Session, end: DownloadEnd) -> RecordResult:
    """Report an end, and with it those of which the service could not be told before."""
    try:
        kept = session.journal.unreported_downloads(session.service_url, _KEPT_ENDS_MAX)
    except LocalStateError as error:
        _log.info("What else is to be reported is not known: %s", error.message)
        kept = []
    earlier = [each for each in kept if each.operation_id != end.operation_id]
    result, *others = session.api.end_downloads(EndDownloadsRequest([end, *earlier])).results
    told = [each.operation_id for each in others if not isinstance(error_in(each), UnavailableError)]
    if kept:
        with suppress(LocalStateError):  # told once more, it changes nothing
            session.journal.note_downloads_reported([end.operation_id, *told])
    return result


def _keep(session: Session, end: DownloadEnd) -> None:
    try:
        session.journal.keep_download_end(session.service_url, end)
    except LocalStateError as error:
        _log.info("Nor is it kept for the next command: %s", error.message)
