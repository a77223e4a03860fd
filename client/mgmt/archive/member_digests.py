"""Digests of what is read again: of each file, and the content digest of all, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from mgmt.archive.checksums import ContentDigest, Placed
from mgmt.layout import FileEnd, Finding, Member, Reread, frame
from mgmt_contract.parts import MIB

_NOWHERE = 0
"""Where in a tar stream a member would lie: nobody asks."""
_TOLD_EVERY_BYTES: Final = MIB
"""To tell of each small file alone took a tenth of the time."""


class Digests(NamedTuple):
    """What reading a target again came to."""

    content_digest: str | None
    """None where something could not be read: it is then the digest of something else."""
    file_count: int
    """Files that were read whole."""
    read_bytes: int
    cached_count: int
    """Those of them for which a cache may have answered instead of the medium."""
    finding_count: int


class DigestedMember(NamedTuple):
    """A member that was read again."""

    member: Member
    digest: bytes | None
    """BLAKE3 of a file's content; None for what is no file."""
    is_from_medium: bool
    """False where a cache may have answered; True for what is no file."""


def digest_members(
    items: Iterable[Reread],
    *,
    on_member: Callable[[DigestedMember], None],
    on_finding: Callable[[Finding], None],
    on_progress: Callable[[int], None] | None = None,
) -> Digests:
    """Digest members as they are read, in constant memory.

    Args:
        items: What reading them again gives.
        on_member: Gets each member in order; a file only if it was read whole and did not change meanwhile.
        on_finding: Gets each one that was not.
        on_progress: Gets the bytes read so far, about once per MiB and at the end.
    """
    digesting = _Digesting(on_member, on_finding, on_progress)
    for item in items:
        digesting.take(item)
    return digesting.end()


class _Digesting:
    def __init__(
        self,
        on_member: Callable[[DigestedMember], None],
        on_finding: Callable[[Finding], None],
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self._on_member = on_member
        self._on_finding = on_finding
        self._on_progress = on_progress
        self._digest = ContentDigest(self._tell)
        self._is_from_medium = True
        self._file_count = self._read_bytes = self._told_bytes = self._cached_count = self._finding_count = 0

    def take(self, item: Reread) -> None:
        if isinstance(item, memoryview):
            self._digest.add([item])
            self._read_bytes += len(item)
            if self._read_bytes - self._told_bytes >= _TOLD_EVERY_BYTES:
                self._tell_progress()
        elif isinstance(item, Member):
            self._digest.add([Placed(item, frame(item), _NOWHERE)])
            if item.kind != "file":
                self._digest.end_member()
        elif isinstance(item, FileEnd):
            self._end_file(item)
        else:
            self._find(item)

    def end(self) -> Digests:
        if self._read_bytes > self._told_bytes:
            self._tell_progress()
        text = None if self._finding_count else self._digest.text()
        return Digests(text, self._file_count, self._read_bytes, self._cached_count, self._finding_count)

    def _end_file(self, item: FileEnd) -> None:
        if item.finding is not None:
            self._digest.forget_member()
            self._find(item.finding)
            return
        self._file_count += 1
        self._cached_count += not item.is_from_medium
        self._is_from_medium = item.is_from_medium
        self._digest.end_member()

    def _tell_progress(self) -> None:
        self._told_bytes = self._read_bytes
        if self._on_progress is not None:
            self._on_progress(self._read_bytes)

    def _tell(self, placed: Placed, digest: bytes | None) -> None:
        is_from_medium = self._is_from_medium if placed.member.kind == "file" else True
        self._on_member(DigestedMember(placed.member, digest, is_from_medium))

    def _find(self, finding: Finding) -> None:
        self._finding_count += 1
        self._on_finding(finding)
