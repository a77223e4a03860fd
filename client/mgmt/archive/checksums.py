"""Checksums of an archive: CRC64NVME of its bytes and parts, as S3 computes it, and the digest of its content.

The content digest is the same for the same content, however and whenever it is packed. Every file has a BLAKE3 digest
of its own. The content digest is BLAKE3 over the members in order: each one's frame (see `mgmt.layout.frame`),
followed for a file by the 32 bytes of its own digest, so no two different lists of members give the same bytes.
Times, owners, codec and plan are left out. One pass over the files gives both, and a list of the members with their
digests is enough to compute the content digest again.

SHA-256 would take twice as long, and six times as long on processors without instructions for it. More threads
than one would only take processors from the compressing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import anycrc  # type: ignore[import-untyped]  # it has no annotations
from blake3 import blake3

from mgmt.errors import INTERRUPTED, CancelledError, archive_unreadable
from mgmt.layout import Member
from mgmt_contract.messages.uploads import Part
from mgmt_contract.parts import MIB, SINGLE_PUT_MAX_BYTES
from mgmt_contract.values import Value

_READ_SIZE_BYTES: Final = MIB
_MODEL: Final = anycrc.Model("CRC64-NVME")
_continue: Final[Callable[[bytes | memoryview, int], int]] = _MODEL.calc


def crc64nvme(data: bytes | memoryview, before: int = 0) -> int:
    """Continue the checksum `before` over `data`."""
    return _continue(data, before)


def written(crc: int) -> str:
    """Write a checksum as S3 does.

    >>> written(crc64nvme(b"123456789"))
    'rosUhgp5mIg='
    """
    return base64.b64encode(crc.to_bytes(8, "big")).decode("ascii")


class WholeMD5:
    """MD5 of an archive that one PUT can carry, as HTTP writes it; larger archives get none, at no cost."""

    def __init__(self, size_bound_bytes: int) -> None:
        is_wanted = size_bound_bytes <= SINGLE_PUT_MAX_BYTES
        self._hash = hashlib.md5(usedforsecurity=False) if is_wanted else None

    def add(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Count in the next bytes."""
        if self._hash is not None:
            for piece in pieces:
                self._hash.update(piece)

    def text(self) -> str | None:
        """Return the MD5 of everything that was added."""
        return None if self._hash is None else base64.b64encode(self._hash.digest()).decode("ascii")


class PartSums:
    """Counts bytes off into parts, and joins the parts' checksums to the whole's: each byte is read once."""

    def __init__(self, part_size_bytes: int | None, on_part: Callable[[Part], None] | None = None) -> None:
        self.parts: list[Part] = []
        self._part_size_bytes = part_size_bytes
        self._on_part = on_part
        self._ended_bytes = 0
        self._whole_crc = 0
        self._part_crc = 0
        self._part_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes counted in so far."""
        return self._ended_bytes + self._part_bytes

    @property
    def crc64nvme(self) -> str:
        """Checksum of everything up to the last closed part."""
        return written(self._whole_crc)

    def add(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Count in the next bytes; parts that are complete with them are handed on."""
        for piece in pieces:
            if self._part_size_bytes and self._part_bytes + len(piece) >= self._part_size_bytes:
                self._add_across(memoryview(piece), self._part_size_bytes)
            else:
                self._count(piece)

    def close(self) -> None:
        """Hand on what is left as the last part; an empty archive is one empty part."""
        if self._part_bytes or not self.parts:
            self._end_part()

    def _add_across(self, view: memoryview, part_size_bytes: int) -> None:
        while self._part_bytes + len(view) >= part_size_bytes:
            room_bytes = part_size_bytes - self._part_bytes
            self._count(view[:room_bytes])
            self._end_part()
            view = view[room_bytes:]
        self._count(view)

    def _count(self, piece: bytes | memoryview) -> None:
        # Some thirty times per MiB of stored data: only the checksum may cost time here.
        self._part_crc = _continue(piece, self._part_crc)
        self._part_bytes += len(piece)

    def _end_part(self) -> None:
        part = Part(len(self.parts) + 1, self._part_bytes, written(self._part_crc))
        self._whole_crc = int(_MODEL.combine(self._whole_crc, self._part_crc, self._part_bytes))
        self._ended_bytes += self._part_bytes
        self._part_crc = self._part_bytes = 0
        self.parts.append(part)
        if self._on_part is not None:
            self._on_part(part)


