"""The index of a large archive: written while that is packed, or by reading it again, and sent before its last part.

An upload is worth more than its index: whatever goes wrong with the index, the upload goes on, and its record has none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO, BinaryIO, Final, Self, cast

from mgmt.archive.checksums import crc64nvme, written
from mgmt.archive.index import IndexWriter, open_nameless
from mgmt.errors import CancelledError, MgmtError
from mgmt.events import Notice
from mgmt.session import Session
from mgmt.storage import PutResult
from mgmt.upload.job import Job
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.service import SIGN_INDEX_FIELD
from mgmt_contract.messages.uploads import IndexFile
from mgmt_contract.parts import INDEX_SIZE_MAX_BYTES, MIB

_log: Final = logging.getLogger(__name__)


class ArchiveIndex:
    """The index of one job's archive, in files without a name beside it, of which a crash leaves nothing.

    One thread makes it; when that has ended, others send it. Where the service takes none, there is none.
    """

    def __init__(self, session: Session, job: Job) -> None:
        self._session = session
        self._job = job
        self._open = ExitStack()
        self._writer: IndexWriter | None = None
        self._file: IO[bytes] | None = None
        self._stated: IndexFile | None = None
        self._not_begun: OSError | None = None
        """Why there is none. It is said once the archive is whole: its folder may refuse that as well."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def begin(self) -> IndexWriter | None:
        """Begin an index, in the folder of the archive; None where there is to be none."""
        if SIGN_INDEX_FIELD not in self._session.api.optional_fields:
            return None
        try:
            self._writer = self._open.enter_context(IndexWriter(self._job.archive_path.parent))
        except OSError as error:
            self._not_begun = error
        return self._writer

    def rebuild(self, stop: threading.Event) -> None:
        """Make the index of an archive that an earlier run has packed, by reading it once more.

        Raises:
            CancelledError: If `stop` was set.
        """
        from mgmt.archive.rebuilding import rebuild_index

        writer, content = self.begin(), self._job.content
        if writer is None or content is None:
            return
        try:
            with self._job.archive_path.open("rb") as archive:
                rebuild_index(archive, writer, stop=stop)
        except CancelledError:
            raise
        except (MgmtError, OSError) as error:  # sending the parts finds out what is wrong with the archive
            self.give_up(error)
            return
        if (writer.facts.archive_size, writer.facts.crc64nvme) != (content.size, content.crc64nvme):
            self._writer = None  # the archive was changed after it was packed: its parts will be refused

    def finish(self) -> IndexFile | None:
        """Write the index out, once its archive is whole; return its size and checksum, or None where there is none."""
        if self._not_begun is not None:
            error, self._not_begun = self._not_begun, None
            self.give_up(error)
        if self._writer is not None and self._stated is None:
            try:
                self._stated = self._write(self._writer)
            except OSError as error:
                self.give_up(error)
        return self._stated

    def put(self, signed: SignedRequest, on_bytes: Callable[[int], None]) -> PutResult:
        """Send the finished index, once."""
        assert self._file is not None  # noqa: S101  what was stated lies in it
        assert self._stated is not None  # noqa: S101
        self._file.seek(0)
        file = cast("BinaryIO", self._file)
        return self._session.carrier.put_from(signed, file, "the index", self._stated.size, on_bytes)

    def give_up(self, error: MgmtError | OSError) -> None:
        """Say that the archive goes without an index."""
        why = error.message if isinstance(error, MgmtError) else error.strerror or str(error)
        _log.warning("%s goes without an index: %s", self._job.target_path, why)
        message = (
            f"The index of {self._job.target_path} could not be stored. The upload goes on without it; to get single "
            f"files of it back, all of it will have to be read. The reason: {why}"
        )
        self._session.emit(Notice(message, "index-not-stored", self._job.operation_id))
        self._writer = self._stated = None

    def _write(self, writer: IndexWriter) -> IndexFile | None:
        self._file = self._open.enter_context(open_nameless(self._job.archive_path.parent))
        writer.write(self._file)
        self._file.flush()
        self._file.seek(0)
        size_bytes = crc = 0
        while data := self._file.read(MIB):
            size_bytes, crc = size_bytes + len(data), crc64nvme(data, crc)
        if size_bytes > INDEX_SIZE_MAX_BYTES:
            _log.info("%s goes without an index: it would have %d bytes", self._job.target_path, size_bytes)
            return None
        return IndexFile(size_bytes, written(crc))
