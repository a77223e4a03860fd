"""A storage that answers as S3 does and keeps nothing, so that it is not what is measured.

    python -m bench.discard [FOLDER]     (with a folder for a certificate, over TLS)

Bodies are thrown away inside the kernel where that is possible. What is remembered of an object is what its
sender declared: its length, its checksum, its metadata; S3 states the same of bytes that arrived unharmed.
Signatures are not looked at. Beside S3 it answers DynamoDB's calls, as an empty table would.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
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


class Answer(NamedTuple):
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


@dataclass
class Remembered:
    """What its sender has said of an object or a part."""

    size: int
    etag: str
    headers: dict[str, str]


@dataclass
class Storage:
    """Every object that was sent, without its bytes."""

    objects: dict[str, Remembered] = field(default_factory=dict)
    uploads: dict[str, tuple[dict[str, str], dict[int, Remembered]]] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def put(self, path: str, query: Mapping[str, str], size: int, headers: Mapping[str, str]) -> Answer:
        """Remember an object or a part."""
        kept = {name: value for name, value in headers.items() if name == _CRC or name.startswith("x-amz-meta-")}
        # No MD5, and nothing that looks like one: some clients would compare it.
        thing = Remembered(size, f'"discarded-{next(self.numbers)}"', kept)
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
        self.objects[path] = Remembered(sum(part.size for part in parts.values()), etag, kept)
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
        described = {"etag": thing.etag, "last-modified": _DATE, "content-length": str(thing.size)}
        return Answer(headers={**described, **thing.headers, "x-amz-checksum-type": "FULL_OBJECT"})


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

    def __init__(self, connection: socket.socket, storage: Storage) -> None:
        self._connection = connection
        self._stream = _Stream(connection)
        self._storage = storage

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
            return self._storage.put(path, query, self._drop_body(headers), headers)
        self._stream.read(int(headers.get("content-length", 0)))
        if "x-amz-target" in headers:
            return _answer_table(headers["x-amz-target"].rpartition(".")[2])
        if method == "POST":
            if "uploadId" in query:
                return self._storage.complete_upload(path, query["uploadId"], headers)
            return self._storage.create_upload(path, headers)
        return self._storage.head(path) if method == "HEAD" else self._list(method, path, query)

    def _list(self, method: str, path: str, query: Mapping[str, str]) -> Answer:
        if method != "GET":
            return Answer(204)
        if "uploadId" in query:
            return self._storage.list_parts(path, query["uploadId"])
        return _xml("ListBucketResult", ("IsTruncated", "false"), ("KeyCount", "0"))

    def _drop_body(self, headers: Mapping[str, str]) -> int:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            sent_bytes = self._stream.drop_chunks()
        else:
            sent_bytes = int(headers.get("content-length", 0))
            self._stream.drop(sent_bytes)
        return int(headers.get("x-amz-decoded-content-length", sent_bytes))

    def _send(self, answer: Answer, *, is_head: bool) -> None:
        headers = {"date": _DATE, "server": "discard", "x-amz-request-id": "0", **answer.headers}
        if not is_head or "content-length" not in headers:
            headers["content-length"] = str(len(answer.body))
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._connection.sendall(head if is_head else head + answer.body)


def _answer_table(call: str) -> Answer:
    body = b'{"Responses": {}, "UnprocessedKeys": {}}' if call == "BatchGetItem" else b"{}"
    return Answer(body=body, headers={"content-type": "application/x-amz-json-1.0"})


class Discard:
    """The running server."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.storage = Storage()
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
                _Connection(connection, self.storage).serve()


def main() -> None:
    """Serve until the input ends; each line of it is answered with the port."""
    certificate = None
    if len(sys.argv) > 1:
        from support.certificates import make_certificate  # only TLS needs the library behind it

        certificate = make_certificate(Path(sys.argv[1]))
    discard = Discard(certificate)
    path = str(certificate.certificate_path) if certificate else None
    answer_lines(lambda _: {"port": discard.port, "certificate": path})


if __name__ == "__main__":
    main()
