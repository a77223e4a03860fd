"""Reads a target again from its medium, and notes in its spool what it holds and what could not be read."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from blake3 import blake3

from mgmt.archive.member_digests import DigestedMember, Digests, digest_members
from mgmt.errors import INTERRUPTED, CancelledError, SourceError, without_excluding
from mgmt.layout import Member, Reread
from mgmt.machine.folders import files_below
from mgmt.safe.deciding import Code
from mgmt.safe.spool import Spool, below, stamp_of
from mgmt.source import look_at_entry
from mgmt.source.rereading import reread
from mgmt.source.walk import SYSTEM_FILE, Excludes, OnFailure, SkippedList, Walk, is_system_name
from mgmt_contract.values import Value

_NAMELESS: Final = "disk"
"""The root's name for a target that has none, such as a whole card; only paths below the root are compared."""
_CODES: Final[dict[str, Code]] = {"source-unreadable": "unreadable", "source-changed": "changed"}
_TRASHES: Final = (b".trashes", b"$recycle.bin")
"""Folders into which macOS and Windows put what is deleted on a card."""
_TRASHES_MAX: Final = 20
"""Such folders that a verdict names: a card has one or two."""


class Read(Value):
    """What reading a target again came to."""

    digests: Digests
    system_count: int
    """System files and folders, which are never stored and not read."""
    failure: str | None
    """Why the target could not be read to its end, such as a card that was pulled out."""
    trashes: tuple[bytes, ...] = ()
    """Those of the system's folders for deleted files that hold some, by their paths below the target."""


class Target:
    """A file or folder that is read again.

    Args:
        given: As the user named it.
        stop: Ends the reading soon after it was set.

    Raises:
        SourceError: If there is no such thing, or it is one that is never stored.
    """

    def __init__(self, given: str, stop: threading.Event) -> None:
        self.given = given
        self.entry = look_at_entry(given)
        self._stop = stop
        self._device = self._find_device()
        self._failure: str | None = None
        self._found = b""
        """The digest of what was read."""

    @property
    def root(self) -> bytes:
        """The name under which its members are digested."""
        return os.fsencode(self.entry.name or _NAMELESS)

    def count_bytes(self) -> int:
        """Count the bytes that there are to read.

        Raises:
            SourceError: If the target itself cannot be read.
            CancelledError: If `stop` was set.
        """
        counted_bytes = 0
        try:
            for member in self._members(self._walk()):
                counted_bytes += member.size_bytes
        except SourceError as error:
            raise SourceError(without_excluding(error.message), code=error.code) from error
        return counted_bytes

    def read(self, spool: Spool, on_progress: Callable[[int], None]) -> Read:
        """Read it whole; `look_again` is to follow when all else is done.

        Args:
            spool: Gets what is found.
            on_progress: Gets the number of bytes read so far.

        Raises:
            CancelledError: If `stop` was set.
        """
        skipping, found = _Skipping(spool), _Found()

        def add(digested: DigestedMember) -> None:
            found.add(digested.member)
            spool.add(digested)

        digests = digest_members(
            self._until_it_fails(reread(self._walk(skipping), stop=self._stop)),
            on_member=add,
            on_finding=lambda found: spool.note_problem(below(found.path), _CODES[found.code], found.reason),
            on_progress=on_progress,
        )
        self._found = found.digest()
        trashes = tuple(filter(self._holds_files, skipping.trashes))
        return self._note_failure(spool, Read(digests, skipping.system_count, self._failure, trashes))

    def look_again(self, spool: Spool, read: Read) -> Read:
        """Find what was added, changed or removed since it was read, and whether it is there any more at all.

        Args:
            spool: Gets what is found.
            read: What reading it came to.

        Raises:
            CancelledError: If `stop` was set.
        """
        if read.failure is not None:
            return read
        self._failure = self._compare_again(spool)
        spool.refuse_emptiness()
        return self._note_failure(spool, replace(read, failure=self._failure))

    def is_unchanged(self) -> bool:
        """Tell whether the target is what was read.

        Raises:
            CancelledError: If `stop` was set.
        """
        if self._find_device() != self._device:
            return False
        skipped = SkippedList()
        try:
            return self._is_as_read(skipped) and not skipped.missed_count
        except SourceError:
            return False

    def _note_failure(self, spool: Spool, read: Read) -> Read:
        if read.failure is not None:
            spool.note_problem(b"", "unreadable", read.failure)
        return read

    def _holds_files(self, trash: bytes) -> bool:
        """Tell whether anything else than system files is in a folder for deleted files, as far as it can be seen."""
        top = os.path.join(os.fsencode(self.entry.path), trash)  # noqa: PTH118  bytes
        folders = [top]
        if hasattr(os, "getuid"):  # macOS lets nobody list the folders of all people
            folders.append(os.path.join(top, b"%d" % os.getuid()))  # noqa: PTH118  as above
        return any(not is_system_name(name) for each in folders for name, _ in files_below(os.fsdecode(each)))

    def _until_it_fails(self, items: Iterator[Reread]) -> Iterator[Reread]:
        try:
            yield from items
        except SourceError as error:
            self._failure = without_excluding(error.message)

    def _compare_again(self, spool: Spool) -> str | None:
        """Compare what was read with what is there now; say why the target as a whole is not there any more."""
        try:
            if self._find_device() != self._device:
                return "another disk is in its place"
            if not self._is_as_read(_Skipping(spool)):
                spool.compare_again(self._members(self._walk(_Skipping(spool))))
        except SourceError as error:
            return without_excluding(error.message)
        return None

    def _is_as_read(self, skipped: SkippedList) -> bool:
        """Tell whether the same is found as was read; much faster than finding out what is not."""
        found, failures = _Found(), list[bytes]()
        for member in self._members(self._walk(skipped), lambda path, _: failures.append(path)):
            found.add(member)
        return not failures and found.digest() == self._found

    def _members(self, walk: Walk, on_failure: OnFailure = lambda *_: None) -> Iterator[Member]:
        for member in walk.members(on_failure=on_failure):
            if self._stop.is_set():
                raise CancelledError(INTERRUPTED)
            yield member

    def _walk(self, skipped: SkippedList | None = None) -> Walk:
        walk = Walk(self.entry.path, os.fsdecode(self.root), Excludes(()))
        if skipped is not None:
            walk.skipped = skipped
        return walk

    def _find_device(self) -> int | None:
        try:
            return os.stat(self.entry.path).st_dev  # noqa: PTH116  the path may hold bytes that pathlib would not keep
        except OSError:  # reading it tells what is wrong with it
            return None


class _Found:
    """A digest of all that a walk finds: after a change it is another one."""

    def __init__(self) -> None:
        self._hashed = blake3()

    def add(self, member: Member) -> None:
        """Take one more in."""
        self._hashed.update(b"%b\0%b\0" % (below(member.path), stamp_of(member)))

    def digest(self) -> bytes:
        """Return the digest."""
        return self._hashed.digest()


class _Skipping(SkippedList):
    """Notes what is never stored, and counts system files."""

    def __init__(self, spool: Spool) -> None:
        super().__init__()
        self._spool = spool
        self.system_count = 0
        self.trashes: list[bytes] = []

    def add(self, path: bytes, reason: str) -> None:
        """Note one more."""
        if reason == SYSTEM_FILE:
            self.system_count += 1
            if path.rpartition(b"/")[2].lower() in _TRASHES and len(self.trashes) < _TRASHES_MAX:
                self.trashes.append(below(path))
        else:
            self._spool.note_problem(below(path), "special", reason)
