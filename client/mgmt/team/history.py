"""The history use case: the team's operations, page by page; and one upload found by id or name."""

from __future__ import annotations

import heapq
import re
import unicodedata
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Final, Literal

from mgmt.errors import SourceError, UnavailableError, UsageError
from mgmt.events import Emit, Notice
from mgmt.service import ServiceApi
from mgmt.team.short_ids import is_short_id, second_of, short_id
from mgmt.text import shorten
from mgmt_contract.messages.history import HISTORY_LIMIT_MAX, HistoryRequest
from mgmt_contract.names import ARCHIVE_SUFFIX, KEY_MAX_BYTES, archive_name
from mgmt_contract.records import DownloadRecord, OperationRecord, UploadRecord
from mgmt_contract.texts import holds_control_character
from mgmt_contract.values import Value
from mgmt_contract.wire import format_time

_PER_SECOND_MAX: Final = 1_000
"""More uploads than begin in one second: the limit of a search that must end."""
_EMPTY_PAGES_MAX: Final = 10_000
"""In a row: for each the service looks through hundreds of records."""
_FOUND_MAX: Final = 5_000
"""Operations that `show` reads at most: it keeps them all in memory."""
_LISTED_MAX: Final = 20
_NAME_SHOWN_MAX: Final = 60
"""Columns of a name that is too long for any upload."""
_DECOMPOSED_MAX: Final = 4
"""Characters that NFC makes one of at most. Source: the tables of Unicode 14, read 2026-11."""


class Name(Value):
    """A name as a person typed, completed or copied it, and its meaning."""

    text: str
    """The name for the service; a slash at its beginning stands for the bucket's root."""
    bucket: str | None = None
    """The bucket to look in."""
    is_whole: bool = False
    """It begins at the bucket's root, so nothing stands before it."""
    is_folder: bool = False
    """It was written with a slash at its end: a local folder, or one in the bucket."""


def read_name(typed: str) -> Name:
    """Read `DCIM/`, `./clip.mp4`, `/day1/clip.mp4.tar.gz` or `s3://bucket/day1/`.

    Raises:
        UsageError: If nothing is left of it.
        SourceError: not-found, if no upload can have it.
    """
    address = re.fullmatch(r"s3://([^/]+)/(.*)", typed, re.DOTALL)
    bucket, rest = (address[1], f"/{address[2]}") if address else (None, re.sub(r"^(\./+)+", "", typed))
    name = rest.strip("/")
    if not name:
        raise UsageError(
            f"{typed!r} is no name. Expected a file or folder name, an archive's name, or a whole key.", code="no-name"
        )
    name = _spell_as_key(name)
    if holds_control_character(name):
        raise SourceError(
            f"'{typed}' holds a control character or bytes that are no text, and no upload has such a name: it was "
            "given another one with --as. `mgmt history` lists what is stored.",
            code="not-found",
        )
    is_whole = rest.startswith("/")
    text = f"/{name}" if is_whole and "/" not in name else name
    return Name(text, bucket, is_whole=is_whole, is_folder=rest.endswith("/"))


def _spell_as_key(name: str) -> str:
    """Bring a name into NFC, as keys are; one that is longer than any key would be refused by the service.

    Raises:
        SourceError: not-found.
    """
    is_far_too_long = len(name) > _DECOMPOSED_MAX * KEY_MAX_BYTES  # bringing a megabyte into NFC can take minutes
    spelled = name if is_far_too_long else unicodedata.normalize("NFC", name)
    key = spelled if spelled.endswith(ARCHIVE_SUFFIX) else archive_name(spelled)
    size_bytes = len(key.encode("utf-8", "surrogatepass"))
    if size_bytes > KEY_MAX_BYTES:
        raise SourceError(
            f"'{shorten(name, _NAME_SHOWN_MAX)}' is too long: no upload has such a name. With {ARCHIVE_SUFFIX} at its "
            f"end it has {size_bytes:,} bytes, and a key in S3 has {KEY_MAX_BYTES:,} at most. `mgmt history` lists "
            "what is stored.",
            code="not-found",
        )
    return spelled


