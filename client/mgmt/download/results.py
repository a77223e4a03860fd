"""Results of downloads: the run's summary, the record of one that was not begun, and the time for the last report."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from mgmt.errors import MgmtError
from mgmt.stored.opening import NotReadableError
from mgmt_contract.records import DownloadRecord

REPORT_MAX_SECONDS: Final = 5.0
"""How long a command whose downloads have ended stays only to report the last end."""


@dataclass
class Summary:
    """Results of a command's downloads."""

    succeeded: int = 0
    errors: list[MgmtError] = field(default_factory=list)
    archived: dict[str, NotReadableError] = field(default_factory=dict)
    """Objects that have to be restored first, by the name that the user gave."""


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
