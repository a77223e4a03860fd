"""Deleted uploads at the end of their days: their versions are tagged, and the bucket's lifecycle rules remove them."""

from __future__ import annotations

import logging
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import Operation
from mgmt_api.ports import ConflictError, RecordsUnavailableError, StorageError
from mgmt_api.removal.expiring import find_expired, note_removed
from mgmt_contract.names import index_key
from mgmt_contract.storage import EXPIRED_TAG, EXPIRED_TAG_VALUE

logger = logging.getLogger(__name__)

TAGGING_MIN_SECONDS: Final = 30.0


def tag_expired(backends: Backends, after: str | None) -> str | None:
    """Tag what was deleted longer ago than promised; return where another run has to go on, or None at the end.

    Only whole pages are gone on from: what is tagged twice has the tag once.

    Raises:
        RecordsUnavailableError: If the list cannot be read.
    """
    after = after or None
    while True:
        page = find_expired(backends, after)
        for upload in page.uploads:
            if backends.spare_seconds() < TAGGING_MIN_SECONDS:
                return after or ""
            _give_up(backends, upload)
        after = page.after
        if after is None:
            return None


def _give_up(backends: Backends, upload: Operation) -> None:
    """Tag the archive's version and its index's, then record it. One that fails is found again next time."""
    try:
        _tag_versions(backends, upload)
        note_removed(backends, upload)
    except (ConflictError, RecordsUnavailableError, StorageError) as error:
        backends.metrics.count("RemovalsFailed")
        logger.warning("not given up this time", extra={"operation_id": upload.id, "reason": str(error)})
        return
    logger.info("given up for removal", extra={"operation_id": upload.id, "key": upload.record.s3_object_key})


def _tag_versions(backends: Backends, upload: Operation) -> None:
    record = upload.record
    tagged = [(record.s3_object_key, record.version_id)]
    if record.index_size is not None:
        tagged.append((index_key(backends.settings.root_prefix, upload.id), record.index_version_id))
    for key, version_id in tagged:
        if version_id is None:
            # Without a version, whatever is current would be tagged: perhaps somebody else's.
            raise StorageError(f"no version of {key} is recorded")
        backends.objects.tag_version(key, version_id, EXPIRED_TAG, EXPIRED_TAG_VALUE)
