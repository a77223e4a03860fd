"""Orphans: what only the storage knows, or only the records. They are counted and told; nothing is destroyed.

Parts of an upload that has ended are no orphans: a call that was to throw them away was interrupted, so that is done.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import decide
from mgmt_api.domain.checks import is_operation_id
from mgmt_api.domain.entities import HistoryQuery, Operation
from mgmt_api.ports import ListedObject, ListedUpload, StorageError
from mgmt_api.upkeep.arrivals import settle_arrival, tell_orphan
from mgmt_api.uploads.multipart import discard_multipart_upload
from mgmt_contract.names import base_name, fold_key, index_key, trim_prefix

logger = logging.getLogger(__name__)

SETTLES_WITHIN: Final = timedelta(days=1)
"""What is younger may be on its way into the records."""
SEARCH_MIN_SECONDS: Final = 30.0
_PAGE: Final = 100
_EARLIER_MAX: Final = 20
"""Uploads of one key that are looked through for the one of a multipart upload."""
_INDEX_NAME_END: Final = ".index.gz"

Step = Callable[[Backends, str], str | None]
"""Deals with one page from a place on; returns the next place, or None at the end."""


def find_orphans(backends: Backends, after: str | None) -> str | None:
    """Go through objects, multipart uploads and records; return where another run has to go on, or None at the end.

    Raises:
        RecordsUnavailableError: If the records cannot be read.
        StorageError: If the storage cannot be listed.
    """
    name, _, place = (after or f"{next(iter(_STEPS))} ").partition(" ")
    names = list(_STEPS)
    for step_name in names[names.index(name) :]:
        while True:
            if backends.spare_seconds() < SEARCH_MIN_SECONDS:
                return f"{step_name} {place}"
            following = _STEPS[step_name](backends, place)
            if following is None:
                break
            place = following
        place = ""
    return None


# --- objects -------------------------------------------------------------------------------------------


def _search_objects(backends: Backends, after: str) -> str | None:
    listed = backends.objects.list_objects(_root(backends), after)
    settled = [each for each in listed if _has_settled(backends, each.modified_at)]
    index_folder = index_key(backends.settings.root_prefix, "").removesuffix(_INDEX_NAME_END)
    indexes = [each for each in settled if each.key.startswith(index_folder)]
    archives = [each for each in settled if not each.key.startswith(index_folder)]
    for page in _pages(archives):
        _search_archives(backends, page)
    for page in _pages(indexes):
        _search_indexes(backends, page)
    return listed[-1].key if listed else None


def _search_archives(backends: Backends, listed: Sequence[ListedObject]) -> None:
    """Pass over those that the records name as the current version of their key; look at all others."""
    names = backends.records.get_names([each.key for each in listed])
    for each in listed:
        name = names.get(fold_key(each.key))
        current = name.current if name is not None and name.key == each.key else None
        if current is None or current.etag != each.etag:
            decide(partial(settle_arrival, backends, each.key, None))


def _search_indexes(backends: Backends, listed: Sequence[ListedObject]) -> None:
    ids = {each.key: each.key.rpartition("/")[2].removesuffix(_INDEX_NAME_END) for each in listed}
    known = backends.records.get_operations([id_ for id_ in ids.values() if is_operation_id(id_)])
    for each in listed:
        upload = known.get(ids[each.key])
        if not isinstance(upload, Operation) or upload.index is None:  # a failed upload's is known: it may come late
            tell_orphan(backends, "index", each.key)


# --- multipart uploads ---------------------------------------------------------------------------------


def _search_multipart_uploads(backends: Backends, after: str) -> str | None:
    key, _, multipart_upload_id = after.partition("\n")
    last = ListedUpload(key, multipart_upload_id, backends.now()) if after else None
    listed = backends.objects.list_multipart_uploads(_root(backends), last)
    for each in listed:
        if _has_settled(backends, each.begun_at):
            _look_at_multipart_upload(backends, each)
    return f"{listed[-1].key}\n{listed[-1].multipart_upload_id}" if listed else None


def _look_at_multipart_upload(backends: Backends, listed: ListedUpload) -> None:
    query = HistoryQuery(_EARLIER_MAX, base_name=base_name(listed.key), key=listed.key)
    phases = {
        each.phase
        for status in ("pending", "failed", "success")
        for each in backends.records.find_operations(dataclasses.replace(query, status=status)).operations
        if isinstance(each, Operation) and each.multipart_upload_id == listed.multipart_upload_id
    }
    if not phases:
        tell_orphan(backends, "multipart upload", listed.key, listed.multipart_upload_id)
    elif phases <= {"done", "failed"}:
        discard_multipart_upload(backends, listed.key, listed.multipart_upload_id)


# --- records -------------------------------------------------------------------------------------------


def _search_records(backends: Backends, after: str) -> str | None:
    """Look for the version of each upload that has succeeded and was not given up for removal."""
    query = HistoryQuery(_PAGE, oldest_first=True, status="success", operation_type="upload", after=after or None)
    page = backends.records.find_operations(query)
    for upload in page.operations:
        if isinstance(upload, Operation) and upload.record.removed_at is None:
            _search_versions(backends, upload)
    return page.after


def _search_versions(backends: Backends, upload: Operation) -> None:
    record = upload.record
    places = [("record without object", record.s3_object_key, record.version_id)]
    if record.index_size is not None:
        key = index_key(backends.settings.root_prefix, upload.id)
        places.append(("record without index", key, record.index_version_id))
    for kind, key, version_id in places:
        try:
            stored = backends.objects.head_object(key, version_id)
        except StorageError as error:
            logger.warning("not looked at this time", extra={"operation_id": upload.id, "reason": str(error)})
            continue
        if stored is None:
            tell_orphan(backends, kind, key, upload.id)


_STEPS: Final[dict[str, Step]] = {
    "objects": _search_objects,
    "multipart-uploads": _search_multipart_uploads,
    "records": _search_records,
}


def _root(backends: Backends) -> str:
    root = trim_prefix(backends.settings.root_prefix)
    return f"{root}/" if root else ""


def _has_settled(backends: Backends, moment: datetime) -> bool:
    return moment + SETTLES_WITHIN <= backends.now()


def _pages(listed: Sequence[ListedObject]) -> list[Sequence[ListedObject]]:
    return [listed[start : start + _PAGE] for start in range(0, len(listed), _PAGE)]
