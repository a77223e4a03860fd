"""The layout of an archive: its members, blocks, framing, largest size, and the names of unfinished ones.

Ground for `source`, which finds the members, and `archive`, which packs them; neither knows the other. Looking at a
source needs these figures before there is an archive; packing makes them true.

An archive is one gzip member around one tar stream. The stream is cut into blocks of `BLOCK_SIZE_BYTES`, and
each block becomes either deflate data or stored deflate blocks, whichever the plan says, but never more bytes
than stored blocks take.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Generator, Mapping
from typing import Final, Literal, NamedTuple, Protocol

from mgmt_contract.names import archive_name
from mgmt_contract.parts import MIB

FORMAT_VERSION: Final = 3
"""Grows when the same source, codec and plan would give other bytes than before."""
GZIP_COMMENT: Final = b"mgmt %d" % FORMAT_VERSION
"""By this comment in its gzip header an archive is recognised as ours."""

BLOCK_SIZE_BYTES: Final = 2 * MIB
STORED_SIZE_MAX_BYTES: Final = 65_535
"""Most that one stored deflate block holds (RFC 1951, 3.2.4)."""
STORED_HEADER_BYTES: Final = 5
TAR_RECORD_BYTES: Final = 512
TAR_END_BYTES: Final = 2 * TAR_RECORD_BYTES
TAR_HEADER_MAX_BYTES: Final = MIB
"""The longest tar header that is read, so the longest path: those of systems that take a path whole end at 32 KiB."""
TAR_HEADER_LIFTED_MAX_BYTES: Final = 64 * MIB
"""The longest that is read where no limits hold: an older mgmt packed longer paths than this one does."""
MEMBER_PATHS_MAX_BYTES: Final = TAR_HEADER_MAX_BYTES - 2 * TAR_RECORD_BYTES
"""The most that a member's path and its target have together: longer ones are not packed, so every header can be read.

