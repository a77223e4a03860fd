"""Removes abandoned multipart uploads: on AWS the bucket's lifecycle rules do that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from mgmt_contract.parts import ABANDONED_AFTER_DAYS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOOK_EVERY: Final = timedelta(hours=1)
_MAY_STAY_OPEN: Final = timedelta(days=ABANDONED_AFTER_DAYS)

_logger = logging.getLogger(__name__)


class Expiry:
    """Looks once an hour for multipart uploads that were begun too long ago, and removes them with their parts.

    Args:
        connect: Makes a client of the storage, closed after each look.
        bucket: Where to look.
        now: The clock; those of storage and records are not used.
    """

    def __init__(
        self, connect: Callable[[], S3Client], bucket: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._connect = connect
        self._bucket = bucket
        self._now = now
        self._due_at = datetime.min.replace(tzinfo=UTC)

    def look_if_due(self) -> None:
        """Look, unless the last look was recent; uploads that cannot be removed are tried again next time."""
        import botocore.exceptions

        now = self._now()
        if now < self._due_at:
            return
        self._due_at = now + _LOOK_EVERY
        try:
            self._remove_begun_before(now - _MAY_STAY_OPEN)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            _logger.warning("open multipart uploads could not be looked at: %s", error)

    def _remove_begun_before(self, moment: datetime) -> None:
        client = self._connect()
        try:
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket)
            # All are listed first: removing while listing could skip some.
            found = [upload for page in pages for upload in page.get("Uploads", []) if upload["Initiated"] < moment]
            for upload in found:
                client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        finally:
            client.close()
        if found:
            _logger.info("removed %d multipart uploads begun more than %d days ago", len(found), ABANDONED_AFTER_DAYS)
