"""The object store on S3, or on a storage engine that speaks its language.

Actions used: s3:PutObject, s3:PutObjectTagging (where tags are given), s3:GetObject (HEAD, If-Match),
s3:GetObjectVersion (HEAD and GET of one version), s3:ListBucket and s3:ListBucketVersions (so that HEAD on nothing is
404 and not 403), s3:ListMultipartUploadParts, s3:AbortMultipartUpload, s3:RestoreObject. The presigned URLs have the
rights of the role that signs them, and no more. The worker also uses s3:GetObjectVersionTagging,
s3:PutObjectVersionTagging and s3:ListBucketMultipartUploads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict
from urllib.parse import quote, urlencode

from botocore.exceptions import ClientError

from mgmt_api.adapters.clients import LOST_ANSWERS, UNREACHED, error_code, error_status
from mgmt_api.adapters.joins import Joins
from mgmt_api.adapters.presigner import Operation, Presigner, list_headers
from mgmt_api.ports import (
    ContentRefusedError,
    ListedObject,
    ListedUpload,
    NewObject,
    NoSuchMultipartUploadError,
    NotArchivedError,
    OperationInProgressError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    StoredObject,
    StoredPart,
    TierUnavailableError,
    WriteCondition,
)
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part
from mgmt_contract.restoring import RestoreTier
from mgmt_contract.storage import TAGS_MAX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, RestoreRequestTypeDef

_OPERATION_ID: Final = "operation-id"
"""Name of the object's metadata that says which operation stored it."""
_EXPIRY_DATE: Final = re.compile(r'expiry-date="([^"]*)"')


class _Version(TypedDict, total=False):
    """Which version a call is about."""

    VersionId: str


class _Restore(TypedDict):
    """The fields of a stored object that tell of its restore."""

    is_restoring: bool
    restored_until: datetime | None


class _NoSuchObjectError(StorageError):
    """Nothing is stored under the key."""


_ERRORS: Final[Mapping[str, type[StorageError]]] = {
    "NoSuchUpload": NoSuchMultipartUploadError,
    "ExpiredToken": StorageUnavailableError,  # of the function's role: its next call has another
    "InternalError": StorageUnavailableError,
    "RequestTimeTooSkewed": StorageUnavailableError,
    "RequestTimeout": StorageUnavailableError,
    "ServiceUnavailable": StorageUnavailableError,
    "SlowDown": StorageUnavailableError,
    "TemporaryRedirect": StorageUnavailableError,
}
_COMPLETION_ERRORS: Final[Mapping[str, type[StorageError]]] = {
    **_ERRORS,
    "PreconditionFailed": PreconditionFailedError,
    "NoSuchKey": PreconditionFailedError,  # the object that was to be replaced is gone
    "ConditionalRequestConflict": OperationInProgressError,
    "OperationAborted": OperationInProgressError,
    "BadDigest": ContentRefusedError,  # certainly about content: the bytes have another checksum
}
_RESTORE_ERRORS: Final[Mapping[str, type[StorageError]]] = {
    **_ERRORS,
    "GlacierExpeditedRetrievalNotAvailable": TierUnavailableError,  # a 503, which is no outage
    "InvalidObjectState": NotArchivedError,
    "ObjectAlreadyInActiveTierError": NotArchivedError,  # of INTELLIGENT_TIERING
    "RestoreAlreadyInProgress": NotArchivedError,
}
"""Source: Amazon S3 API Reference, "RestoreObject", and botocore's model of it, read 2026-11."""
_HEAD_ERRORS: Final[Mapping[str, type[StorageError]]] = {
    **_ERRORS,
    "404": _NoSuchObjectError,
    "NoSuchKey": _NoSuchObjectError,
    "NoSuchVersion": _NoSuchObjectError,
    "MethodNotAllowed": _NoSuchObjectError,
    "405": _NoSuchObjectError,  # the version is a delete marker
    "400": StorageUnavailableError,  # HEAD tells no code: it stands for ExpiredToken or RequestTimeout
}
"""Source: Amazon S3 API Reference, "Error responses" and "CompleteMultipartUpload", read 2026-11."""


