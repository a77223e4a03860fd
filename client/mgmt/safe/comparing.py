"""The uploads that a target is compared with: whether each stands, and what it holds."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from mgmt.archive.index import IndexedMember
from mgmt.errors import MgmtError
from mgmt.safe.deciding import Loss, find_loss
from mgmt.safe.spool import Spool
from mgmt.service import ServiceApi
from mgmt.source.globs import ExcludedTrees
from mgmt.stored.recorded import has_this_format, size_of
from mgmt_contract.messages.objects import LookResult
from mgmt_contract.names import ARCHIVE_SUFFIX
from mgmt_contract.records import OperationRecord, UploadRecord

UPLOADS_MAX: Final = 1_000
"""Uploads of one name that a target is compared with, the newest of them."""


class Listing(Protocol):
    """What an upload holds."""

    def members(self) -> Iterator[IndexedMember]:
        """Read the members, in the archive's order."""


How = Literal["content digest", "index", "read back"]
OpenListing = Callable[[UploadRecord, LookResult], AbstractContextManager[Listing]]
"""Opens what an upload holds: its index, or its archive, which is then read whole."""


@dataclass
class FoundUpload:
    """An upload that a target is compared with."""

    number: int
    record: UploadRecord
    loss: Loss | None = None
    """Why it proves nothing; None as long as it stands."""
    look: LookResult | None = None
    """What the storage stated last."""
    how: How | None = None
    """How it was compared; None before it is."""
    problem: str | None = None
    """Why what it holds cannot be read."""

    @property
    def size(self) -> int:
        """Bytes of its object."""
        return size_of(self.record)


class Uploads:
    """All uploads that one target is compared with; of several that prove the same, a verdict rests on the first.

    Args:
        api: The service.
        records: Those of uploads with the target's name.
    """

    def __init__(self, api: ServiceApi, records: Iterable[UploadRecord]) -> None:
        self._api = api
        self.all = [FoundUpload(number, record) for number, record in enumerate(records)]
        for each in self.all:
            each.loss = _loss_as_recorded(each.record)

    def __getitem__(self, number: int) -> FoundUpload:
        return self.all[number]

    @property
    def losses(self) -> Mapping[int, Loss | None]:
        """Why each proves nothing; None for those that stand."""
        return {each.number: each.loss for each in self.all}

    @property
    def standing(self) -> Sequence[FoundUpload]:
        """Those that are there, as far as is known now."""
        return [each for each in self.all if each.loss is None]

    def look(self) -> None:
        """Have the service look at the object of each one that is recorded as stored."""
        for each, result in self._looks(self.standing):
            each.look, each.loss = result, find_loss(each.record, each.record, result)

    def look_again(self, numbers: Iterable[int]) -> Sequence[FoundUpload]:
        """Have the service look once more, and fetch the records anew.

        Returns:
            Those that do not stand any more.
        """
        uploads = [self.all[number] for number in sorted(numbers)]
        records = dict(self._records(uploads))
        for each, result in self._looks(uploads):
            each.look, each.loss = result, find_loss(each.record, records.get(each.number), result)
        return [each for each in uploads if each.loss is not None]

    def _looks(self, uploads: Sequence[FoundUpload]) -> Iterator[tuple[FoundUpload, LookResult]]:
        for batch in self._batches(uploads):
            ids = [each.record.operation_id for each in batch]
            yield from zip(batch, self._api.look(ids, signs_indexes=True).results, strict=True)

    def _records(self, uploads: Sequence[FoundUpload]) -> Iterator[tuple[int, OperationRecord | None]]:
        for batch in self._batches(uploads):
            results = self._api.look_up([each.record.operation_id for each in batch]).results
            yield from ((each.number, result.record) for each, result in zip(batch, results, strict=True))

    def _batches(self, uploads: Sequence[FoundUpload]) -> Iterator[Sequence[FoundUpload]]:
        most = self._api.learn_limits().items_max if len(uploads) > 1 else 1
        for start in range(0, len(uploads), most):
            yield uploads[start : start + most]


