"""The tar stream: members one after the other, read straight into the blocks that are sent."""

from __future__ import annotations

import io
import os
from typing import Final

from mgmt.archive.digest import Placed
from mgmt.archive.headers import header
from mgmt.archive.pipeline import Pipeline
from mgmt.errors import source_changed, source_failure
from mgmt.layout import BLOCK_SIZE_BYTES, TAR_END_BYTES, TAR_RECORD_BYTES
from mgmt.members import Member, has_changed

_ZEROS: Final = bytes(TAR_END_BYTES)


class TarStream:
    """Writes members into blocks and submits each block as soon as it is full."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._block = pipeline.take()
        self._pushed_bytes = 0
        self.content_bytes = 0
        """Bytes of files read so far."""

    def add(self, member: Member, framed: bytes) -> None:
        """Append a member with its content; `framed` is its frame, for the digest.

        Raises:
            SourceError: If a file cannot be read, or is not the one that was found, or did not stay as it was.
        """
        self._put(header(member))
        block = self._block
        block.digested.append(Placed(member, framed, self._pushed_bytes + block.end))
        if member.kind == "file":
            self._add_content(member)

    def close(self) -> None:
        """End the tar stream and submit its last block."""
        self._put(_ZEROS)
        self._pipeline.push(self._block)

    def _put(self, data: bytes) -> None:
        block = self._block
        stop = block.end + len(data)
        if stop > BLOCK_SIZE_BYTES:
            room_bytes = BLOCK_SIZE_BYTES - block.end
            self._put(data[:room_bytes])
            self._turn()
            self._put(data[room_bytes:])
        else:
            block.buffer[block.end : stop] = data
            block.end = stop

    def _turn(self) -> None:
        self._pushed_bytes += self._block.end
        self._pipeline.push(self._block)
        self._block = self._pipeline.take()

    def _add_content(self, member: Member) -> None:
        descriptor = _open(member)
        try:
            self._read(descriptor, member)
            _refuse_changed(descriptor, member)
        finally:
            os.close(descriptor)
        self._put(_ZEROS[: -member.size_bytes % TAR_RECORD_BYTES])

    def _read(self, descriptor: int, member: Member) -> None:
        missing = member.size_bytes
        while missing:
            block = self._block
            start = block.end
            stop = min(start + missing, BLOCK_SIZE_BYTES)
            if start == stop:
                self._turn()
                continue
            wanted = block.view[start:stop]
            got = _read_into(descriptor, wanted, member)
            if not got:
                raise source_changed(member.path)
            block.end += got
            block.digested.append(wanted[:got])
            missing -= got
            self.content_bytes += got


def _open(member: Member) -> int:
    try:
        return member.open()
    except OSError as error:
        raise source_failure(member.path, error) from error


def _read_into(descriptor: int, view: memoryview, member: Member) -> int:
    try:
        if hasattr(os, "readv"):
            return os.readv(descriptor, [view])
        with io.FileIO(descriptor, closefd=False) as file:
            return file.readinto(view) or 0
    except OSError as error:
        raise source_failure(member.path, error) from error


def _refuse_changed(descriptor: int, member: Member) -> None:
    # Only after the last byte: any change since the file was found shows now.
    try:
        after = os.fstat(descriptor)
    except OSError as error:
        raise source_failure(member.path, error) from error
    if has_changed(member.status, after):
        raise source_changed(member.path)