The rest is for what else is in a PAX header: `_PAX_RECORDS_BYTES`, filled up to whole records.
"""

NAME_MAX_BYTES: Final = 255
"""The longest name that file systems take."""

TEMPORARY_SUFFIX: Final = b".part"

GZIP_HEADER_BYTES: Final = 10 + len(GZIP_COMMENT) + 1
_GZIP_TRAILER_BYTES: Final = 8
_DEFLATE_END_BYTES: Final = 5
_TOKEN_HEX_DIGITS: Final = 8
_TEMPORARY_ENDING: Final = ".part"
_TEMPORARY_NAME: Final = re.compile(rb"\..*\.mgmt-[0-9a-f]{8}\.part", re.DOTALL)


def padded_bytes(size_bytes: int) -> int:
    """Round a size up to whole tar records.

    >>> padded_bytes(0), padded_bytes(1), padded_bytes(512)
    (0, 512, 512)
    """
    return -(-size_bytes // TAR_RECORD_BYTES) * TAR_RECORD_BYTES


def archive_bound_bytes(tar_bytes: int) -> int:
    """Bound the size of an archive whose tar stream has at most `tar_bytes` bytes, its end included.

    No plan can exceed it: a block of b bytes takes at most its stored form, b bytes and 5 for each begun
    65,535 of them, because deflated data that is not smaller is thrown away for the stored form. A whole
    block has 33 such pieces and the last, shorter one at most as many, so n blocks add at most 165 n bytes.
    Around them stand the gzip header with our comment, an empty final deflate block, and the trailer. The
    bound grows with `tar_bytes`, so it also holds for every shorter stream.
    """
    blocks = -(-tar_bytes // BLOCK_SIZE_BYTES)
    pieces = -(-BLOCK_SIZE_BYTES // STORED_SIZE_MAX_BYTES)
    framing = GZIP_HEADER_BYTES + _DEFLATE_END_BYTES + _GZIP_TRAILER_BYTES
    return framing + tar_bytes + blocks * pieces * STORED_HEADER_BYTES


def archive_file_name(source_name: str) -> str:
    """Name the archive's local file: `{source_name}.tar.gz`, shortened where no disk would take it.

    A shortened name ends with a part of the whole name's hash, so that it stays the same for the same source
    and differs from its neighbours'. The object's key is not concerned: it has the whole name.

    >>> archive_file_name("clip.mp4")
    'clip.mp4.tar.gz'
    """
    name = archive_name(source_name)
    if len(os.fsencode(name)) <= NAME_MAX_BYTES:
        return name
    mark = archive_name("~" + hashlib.sha256(os.fsencode(source_name)).hexdigest()[:8])
    return _shorten(source_name, NAME_MAX_BYTES - len(mark)) + mark


def temporary_name(archive_file: str, token: str | None = None) -> str:
    """Name the unfinished archive that will become `archive_file`, in the same folder.

    Args:
        archive_file: The archive's own name.
        token: Eight hexadecimal digits that identify this attempt; fresh ones by default.
    """
    ending = f".mgmt-{token or os.urandom(_TOKEN_HEX_DIGITS // 2).hex()}.part"
    return "." + _shorten(archive_file, NAME_MAX_BYTES - len(ending) - 1) + ending


def is_temporary_name(name: str | bytes) -> bool:
    """Tell whether a name is that of an unfinished archive of ours.

    >>> is_temporary_name(".clip.mp4.tar.gz.mgmt-0f12ab34.part"), is_temporary_name("clip.part")
    (True, False)
    """
    return _TEMPORARY_NAME.fullmatch(os.fsencode(name)) is not None


def with_token(name: str, token: str) -> str:
    """Name the unfinished file of the same archive and another token.

    >>> with_token(".clip.mp4.tar.gz.mgmt-0f12ab34.part", "5" * 8)
    '.clip.mp4.tar.gz.mgmt-55555555.part'
    """
    return f"{name.removesuffix(_TEMPORARY_ENDING)[:-_TOKEN_HEX_DIGITS]}{token}{_TEMPORARY_ENDING}"


def token_of(name: str) -> str:
    """Return the token in the name of an unfinished file."""
    return name.removesuffix(_TEMPORARY_ENDING)[-_TOKEN_HEX_DIGITS:]


def _shorten(name: str, size_max_bytes: int) -> str:
    # By characters, not bytes: half a character is no name on a Mac.
    while len(os.fsencode(name)) > size_max_bytes:
        name = name[:-1]
    return name


def placeholder(token: str) -> bytes:
    """Make the content of a file that only takes a name until the real one comes.

    Args:
        token: Identifies the operation; it is in the journal before such a file is made.
    """
    return b"mgmt placeholder %b\n" % token.encode()


MemberKind = Literal["file", "directory", "symlink", "hardlink"]
HeaderForm = Literal["ustar", "pax", "gnu"]

NANOSECONDS: Final = 1_000_000_000
USTAR_NAME_MAX_BYTES: Final = 100
USTAR_SIZE_LIMIT_BYTES: Final = 8**11
"""8 GiB: eleven octal digits end here."""
USTAR_SECONDS_LIMIT: Final = 8**11

LETTERS: Final[Mapping[MemberKind, bytes]] = {
    "file": b"f",
    "directory": b"d",
    "symlink": b"s",
    "hardlink": b"h",
}
"""How frames and indexes name the kinds."""
_PAX_RECORDS_BYTES: Final = 256
"""Room for everything in a PAX header but the two paths: five keys, lengths, a size and a time."""


class Member(NamedTuple):
    """One file, folder or link as it goes into an archive."""

    path: bytes
    """From the root member on, with "/" between the names; the names' own bytes."""
    kind: MemberKind
    mode: int
    """Permission bits."""
    size_bytes: int
    """0 for all but files."""
    mtime_ns: int
    target: bytes
    """A symlink's text, or the path of the member that carries a hard link's data; else empty."""
    status: os.stat_result
    """As it was when the member was found; a file that has another one after reading has changed."""
    open: Callable[[], int]
    """Opens a file for reading. Only good until the next member is asked for."""

    @property
    def mtime_seconds(self) -> int:
        """Whole seconds, rounded down: archives carry no fractions."""
        return self.mtime_ns // NANOSECONDS


class Finding(NamedTuple):
    """A file or folder that could not be read, or did not stay as it was found."""

    path: bytes
    """As in `Member.path`."""
    code: str
    """source-unreadable or source-changed."""
    reason: str
    """Such as "permission denied"."""


class FileEnd(NamedTuple):
    """The end of reading a file again."""

    finding: Finding | None
    """Why its content was not read whole, or is not to be trusted."""
    is_from_medium: bool
    """False where a cache may have answered instead of the medium."""


Reread = Member | memoryview | FileEnd | Finding
"""What reading members again gives: each member; after a file its content in pieces, good until the next item is asked
for, and its end. A finding on its own is of a file or folder that could not even be looked at."""


class Packable(Protocol):
    """The facts of a source that packing needs."""

    @property
    def path(self) -> os.PathLike[str]:
        """Absolute."""

    @property
    def is_directory(self) -> bool:
        """False for a single file."""

    @property
    def upper_bound_bytes(self) -> int:
        """The archive's size at most."""

    @property
    def fingerprint(self) -> str:
        """Of the members, as they were looked at."""

    def members(self) -> Generator[Member]:
        """Find the members anew, in the archive's order."""


