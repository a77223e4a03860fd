"""The index of an upload's archive: its own object where that is as recorded, else made by reading the archive once."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from mgmt.archive.checksums import PartSums
from mgmt.archive.disk_errors import DiskErrors
from mgmt.archive.index import Index, IndexWriter
from mgmt.archive.rebuilding import rebuild_index
from mgmt.errors import IntegrityError, LocalStateError, SourceError
from mgmt.events import Notice
from mgmt.service import error_in
from mgmt.session import Session
from mgmt.storage.receiving import HandedOn
from mgmt.stored.archive import ignore, open_archive
from mgmt.stored.ranges import Ranges
from mgmt.stored.recorded import CODEC_BEGINNING, has_this_format, refuse_other_content, size_of
from mgmt.text import size_in_words
from mgmt_contract.messages.objects import LookResult, SignedRequest
from mgmt_contract.parts import INDEX_SIZE_MAX_BYTES, SINGLE_PUT_MAX_BYTES
from mgmt_contract.records import UploadRecord

_log: Final = logging.getLogger(__name__)
_AGAIN_MAX: Final = 2
"""How often an index that arrived wrong is fetched again."""
_WHY_UNSIGNED: Final = {"gone": "it is not in the bucket any more", "there": "an archived storage class holds it"}
"""Why there is no URL for an index, by what the service says of it."""
_DAMAGED: Final = "index-damaged"
"""As `mgmt.archive.index` says of one that cannot be used."""


@contextmanager
def open_index(  # noqa: PLR0913  one verb; all but its two objects are settings with a default
    session: Session,
    upload: UploadRecord,
    *,
    target_path: str | None = None,
    seen: LookResult | None = None,
    reads_archive: bool = False,
    on_read_archive: Callable[[int], object] = ignore,
    on_bytes: Callable[[int], object] = ignore,
) -> Iterator[Index]:
    """Open the index of an upload's archive; it is proven to be that archive's.

    It lies in a file without a name while the context lasts, of which a crash leaves nothing.

    Args:
        session: The wired organs.
        upload: A successful one.
        target_path: What the history says of where the archive's bytes go, should it be read.
        seen: What the service has just said of this upload, where it was asked for the URLs of indexes.
        reads_archive: The archive's own bytes are read, whether or not it has an index.
        on_read_archive: Gets the archive's size before a large one is read, after a notice; may raise.
        on_bytes: Gets the number of bytes of each piece that comes, of an index or an archive, from any thread.

    Raises:
        SourceError: other-format for an archive that has no index, or what is not stored any more.
        IntegrityError: content-differs or archive-damaged: what is stored is not what was uploaded.
        LocalStateError: disk-full, not-writable or no-temporary-folder; list-unreadable, from the index too.
        MgmtError: The service's refusal, or no progress for too long, or the command was stopped.
    """
    if not has_this_format(upload):
        raise SourceError(
            f"The archive of {upload.s3_object_key} cannot be listed: it was packed by '{upload.codec or 'unknown'}', "
            f"and lists are of '{CODEC_BEGINNING} …'. `mgmt download` fetches it whole.",
            code="other-format",
        )
    with _open_list() as opened:
        file = cast("BinaryIO", opened)
        index = None if reads_archive else _find_index(session, upload, file, seen, on_bytes)
        if index is None:
            if not reads_archive:
                _announce(session, upload, on_read_archive)
            index = _read_archive(session, upload, file, target_path or f"list of {upload.s3_object_key}", on_bytes)
        yield index


def _open_list() -> IO[bytes]:
    """Make the file for the list: nameless; only Windows gives it a name, and removes it with the process."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise LocalStateError(
            f"There is no place for the list of what is in the archive: {error.strerror or error}. Make room where "
            "temporary files are, or set TMPDIR to a folder that can be written, then run the same command again.",
            code="no-temporary-folder",
        ) from error


