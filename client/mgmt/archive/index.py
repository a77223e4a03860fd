"""The index of an archive: what is in it and where, so that a single file can be read without the rest.

It is gzipped text: one line that describes the archive (a JSON object), then one line for each member (a JSON array).
The members' digests prove the list: together they give the content digest that the archive's record carries.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
import re
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple, Self

from mgmt.archive.checksums import ListDigest, Placed
from mgmt.errors import IntegrityError, LocalStateError
from mgmt.layout import (
    BLOCK_SIZE_BYTES,
    FORMAT_VERSION,
    GZIP_HEADER_BYTES,
    LETTERS,
    TAR_HEADER_MAX_BYTES,
    MemberKind,
    decode_path,
    encode_path,
    frame,
    temporary_name,
)
from mgmt_contract.values import Value

INDEX_VERSION: Final = 1
_ESCAPED_BYTE_CHARACTERS: Final = 6
"""The most that one byte of a path takes in JSON, such as `\\udcff`."""
_FACTS_MAX_BYTES: Final = 1024
"""More than all else in a line takes: four numbers and a digest."""
LINE_MAX_BYTES: Final = 2 * _ESCAPED_BYTE_CHARACTERS * TAR_HEADER_MAX_BYTES + _FACTS_MAX_BYTES
"""The longest line of a member: its path and its target, each as long as one that is read from an archive."""
HEADER_MAX_BYTES: Final = 64 * 1024 * 1024
"""The longest first line: the block lengths of an archive of 10 TiB take half of it."""
MODE_MAX: Final = 0o177777
"""All that POSIX has in a mode; systems take no larger number for one."""
_NUMBER_MAX: Final = 2**63 - 1
_BLOCKS_MAX: Final = 10 * 2**40 // BLOCK_SIZE_BYTES
"""Those of 10 TiB: a line with more commas would fill the memory, from few bytes of an index."""
_KINDS: Final[Mapping[str, MemberKind]] = {letter.decode(): kind for kind, letter in LETTERS.items()}
_FILE_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class ArchiveFacts(Value):
    """What an index says of its archive."""

    format_version: int
    block_size_bytes: int
    """Of each block of the tar stream but the last."""
    first_block_offset: int
    """Where in the archive the first block begins."""
    block_lengths: tuple[int, ...]
    """Bytes that each block takes in the archive."""
    tar_bytes: int
    archive_size: int
    crc64nvme: str
    content_digest: str
    member_count: int


class IndexedMember(NamedTuple):
    """A member as an index lists it."""

    path: bytes
    kind: MemberKind
    size_bytes: int
    mode: int
    mtime_seconds: int
    target: bytes
    """As in `Member.target`."""
    content_offset: int
    """Where in the tar stream its content begins."""
    digest: bytes | None
    """BLAKE3 of a file's content; None for what is no file."""