class S3ObjectStore:
    """One bucket; may be used from several threads.

    Args:
        client: From `make_s3_client`, whose URLs are signed with version 4.
        bucket: The bucket's name.
        on_fall_back: Called for each URL that could not be made the quick way.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        on_fall_back: Callable[[], object] = lambda: None,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._presigner = Presigner(client, bucket, on_fall_back=on_fall_back)
        self._joins = Joins(client)

    # --- presigned URLs --------------------------------------------------------------------------------

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
        """Sign the PUT of a whole object: key, length, checksum, MD5 if any, condition and metadata are bound."""
        parameters = {
            "ContentLength": size,
            "ChecksumCRC64NVME": crc64nvme,
            **({} if content_md5 is None else {"ContentMD5": content_md5}),
            **_creation_parameters(new_object),
            **_condition_parameters(condition),
        }
        return self._presign("PutObject", parameters, expires_in_seconds)

    def presign_part(self, key: str, multipart_upload_id: str, part: Part, *, expires_in_seconds: int) -> SignedRequest:
        """Sign the PUT of one part: upload, number, length and checksum are bound."""
        parameters = {
            "Key": key,
            "UploadId": multipart_upload_id,
            "PartNumber": part.number,
            "ContentLength": part.length,
            "ChecksumCRC64NVME": part.crc64nvme,
        }
        return self._presign("UploadPart", parameters, expires_in_seconds)

    def presign_get(self, key: str, version_id: str | None, *, expires_in_seconds: int) -> SignedRequest:
        """Sign the GET of an object: key and version are bound, the range is not."""
        version: _Version = {} if version_id is None else {"VersionId": version_id}
        return self._presign("GetObject", {"Key": key, **version}, expires_in_seconds)

    def _presign(self, operation: Operation, parameters: dict[str, Any], expires_in_seconds: int) -> SignedRequest:
        url = self._presigner.sign(operation, parameters, expires_in_seconds)
        return SignedRequest(url, list_headers(parameters), expires_in_seconds)

    # --- multipart uploads -----------------------------------------------------------------------------

    def create_multipart_upload(self, new_object: NewObject) -> str:
        """Begin a multipart upload with a full-object CRC64NVME and return S3's id."""
        with _port_errors():
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket,
                ChecksumAlgorithm="CRC64NVME",
                ChecksumType="FULL_OBJECT",
                **_creation_parameters(new_object),
            )
        return answer["UploadId"]

    def list_parts(self, key: str, multipart_upload_id: str) -> list[StoredPart]:
        """Return the parts the store holds, by number, the last sent of each.

        SeaweedFS lists a part as often as it was sent, in any order, with times in whole seconds. Which of
        two within one second is the last does not matter here: a number is signed for the same bytes only.
        """
        with _port_errors():
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._bucket, Key=key, UploadId=multipart_upload_id
            )
            listed = [part for page in pages for part in page.get("Parts", [])]
        listed.sort(key=lambda part: part["LastModified"])
        latest = {
            part["PartNumber"]: StoredPart(
                part["PartNumber"], part["Size"], part["ETag"], part.get("ChecksumCRC64NVME")
            )
            for part in listed
        }
        return [latest[number] for number in sorted(latest)]

    def complete_multipart_upload(  # noqa: PLR0913  one call of S3; each says what it compares
        self,
        key: str,
        multipart_upload_id: str,
        parts: Sequence[StoredPart],
        *,
        size: int,
        crc64nvme: str,
        condition: WriteCondition,
        within_seconds: float,
    ) -> None:
        """Join the parts to the object; the store compares size and checksums itself.

        One request, never repeated. If S3 needs longer, it goes on by itself: OperationInProgressError.
        """
        sent = sum(part.size for part in parts)
        if not parts or sent != size:
            # Compared here, because not every engine does: SeaweedFS ignores MpuObjectSize.
            raise ContentRefusedError(f"the {len(parts)} parts have {sent} bytes together, expected {size}")
        with _port_errors(_COMPLETION_ERRORS, lost_answer=OperationInProgressError):
            self._joins.join(
                within_seconds,
                Bucket=self._bucket,
                Key=key,
                UploadId=multipart_upload_id,
                MultipartUpload={"Parts": [_name_part(part) for part in parts]},
                ChecksumCRC64NVME=crc64nvme,
                ChecksumType="FULL_OBJECT",
                MpuObjectSize=size,
                **_condition_parameters(condition),
            )

    def abort_multipart_upload(self, key: str, multipart_upload_id: str) -> None:
        """Throw the parts away; an upload that is gone already is no error."""
        try:
            with _port_errors():
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=multipart_upload_id)
        except NoSuchMultipartUploadError:
            return

    # --- objects ---------------------------------------------------------------------------------------

    def restore_object(self, key: str, version_id: str | None, tier: RestoreTier, days: int | None) -> None:
        """Ask for a readable copy of an archived object that stays for some days."""
        version: _Version = {} if version_id is None else {"VersionId": version_id}
        wanted: RestoreRequestTypeDef = {"GlacierJobParameters": {"Tier": tier}}
        if days is not None:
            wanted["Days"] = days
        with _port_errors(_RESTORE_ERRORS):
            self._client.restore_object(Bucket=self._bucket, Key=key, RestoreRequest=wanted, **version)

    def head_object(self, key: str, version_id: str | None = None) -> StoredObject | None:
        """Return the current object under the key, or that version of it; None where there is none."""
        version: _Version = {} if version_id is None else {"VersionId": version_id}
        try:
            with _port_errors(_HEAD_ERRORS):
                answer = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED", **version)
        except _NoSuchObjectError:
            return None
        return _read_head(key, answer["ResponseMetadata"]["HTTPHeaders"])

    # --- for the worker --------------------------------------------------------------------------------

    def tag_version(self, key: str, version_id: str, name: str, value: str) -> bool:
        """Add a tag to one version: a write replaces the whole set, so it is read and merged."""
        try:
            with _port_errors(_HEAD_ERRORS):
                which: Any = {"Bucket": self._bucket, "Key": key, "VersionId": version_id}
                had: list[Any] = list(self._client.get_object_tagging(**which)["TagSet"])
                others = [tag for tag in had if tag["Key"] != name][: TAGS_MAX - 1]
                tags = [*others, {"Key": name, "Value": value}]
                self._client.put_object_tagging(**which, Tagging={"TagSet": tags})
        except _NoSuchObjectError:
            return False
        return True

    def list_objects(self, prefix: str, after: str) -> list[ListedObject]:
        """Return the next page of objects below a prefix."""
        with _port_errors():
            answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, StartAfter=after)
        return [ListedObject(each["Key"], each["ETag"], each["LastModified"]) for each in answer.get("Contents", [])]

    def list_multipart_uploads(self, prefix: str, after: ListedUpload | None) -> list[ListedUpload]:
        """Return the next page of open multipart uploads below a prefix."""
        markers: Any = {} if after is None else {"KeyMarker": after.key, "UploadIdMarker": after.multipart_upload_id}
        with _port_errors():
            answer = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix, **markers)
        return [ListedUpload(each["Key"], each["UploadId"], each["Initiated"]) for each in answer.get("Uploads", [])]