class Found:
    """The operations that match, newest first; iterate once.

    Args:
        api: The service.
        filters: The service's filters; `name` replaces the name in them.
        limit: How many at most; None is all.
        name: The typed name. With a slash at its end it finds the uploads of that folder and those into it.
        note: Called with each operation that is yielded.
    """

    def __init__(
        self,
        api: ServiceApi,
        filters: HistoryRequest,
        limit: int | None,
        name: Name | None = None,
        note: Callable[[OperationRecord], object] = lambda _: None,
    ) -> None:
        self._api = api
        self._filters = _requests_for(filters, name)
        self._limit = limit
        self._note = note
        self._bucket = name.bucket if name else None
        self.count = 0
        """Number of operations yielded so far."""
        self.is_cut = False
        """True at the end, if the limit has cut the list and there may be more."""
        self.replaced: set[str] = set()
        """Ids of yielded operations whose object was replaced by a later one."""

    def __iter__(self) -> Iterator[OperationRecord]:
        """Yield operations, page by page.

        Raises:
            MgmtError: The service's refusal.
        """
        last = ""
        for record in heapq.merge(*map(self._read, self._filters), key=_order, reverse=True):
            if record.operation_id == last:
                continue  # a folder's own upload may lie in a folder of the same name
            if self._limit is not None and self.count >= self._limit:
                self.is_cut = True
                return
            last = record.operation_id
            self.count += 1
            self._note(record)
            yield record

    def _read(self, filters: HistoryRequest) -> Iterator[OperationRecord]:
        cursor: str | None = None
        leafing = _Leafing()
        while self._limit is None or self.count < self._limit:
            size = HISTORY_LIMIT_MAX if self._limit is None else min(self._limit - self.count, HISTORY_LIMIT_MAX)
            page = self._api.history(replace(filters, limit=size, cursor=cursor))
            self.replaced.update(page.replaced)
            for record in page.records:
                if self._bucket is None or getattr(record, "s3_bucket", None) == self._bucket:
                    yield record
            cursor = page.cursor
            if cursor is None:
                return
            leafing.note(cursor, len(page.records))
        self.is_cut = True


class _Leafing:
    """Detects pages without end: a circle of cursors, or only empty pages."""

    def __init__(self) -> None:
        self._pages = 0
        self._empty_pages = 0
        self._kept: str | None = None

    def note(self, cursor: str, record_count: int) -> None:
        """Note a page and where the next one begins.

        Raises:
            UnavailableError: If the pages have no end.
        """
        self._empty_pages = 0 if record_count else self._empty_pages + 1
        if cursor == self._kept or self._empty_pages > _EMPTY_PAGES_MAX:
            raise UnavailableError(
                "The service's pages of the history come to no end. Name a person, a time or a status to look for, and "
                "tell the admin.",
                code="bad-answer",
            )
        self._pages += 1
        if self._pages & (self._pages - 1) == 0:  # a cursor kept at each power of two meets every circle (Brent)
            self._kept = cursor


def _requests_for(filters: HistoryRequest, name: Name | None) -> list[HistoryRequest]:
    if name is None:
        return [filters]
    texts = [] if name.is_folder and name.is_whole else [name.text]
    if name.text.endswith(ARCHIVE_SUFFIX):
        texts.append(archive_name(name.text))  # the source may have been an archive itself
    return [replace(filters, name=text) for text in texts + [f"{name.text}/"] * name.is_folder]


class SeveralUploadsError(UsageError):
    """A name that fits several uploads; they are listed, newest first."""

    default_code = "several-keys"

    def __init__(self, typed: str, found: Sequence[OperationRecord]) -> None:
        records = sorted(found, key=_order, reverse=True)
        ids = {short_id(each) for each in records}
        self.is_told_by_short_ids = len(ids) == len(records)
        tell_id = short_id if self.is_told_by_short_ids else _whole_id
        listed = ", ".join(f"{_place_of(each)} (ID {tell_id(each)})" for each in records[:_LISTED_MAX])
        more = f" and {len(records) - _LISTED_MAX} more" if len(records) > _LISTED_MAX else ""
        self.summary = f"'{typed}' fits {_count(records)}"
        super().__init__(f"{self.summary}: {listed}{more}.")
        self.records = records


def _count(records: Sequence[OperationRecord]) -> str:
    """Say how many there are, and how one of them is named: a key does not tell a download from its upload."""
    if any(isinstance(each, DownloadRecord) for each in records):
        return f"{len(records)} unfinished uploads and downloads. Name one by its ID"
    return f"{len(records)} uploads. Name one by its ID or its whole key"


def _whole_id(record: OperationRecord) -> str:
    return record.operation_id


def _place_of(record: OperationRecord) -> str:
    return record.s3_object_key if isinstance(record, UploadRecord) else record.target_path


Meaning = Literal["stored", "latest", "deleted", "pending"]
"""The upload that a name means, of those under it.

`stored`: the newest that is not deleted. `latest`: the newest of all. `deleted`: the newest that is deleted. Those that
have not succeeded come last in each. `pending`: the newest that has not ended, else the newest.
"""


