"""A storage that answers as S3 does and keeps nothing, so that it is not what is measured.

    python -m bench.discard              keeps nothing
    python -m bench.discard tls FOLDER   the same over TLS; makes its certificate in the folder
    python -m bench.discard keep FOLDER  keeps objects in the folder, and gives them back by ranges

Bodies are thrown away, and given back, inside the kernel where that is possible. What is remembered of an object is
what its sender declared: its length, its checksum, its metadata; S3 states the same of bytes that arrived unharmed.
Signatures are not looked at. Beside S3 it answers DynamoDB's calls, as an empty table would.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET

from bench.acceptor import Acceptor
from bench.processes import answer_lines

if TYPE_CHECKING:
    from support.certificates import Certificate

LOOPBACK: Final = "127.0.0.1"
_HEAD_END: Final = b"\r\n\r\n"
_BUFFER_BYTES: Final = 1024 * 1024
_DATE: Final = "Sun, 01 Nov 2026 12:00:00 GMT"
_XMLNS: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_IN_KERNEL: Final = socket.MSG_TRUNC if sys.platform == "linux" else 0
"""On Linux this flag drops a TCP socket's bytes without copying them (tcp(7), read 2026-11)."""
_CRC: Final = "x-amz-checksum-crc64nvme"


class Piece(NamedTuple):
    """A range of a file."""

    path: Path
    offset: int
    size: int


class Body(NamedTuple):
    """A body that has arrived."""

    size: int
    content: list[Piece]


class Answer(NamedTuple):
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    content: Sequence[Piece] = ()
    """Sent behind the body."""


@dataclass
class Remembered:
    """What its sender has said of an object or a part."""

    size: int
    etag: str
    headers: dict[str, str]
    content: list[Piece]
    """Where its bytes are kept, if they are."""