def _read_head(key: str, headers: Mapping[str, str]) -> StoredObject:
    return StoredObject(
        key=key,
        size=int(headers["content-length"]),
        etag=headers["etag"],
        crc64nvme=headers.get("x-amz-checksum-crc64nvme"),
        operation_id=headers.get(f"x-amz-meta-{_OPERATION_ID}"),
        version_id=headers.get("x-amz-version-id"),
        storage_class=headers.get("x-amz-storage-class"),
        archive_tier=headers.get("x-amz-archive-status"),
        **_read_restore(headers.get("x-amz-restore", "")),
    )


def _read_restore(text: str) -> _Restore:
    """Read the state of a restore, such as `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`.

    Source: Amazon S3 API Reference, "HeadObject", read 2026-11.
    """
    expiry = _EXPIRY_DATE.search(text)
    return {
        "is_restoring": 'ongoing-request="true"' in text,
        "restored_until": parsedate_to_datetime(expiry[1]) if expiry else None,
    }


def _creation_parameters(new_object: NewObject) -> dict[str, Any]:
    """Return the parameters that an object's creation takes: its PUT or CreateMultipartUpload."""
    parameters: dict[str, Any] = {
        "Key": new_object.key,
        "Metadata": {_OPERATION_ID: new_object.operation_id},
    }
    if new_object.storage_class is not None:
        parameters["StorageClass"] = new_object.storage_class
    if new_object.tags:
        parameters["Tagging"] = urlencode(new_object.tags, quote_via=quote)
    return parameters


def _name_part(part: StoredPart) -> CompletedPartTypeDef:
    """Name a part with its ETag and checksum, so that the store compares them too."""
    named: CompletedPartTypeDef = {"PartNumber": part.number, "ETag": part.etag}
    return named if part.crc64nvme is None else {**named, "ChecksumCRC64NVME": part.crc64nvme}


def _condition_parameters(condition: WriteCondition) -> dict[str, Any]:
    if condition.replaces_etag is None:
        return {"IfNoneMatch": "*"}
    return {"IfMatch": condition.replaces_etag}


@contextmanager
def _port_errors(
    kinds: Mapping[str, type[StorageError]] = _ERRORS,
    *,
    lost_answer: type[StorageError] = StorageUnavailableError,
) -> Iterator[None]:
    """Turn botocore's errors into the port's.

    Args:
        kinds: The port's error for each of S3's codes; other errors go by the HTTP status.
        lost_answer: The port's error for a request that was sent and got no answer.
    """
    try:
        yield
    except LOST_ANSWERS as error:
        raise lost_answer(f"the answer of S3 was lost: {error}") from error
    except UNREACHED as error:
        raise StorageUnavailableError(f"S3 cannot be reached: {error}") from error
    except ClientError as error:
        status = error_status(error)
        otherwise = StorageUnavailableError if status == 429 or status >= 500 else StorageError
        if status == 409:  # another request works on it, perhaps an earlier one of ours
            otherwise = lost_answer
        code = error_code(error)
        raise kinds.get(code, otherwise)(f"S3 answered {status}: {error}", code=code) from error
