"""A tree that is made beside its final place and gets its name in one step, when all of it is there and was checked.

What an archive brings is not trusted. Every path is walked name by name from a folder of our own, which nobody else
may enter, and no link is followed; so links lead nothing astray, whenever they were made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mgmt.archive.disk_errors import DiskErrors
from mgmt.archive.extracted_file import ExtractedFile
from mgmt.archive.index import IndexedMember
from mgmt.archive.names_here import PERMISSIONS, hostile, leads_out, refuse_for_system, split_path
from mgmt.archive.position import Position
from mgmt.archive.publishing import prepare, publish
from mgmt.archive.rules import Counted, LeftOutList, Rules
from mgmt.archive.tree_sync import TreeSync
from mgmt.errors import INTERRUPTED, CancelledError, IntegrityError
from mgmt.layout import NANOSECONDS, placeholder, temporary_name
from mgmt.machine.filling import Anchor, Look, drop, remove_tree
from mgmt.text import shown
from mgmt_contract.parts import MIB

_COPY_SIZE_BYTES: Final = MIB
_PROGRESS_BYTES: Final = MIB
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NO_LINKS_ON_WINDOWS: Final = frozenset({1, 50, 1142, 1314})
"""ERROR_INVALID_FUNCTION, as FAT and exFAT say, ERROR_NOT_SUPPORTED, ERROR_TOO_MANY_LINKS and ERROR_PRIVILEGE_NOT_HELD:
symlinks are for administrators and developers. All are EINVAL in C."""
_STAND_IN: Final = b"left out"


class LeftDifferentError(IntegrityError):
    """Raised if an earlier run's extraction was changed since, so that it cannot be continued."""

    def __init__(self) -> None:
        super().__init__("What is unpacked so far was changed meanwhile.", code="left-different")


