"""An archive of 500 GB that nobody has stored: its bytes are computed as they are asked for, and counted."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from blake3 import blake3

from mgmt.archive import current_codec
from mgmt.archive.checksums import BEGINNING
from mgmt.archive.index import IndexedMember, IndexWriter
from mgmt.layout import BLOCK_SIZE_BYTES, GZIP_HEADER_BYTES, frame_of
from mgmt_contract.messages.downloads import (
    DownloadResult,
    EndDownloadsRequest,
    OpenDownloadsRequest,
    OpenDownloadsResponse,
)
from mgmt_contract.messages.history import RecordResult, RecordsResponse
from mgmt_contract.messages.objects import LookResponse, LookResult, SignedRequest, StoredVersion
from mgmt_contract.parts import GIB, MIB
from mgmt_contract.records import DownloadRecord, FileRecord, UploadRecord
from support.fakes import crc64nvme
from support.loopback import LoopbackServer, QuietHandler
from support.operations import START, make_operation
from support.trees import noise

_PIECE_BYTES = 65_535
"""The most that a stored piece of a deflate stream holds."""
_CLIPS = 500
_CLIP_BYTES = GIB
CHOSEN_BYTES = 64 * MIB + 4321
_CHOSEN = 250


class EndlessArchive(LoopbackServer):
    """Every block holds the same bytes, stored; one clip in the middle is `CHOSEN_BYTES` long, the others a GiB.

    Args:
        folder: Where the index is made.
    """

    def __init__(self, folder: Path) -> None:
        self._content = noise(BLOCK_SIZE_BYTES)
        self._block = b"".join(
            struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF) + piece
            for at in range(0, BLOCK_SIZE_BYTES, _PIECE_BYTES)
            if (piece := self._content[at : at + _PIECE_BYTES])
        )
        self.sent_bytes = 0
        self.digest = b""
        """Of the chosen clip."""
        self.index, self.upload = self._make_index(folder)
        super().__init__(type("Handler", (_Handler,), {"archive": self}))

    def content(self, offset: int, size_bytes: int) -> Iterator[bytes]:
        """Yield the tar stream's bytes from `offset` on."""
        return _repeat(self._content, offset, size_bytes)

    def read(self, path: str, first: int, last: int) -> Iterator[bytes]:
        """Yield what is stored: the index, or a range of the archive, which has no header in the ranges asked for."""
        if path == "/index":
            return iter([self.index[first : last + 1]])
        return _repeat(self._block, first - GZIP_HEADER_BYTES, last - first + 1)

    def _make_index(self, folder: Path) -> tuple[bytes, UploadRecord]:
        members = list(self._members())
        hashed = blake3(BEGINNING)
        end = members[-1].content_offset + members[-1].size_bytes
        blocks = -(-end // BLOCK_SIZE_BYTES)
        size = GZIP_HEADER_BYTES + blocks * len(self._block)
        made = io.BytesIO()
        with IndexWriter(folder) as writer:
            for member in members:
                writer.add(member)
                hashed.update(frame_of(member.path, member.kind, member.mode, member.size_bytes, member.target))
                hashed.update(member.digest or b"")
            for _ in range(blocks):
                writer.note_block(len(self._block))
            digest = "blake3:" + hashed.hexdigest()
            writer.describe(
                tar_bytes=blocks * BLOCK_SIZE_BYTES,
                archive_size=size,
                crc64nvme="AAAAAAAAAAA=",
                content_digest=digest,
                member_count=len(members),
            )
            writer.write(made)
        index = made.getvalue()
        record = replace(
            make_operation(phase="done").record,
            s3_object_key="card.tar.gz",
            s3_file_record=FileRecord("card.tar.gz", "card.tar.gz", "s3", size, is_directory=False, status="completed"),
            crc64nvme="AAAAAAAAAAA=",
            content_digest=digest,
            codec=current_codec(),
            index_size=len(index),
            index_crc64nvme=crc64nvme(index),
        )
        return index, record

    def _members(self) -> Iterator[IndexedMember]:
        yield IndexedMember(b"card", "directory", 0, 0o755, 0, b"", 512, None)
        offset = 1024
        for number in range(_CLIPS):
            size_bytes = CHOSEN_BYTES if number == _CHOSEN else _CLIP_BYTES
            hashed = blake3()
            for piece in self.content(offset, size_bytes) if number == _CHOSEN else ():
                hashed.update(piece)
            if number == _CHOSEN:
                self.digest = hashed.digest()
            path = b"card/C%04d.MP4" % number
            yield IndexedMember(path, "file", size_bytes, 0o644, 10**9, b"", offset, hashed.digest())
            offset += -(-size_bytes // 512) * 512 + 512


def _repeat(pattern: bytes, offset: int, size_bytes: int) -> Iterator[bytes]:
    at = offset % len(pattern)
    while size_bytes:
        piece = pattern[at : at + size_bytes]
        yield piece
        size_bytes -= len(piece)
        at = 0


class _Handler(QuietHandler):
    archive: ClassVar[EndlessArchive]

    def do_GET(self) -> None:  # noqa: N802  the name http.server looks for
        first, last = map(int, self.headers["range"].removeprefix("bytes=").split("-"))
        upload = self.archive.upload
        archive_file: Any = upload.s3_file_record
        size = len(self.archive.index) if self.path == "/index" else archive_file.size
        self.send_response_only(206)
        self.send_header("content-length", str(last - first + 1))
        self.send_header("content-range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        for piece in self.archive.read(self.path, first, last):
            self.wfile.write(piece)
            self.archive.sent_bytes += len(piece)


class EndlessService:
    """Answers what a service does of such an archive."""

    def __init__(self, archive: EndlessArchive) -> None:
        self._archive = archive
        self.ends: list[tuple[int, str | None]] = []
        """Received bytes and error code of each end."""

    def look(self, upload_ids: list[str], *, signs_indexes: bool = False) -> LookResponse:
        request = self._sign("/index") if signs_indexes else None
        found = LookResult(upload_ids[0], "there", stored=self._stored, index="there", index_request=request)
        return LookResponse([found])

    def open_downloads(self, request: OpenDownloadsRequest) -> OpenDownloadsResponse:
        [item] = request.items
        upload, record = self._archive.upload, self._record(item.operation_id)
        return OpenDownloadsResponse(
            [
                DownloadResult(
                    item.operation_id,
                    "opened",
                    upload=upload,
                    request=self._sign("/archive"),
                    stored=self._stored,
                    record=record,
                )
            ]
        )

    def end_downloads(self, request: EndDownloadsRequest) -> RecordsResponse:
        [item] = request.items
        self.ends.append((item.received_bytes, item.error_code))
        record = replace(self._record(item.operation_id), status="success", received_bytes=item.received_bytes)
        return RecordsResponse([RecordResult(item.operation_id, "record", record=record)])

    @property
    def _stored(self) -> StoredVersion:
        record: Any = self._archive.upload.s3_file_record
        return StoredVersion(record.size, crc64nvme=self._archive.upload.crc64nvme)

    def _sign(self, path: str) -> SignedRequest:
        return SignedRequest(self._archive.url + path, {}, 900)

    def _record(self, operation_id: str) -> DownloadRecord:
        return DownloadRecord(
            operation_id=operation_id,
            operation_type="download",
            target_path="card",
            started_at=START,
            status="pending",
            result_path=None,
            error_message=None,
            upload_id=self._archive.upload.operation_id,
            s3_bucket="media",
            s3_object_key="card.tar.gz",
            version_id=None,
            size=self._stored.size,
        )