@dataclass
class Storage:
    """Every object that was sent; its bytes are in files, or nowhere."""

    objects: dict[str, Remembered] = field(default_factory=dict)
    uploads: dict[str, tuple[dict[str, str], dict[int, Remembered]]] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def put(self, path: str, query: Mapping[str, str], body: Body, headers: Mapping[str, str]) -> Answer:
        """Remember an object or a part."""
        kept = {name: value for name, value in headers.items() if name == _CRC or name.startswith("x-amz-meta-")}
        # No MD5, and nothing that looks like one: some clients would compare it.
        thing = Remembered(body.size, f'"discarded-{next(self.numbers)}"', kept, body.content)
        if "uploadId" in query:
            self.uploads[query["uploadId"]][1][int(query["partNumber"])] = thing
        elif path.count("/") > 1:
            self.objects[path] = thing
        return Answer(headers={"etag": thing.etag, **_checksum_of(thing)})

    def create_upload(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Begin a multipart upload."""
        upload_id = f"upload-{next(self.numbers)}"
        kept = {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
        self.uploads[upload_id] = (kept, {})
        return _xml("InitiateMultipartUploadResult", *_place(path), ("UploadId", upload_id))

    def complete_upload(self, path: str, upload_id: str, headers: Mapping[str, str]) -> Answer:
        """Join the parts."""
        kept, parts = self.uploads.pop(upload_id)
        if _CRC in headers:
            kept = {**kept, _CRC: headers[_CRC]}
        etag = f'"discarded-{next(self.numbers)}-{len(parts)}"'
        joined = [parts[number] for number in sorted(parts)]
        content = [piece for part in joined for piece in part.content]
        self.objects[path] = Remembered(sum(part.size for part in joined), etag, kept, content)
        return _xml("CompleteMultipartUploadResult", *_place(path), ("ETag", etag))

    def list_parts(self, path: str, upload_id: str) -> Answer:
        """List the parts of an upload."""
        parts = [_part_element(number, part) for number, part in sorted(self.uploads[upload_id][1].items())]
        return _xml("ListPartsResult", *_place(path), ("UploadId", upload_id), ("IsTruncated", "false"), *parts)

    def head(self, path: str) -> Answer:
        """Say what is known of an object, as of any bucket."""
        if path.count("/") < 2:
            return Answer()
        thing = self.objects.get(path)
        if thing is None:
            return Answer(404)
        described = {**_describe(thing), "content-length": str(thing.size)}
        return Answer(headers={**described, **thing.headers, "x-amz-checksum-type": "FULL_OBJECT"})

    def get(self, path: str, said: str) -> Answer:
        """Give back an object, or the range of it that a header says."""
        thing = self.objects.get(path)
        if thing is None:
            return Answer(404)
        if not said:
            return Answer(headers={**_describe(thing), **thing.headers}, content=thing.content)
        first, _, last = said.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or thing.size), thing.size - 1) + 1
        headers = {**_describe(thing), "content-range": f"bytes {start}-{stop - 1}/{thing.size}"}
        return Answer(206, headers=headers, content=list(_cut(thing.content, start, stop)))


def _describe(thing: Remembered) -> dict[str, str]:
    return {"etag": thing.etag, "last-modified": _DATE, "accept-ranges": "bytes"}


def _cut(content: Sequence[Piece], start: int, stop: int) -> Iterator[Piece]:
    at = 0
    for piece in content:
        first, last = max(start, at), min(stop, at + piece.size)
        if first < last:
            yield Piece(piece.path, piece.offset + first - at, last - first)
        at += piece.size


def _checksum_of(thing: Remembered) -> dict[str, str]:
    return {_CRC: thing.headers[_CRC]} if _CRC in thing.headers else {}


def _place(path: str) -> tuple[tuple[str, str], ...]:
    _, bucket, key = (*path.split("/", 2), "")[:3]
    return ("Bucket", bucket), ("Key", key)


def _part_element(number: int, part: Remembered) -> ET.Element:
    element = ET.Element("Part")
    facts = {"PartNumber": str(number), "LastModified": "2026-11-01T12:00:00.000Z", "ETag": part.etag}
    for name, text in {**facts, "Size": str(part.size)}.items():
        ET.SubElement(element, name).text = text
    if _CRC in part.headers:
        ET.SubElement(element, "ChecksumCRC64NVME").text = part.headers[_CRC]
    return element


def _xml(name: str, *children: tuple[str, str] | ET.Element) -> Answer:
    root = ET.Element(name, xmlns=_XMLNS)
    for child in children:
        if isinstance(child, ET.Element):
            root.append(child)
        else:
            ET.SubElement(root, child[0]).text = child[1]
    return Answer(body=ET.tostring(root, "utf-8"), headers={"content-type": "application/xml"})


class _Stream:
    """A connection's incoming bytes: heads and lines are read, bodies dropped."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._is_plain = not isinstance(connection, ssl.SSLSocket)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._read = b""

    def read_until(self, end: bytes) -> bytes:
        """Return the bytes before `end`; nothing where the connection ends."""
        while end not in self._read:
            data = self._connection.recv(64 * 1024)
            if not data:
                return b""
            self._read += data
        found, _, self._read = self._read.partition(end)
        return found

    def read(self, size_bytes: int) -> bytes:
        """Return so many bytes."""
        while len(self._read) < size_bytes:
            data = self._connection.recv(64 * 1024)
            if not data:
                raise ConnectionError
            self._read += data
        data, self._read = self._read[:size_bytes], self._read[size_bytes:]
        return data

    def drop(self, size_bytes: int) -> None:
        """Wait for so many bytes and throw them away."""
        dropped, self._read = self._read[:size_bytes], self._read[size_bytes:]
        left = size_bytes - len(dropped)
        while left:
            wanted = min(left, _BUFFER_BYTES)
            flags = _IN_KERNEL if self._is_plain else 0
            got = self._connection.recv_into(self._buffer, wanted, flags)
            if not got:
                raise ConnectionError
            left -= got

    def keep(self, size_bytes: int, file: IO[bytes]) -> None:
        """Write so many bytes to a file."""
        kept, self._read = self._read[:size_bytes], self._read[size_bytes:]
        file.write(kept)
        left = size_bytes - len(kept)
        while left:
            got = self._connection.recv_into(self._buffer, min(left, _BUFFER_BYTES))
            if not got:
                raise ConnectionError
            file.write(memoryview(self._buffer)[:got])
            left -= got

    def drop_chunks(self) -> int:
        """Throw a chunked body away and return its length."""
        total_bytes = 0
        while size_bytes := int(self.read_until(b"\r\n").partition(b";")[0], 16):
            self.drop(size_bytes + 2)
            total_bytes += size_bytes
        while self.read_until(b"\r\n"):
            pass  # trailers
        return total_bytes


class _Connection:
    """One client's requests, one behind the other."""

    def __init__(self, connection: socket.socket, storage: Storage, folder: Path | None) -> None:
        self._connection = connection
        self._stream = _Stream(connection)
        self._storage = storage
        self._folder = folder

    def serve(self) -> None:
        """Answer until the client hangs up."""
        while head := self._stream.read_until(_HEAD_END):
            request, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = request.split(" ", 2)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if headers.get("expect", "").lower() == "100-continue":
                self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            answer = self._answer(method, target, headers)
            self._send(answer, is_head=method == "HEAD")

    def _answer(self, method: str, target: str, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(target)
        path = unquote(parts.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if method == "PUT":
            return self._storage.put(path, query, self._take_body(headers), headers)
        self._stream.read(int(headers.get("content-length", 0)))
        if "x-amz-target" in headers:
            return _answer_table(headers["x-amz-target"].rpartition(".")[2])
        if method == "POST":
            if "uploadId" in query:
                return self._storage.complete_upload(path, query["uploadId"], headers)
            return self._storage.create_upload(path, headers)
        return self._storage.head(path) if method == "HEAD" else self._give(method, path, query, headers)

    def _give(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        if method != "GET":
            return Answer(204)
        if "uploadId" in query:
            return self._storage.list_parts(path, query["uploadId"])
        if path.strip("/").count("/"):
            return self._storage.get(path, headers.get("range", ""))
        return _xml("ListBucketResult", ("IsTruncated", "false"), ("KeyCount", "0"))

    def _take_body(self, headers: Mapping[str, str]) -> Body:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            sent_bytes = self._stream.drop_chunks()
            return Body(int(headers.get("x-amz-decoded-content-length", sent_bytes)), [])
        sent_bytes = int(headers.get("content-length", 0))
        if self._folder is None or "x-amz-decoded-content-length" in headers:
            self._stream.drop(sent_bytes)
            return Body(int(headers.get("x-amz-decoded-content-length", sent_bytes)), [])
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            self._stream.keep(sent_bytes, file)
        return Body(sent_bytes, [Piece(Path(file.name), 0, sent_bytes)])

    def _send(self, answer: Answer, *, is_head: bool) -> None:
        headers = {"date": _DATE, "server": "discard", "x-amz-request-id": "0", **answer.headers}
        if not is_head or "content-length" not in headers:
            headers["content-length"] = str(len(answer.body) + sum(piece.size for piece in answer.content))
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._connection.sendall(head if is_head else head + answer.body)
        for piece in answer.content:
            with piece.path.open("rb", buffering=0) as file:
                self._connection.sendfile(file, piece.offset, piece.size)


_EMPTY_TABLE: Final[Mapping[str, bytes]] = {
    "BatchGetItem": b'{"Responses": {}, "UnprocessedKeys": {}}',
    "Query": b'{"Items": [], "Count": 0, "ScannedCount": 0}',
}


def _answer_table(call: str) -> Answer:
    body = _EMPTY_TABLE.get(call, b"{}")
    return Answer(body=body, headers={"content-type": "application/x-amz-json-1.0"})


class Discard:
    """The running server.

    Args:
        certificate: For TLS.
        folder: Where it keeps what it is sent; nowhere by default.
    """

    def __init__(self, certificate: Certificate | None = None, *, folder: Path | None = None) -> None:
        self.storage = Storage()
        self._folder = folder
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.certificate_path, certificate.key_path)
        self._acceptor = Acceptor(socket.create_server((LOOPBACK, 0), backlog=128), self._take)
        self.port = self._acceptor.port
        self.close = self._acceptor.close

    def _take(self, connection: socket.socket) -> None:
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # clients may go when they like
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                _Connection(connection, self.storage, self._folder).serve()


def main() -> None:
    """Serve until the input ends; each line of it is answered with the port."""
    certificate = None
    what, folder = (sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 1 else ("", Path())
    if what == "tls":
        from support.certificates import make_certificate  # only TLS needs the library behind it

        certificate = make_certificate(folder)
    discard = Discard(certificate, folder=folder if what == "keep" else None)
    path = str(certificate.certificate_path) if certificate else None
    answer_lines(lambda _: {"port": discard.port, "certificate": path})


if __name__ == "__main__":
    main()
