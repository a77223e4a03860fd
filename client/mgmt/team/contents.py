"""The contents use case: what is in a stored archive, and its index in the form that other programs read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from mgmt.archive.disk_errors import DiskErrors
from mgmt.archive.gzidx import write_gzidx
from mgmt.archive.index import Index, IndexedMember
from mgmt.archive.publishing import prepare, publish
from mgmt.archive.rules import Rules
from mgmt.errors import SourceError
from mgmt.events import Begun, Progress
from mgmt.layout import placeholder, temporary_name
from mgmt.machine.files import remove_file, sync
from mgmt.session import Session
from mgmt.stored.globs import Globs
from mgmt.stored.indexes import open_index
from mgmt.stored.recorded import size_of
from mgmt_contract.records import UploadRecord

_MODE: Final = 0o600


class Contents:
    """The members of one upload that a glob selects; iterate once."""

    def __init__(self, index: Index, upload: UploadRecord, glob: str | None = None) -> None:
        self._index = index
        self._globs = Globs([glob] if glob is not None else [])
        self.upload = upload
        self.glob = glob
        self.counts: Counter[str] = Counter()
        """By kind, of those yielded so far."""
        self.size_bytes = 0
        """Of their files."""

    def __iter__(self) -> Iterator[IndexedMember]:
        """Yield members in the archive's order.

        Raises:
            SourceError: nothing-chosen.
        """
        for member in self._index.members():
            if self._globs.takes(member.path):
                self.counts[member.kind] += 1
                self.size_bytes += member.size_bytes
                yield member
        if self.glob is not None and not self.counts:
            raise SourceError(
                f"Nothing in {self.upload.s3_object_key} matches '{self.glob}'. Upper and lower case count; "
                "`mgmt contents NAME` lists all.",
                code="nothing-chosen",
            )


@contextmanager
def open_contents(session: Session, upload: UploadRecord) -> Iterator[Index]:
    """Open the list of what is in an upload; an archive that has to be read for it is shown as it comes.

    Raises:
        MgmtError: As `open_index`.
    """
    key = upload.s3_object_key
    done_bytes: int | None = None

    def begin(size_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes = 0
        session.emit(Begun(key, upload.operation_id, size_bytes))

    def note(count_bytes: int) -> None:
        nonlocal done_bytes
        if done_bytes is not None:
            done_bytes += count_bytes
            session.emit(Progress(upload.operation_id, key, "fetching", done_bytes, size_of(upload)))

    with open_index(session, upload, on_read_archive=begin, on_bytes=note) as index:
        yield index


class PointsFile:
    """A file that gets an archive's index as GZIDX; it has its name only when it is whole.

    Args:
        place: The file.
        upload: Whose archive it is of.
        replaces: Whether a file that exists is replaced.
    """

    def __init__(self, place: Path, upload: UploadRecord, *, replaces: bool) -> None:
        token = upload.operation_id.replace("-", "")[-8:]
        self._place = place
        self._rules = Rules(replaces=replaces, makes_folder=False)
        self._placeholder = placeholder(token)
        self._part = place.with_name(temporary_name(place.name, token))

    def prepare(self) -> None:
        """Look at the place before anything is fetched.

        Raises:
            LocalStateError: target-exists, or what the disk met with.
        """
        with self._disk_errors():
            prepare(self._place, os.fsencode(self._part.name), self._placeholder, self._rules)

    def write(self, index: Index) -> None:
        """Write the points, and give the file its name.

        Raises:
            LocalStateError: disk-full or target-exists.
        """
        with self._disk_errors():
            try:
                with self._create() as file:
                    write_gzidx(index.facts, file)
                    file.flush()
                    sync(file.fileno())
                publish(self._place, os.fsencode(self._part.name), self._placeholder, self._rules)
            finally:
                remove_file(self._part, lambda _: True)

    def _create(self) -> IO[bytes]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        return os.fdopen(os.open(self._part, flags, _MODE), "wb")

    def _disk_errors(self) -> DiskErrors:
        return DiskErrors(os.fsencode(self._place))
