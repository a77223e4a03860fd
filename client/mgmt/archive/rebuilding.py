"""Makes the index of an archive anew by reading it once, for one whose index was lost or never made."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from typing import Final

from blake3 import blake3

from mgmt.archive.blocks import Readable, damaged, read_blocks
from mgmt.archive.checksums import PartSums
from mgmt.archive.digest import BEGINNING
from mgmt.archive.index import IndexedMember, IndexWriter
from mgmt.errors import INTERRUPTED, CancelledError
from mgmt.members import MemberKind, frame_of
from mgmt_contract.parts import MIB

_COPY_SIZE_BYTES: Final = MIB
_KINDS: Final[dict[bytes, MemberKind]] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
}


def rebuild_index(file: Readable, index: IndexWriter, *, stop: threading.Event | None = None) -> None:
    """Read an archive of this format from its beginning to its end, and tell an index all that it holds.

    What the index then says of checksum, size and content digest was computed here: comparing it with a record tells
    whether the archive is the one that was recorded.

    Args:
        file: The archive.
        index: Is told all; it can be written afterwards.
        stop: Ends the reading soon after it was set.

    Raises:
        IntegrityError: archive-damaged, or other-format for an archive of another format or of another program.
        CancelledError: If `stop` was set.
    """
    counted = _Counted(file, stop)
    stream = _TarBytes(counted, index)
    hashed = blake3(BEGINNING)
    member_count = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_COPY_SIZE_BYTES) as tar:
            for member in _list_members(tar):
                index.add(member)
                hashed.update(frame_of(member.path, member.kind, member.mode, member.size_bytes, member.target))
                hashed.update(member.digest or b"")
                member_count += 1
                vars(tar)["members"].clear()  # else all of them are kept
    except tarfile.TarError as error:
        raise damaged(str(error)) from error
    stream.read_to_end()
    counted.sums.close()
    index.describe(
        tar_bytes=stream.size_bytes,
        archive_size=counted.sums.size_bytes,
        crc64nvme=counted.sums.crc64nvme,
        content_digest="blake3:" + hashed.hexdigest(),
        member_count=member_count,
    )


class _Counted:
    """An archive whose size and checksum are taken as it is read."""

    def __init__(self, file: Readable, stop: threading.Event | None) -> None:
        self._file = file
        self._stop = stop
        self.sums = PartSums(None)

    def read(self, most_bytes: int, /) -> bytes:
        if self._stop is not None and self._stop.is_set():
            raise CancelledError(INTERRUPTED)
        data = self._file.read(most_bytes)
        self.sums.add([data])
        return data


class _TarBytes(io.RawIOBase):
    """The tar stream in an archive, as a file that is read from its beginning on."""

    def __init__(self, file: Readable, index: IndexWriter) -> None:
        super().__init__()
        self._blocks = read_blocks(file)
        self._index = index
        self._rest = b""
        self.size_bytes = 0

    def read(self, most_bytes: int = -1, /) -> bytes:
        """Return the next bytes: what is left of one block at most."""
        if not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._index.note_block(block.length)
            self.size_bytes += len(block.content)
            self._rest = block.content
        taken, self._rest = self._rest[:most_bytes], self._rest[most_bytes:]
        return taken

    def read_to_end(self) -> None:
        """Read on to the archive's trailer, which proves the bytes."""
        while self.read(_COPY_SIZE_BYTES):
            pass


def _list_members(tar: tarfile.TarFile) -> Iterator[IndexedMember]:
    for info in tar:
        kind = _KINDS.get(info.type)
        if kind is None:
            raise damaged(f"it holds a member of type {info.type!r}, which mgmt never packs")
        yield IndexedMember(
            path=_encode(info.name),
            kind=kind,
            size_bytes=info.size if kind == "file" else 0,
            mode=info.mode,
            mtime_seconds=int(info.mtime),
            target=_encode(info.linkname),
            content_offset=info.offset_data,
            digest=_digest_content(tar, info) if kind == "file" else None,
        )


def _digest_content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    hashed = blake3()
    content = tar.extractfile(info)
    while content is not None and (data := content.read(_COPY_SIZE_BYTES)):
        hashed.update(data)
    return hashed.digest()


def _encode(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