class Survey:
    """Counts, sizes and the fingerprint of a source, gathered member by member at constant memory."""

    def __init__(self) -> None:
        self.member_count = 0
        self.uncompressed_size = 0
        self.newest_path = b""
        """The file or link with the youngest modification time: the first suspect when something changed."""
        self._newest_ns = 0
        self._hash = hashlib.sha256()
        self._seal = hashlib.sha256()

    def add(self, member: Member, framed: bytes) -> None:
        """Count a member in; `framed` is its frame.

        A folder's time is left out of the fingerprint: system files that are not packed come and go in it.
        So are inode numbers: camera cards (exFAT, FAT) get new ones whenever they are plugged in.
        """
        mtime_ns = 0 if member.kind == "directory" else member.mtime_ns
        self._hash.update(b"%b%d\0" % (framed, mtime_ns))
        if member.kind != "directory":
            self._seal.update(b"%d %d\0" % (member.status.st_ino, member.status.st_ctime_ns))
        self.member_count += 1
        self.uncompressed_size += member.size_bytes
        if mtime_ns > self._newest_ns:
            self._newest_ns, self.newest_path = mtime_ns, member.path

    @property
    def fingerprint(self) -> str:
        """Same fingerprint: same members, with the same types, modes, sizes, times and link targets."""
        return "sha256:" + self._hash.hexdigest()

    @property
    def seal(self) -> str:
        """Same fingerprint and same seal: the same files, and nothing was written to them in between.

        The time of a file's last change of any kind (ctime) cannot be set back. Empty on Windows, which knows no such
        time.
        """
        return self._seal.hexdigest() if os.name != "nt" else ""


class _Framed(Protocol):
    """A member, found on the disk or listed in an archive."""

    @property
    def path(self) -> bytes: ...
    @property
    def kind(self) -> MemberKind: ...
    @property
    def mode(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def target(self) -> bytes: ...


def frame(member: _Framed) -> bytes:
    """Write a member's frame: all but its time and its content, the same on every system.

    Path, NUL, one letter for its kind, mode in octal, space, size in decimal, NUL, link target, NUL. Neither a
    path nor a target holds a NUL, so different members have different frames, and none begins another's.
    """
    return frame_of(member.path, member.kind, member.mode, member.size_bytes, member.target)


def frame_of(path: bytes, kind: MemberKind, mode: int, size_bytes: int, target: bytes) -> bytes:
    """Write the frame of a member with these facts."""
    return b"%b\0%b%o %d\0%b\0" % (path, LETTERS[kind], mode, size_bytes, target)


def has_changed(before: os.stat_result, after: os.stat_result) -> bool:
    """Tell whether a file was written to, or replaced by another one, since it was found."""
    return (
        after.st_ino != before.st_ino
        or after.st_size != before.st_size
        or after.st_mtime_ns != before.st_mtime_ns
        or after.st_ctime_ns != before.st_ctime_ns
    )


def decode_path(path: bytes) -> str:
    """Write a path as text; bytes that are no UTF-8 become lone surrogates, and `encode_path` brings them back."""
    return path.decode("utf-8", "surrogateescape")


def encode_path(path: str) -> bytes:
    """Write a text that `decode_path` or `tarfile` has made as the path's own bytes."""
    return path.encode("utf-8", "surrogateescape")


def header_form(member: Member) -> HeaderForm:
    """Choose how a member's tar header is written: the plainest form that every tool reads correctly.

    `ustar` has room for ASCII, sizes below 8 GiB and times until 2242. `pax` takes everything and says that
    its text is UTF-8. `gnu` takes bare bytes: for names that are no UTF-8, and for those that are but not in
    NFC, which bsdtar would otherwise rewrite, laying two files on one another.
    """
    if member.path.isascii() and member.target.isascii():
        fits = (
            len(member.target) <= USTAR_NAME_MAX_BYTES
            and member.size_bytes < USTAR_SIZE_LIMIT_BYTES
            and 0 <= member.mtime_ns < USTAR_SECONDS_LIMIT * NANOSECONDS
        )
        return "ustar" if fits else "pax"
    return "pax" if _is_plain_text(member.path) and _is_plain_text(member.target) else "gnu"


def member_bound_bytes(member: Member) -> int:
    """Bound a member's bytes in a tar stream, content included."""
    return header_bound_bytes(member) + padded_bytes(member.size_bytes)


def header_bound_bytes(member: Member) -> int:
    """Bound the bytes of a member's tar header.

    Ustar: one record if the path is short, and what cannot be cut for it goes to PAX. PAX: the member's own
    record, one for the extension, and in it the two paths and little else. GNU: the own record, and for each
    path a record and the path in whole records.
    """
    form = header_form(member)
    if form == "gnu":
        # Each path may be followed by a slash, and is by a NUL.
        return 3 * TAR_RECORD_BYTES + padded_bytes(len(member.path) + 2) + padded_bytes(len(member.target) + 2)
    if form == "ustar" and len(member.path) < USTAR_NAME_MAX_BYTES:
        return TAR_RECORD_BYTES
    records = len(member.path) + len(member.target) + _PAX_RECORDS_BYTES
    return 2 * TAR_RECORD_BYTES + padded_bytes(records)


def _is_plain_text(path: bytes) -> bool:
    try:
        return unicodedata.is_normalized("NFC", path.decode())
    except UnicodeDecodeError:
        return False