class ArchiveSums(Value):
    """Size and checksums of an archive on the disk."""

    size: int
    crc64nvme: str
    parts: tuple[Part, ...]
    content_md5: str | None = None
    """Only of an archive that one PUT can carry."""


def read_archive(
    path: str | Path,
    part_size_bytes: int | None = None,
    *,
    on_part: Callable[[Part], None] | None = None,
    stop: threading.Event | None = None,
) -> ArchiveSums:
    """Compute the checksums of an existing archive and of its parts; one part without a part size.

    Args:
        path: The archive's.
        part_size_bytes: Size of every part but the last.
        on_part: Gets each part as soon as it was read.
        stop: Ends the reading soon after it was set.

    Raises:
        LocalStateError: archive-unreadable.
        CancelledError: If `stop` was set.
    """
    sums = PartSums(part_size_bytes, on_part)
    view = memoryview(bytearray(_READ_SIZE_BYTES))
    try:
        with Path(path).open("rb", buffering=0) as file:
            md5 = WholeMD5(os.fstat(file.fileno()).st_size)
            while count := file.readinto(view):
                if stop is not None and stop.is_set():
                    raise CancelledError(INTERRUPTED)
                sums.add([view[:count]])
                md5.add([view[:count]])
    except OSError as error:
        raise archive_unreadable(os.fspath(path), error.strerror or str(error)) from error
    sums.close()
    return ArchiveSums(sums.size_bytes, sums.crc64nvme, tuple(sums.parts), md5.text())


BEGINNING: Final = b"mgmt content 2\0"
"""What the content digest is taken over begins with this."""
_DIGEST_OF_NOTHING: Final = blake3(b"").digest()


class Placed(NamedTuple):
    """A member in the tar stream."""

    member: Member
    framed: bytes
    """Its frame."""
    content_offset: int
    """Where in the tar stream its content begins, right behind its header."""


Digested = Placed | memoryview
"""The digest's input: each member, followed by its content in pieces."""
OnMember = Callable[[Placed, bytes | None], None]
"""Gets each member with its file's digest once that is known; None for what is no file."""


class ListDigest:
    """The content digest of listed members: takes each one's frame with its file's digest, in order."""

    def __init__(self) -> None:
        self._hash = blake3(BEGINNING)
        self.member_count = 0

    def add(self, framed: bytes, digest: bytes | None) -> None:
        """Take the next member; a digest of None, or an empty one, is that of what is no file."""
        self._hash.update(framed)
        self._hash.update(digest or b"")
        self.member_count += 1

    def text(self) -> str:
        """Write the digest of all that was added, as records carry it."""
        return "blake3:" + self._hash.hexdigest()


class ContentDigest:
    """Takes members, each followed by its content, in order.

    Args:
        on_member: Gets each member as soon as it was read whole; called in the thread that adds.
    """

    def __init__(self, on_member: OnMember | None = None) -> None:
        self._hash = blake3(BEGINNING)
        self._on_member = on_member
        self._current: Placed | None = None
        self._file: blake3 | None = None
        self._framed: list[bytes] = []

    def add(self, items: Sequence[Digested]) -> None:
        """Take the next items, and be done with them on return."""
        for item in items:
            if isinstance(item, Placed):
                self.end_member()
                self._current = item
            elif self._file is None:
                self._file = blake3(item)
            else:
                self._file.update(item)
        self._hash_framed()

    def text(self) -> str:
        """Write the digest of everything that was added, as records carry it."""
        self.end_member()
        self._hash_framed()
        return "blake3:" + self._hash.hexdigest()

    def forget_member(self) -> None:
        """Leave out the member that was added last: its content is not whole."""
        self._current = self._file = None

    def end_member(self) -> None:
        """Be done with the member that was added last, without waiting for the next one."""
        placed, self._current = self._current, None
        if placed is None:
            return
        digest = None
        self._framed.append(placed.framed)
        if placed.member.kind == "file":
            digest = self._file.digest() if self._file is not None else _DIGEST_OF_NOTHING
            self._framed.append(digest)
            self._file = None
        if self._on_member is not None:
            self._on_member(placed, digest)

    def _hash_framed(self) -> None:
        """Hash what has gathered with one call: hundreds of small members come in one block."""
        self._hash.update(b"".join(self._framed))
        self._framed.clear()