def _find_index(
    session: Session,
    upload: UploadRecord,
    file: BinaryIO,
    seen: LookResult | None,
    on_bytes: Callable[[int], object],
) -> Index | None:
    """Fetch the index that lies beside the archive; None where there is none to be used."""
    if upload.index_size is None:
        return None
    try:
        _fetch_index(session, upload, file, seen, on_bytes)
        index = Index(file)
        index.refuse_false(upload.content_digest or "", size_of(upload))
    except IntegrityError as error:
        if error.code != _DAMAGED:
            raise
        session.emit(Notice(f"{upload.s3_object_key}: {error.message}", error.code))
        return None
    return index


def _fetch_index(
    session: Session,
    upload: UploadRecord,
    file: BinaryIO,
    seen: LookResult | None,
    on_bytes: Callable[[int], object],
) -> None:
    size = upload.index_size or 0
    if size > INDEX_SIZE_MAX_BYTES:
        raise _unusable(f"{size_in_words(size)} are recorded, and no index is as large")

    def sign_again() -> SignedRequest:
        [result] = session.api.look([upload.operation_id], signs_indexes=True).results
        return _take_request(result)

    request = _take_request(seen) if seen is not None else sign_again()
    ranges = Ranges(session, f"the index of {upload.s3_object_key}", size, request, sign_again)
    found = set[str]()
    # A byte that was changed on the way is another one each time; the same sum again is that of what is stored.
    while (crc64nvme := _fetch_once(ranges, upload, file, on_bytes)) != upload.index_crc64nvme:
        if crc64nvme in found or len(found) == _AGAIN_MAX:
            raise _unusable(f"its checksum is {crc64nvme}, and {upload.index_crc64nvme} is recorded")
        found.add(crc64nvme)
        _log.info("The index of %s arrived wrong; it is fetched again", upload.s3_object_key)


def _fetch_once(ranges: Ranges, upload: UploadRecord, file: BinaryIO, on_bytes: Callable[[int], object]) -> str:
    """Fetch an index into a file and return its checksum."""
    sums = PartSums(None)
    with DiskErrors(_shown(upload)):
        file.seek(0)
        file.truncate()

    def take(data: memoryview) -> None:
        with DiskErrors(_shown(upload)):
            file.write(data)
        sums.add([data])
        on_bytes(len(data))

    ranges.fetch(0, upload.index_size or 0, HandedOn(take))
    with DiskErrors(_shown(upload)):
        file.flush()  # a full disk is to be met here, not by whoever reads it
    sums.close()
    return sums.crc64nvme


def _take_request(seen: LookResult) -> SignedRequest:
    error = error_in(seen)  # of the archive: what is in one that is gone or altered is of no use
    if error is not None:
        raise error
    if seen.index_request is None:
        raise _unusable(_WHY_UNSIGNED.get(seen.index or "", "it is not as recorded"))
    return seen.index_request


def _announce(session: Session, upload: UploadRecord, on_read_archive: Callable[[int], object]) -> None:
    """Say how much has to be fetched, where that is much: small archives have no index."""
    size = size_of(upload)
    if size <= SINGLE_PUT_MAX_BYTES:
        return
    message = f"{upload.s3_object_key} has no index, so the whole archive is read: {size_in_words(size)}."
    session.emit(Notice(message, "archive-read"))
    on_read_archive(size)


def _read_archive(
    session: Session, upload: UploadRecord, file: BinaryIO, target_path: str, on_bytes: Callable[[int], object]
) -> Index:
    with open_archive(session, upload, target_path, on_bytes=on_bytes) as archive:
        with DiskErrors(_shown(upload)), IndexWriter(Path(tempfile.gettempdir())) as writer:
            with archive.stream() as stream:
                rebuild_index(stream, writer, stop=session.stop)
            file.seek(0)
            file.truncate()
            writer.write(file)
            file.flush()
        index = Index(file)
        facts = index.facts
        refuse_other_content(
            upload, size=facts.archive_size, crc64nvme=facts.crc64nvme, content_digest=facts.content_digest
        )
        return index


def _shown(upload: UploadRecord) -> bytes:
    return f"the list of {upload.s3_object_key}".encode(errors="replace")


def _unusable(why: str) -> IntegrityError:
    return IntegrityError(f"The archive's index cannot be used: {why}.", code=_DAMAGED)
