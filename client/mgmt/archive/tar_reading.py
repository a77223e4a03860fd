"""Reads the members of a tar stream, one after the other, in constant memory.

The headers are parsed by the standard library's `tarfile`, in all their dialects. It is given no more than it should
have: a header of a mebibyte at most, no step back, and never the end of the data in place of the end of the archive.
"""

from __future__ import annotations

import io
import math
import tarfile
import zlib
from collections.abc import Iterator
from typing import Final, Self

from blake3 import blake3

from mgmt.archive.blocks import damaged
from mgmt.archive.headers import MAGIC, NOBODY, USTAR
from mgmt.archive.index import MODE_MAX, IndexedMember
from mgmt.archive.names_here import hostile
from mgmt.archive.rules import OVER_LIMIT
from mgmt.errors import IntegrityError
from mgmt.layout import TAR_HEADER_LIFTED_MAX_BYTES, TAR_HEADER_MAX_BYTES, TAR_RECORD_BYTES, MemberKind, encode_path
from mgmt.text import shown

_SHARED_RECORDS_MAX: Final = 100
"""Most PAX records that hold for all members which follow."""
_END: Final = bytes(TAR_RECORD_BYTES)
_KINDS: Final[dict[bytes, MemberKind]] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
}
_PLAIN_TYPES: Final = frozenset({tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE})
_PLAIN_REST: Final = MAGIC.ljust(88, b"\0")
_SPECIAL: Final = {
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


class TarReader:
    """Yields members; the content of the one that was yielded last can be read before the next is asked for.

    Args:
        pieces: The tar stream; each piece is good until the next is asked for.
        offset: Where in it the pieces begin.
        header_max_bytes: The longest header of a member that is read.

    Raises:
        IntegrityError: archive-damaged, other-format, over-limit or hostile-archive, from every method too.
    """

    def __init__(
        self,
        pieces: Iterator[bytes | memoryview],
        offset: int = 0,
        *,
        header_max_bytes: int = TAR_HEADER_MAX_BYTES,
    ) -> None:
        self._bytes = _TarBytes(pieces, offset, header_max_bytes)
        self._content_bytes = 0

    def members(self) -> Iterator[IndexedMember]:
        """Yield the members, without digests, to the archive's end; what lies behind must be padding."""
        try:
            tar = tarfile.TarFile(fileobj=self._bytes, tarinfo=PlainInfo, encoding="utf-8", errors="surrogateescape")
            is_empty = vars(tar)["firstmember"] is None  # behind the end already
            while not is_empty and (info := tar.next()) is not None:
                vars(tar)["members"].clear()  # else all of them are kept
                if len(tar.pax_headers) > _SHARED_RECORDS_MAX:
                    raise hostile(f"more than {_SHARED_RECORDS_MAX} PAX records are said to hold for all members")
                member = _to_member(info)
                self._content_bytes = member.size_bytes
                yield member
        except tarfile.TarError as error:
            raise damaged(str(error)) from error
        except RecursionError as error:
            raise hostile("one of its headers is made of very many") from error
        except (ValueError, OverflowError) as error:  # such as a number of a sparse file that is none
            raise damaged(f"one of its headers makes no sense ({error})") from error
        if self._bytes.latest_header != _END:
            raise damaged("one of its headers is none")
        for piece in self._bytes.rest():
            if bytes(piece).strip(b"\0"):
                raise damaged("something follows its end")

    def content(self) -> Iterator[memoryview]:
        """Yield the content of the member that was yielded last, once."""
        size_bytes, self._content_bytes = self._content_bytes, 0
        return self._bytes.take(size_bytes)

    def digest_content(self) -> bytes:
        """Read that content, and return its digest."""
        hashed = blake3()
        for data in self.content():
            hashed.update(data)
        return hashed.digest()

    def go_on_in(self, member: IndexedMember, done_bytes: int) -> None:
        """Go to a place within a member's content, as if this member was yielded last and read up to there."""
        self._bytes.seek(member.content_offset + done_bytes)
        self._content_bytes = member.size_bytes - done_bytes

    def skip_to(self, offset: int) -> None:
        """Go to where a member begins, before the first is asked for."""
        self._bytes.seek(offset)

    @property
    def offset(self) -> int:
        """Bytes of the tar stream that were taken so far."""
        return self._bytes.tell()


def _refuse_header(size_bytes: int) -> IntegrityError:
    """Make the error for a header that is too long: an older mgmt may have packed it, if any reason is in it."""
    if not 0 <= size_bytes <= TAR_HEADER_LIFTED_MAX_BYTES:
        return hostile(f"one of its headers has {size_bytes} bytes")
    return IntegrityError(
        f"The archive has a path that is too long: one of its headers has {size_bytes:,} bytes, and "
        f"{TAR_HEADER_MAX_BYTES:,} are read. If that is meant to be, `mgmt download` brings the archive as it is, for "
        "another program to unpack, and with --extract --no-limits mgmt unpacks it. Nothing of it was unpacked.",
        code=OVER_LIMIT,
    )


def end_of(member: IndexedMember) -> int:
    """Return where in the tar stream the next member begins."""
    return member.content_offset + -(-member.size_bytes // TAR_RECORD_BYTES) * TAR_RECORD_BYTES


class PlainInfo(tarfile.TarInfo):
    """Parses the plain headers that mgmt writes quickly, and leaves all others to the library.

    Of 20,000 small files the headers would otherwise take as long as everything else that is done in Python.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        """Parse a header's first record."""
        found = cls._parse(bytes(buf))
        return super().frombuf(buf, encoding or "utf-8", errors) if found is None else found

    @classmethod
    def _parse(cls, record: bytes) -> Self | None:
        if len(record) != TAR_RECORD_BYTES or not record.isascii():
            return None
        name, mode, owners, size, mtime, checksum, kind, target, rest, prefix = USTAR.unpack(record)
        numbers = mode[:7] + size[:11] + mtime[:11] + checksum[:6]
        if owners != NOBODY or rest != _PLAIN_REST or kind not in _PLAIN_TYPES or numbers.strip(b"01234567"):
            return None
        # Adler-32's low half is 1 and the sum of the bytes, as these are ASCII: see `headers`.
        if (zlib.adler32(record) & 0xFFFF) - 1 - sum(checksum) + 8 * ord(" ") != int(checksum[:6], 8):
            return None
        if mode[7] or size[11] or mtime[11] or checksum[6]:
            return None
        path = _to_text(name)
        if kind == tarfile.DIRTYPE:
            path = path.rstrip("/")
        info = cls(f"{_to_text(prefix)}/{path}" if prefix[0] else path)
        info.mode, info.size, info.mtime = int(mode[:7], 8), int(size[:11], 8), int(mtime[:11], 8)
        info.type, info.linkname, info.chksum = kind, _to_text(target), int(checksum[:6], 8)
        return info


def _to_text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("ascii")


class _TarBytes(io.RawIOBase):
    """A tar stream as `tarfile` wants it: a file that is read from its beginning on."""

    def __init__(self, pieces: Iterator[bytes | memoryview], offset: int, header_max_bytes: int) -> None:
        super().__init__()
        self._header_max_bytes = header_max_bytes
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._at = 0
        self._taken_bytes = offset
        """Before this piece."""
        self.latest_header = b""

    def read(self, size_bytes: int = -1, /) -> bytes:
        """Return exactly so many bytes."""
        if not 0 <= size_bytes <= self._header_max_bytes:
            raise _refuse_header(size_bytes)
        stop = self._at + size_bytes
        if stop <= len(self._piece):
            data = bytes(self._piece[self._at : stop])
            self._at = stop
        else:
            data = b"".join(self.take(size_bytes))
        self.latest_header = data
        return data

    def tell(self) -> int:
        return self._taken_bytes + self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go forward; there is no way back in a stream."""
        missing_bytes = offset - self.tell()
        if missing_bytes < 0 or whence:
            raise hostile("the size of a member leads back to another one")
        for _ in self.take(missing_bytes):
            pass
        return offset

    def take(self, size_bytes: int) -> Iterator[memoryview]:
        """Yield exactly so many bytes, as views that are good until the next one."""
        while size_bytes:
            if self._at == len(self._piece) and not self._turn():
                raise damaged("it is cut off")
            stop = min(self._at + size_bytes, len(self._piece))
            view = self._piece[self._at : stop]
            self._at = stop
            size_bytes -= len(view)
            yield view

    def rest(self) -> Iterator[memoryview]:
        """Yield all that is left."""
        yield self._piece[self._at :]
        while self._turn():
            yield self._piece
        self._at = len(self._piece)

    def _turn(self) -> bool:
        self._taken_bytes += len(self._piece)
        self._piece, self._at = memoryview(next(self._pieces, b"")), 0
        return bool(self._piece)


def _to_member(info: tarfile.TarInfo) -> IndexedMember:
    kind = _KINDS.get(info.type)
    if info.issparse():
        raise IntegrityError(
            f"'{shown(info.name)}' is stored as a sparse file, which mgmt never packs and cannot unpack. Keep the "
            "archive and unpack it with GNU tar.",
            code="other-format",
        )
    if kind is None:
        raise hostile(f"'{shown(info.name)}' is {_SPECIAL.get(info.type, f'of the unknown type {info.type!r}')}")
    if info.size < 0 or not 0 <= info.mode <= MODE_MAX or not math.isfinite(info.mtime):
        raise hostile(f"'{shown(info.name)}' has a size, mode or time that is none")
    return IndexedMember(
        path=encode_path(info.name),
        kind=kind,
        size_bytes=info.size if kind == "file" else 0,
        mode=info.mode,
        mtime_seconds=math.floor(info.mtime),
        target=encode_path(info.linkname) if kind in ("symlink", "hardlink") else b"",
        content_offset=info.offset_data,
        digest=None,
    )
