"""Removes abandoned multipart uploads and the bytes of deleted uploads: on AWS, the bucket's lifecycle rules do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mgmt_contract.parts import ABANDONED_AFTER_DAYS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOOK_EVERY: Final = timedelta(hours=1)
_MAY_STAY_OPEN: Final = timedelta(days=ABANDONED_AFTER_DAYS)

_logger = logging.getLogger(__name__)


class StoredVersion(NamedTuple):
    """One version of an object."""

    key: str
    version_id: str


class Expired(Protocol):
    """A deleted upload whose days are over."""

    @property
    def versions(self) -> tuple[StoredVersion, ...]:
        """Its archive, and its index if it has one; none where they are not to be removed."""

    def note_removed(self) -> None:
        """Record that they are removed; called after that."""


FindExpired = Callable[[datetime], Iterable[Expired]]
"""Finds the deleted uploads whose days are over at a time."""


class Expiry:
    """Looks once an hour for what has stayed long enough, and removes it.

    That is: multipart uploads that were begun too long ago, with their parts; and the versions of deleted uploads whose
    days of recovery are over. A look that is interrupted is made again, and removes the same.

    Args:
        connect: Makes a client of the storage, closed after each look.
        bucket: Where to look.
        now: The clock; those of storage and records are not used.
        find_expired: Finds the deleted uploads whose days are over at a time.
    """

    def __init__(
        self,
        connect: Callable[[], S3Client],
        bucket: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        find_expired: FindExpired = lambda _: (),
    ) -> None:
        self._connect = connect
        self._bucket = bucket
        self._now = now
        self._find_expired = find_expired
        self._due_at = datetime.min.replace(tzinfo=UTC)

    def look_if_due(self) -> None:
        """Look, unless the last look was recent; what cannot be removed is tried again next time."""
        import botocore.exceptions

        now = self._now()
        if now < self._due_at:
            return
        self._due_at = now + _LOOK_EVERY
        client = self._connect()
        try:
            self._remove_begun_before(client, now - _MAY_STAY_OPEN)
            self._remove_expired(client, now)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            _logger.warning("what has expired could not be removed: %s", error)
        finally:
            client.close()

    def _remove_begun_before(self, client: S3Client, moment: datetime) -> None:
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket)
        # All are listed first: removing while listing could skip some.
        found = [upload for page in pages for upload in page.get("Uploads", []) if upload["Initiated"] < moment]
        for upload in found:
            client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        if found:
            _logger.info("removed %d multipart uploads begun more than %d days ago", len(found), ABANDONED_AFTER_DAYS)

    def _remove_expired(self, client: S3Client, now: datetime) -> None:
        """Remove versions by their ids: whatever else their keys hold stays; a version that is gone is no error."""
        for expired in self._find_expired(now):
            versions = expired.versions
            for version in versions:
                client.delete_object(Bucket=self._bucket, Key=version.key, VersionId=version.version_id)
            if versions:
                expired.note_removed()
                _logger.info("removed the deleted upload of %s", versions[0].key)
