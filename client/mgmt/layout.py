"""The layout of an archive: its blocks, its framing, its largest size, and the names of unfinished ones.

Looking at a source needs these figures before there is an archive; packing makes them true.

An archive is one gzip member around one tar stream. The stream is cut into blocks of `BLOCK_SIZE_BYTES`, and
each block becomes either deflate data or stored deflate blocks, whichever the plan says, but never more bytes
than stored blocks take.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final

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

NAME_MAX_BYTES: Final = 255
"""The longest name that file systems take."""

TEMPORARY_SUFFIX: Final = b".part"

GZIP_HEADER_BYTES: Final = 10 + len(GZIP_COMMENT) + 1
_GZIP_TRAILER_BYTES: Final = 8
_DEFLATE_END_BYTES: Final = 5
_TOKEN_HEX_DIGITS: Final = 8
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