class Extraction:
    """Makes members below one root, in any order, and publishes them as `place`.

    Until then they lie in a folder (or file, where the root is one) beside `place`, under a temporary name. Leaving the
    context removes that, unless it was published or the rules say that the next run goes on with it.

    Args:
        place: What the root will be called, whatever its name in the archive; in an existing folder.
        token: Eight hexadecimal digits, promised in the journal before: by them the next run finds what was left.
        rules: How far it may go.
        on_progress: Gets the bytes of files that are there, about once per MiB; those of an earlier run count.
        stop: Ends the work soon after it was set.

    Raises:
        LocalStateError: target-exists, disk-full or not-possible-here.
    """

    def __init__(
        self,
        place: Path,
        *,
        token: str,
        rules: Rules | None = None,
        on_progress: Callable[[int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.rules = rules or Rules()
        self.left_out = LeftOutList()
        """Symlinks that were not made."""
        self.stop = stop
        self._place = place
        self._placeholder = placeholder(token)
        self._part = os.fsencode(temporary_name(place.name, token))
        self._on_progress = on_progress
        self._counted = Counted(self.rules)
        self._root: bytes | None = None
        self._latest: list[bytes] = []
        self._done_bytes = self._told_bytes = 0
        self._file: ExtractedFile | None = None
        self._is_published = False
        with DiskErrors(os.fsencode(place)), contextlib.ExitStack() as opened:
            prepare(place, self._part, self._placeholder, self.rules)
            self._sync = TreeSync(place.parent)
            self._stand_ins = opened.enter_context(_StandIns(place.parent))
            self._position = Position(place.parent, self._part, self._counted)
            opened.callback(self._position.folder.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        # A disk that fails here has failed before: that error is the one to report.
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        self._opened.close()
        is_kept = self.rules.resumes and not isinstance(error, IntegrityError)
        if not is_kept and not self._is_published:
            with contextlib.suppress(OSError):
                remove_tree(self._place.parent, self._part)

    def add(self, member: IndexedMember) -> None:
        """Make a member that is no file.

        Raises:
            IntegrityError: hostile-archive.
            LocalStateError: If this system or its disk cannot have it.
            CancelledError: If the extraction was stopped.
        """
        parts = self._begin_member(member)
        with DiskErrors(member.path):
            if member.kind == "directory":
                self._position.go_to(parts)
                self._position.set_look(Look(member.mode & PERMISSIONS, member.mtime_seconds * NANOSECONDS))
            elif len(parts) == 1:
                raise hostile(f"its root '{shown(member.path)}' is a link")
            elif member.kind == "symlink":
                self._add_symlink(member, parts)
            else:
                self._add_hardlink(member, parts)

    def begin_file(self, member: IndexedMember) -> ExtractedFile:
        """Make a file, to be filled and finished before the next member.

        Raises:
            IntegrityError: hostile-archive.
            LocalStateError: If this system or its disk cannot have it.
            CancelledError: If the extraction was stopped.
        """
        parts = self._begin_member(member)
        folder, name = self._position.folder, self._position.name_of(parts)
        file = ExtractedFile(folder, name, member, sync=self._sync, note=self._note_written)
        with DiskErrors(member.path):
            self._position.go_to(parts[:-1])
            descriptor = self._position.make(parts, lambda: folder.create_file(name))
            self._file = file
            if descriptor is not None:
                file.begin(descriptor)
            else:
                self._refuse_twice(member)
                file.adopt(self.refuse_stopped)
        return file

    def drop(self, member: IndexedMember) -> None:
        """Remove what an earlier run has left of a member that is not to be made any more: before any is made.

        Raises:
            IntegrityError: hostile-archive.
            LocalStateError: If the disk refuses.
        """
        parts = split_path(member.path)
        with DiskErrors(member.path), contextlib.suppress(FileNotFoundError):
            self._position.go_to(parts[:-1], makes=False)
            self._position.folder.remove(self._position.name_of(parts))

    def go_on_in_file(self, member: IndexedMember, done_bytes: int, digest: bytes) -> ExtractedFile:
        """Continue a file whose first bytes an earlier run has written.

        Args:
            member: The file.
            done_bytes: How many bytes.
            digest: BLAKE3 of them.

        Raises:
            LeftDifferentError: If they are not there, or others.
            IntegrityError: hostile-archive.
            LocalStateError: If the disk refuses.
            CancelledError: If the extraction was stopped.
        """
        parts = self._begin_member(member)
        folder, name = self._position.folder, self._position.name_of(parts)
        file = ExtractedFile(folder, name, member, sync=self._sync, note=self._note_written)
        self._file = file
        with DiskErrors(member.path):
            try:
                self._position.go_to(parts[:-1], makes=False)
                is_there = file.adopt_part(done_bytes, digest, self.refuse_stopped)
            except FileNotFoundError:
                is_there = False
        if not is_there:
            file.close()
            raise LeftDifferentError
        return file

    def begin_sync(self, file: ExtractedFile | None) -> Callable[[], None]:
        """Return what makes durable, in any thread, all that is there now: files that are finished, and `file`."""
        if self._sync.syncs_disk:
            return self._sync.finish
        return file.begin_sync() if file is not None and not file.is_closed else lambda: None

    def publish(self, promise: Callable[[Path], object] = lambda _: None) -> None:
        """Make everything durable, and give it its name.

        Args:
            promise: Gets the path of what is to be named, once all of it is durable.

        Raises:
            IntegrityError: hostile-archive, if there was no member at all.
            LocalStateError: target-exists, or if the disk refuses.
            CancelledError: If the extraction was stopped.
        """
        self.refuse_stopped()
        if self._root is None:
            raise hostile("it holds nothing")
        with DiskErrors(os.fsencode(self._place)):
            for parts in self._stand_ins.read():
                self._position.go_to(parts[:-1])
                self._position.folder.remove(parts[-1])
            self._position.go_to([])
            self._sync.finish()
            promise(self._place.with_name(os.fsdecode(self._part)))
            publish(self._place, self._part, self._placeholder, self.rules)
            self._is_published = True
            self._sync.finish()
        if self._on_progress is not None:
            self._on_progress(self._done_bytes)

    def refuse_stopped(self) -> None:
        """Raise if the extraction was stopped.

        Raises:
            CancelledError: If so.
        """
        if self.stop is not None and self.stop.is_set():
            raise CancelledError(INTERRUPTED)

    def _begin_member(self, member: IndexedMember) -> list[bytes]:
        self.refuse_stopped()
        assert self._file is None or self._file.is_closed, "the file before must be finished"  # noqa: S101  a caller's bug
        parts = split_path(member.path)
        if self._root is None:
            self._root = parts[0]
        elif parts[0] != self._root:
            raise hostile(f"it holds '{shown(parts[0])}' beside '{shown(self._root)}', and an upload has one root")
        if self.rules.resumes:
            if parts <= self._latest:
                raise hostile(f"'{shown(member.path)}' is in it twice, or out of order")
            self._latest = parts
        refuse_for_system(member.path, parts[1:])
        self._counted.add_member(member.size_bytes)
        return parts

    def _note_written(self, size_bytes: int) -> None:
        self._done_bytes += size_bytes
        if self._on_progress is not None and abs(self._done_bytes - self._told_bytes) >= _PROGRESS_BYTES:
            self._told_bytes = self._done_bytes
            self._on_progress(self._done_bytes)

    def _refuse_twice(self, member: IndexedMember) -> None:
        if not self.rules.resumes:
            raise hostile(f"'{shown(member.path)}' is in it twice")

    def _add_symlink(self, member: IndexedMember, parts: list[bytes]) -> None:
        folder, name, target = self._position.folder, parts[-1], member.target
        if not target or b"\0" in target:
            raise hostile(f"the symlink '{shown(member.path)}' leads nowhere")
        self._position.go_to(parts[:-1])
        if leads_out(target, len(parts) - 1) and not self.rules.makes_links_out:
            self.left_out.add(member.path, target)
            self._stand_ins.add(parts)
            target = _STAND_IN

        def make() -> bool:
            folder.make_symlink(name, target, member.mtime_seconds * NANOSECONDS)
            return True

        try:
            self._make_or_keep(member, parts, make, lambda: folder.link_target(name) == target)
        except OSError as error:
            if getattr(error, "winerror", None) not in _NO_LINKS_ON_WINDOWS:
                raise
            self.left_out.add(member.path, target)

    def _add_hardlink(self, member: IndexedMember, parts: list[bytes]) -> None:
        folder, source = self._position.folder, split_path(member.target)
        anchor, found = self._find_file(source, member)

        def make() -> bool:
            try:
                folder.make_link(anchor, source[-1], parts[-1])
            except OSError as error:
                if error.errno not in _NO_LINKS and getattr(error, "winerror", None) not in _NO_LINKS_ON_WINDOWS:
                    raise
                self._copy(anchor, source[-1], parts[-1])
            return True

        def is_kept() -> bool:
            return os.path.samestat(folder.status(parts[-1]), found)

        try:
            self._position.go_to(parts[:-1])
            self._make_or_keep(member, parts, make, is_kept)
        finally:
            drop(anchor)

    def _make_or_keep(
        self, member: IndexedMember, parts: list[bytes], make: Callable[[], bool], is_kept: Callable[[], bool]
    ) -> None:
        """Make a link, or keep the one that an earlier run has left."""
        if self._position.make(parts, make) is None:
            self._refuse_twice(member)
            if not is_kept():
                self._position.folder.remove(parts[-1])
                make()

    def _find_file(self, source: list[bytes], member: IndexedMember) -> tuple[Anchor, os.stat_result]:
        """Go to an earlier file; nothing is made on the way."""
        folder = self._position.folder
        with contextlib.suppress(FileNotFoundError):
            if source[0] == self._root and len(source) > 1:
                self._position.go_to(source[:-1], makes=False)
                found = folder.status(source[-1])
                if stat.S_ISREG(found.st_mode):
                    return folder.anchor(), found
        raise hostile(
            f"'{shown(member.path)}' is a hard link to '{shown(member.target)}', which is no earlier file of it"
        )

    def _copy(self, anchor: Anchor, source: bytes, name: bytes) -> None:
        """Copy a file that cannot get a second name."""
        folder = self._position.folder
        with open(folder.open_at(anchor, source), "rb") as reading, open(folder.create_file(name), "wb") as writing:  # noqa: PTH123  descriptors
            status = os.fstat(reading.fileno())
            while data := reading.read(_COPY_SIZE_BYTES):
                self.refuse_stopped()
                writing.write(data)
            writing.flush()
            if sys.platform != "win32":
                os.fchmod(writing.fileno(), stat.S_IMODE(status.st_mode))
            self._sync.sync_file(writing.fileno())
        folder.date(name, status.st_mtime_ns)


class _StandIns:
    """Harmless links in the places of those that are left out, until the tree is published.

    With them, a member that has such a link's path, or lies below it, is refused like any other. They are kept in a
    file without a name: there may be a million of them.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed in the end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._paths.close()

    def add(self, parts: list[bytes]) -> None:
        """Note one more."""
        self._paths.write(b"/".join(parts).replace(b"\n", b"\0") + b"\n")  # no path has a NUL

    def read(self) -> Iterator[list[bytes]]:
        """Read their paths."""
        self._paths.seek(0)
        for line in self._paths:
            yield line[:-1].replace(b"\0", b"\n").split(b"/")