class Shown(Value):
    """One operation and, for an upload, the others under its key."""

    record: OperationRecord
    earlier: list[UploadRecord]
    """The successful uploads before it, newest first."""
    replaced_by: UploadRecord | None
    """The newest successful upload after it."""


def find_upload(api: ServiceApi, typed: str, meaning: Meaning = "stored") -> Shown:
    """Find an operation of any type by its id or short id, or the upload that a name means.

    Raises:
        SourceError: If there is none.
        SeveralUploadsError: If the name fits several keys, and is none of them whole.
        UsageError: If the name is empty.
    """
    found = _find_operations(api, typed, meaning)
    if len(found) > 1:
        raise SeveralUploadsError(typed, found)
    if not found:
        raise SourceError(f"No upload found for '{typed}'. `mgmt history` lists what is stored.", code="not-found")
    [record] = found
    if not isinstance(record, UploadRecord):
        return Shown(record, [], None)
    others = [each for each in _stored_under(api, record.s3_object_key) if each.operation_id != record.operation_id]
    earlier = [each for each in others if _order(each) < _order(record)]
    later = [each for each in others if _order(each) > _order(record)]
    return Shown(record, earlier, later[0] if later and record.status == "success" else None)


def find_unfinished(api: ServiceApi, typed: str, downloads: Sequence[DownloadRecord] = ()) -> OperationRecord:
    """Find an operation by its id or short id, or the upload under a name that has not ended.

    Where none under that name is pending, it means the newest.

    Args:
        api: The service.
        typed: The name, or the id.
        downloads: Unfinished downloads that are meant too: before an upload that has ended.

    Raises:
        SourceError: If there is none.
        SeveralUploadsError: If the name fits several keys, and is none of them whole.
        UsageError: If the name is empty.
    """
    found = _find_operations(api, typed, "pending")
    found = [*(each for each in found if each.status == "pending"), *downloads] or found
    if len(found) > 1:
        raise SeveralUploadsError(typed, found)
    if not found:
        raise SourceError(f"No upload found for '{typed}'. `mgmt history` lists what is known.", code="not-found")
    return found[0]


def find_own_downloads(api: ServiceApi, typed: str) -> list[DownloadRecord]:
    """Find the caller's downloads, newest first, of what a name fits, or of the upload with an id."""
    by_id = _find_by_id(api, typed)
    if by_id or _is_operation_id(typed):
        stored = [each for each in by_id if isinstance(each, UploadRecord) and each.status == "success"]
        found = chain.from_iterable(_downloads_under(api, Name(each.s3_object_key)) for each in stored)
        ids = {each.operation_id for each in stored}
        return [each for each in found if each.upload_id in ids]
    try:
        name = replace(read_name(typed), is_folder=False)
    except (UsageError, SourceError):  # such as `./` or a long path: that of a source
        return []
    downloads = list(_downloads_under(api, name))
    key = _exact_key(name, {each.s3_object_key for each in downloads})
    return [each for each in downloads if key in (None, each.s3_object_key)]


def _downloads_under(api: ServiceApi, name: Name) -> Iterator[DownloadRecord]:
    found = Found(api, HistoryRequest(mine=True, operation_type="download"), _FOUND_MAX, name)
    return (each for each in found if isinstance(each, DownloadRecord))


def find_stored(api: ServiceApi, typed: str, emit: Emit) -> OperationRecord:
    """Find an operation by its id or short id, or the upload that is stored under a name.

    Where the newest of a name is deleted, an older one is meant, which has other content; that is said.

    Raises:
        SourceError: If there is none, or only deleted ones have the name: those are meant by their ids alone.
        SeveralUploadsError: If the name fits several keys, and is none of them whole.
        UsageError: If the name is empty.
    """
    found = find_upload(api, typed)
    record, later = found.record, found.replaced_by
    if not isinstance(record, UploadRecord) or _is_id_of(record, typed):
        return record
    if record.deleted_at is not None:
        raise SourceError(f"{describe_deletion(record)} {_tell_way_back(record)}", code="deleted")
    if later is not None and later.deleted_at is not None:
        message = (
            f"The newest upload of {record.s3_object_key}, by {later.actor}, is deleted: this is the one of "
            f"{format_time(record.started_at)}, by {record.actor} (ID {short_id(record)})."
        )
        emit(Notice(message, "older", record.operation_id))
    return record


def describe_deletion(record: UploadRecord) -> str:
    """Say in a sentence by whom and when an upload was deleted."""
    when = f" on {format_time(record.deleted_at)}" if record.deleted_at is not None else ""
    return f"{record.s3_object_key} was deleted by {record.deleted_by or 'somebody'}{when}."


