"""When a deleted upload can be brought back, and when its bytes may be removed: the two never meet."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from mgmt_contract.records import UploadRecord

REMOVAL_MARGIN: Final = timedelta(hours=1)
"""Kept between the named date and the removal: longer than any call, so that an undelete in the last moment wins."""


def recoverable_until(deleted_at: datetime, recoverable_days: int) -> datetime:
    """Say until when an upload that is deleted now can be brought back."""
    return deleted_at + timedelta(days=recoverable_days)


def may_be_brought_back(record: UploadRecord, now: datetime) -> bool:
    """Tell whether a deleted upload can still be brought back."""
    if record.removed_at is not None or record.recoverable_until is None:
        return False
    return now < record.recoverable_until


def may_be_removed(record: UploadRecord, now: datetime) -> bool:
    """Tell whether the bytes of an upload may be removed now: it was deleted, and its date has passed.

    One that was brought back has no date. The record has to be the one that is stored when this is asked.
    """
    if record.deleted_at is None or record.recoverable_until is None or record.removed_at is not None:
        return False
    return now >= record.recoverable_until + REMOVAL_MARGIN
