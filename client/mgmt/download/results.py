"""What downloads came to: for the person, in the run's summary, and in reports to the service."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from mgmt.errors import CancelledError, MgmtError
from mgmt.session import Session
from mgmt_contract.messages import DownloadEnd, EndDownloadsRequest
from mgmt_contract.records import DownloadRecord

_log: Final = logging.getLogger(__name__)
REPORT_MAX_SECONDS: Final = 5.0
"""How long a command whose downloads have ended stays only to report the last end."""


@dataclass
class Summary:
    """What a command's downloads came to."""

    succeeded: int = 0
    errors: list[MgmtError] = field(default_factory=list)


def report_end(
    session: Session, record: DownloadRecord, received_bytes: int, error: MgmtError | None
) -> DownloadRecord:
    """Report the end of a download; a report that is lost is no failure of it.

    Returns:
        The record as it stands, or as it would.

    Raises:
        CancelledError: If the command was stopped meanwhile.
    """
    end = DownloadEnd(
        record.operation_id,
        received_bytes,
        error_code=error.code if error is not None else None,
        error_message=error.message if error is not None else None,
    )
    try:
        [result] = session.api.end_downloads(EndDownloadsRequest([end])).results
    except CancelledError:
        raise
    except MgmtError as failure:
        _log.info("The end of the download is not reported: %s", failure.message)
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


def not_begun(name: str, error: MgmtError) -> DownloadRecord:
    """Describe a target that never became a download: it has no operation, and so no id."""
    return DownloadRecord(
        operation_id="",
        operation_type="download",
        target_path=name,
        started_at=datetime.now(UTC),
        status="failed",
        result_path=None,
        error_message=error.message,
        upload_id="",
        s3_bucket="",
        s3_object_key="",
        version_id=None,
        size=0,
        phase="failed",
        error_code=error.code,
    )