def _tell_way_back(record: UploadRecord) -> str:
    if record.removed_at is not None or record.recoverable_until is None:
        return "Its bytes are gone; upload it again."
    return (
        f"Until {format_time(record.recoverable_until)} `mgmt undelete {short_id(record)}` brings it back, "
        f"and `mgmt download {short_id(record)}` fetches it as it is."
    )


def _is_id_of(record: OperationRecord, typed: str) -> bool:
    return typed.lower() in (record.operation_id, short_id(record))


class UploadFinder:
    """Finds uploads in the team's history, newest first."""

    def __init__(self, api: ServiceApi) -> None:
        self._api = api

    def by_name(self, name: str) -> Iterator[OperationRecord]:
        """Find those of a source's own name."""
        return iter(Found(self._api, HistoryRequest(operation_type="upload"), None, Name(name)))

    def meant_by(self, typed: str) -> Iterator[OperationRecord]:
        """Find the one with an id, or all that a name, a key or a folder in the bucket fits.

        Raises:
            UsageError: If the name is empty.
        """
        by_id = _find_by_id(self._api, typed)
        if by_id or _is_operation_id(typed):
            return iter(by_id)
        return iter(Found(self._api, HistoryRequest(operation_type="upload"), None, read_name(typed)))


def _find_operations(api: ServiceApi, typed: str, meaning: Meaning) -> Sequence[OperationRecord]:
    by_id = _find_by_id(api, typed)
    return by_id if by_id or _is_operation_id(typed) else _find_by_name(api, read_name(typed), meaning)


def _find_by_id(api: ServiceApi, typed: str) -> list[OperationRecord]:
    """Find the operations of an id or a short id; none where the text is neither."""
    if _is_operation_id(typed):
        return list(api.find_records([typed.lower()]).values())
    return _find_by_short_id(api, typed) if is_short_id(typed) else []


def _order(record: OperationRecord) -> tuple[datetime, str]:
    return record.started_at, record.operation_id


def _stored_under(api: ServiceApi, key: str) -> list[UploadRecord]:
    """Return the successful uploads to a key, newest first."""
    if not key:
        return []
    filters = HistoryRequest(name=key, operation_type="upload", status="success")
    found = [each for each in Found(api, filters, limit=_FOUND_MAX) if isinstance(each, UploadRecord)]
    return [each for each in found if each.s3_object_key == key]


def _find_by_short_id(api: ServiceApi, text: str) -> list[OperationRecord]:
    """Search the second that a short id names: by the service's clock, so this machine's does not matter."""
    began = second_of(text)
    filters = HistoryRequest(since=began, until=began + timedelta(seconds=1))
    found = Found(api, filters, limit=_PER_SECOND_MAX)
    return [each for each in found if short_id(each) == text.lower()]


def _find_by_name(api: ServiceApi, name: Name, meaning: Meaning) -> list[UploadRecord]:
    """Find the upload that is meant under each key that a name fits; an equal key wins."""
    newest: dict[str, UploadRecord] = {}
    for record in Found(api, HistoryRequest(operation_type="upload"), _FOUND_MAX, replace(name, is_folder=False)):
        if not isinstance(record, UploadRecord):
            continue
        best = newest.setdefault(record.s3_object_key, record)
        if _rank(record, meaning) < _rank(best, meaning):
            newest[record.s3_object_key] = record
    key = _exact_key(name, newest)
    return [newest[key]] if key is not None else _leave_out_deleted([newest[each] for each in sorted(newest)], meaning)


def _exact_key(name: Name, keys: Container[str]) -> str | None:
    """Choose the key that a name is wholly, among those that it fits; None where it is none of them."""
    key = unicodedata.normalize("NFC", name.text).strip("/")
    whole = [key, archive_name(key)] if name.is_whole else [key]
    return next((each for each in whole if each in keys), None)


def _rank(record: UploadRecord, meaning: Meaning) -> int:
    """Say how well an upload fits what is meant: the least is the best, and of equals the newest."""
    if meaning == "pending":
        return int(record.status != "pending")
    if record.status != "success":
        return 3
    is_deleted = record.deleted_at is not None
    if meaning == "deleted":
        return 2 if not is_deleted else 1 if record.removed_at is not None else 0
    return 1 if is_deleted and meaning == "stored" else 0


def _leave_out_deleted(found: list[UploadRecord], meaning: Meaning) -> list[UploadRecord]:
    """Leave out keys with nothing but deleted uploads where others are meant, and the other way round."""
    if meaning in ("latest", "pending"):
        return found
    wants = meaning == "deleted"
    return [each for each in found if (each.deleted_at is not None) == wants] or found


def _is_operation_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
