"""The embedded backend's object store: S3's, but for PUTs that its disk has no room for, of which it signs none.

The storage engine would answer them with 500 and no reason. It looks at its disk once a minute, so there may be a
minute in which this store signs again and the engine still refuses: a client tries for longer than that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import NewObject, StorageFullError, WriteCondition
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part
from mgmt_local.engine.room import Room

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_logger = logging.getLogger(__name__)


class LocalObjectStore(S3ObjectStore):
    """One bucket of an engine on a disk of this machine; may be used from several threads.

    Args:
        client: As for `S3ObjectStore`.
        bucket: The bucket's name.
        read_room: Looks at the engine's disk.
    """

    def __init__(self, client: S3Client, bucket: str, read_room: Callable[[], Room]) -> None:
        super().__init__(client, bucket)
        self._read_room = read_room

    def presign_put(
        self,
        new_object: NewObject,
        *,
        size: int,
        crc64nvme: str,
        condition: WriteCondition,
        expires_in_seconds: int,
        content_md5: str | None = None,
    ) -> SignedRequest:
        """Sign the PUT of a whole object.

        Raises:
            StorageFullError: If there is no room for it.
        """
        self._require_room(size)
        return super().presign_put(
            new_object,
            size=size,
            crc64nvme=crc64nvme,
            condition=condition,
            expires_in_seconds=expires_in_seconds,
            content_md5=content_md5,
        )

    def presign_part(self, key: str, multipart_upload_id: str, part: Part, *, expires_in_seconds: int) -> SignedRequest:
        """Sign the PUT of one part.

        Raises:
            StorageFullError: If there is no room for it.
        """
        self._require_room(part.length)
        return super().presign_part(key, multipart_upload_id, part, expires_in_seconds=expires_in_seconds)

    def create_multipart_upload(self, new_object: NewObject) -> str:
        """Begin a multipart upload.

        Raises:
            StorageFullError: If there is no room for any part.
        """
        self._require_room(0)
        return super().create_multipart_upload(new_object)

    def _require_room(self, size_bytes: int) -> None:
        try:
            room = self._read_room()
        except OSError as error:  # the engine knows better
            _logger.warning("the disk does not say how much room it has: %s", error)
            return
        if room.lacks_bytes(size_bytes):
            raise StorageFullError(
                f"{room.explain_lack(size_bytes)}, then run the same command again: it goes on, and nothing is lost."
            )
