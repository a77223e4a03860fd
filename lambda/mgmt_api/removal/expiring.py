"""Removing the bytes of deleted uploads at the end of their days: found here, and recorded once it is done.

The bytes go in between, by other hands: the worker tags the version for the bucket's lifecycle rules, and the embedded
backend removes it. A run that dies in between does the same again: the upload is found until it is recorded.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import HistoryQuery, Operation
from mgmt_api.domain.removal import may_be_removed

PAGE: Final = 100


class Expired(NamedTuple):
    """One page of uploads whose bytes may be removed now."""

    uploads: list[Operation]
    after: str | None
    """The beginning of the next page; None on the last."""


def find_expired(backends: Backends, after: str | None = None) -> Expired:
    """Find deleted uploads whose days are over and whose bytes are not given up yet; a page may be empty.

    Each is as it is stored now. An undelete is refused from the date on, and the date has passed by more than any call
    lasts: so none of them comes back after this.
    """
    page = backends.records.find_operations(HistoryQuery(PAGE, is_deleted=True, after=after))
    now = backends.now()
    uploads = [each for each in page.operations if isinstance(each, Operation) and may_be_removed(each.record, now)]
    return Expired(uploads, page.after)


def note_removed(backends: Backends, upload: Operation) -> Operation:
    """Record that the bytes of an upload were given up for removal; to be called after that was done.

    Raises:
        ConflictError: If the record was changed meanwhile: find it again.
    """
    return backends.records.update_operation(upload.advance("done", removed_at=backends.now()))
