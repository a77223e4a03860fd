"""Deleted uploads of the embedded backend whose days are over: which versions they have, and that they are removed.

On AWS the worker tags those versions, and the bucket's lifecycle rules remove them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import Operation
from mgmt_api.ports import ConflictError, RecordsUnavailableError
from mgmt_api.removal.expiring import find_expired, note_removed
from mgmt_contract.names import index_key
from mgmt_local.engine.expiry import StoredVersion

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeletedUpload:
    """One deleted upload whose bytes may be removed."""

    backends: Backends
    upload: Operation

    @property
    def versions(self) -> tuple[StoredVersion, ...]:
        """Its archive and its index; none of an upload without a version, which would name whatever is there now."""
        record = self.upload.record
        if not record.version_id:
            return ()
        archive = StoredVersion(record.s3_object_key, record.version_id)
        if not record.index_version_id:
            return (archive,)
        key = index_key(self.backends.settings.root_prefix, self.upload.id)
        return archive, StoredVersion(key, record.index_version_id)

    def note_removed(self) -> None:
        """Record that its bytes are gone; where its record was changed meanwhile, the next look does."""
        try:
            note_removed(self.backends, self.upload)
        except (ConflictError, RecordsUnavailableError) as error:
            _logger.warning("the removal of %s is not recorded yet: %s", self.upload.id, error)


def find_deleted(backends: Backends, now: datetime) -> Iterator[DeletedUpload]:
    """Find the deleted uploads whose days are over at this time; none where the records do not answer."""
    backends = replace(backends, clock=lambda: now)
    found: list[Operation] = []  # all first: what is recorded in between would shift the pages
    after: str | None = None
    try:
        while True:
            page = find_expired(backends, after)
            found += page.uploads
            after = page.after
            if after is None:
                break
    except RecordsUnavailableError as error:
        _logger.warning("deleted uploads could not be looked for: %s", error)
    yield from (DeletedUpload(backends, upload) for upload in found)
