"""Orphans: what only the storage knows, or only the records. They are counted and told; nothing is destroyed.

Parts of an upload that has ended are no orphans: a call that was to throw them away was interrupted, so that is done.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import decide
from mgmt_api.domain.checks import is_operation_id
from mgmt_api.domain.entities import HistoryQuery, Operation, Recorded
from mgmt_api.ports import ListedObject, ListedUpload, RecordsUnavailableError, StorageError
from mgmt_api.upkeep.arrivals import settle_arrival, tell_orphan
from mgmt_api.upkeep.reading import read_ahead
from mgmt_api.uploads.multipart import discard_multipart_upload
from mgmt_contract.names import base_name, fold_key, index_key, trim_prefix
from mgmt_contract.problems import ProblemError

logger = logging.getLogger(__name__)

SETTLES_WITHIN: Final = timedelta(days=1)
"""What is younger may be on its way into the records."""
SEARCH_MIN_SECONDS: Final = 30.0
"""A search stops when less time is left, and goes on in another run: one that is cut off begins anew at its place."""
_PAGE: Final = 100
_EARLIER_MAX: Final = 20
"""Uploads of one key that are looked through for the one of a multipart upload."""
_INDEX_NAME_END: Final = ".index.gz"

Step = Callable[[Backends, str], str | None]
"""Deals with one page from a place on, or as much of it as there is time for; returns the next place, or None at the
end."""
Look = Callable[[], None]


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
            if _is_short_of_time(backends):
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
    place = after
    for page in _pages(listed):
        for key, look in _plan_looks(backends, page):
            if _is_short_of_time(backends):
                return place
            with _passing_over_faults(key):
                look()
            place = key
        place = page[-1].key
    return place if listed else None


def _plan_looks(backends: Backends, page: Sequence[ListedObject]) -> Iterator[tuple[str, Look]]:
    """Pass over archives that the records name as the current version of their key, and over indexes they know."""
    index_folder = index_key(backends.settings.root_prefix, "").removesuffix(_INDEX_NAME_END)
    settled = {each.key: each for each in page if _has_settled(backends, each.modified_at)}
    ids = {key: _id_in_index_key(key) for key in settled if key.startswith(index_folder)}
    known_ids = read_ahead(
        lambda: backends.records.get_operations([id_ for id_ in ids.values() if is_operation_id(id_)])
    )
    names = read_ahead(lambda: backends.records.get_names(settled.keys() - ids.keys()))
    for key, listed in settled.items():
        if key in ids:
            if not _has_index(known_ids.get(ids[key])):
                yield key, partial(_look_at_index, backends, key)
        else:
            name = names.get(fold_key(key))
            current = name.current if name is not None and name.key == key else None
            if current is None or current.etag != listed.etag:
                yield key, partial(_look_at_archive, backends, key)


def _look_at_archive(backends: Backends, key: str) -> None:
    decide(lambda: settle_arrival(backends, key, None))


def _look_at_index(backends: Backends, key: str) -> None:
    id_ = _id_in_index_key(key)
    if not is_operation_id(id_) or not _has_index(backends.records.get_operations([id_]).get(id_)):
        tell_orphan(backends, "index", key)


def _id_in_index_key(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(_INDEX_NAME_END)


def _has_index(recorded: Recorded | None) -> bool:
    """Tell whether an index was announced; that of a failed upload is known too: it may come late."""
    return isinstance(recorded, Operation) and recorded.index is not None


# --- multipart uploads ---------------------------------------------------------------------------------


def _search_multipart_uploads(backends: Backends, after: str) -> str | None:
    key, _, multipart_upload_id = after.partition("\n")
    last = ListedUpload(key, multipart_upload_id, backends.now()) if after else None
    listed = backends.objects.list_multipart_uploads(_root(backends), last)
    place = after
    for each in listed:
        if _is_short_of_time(backends):
            return place
        if _has_settled(backends, each.begun_at):
            with _passing_over_faults(each.key):
                _look_at_multipart_upload(backends, each)
        place = f"{each.key}\n{each.multipart_upload_id}"
    return place if listed else None


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
    place = after
    for upload in page.operations:
        if _is_short_of_time(backends):
            return place
        if isinstance(upload, Operation) and upload.record.removed_at is None:
            _search_versions(backends, upload)
        place = upload.order
    return page.after


def _search_versions(backends: Backends, upload: Operation) -> None:
    record = upload.record
    places = [("record without object", record.s3_object_key, record.version_id)]
    if record.index_size is not None:
        key = index_key(backends.settings.root_prefix, upload.id)
        places.append(("record without index", key, record.index_version_id))
    for kind, key, version_id in places:
        with _passing_over_faults(key):
            if backends.objects.head_object(key, version_id) is None:
                tell_orphan(backends, kind, key, upload.id)


_STEPS: Final[dict[str, Step]] = {
    "objects": _search_objects,
    "multipart-uploads": _search_multipart_uploads,
    "records": _search_records,
}


def _is_short_of_time(backends: Backends) -> bool:
    return backends.spare_seconds() < SEARCH_MIN_SECONDS


@contextmanager
def _passing_over_faults(key: str) -> Iterator[None]:
    """Pass over one of many that cannot be looked at: it would end this search at its place, and each later one."""
    try:
        yield
    except RecordsUnavailableError:
        raise
    except (StorageError, ProblemError) as error:
        logger.warning("not looked at this time", extra={"key": key, "reason": str(error)})
    except Exception:  # the edge of one of many: it must not stop the search
        logger.exception("cannot be looked at", extra={"key": key})


def _root(backends: Backends) -> str:
    root = trim_prefix(backends.settings.root_prefix)
    return f"{root}/" if root else ""


def _has_settled(backends: Backends, moment: datetime) -> bool:
    return moment + SETTLES_WITHIN <= backends.now()


def _pages(listed: Sequence[ListedObject]) -> list[Sequence[ListedObject]]:
    return [listed[start : start + _PAGE] for start in range(0, len(listed), _PAGE)]
