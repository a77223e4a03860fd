"""The ports: exactly the calls the service makes of a record store, of an object store, and of the worker's queue.

One abstract test suite per port runs against the fake and against every adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from mgmt_api.domain.entities import HistoryPage, HistoryQuery, Name, Operation, Recorded, RecordedT
from mgmt_api.domain.work import Work
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part
from mgmt_contract.restoring import RestoreTier
from mgmt_contract.storage import ARCHIVED_CLASSES
from mgmt_contract.values import Value

Clock = Callable[[], datetime]
"""The service's time: aware, UTC."""


# --- records -------------------------------------------------------------------------------------------


class ConflictError(Exception):
    """A conditional write was refused: the stored revision is not the one that the writer had read."""


class RecordsUnavailableError(Exception):
    """The record store does not answer or throttles; asking again may help."""


class RecordsFullError(RecordsUnavailableError):
    """The record store's disk has no room for more; the sentence is for a person. DynamoDB never says this."""


class RecordStore(Protocol):
    """Operations, names and signed parts, every write conditional. Reads are consistent, queries eventually.

    Every method may raise RecordsUnavailableError.
    """

    def get_operations(self, operation_ids: Iterable[str]) -> dict[str, Recorded]:
        """Return the operations that exist, by id; at most 100 ids."""

    def create_operation(self, operation: RecordedT) -> RecordedT:
        """Store a new operation and return it with its first revision.

        Raises:
            ConflictError: If the id exists.
        """

    def update_operation(self, operation: RecordedT) -> RecordedT:
        """Store an operation over the revision it was computed from and return it with the next.

        Raises:
            ConflictError: If another revision, or none, is stored.
        """

    def create_with_upload(self, operation: RecordedT, upload: Operation, name: Name) -> tuple[RecordedT, Operation]:
        """Store a new operation together with what it changes: an upload and its name, over their revisions.

        All three are stored, or nothing is. A name of revision 0 is created.

        Raises:
            ConflictError: If the operation's id exists, or another revision of the upload or the name is stored.
        """

    def update_with_name(self, operation: RecordedT, name: Name) -> RecordedT:
        """Store an operation and a name, each over the revision it was computed from, and return the operation.

        Both are stored, or nothing is. A name of revision 0 is created.

        Raises:
            ConflictError: If another revision of either, or no such operation, is stored.
        """

    def get_names(self, keys: Iterable[str]) -> dict[str, Name]:
        """Return the names that exist under the folded forms of `keys`, by folded key; at most 100.

        A returned name's own `key` may differ from the asked one by case or normalization.
        """

    def get_operations_and_names(
        self, operation_ids: Iterable[str], keys: Iterable[str]
    ) -> tuple[dict[str, Recorded], dict[str, Name]]:
        """Return the results of `get_operations` and `get_names`, in one call if both are few; not one snapshot."""

    def put_name(self, name: Name) -> Name:
        """Store a name over the revision it was computed from (0: create) and return it with the next.

        Raises:
            ConflictError: If another revision is stored.
        """

    def get_signed_parts(self, operation_id: str) -> dict[int, Part]:
        """Return every part signed so far, by number, whichever machine it was signed for."""

    def add_signed_parts(self, operation_id: str, parts: Sequence[Part]) -> None:
        """Store the parts that are about to be signed. The same part again is no change.

        Nothing is stored unless everything is. At most 100 parts. A part is only ever signed for the same bytes, so
        parts stay when another machine takes the lease over.

        Raises:
            ConflictError: If a number was signed before for another length or checksum.
        """

    def find_operations(self, query: HistoryQuery) -> HistoryPage:
        """Return a page of operations, newest first by start time, or oldest first where the query says so.

        Costs a constant number of queries, whatever is stored. Filters no index serves look at a bounded
        number of operations, so a page may be short, even empty, and still have a successor.
        """


# --- objects -------------------------------------------------------------------------------------------


class StorageError(Exception):
    """An error that the object store answers."""

    def __init__(self, *sentences: str, code: str | None = None) -> None:
        super().__init__(*sentences)
        self.code = code
        """The store's own error code, where it gave one."""


class PreconditionFailedError(StorageError):
    """An object stands where none, or another, was expected (412)."""


class OperationInProgressError(StorageError):
    """A request on the same upload may still be at work (409, or no answer in time): look, but do not ask again."""


class NoSuchMultipartUploadError(StorageError):
    """The multipart upload was completed, aborted, or never existed."""


class ContentRefusedError(StorageError):
    """The store states that bytes have another size or checksum than was declared: certainly about content."""


class NotArchivedError(StorageError):
    """The object is not archived, or is being restored already: look at it again."""


class TierUnavailableError(StorageError):
    """The store has no capacity for restores at this tier just now; nothing was asked for."""


class StorageUnavailableError(StorageError):
    """The store does not answer or throttles; asking again may help."""


class StorageFullError(StorageError):
    """The store's disk has no room for more; the sentence is for a person. S3 never says this."""


class WriteCondition(Value):
    """Create only, or replace exactly one object."""

    replaces_etag: str | None = None
    """None: create only (If-None-Match: *); else If-Match."""