class Comparing:
    """Compares a target with its uploads, until every file is answered.

    Args:
        spool: Holds what was read; gets what each upload holds.
        uploads: The uploads.
        name: The target's own name.
        digests: The content digest of what was read, by the root's name; None where not all could be read.
        open_listing: Opens what an upload holds.
        reads_back: The stored bytes themselves are compared; nothing rests on what a client has reported of them.
    """

    def __init__(
        self,
        spool: Spool,
        uploads: Uploads,
        name: str,
        digests: Mapping[bytes, str | None],
        open_listing: OpenListing,
        *,
        reads_back: bool,
    ) -> None:
        self._spool = spool
        self._uploads = uploads
        self._name = name
        self._open_listing = open_listing
        self._reads_back = reads_back
        self._digests = {root: digest for root, digest in digests.items() if digest is not None}
        self._excludes = {
            each.number: ExcludedTrees(each.record.excludes, {_source_name(each.record), _stored_name(each.record)})
            for each in uploads.standing
            if each.record.excludes
        }

    def run(self) -> set[int]:
        """Compare, and have the service look again at every upload that something rests on.

        Returns:
            The numbers of those uploads; all of them stand.
        """
        while True:
            used = self._compare()
            fallen = self._uploads.look_again(used)
            if not fallen:
                return used
            standing = self._uploads.standing
            for each in standing:
                each.how = None
            self._spool.forget([each.number for each in standing])

    def decide(self) -> set[int]:
        """Decide anew, after the target was looked at once more; return the uploads that the safe files rest on."""
        return self._spool.decide(self._uploads.losses, self._excludes)

    def _compare(self) -> set[int]:
        whole = [each for each in self._uploads.all if self._is_whole(each)]
        for each in whole:
            if each.loss is not None or not self._reads_back:
                each.how = "content digest"
                self._spool.hold_all(each.number)
        used = self.decide()
        for each in [*whole, *self._uploads.standing]:  # what holds it all is read back first
            if each.loss is not None or each.how is not None:
                continue
            if not self._spool.has_open_answers():
                break
            self._compare_with(each)
            used = self.decide()
        return used

    def _compare_with(self, each: FoundUpload) -> None:
        assert each.look is not None  # noqa: S101  those that stand were looked at
        each.how = "read back" if self._reads_back else "index"
        try:
            with self._open_listing(each.record, each.look) as listing:
                self._spool.hold(each.number, listing.members())
        except MgmtError as error:
            if error.stops_everything:
                raise
            each.loss, each.problem = "unusable", error.message
            if self._is_whole(each):
                self._spool.hold_all(each.number)

    def _is_whole(self, each: FoundUpload) -> bool:
        """Tell whether an upload holds just what was read, by its content digest."""
        if each.record.content_digest is None or not has_this_format(each.record):
            return False
        return any(self._digest_under(root) == each.record.content_digest for root in _roots(self._name, each.record))

    def _digest_under(self, root: bytes) -> str:
        if root not in self._digests:
            self._digests[root] = self._spool.content_digest(root)
        return self._digests[root]


def _loss_as_recorded(record: UploadRecord) -> Loss | None:
    if record.deleted_at is not None:
        return "deleted"
    if record.status != "success":
        return "failed" if record.status == "failed" else "pending"
    return None


def _stored_name(record: UploadRecord) -> str:
    return record.s3_object_key.rpartition("/")[2].removesuffix(ARCHIVE_SUFFIX)


def _source_name(record: UploadRecord) -> str:
    return record.source_file_record.name if record.source_file_record is not None else _stored_name(record)


def _roots(name: str, record: UploadRecord) -> set[bytes]:
    """Name what the target's root may be called in an upload's archive: by its own name, or by what --as gave."""
    stored_as, source = _stored_name(record), _source_name(record)
    texts = {stored_as, source, *(unicodedata.normalize("NFD", each) for each in (stored_as, source))}
    return {os.fsencode(name), *(each.encode("utf-8", "ignore") for each in texts)}