class IndexWriter:
    """Writes an index while its archive is packed or read, in constant memory but for eight bytes per block.

    What describes the archive is known last and stands first, so the members wait in a file without a name, of which a
    crash leaves nothing. Members and blocks may come from two threads. A disk that does not take the members disturbs
    nobody before `write`: an archive is worth more than its index.

    Args:
        folder: Where the members wait.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = open_nameless(folder)
        self._deflating = zlib.compressobj(wbits=31)
        self._block_lengths: list[int] = []
        self._facts: ArchiveFacts | None = None
        self._failure: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # of bytes that nobody wants any more
            self._lines.close()

    def note_packed(self, placed: Placed, digest: bytes | None) -> None:
        """List a member that was packed."""
        found = placed.member
        self.add(
            IndexedMember(
                path=found.path,
                kind=found.kind,
                size_bytes=found.size_bytes,
                mode=found.mode,
                mtime_seconds=found.mtime_seconds,
                target=found.target,
                content_offset=placed.content_offset,
                digest=digest,
            )
        )

    def add(self, member: IndexedMember) -> None:
        """List the next member."""
        self._keep(self._deflating.compress(write_member(member)))

    def note_block(self, length: int) -> None:
        """Note the bytes that the next block takes in the archive."""
        self._block_lengths.append(length)

    def describe(
        self, *, tar_bytes: int, archive_size: int, crc64nvme: str, content_digest: str, member_count: int
    ) -> None:
        """Say what the whole archive is, once all members and blocks are known."""
        self._facts = ArchiveFacts(
            format_version=FORMAT_VERSION,
            block_size_bytes=BLOCK_SIZE_BYTES,
            first_block_offset=GZIP_HEADER_BYTES,
            block_lengths=tuple(self._block_lengths),
            tar_bytes=tar_bytes,
            archive_size=archive_size,
            crc64nvme=crc64nvme,
            content_digest=content_digest,
            member_count=member_count,
        )
        self._keep(self._deflating.flush())

    @property
    def facts(self) -> ArchiveFacts:
        """What was described."""
        assert self._facts is not None  # noqa: S101  what is not whole has no index
        return self._facts

    def write(self, target: IO[bytes]) -> None:
        """Write the whole index of an archive that is described.

        Raises:
            OSError: If a disk does not take it, or did not take the members before.
        """
        if self._failure is not None:
            raise self._failure
        target.write(gzip.compress(_write_line({"mgmt_index": INDEX_VERSION, **vars(self.facts)}), mtime=0))
        self._lines.seek(0)
        shutil.copyfileobj(self._lines, target)

    def _keep(self, data: bytes) -> None:
        if self._failure is None:
            try:
                self._lines.write(data)
            except OSError as error:
                self._failure = error


def open_nameless(folder: Path) -> IO[bytes]:
    """Open a new file without a name, which is gone when it is closed.

    Where a system must give it one for a while, it is one by which it is known as ours.

    Raises:
        OSError: If the folder takes none.
    """
    return tempfile.TemporaryFile(dir=folder, prefix=".index.", suffix=temporary_name(""))


class Index:
    """An index that is read: of its archive, and as often as asked of its members, in constant memory.

    Args:
        source: The path it lies at, or an open file that nothing else reads or writes meanwhile.

    Raises:
        IntegrityError: index-damaged, from every method too.
        LocalStateError: list-unreadable, from every method too: its disk does not give back what was written.
    """

    def __init__(self, source: Path | BinaryIO) -> None:
        self._source = source
        self._seeking = threading.Lock()
        with self._open() as file:
            self.facts = _parse_facts(_read_line(file, HEADER_MAX_BYTES))

    @cached_property
    def _block_ends(self) -> list[int]:
        return list(accumulate(self.facts.block_lengths, initial=self.facts.first_block_offset))

    def members(self) -> Iterator[IndexedMember]:
        """Read the members, in the archive's order."""
        with self._open() as file:
            _read_line(file, HEADER_MAX_BYTES)
            while line := _read_line(file, LINE_MAX_BYTES):
                yield parse_member(line)

    def refuse_false(self, content_digest: str, archive_size: int) -> None:
        """Compare the index with the archive's record, and its members with its content digest.

        Raises:
            IntegrityError: If it is another archive's, or a member was changed, added or removed.
        """
        listed = ListDigest()
        for member in self.members():
            listed.add(frame(member), member.digest)
        said = (self.facts.content_digest, self.facts.archive_size, self.facts.content_digest, self.facts.member_count)
        if said != (content_digest, archive_size, listed.text(), listed.member_count):
            raise _damaged("it is not the index of this archive, or it was changed")

    def find_range(self, start: int, stop: int) -> tuple[range, range]:
        """Find where the archive holds the tar stream's bytes from `start` to `stop`.

        Returns:
            The numbers of the blocks, and the archive's bytes that these take.
        """
        size_bytes = self.facts.block_size_bytes
        blocks = range(start // size_bytes, -(-stop // size_bytes))
        if blocks.stop > len(self.facts.block_lengths):
            raise _damaged("a member lies behind the last block")
        return blocks, range(self._block_ends[blocks.start], self._block_ends[blocks.stop])

    def measure_block(self, number: int) -> tuple[int, int]:
        """Return how many bytes a block takes in the archive, and how many of the tar stream are in it."""
        facts = self.facts
        tar_bytes = min(facts.block_size_bytes, facts.tar_bytes - number * facts.block_size_bytes)
        return facts.block_lengths[number], tar_bytes

    def _open(self) -> gzip.GzipFile:
        if isinstance(self._source, Path):
            return gzip.open(self._source, "rb")
        return gzip.GzipFile(fileobj=io.BufferedReader(_SharedReader(self._source, self._seeking)), mode="rb")


class _SharedReader(io.RawIOBase):
    """One of several readers of a file, each with a position of its own."""

    def __init__(self, file: BinaryIO, seeking: threading.Lock) -> None:
        super().__init__()
        self._file = file
        self._seeking = seeking
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what comes next for this reader."""
        with self._seeking:
            self._file.seek(self._offset)
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)


def write_member(member: IndexedMember) -> bytes:
    """Write the line of a member."""
    line = (
        decode_path(member.path),
        LETTERS[member.kind].decode(),
        member.size_bytes,
        member.mode,
        member.mtime_seconds,
        decode_path(member.target),
        member.content_offset,
        member.digest.hex() if member.digest is not None else None,
    )
    return _write_line(line)


def _write_line(value: Mapping[str, object] | Sequence[object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _read_line(file: gzip.GzipFile, most_bytes: int) -> bytes:
    try:
        line = file.readline(most_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(str(error)) from error
    except OSError as error:
        raise LocalStateError(
            f"The list of what is in the archive cannot be read back: {error.strerror or error}. See to the disk that "
            "temporary files are on, or set TMPDIR to a folder on another one, then run the same command again.",
            code="list-unreadable",
        ) from error
    if line and not line.endswith(b"\n"):
        raise _damaged("a line is too long or cut off")
    return line


def _parse_facts(line: bytes) -> ArchiveFacts:
    if line.count(b",") > _BLOCKS_MAX:
        raise _damaged("it names more blocks than an archive has")
    try:
        found = json.loads(line)
        version = found.pop("mgmt_index")
        if version != INDEX_VERSION:
            raise _damaged(f"its version is {version!r}, expected {INDEX_VERSION}; a newer mgmt can read it")
        facts = ArchiveFacts(**found | {"block_lengths": tuple(found["block_lengths"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged("its first line does not describe an archive") from error
    numbers = (facts.first_block_offset, *facts.block_lengths, facts.tar_bytes, facts.archive_size, facts.member_count)
    if not all(type(number) is int and number >= 0 for number in numbers) or not (
        facts.block_size_bytes == BLOCK_SIZE_BYTES  # of every version so far
        and len(facts.block_lengths) == -(-facts.tar_bytes // BLOCK_SIZE_BYTES)
        and facts.first_block_offset + sum(facts.block_lengths) <= facts.archive_size
    ):
        raise _damaged("its blocks do not make up an archive")
    return facts


def parse_member(line: bytes) -> IndexedMember:
    """Read the line of a member.

    Raises:
        IntegrityError: index-damaged.
    """
    try:
        path, letter, size_bytes, mode, mtime_seconds, target, content_offset, digest = json.loads(line)
        _require_texts(path, target)
        kind = _KINDS[letter]
        _require_numbers_up_to(_NUMBER_MAX, size_bytes, content_offset)
        _require_numbers_up_to(MODE_MAX, mode)
        _require_numbers_up_to(math.inf, abs(mtime_seconds))  # a time that no disk knows is passed over
        return IndexedMember(
            path=encode_path(path),
            kind=kind,
            size_bytes=size_bytes,
            mode=mode,
            mtime_seconds=mtime_seconds,
            target=encode_path(target),
            content_offset=content_offset,
            digest=_parse_digest(digest, kind),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged("one of its lines does not describe a member") from error


def _require_texts(*values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TypeError(values)


def _require_numbers_up_to(most: float, *values: Any) -> None:
    if not all(type(value) is int and 0 <= value <= most for value in values):
        raise TypeError(values)


def _parse_digest(text: str | None, kind: MemberKind) -> bytes | None:
    if (kind == "file") != (text is not None) or (text is not None and not _FILE_DIGEST.fullmatch(text)):
        raise ValueError(text)
    return bytes.fromhex(text) if text is not None else None


def _damaged(why: str) -> IntegrityError:
    return IntegrityError(f"The archive's index cannot be used: {why}.", code="index-damaged")