class NewObject(Value):
    """Properties that an object gets at its creation, as a whole or in parts."""

    key: str
    operation_id: str
    """Stored as the object's metadata; after a lost answer it shows that the object is ours."""
    storage_class: str | None = None
    tags: Mapping[str, str] | None = None


class StoredPart(Value):
    """A part as ListParts states it."""

    number: int
    size: int
    etag: str
    crc64nvme: str | None
    """None where the store does not tell."""


Reading = Literal["readable", "archived", "restoring"]


class StoredObject(Value):
    """An object as HeadObject states it."""

    key: str
    size: int
    etag: str
    crc64nvme: str | None
    """The full-object checksum, base64; None where the store holds none."""
    operation_id: str | None
    version_id: str | None
    storage_class: str | None
    """None is STANDARD."""
    archive_tier: str | None = None
    """The tier into which INTELLIGENT_TIERING has archived it, such as ARCHIVE_ACCESS."""
    is_restoring: bool = False
    """The store is making a readable copy of an archived object."""
    restored_until: datetime | None = None
    """Until when the readable copy of an archived object stays."""

    @property
    def reading(self) -> Reading:
        """Whether its bytes can be read now."""
        if self.is_restoring:
            return "restoring"
        is_archived = self.storage_class in ARCHIVED_CLASSES or self.archive_tier is not None
        return "archived" if is_archived and self.restored_until is None else "readable"


class ListedObject(Value):
    """An object as a list of the bucket states it: the current version of its key."""

    key: str
    etag: str
    modified_at: datetime


class ListedUpload(Value):
    """A multipart upload that is neither completed nor aborted."""

    key: str
    multipart_upload_id: str
    begun_at: datetime


class ObjectStore(Protocol):
    """One bucket. Every method but the presigning ones may raise StorageUnavailableError."""

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

    def presign_part(self, key: str, multipart_upload_id: str, part: Part, *, expires_in_seconds: int) -> SignedRequest:
        """Sign the PUT of one part: upload, number, length and checksum are bound."""

    def presign_get(self, key: str, version_id: str | None, *, expires_in_seconds: int) -> SignedRequest:
        """Sign the GET of an object: key and version are bound, the range is not, so one URL serves all ranges.

        Args:
            key: The object's.
            version_id: Of the one version that it reads; None in a bucket that keeps no versions.
            expires_in_seconds: How long the URL is good for.
        """

    def create_multipart_upload(self, new_object: NewObject) -> str:
        """Begin a multipart upload with a full-object CRC64NVME and return S3's id. Not idempotent."""

    def list_parts(self, key: str, multipart_upload_id: str) -> list[StoredPart]:
        """Return the parts the store holds, by number, the last sent of each.

        Raises:
            NoSuchMultipartUploadError: If the upload is gone.
        """

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
        """Join the parts to the object, with one request; the store compares size and checksums itself.

        Args:
            key: The object's.
            multipart_upload_id: The upload's.
            parts: The parts of the object, in order.
            size: The object's, in bytes.
            crc64nvme: The whole object's.
            condition: The condition on which it may be stored.
            within_seconds: How long to wait; if the store needs longer, it goes on by itself.

        Raises:
            NoSuchMultipartUploadError: If the upload is gone (perhaps completed by an earlier call).
            PreconditionFailedError: If the condition does not hold.
            OperationInProgressError: If this completion, or an earlier one, may still be at work.
            ContentRefusedError: If the store's bytes are certainly not the declared ones.
            StorageError: If the store refuses for another reason; it joins nothing, and the parts are still there.
        """

    def abort_multipart_upload(self, key: str, multipart_upload_id: str) -> None:
        """Throw the parts away; an upload that is gone already is no error."""

    def restore_object(self, key: str, version_id: str | None, tier: RestoreTier, days: int | None) -> None:
        """Ask for a readable copy of an archived object that stays for some days.

        Raises:
            NotArchivedError: If there is nothing to restore, or it is being restored already: perhaps by this very
                call, which is repeated where its answer was lost.
            TierUnavailableError: If there is no capacity for this tier.
        """

    def head_object(self, key: str, version_id: str | None = None) -> StoredObject | None:
        """Return the current object under the key, or that version of it; None where there is none."""

    def tag_version(self, key: str, version_id: str, name: str, value: str) -> bool:
        """Add a tag to one version, beside those that it has; return False where there is no such version.

        A version that has as many tags as it can have loses the last of them.
        """

    def list_objects(self, prefix: str, after: str) -> list[ListedObject]:
        """Return the next page of objects below a prefix, in the order of their keys; empty at the end."""

    def list_multipart_uploads(self, prefix: str, after: ListedUpload | None) -> list[ListedUpload]:
        """Return the next page of open multipart uploads below a prefix; empty at the end."""


# --- the worker's queue --------------------------------------------------------------------------------


class QueueUnavailableError(Exception):
    """The queue does not take the work; the worker's rounds find most of it anyway."""


class WorkQueue(Protocol):
    """Takes work for the worker, which does it at least once, in any order."""

    def send(self, work: Work, *, delay_seconds: int = 0) -> bool:
        """Hand work over, to be done at once or after a delay of at most 15 minutes.

        Returns whether it has been tried already: a worker in this process may be that fast. Else False.

        Raises:
            QueueUnavailableError: If it may not have been taken.
        """
