"""A service and a storage that keep nothing but what they were told: right answers, to be changed by a test.

Everything is on one loopback address. It is quick and believes whatever a client says, so it judges nothing: it is
there to answer something else than a service would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mgmt_contract.messages.service import Service
from mgmt_contract.parts import MIB
from mgmt_contract.problems import make_problem
from mgmt_contract.wire import format_time, to_plain
from support.loopback import LoopbackServer, QuietHandler

Plain = dict[str, Any]
Change = Callable[[str, Any], Any]
"""Takes what is asked for (`start`, `put`, ...) and the right answer, and returns another."""
Mangle = Callable[[str, bytes], Iterable[bytes] | None]
"""Takes what is asked for and the whole right answer as bytes, and returns others; None leaves it as it is."""

NOT_STORED: Plain = to_plain(make_problem("not-stored", "The upload has stored no object."))
RECORD: Plain = {
    "operation_id": "01a2041b-befb-730e-9a3c-9ad5ec9c722f", "operation_type": "upload", "target_path": "clip",
    "started_at": "2026-01-01T00:00:00Z", "status": "success", "result_path": "clip.tar.gz", "error_message": None,
    "compression_type": "gzip", "compressed_file_path": "clip.tar.gz", "s3_bucket": "b",
    "s3_object_key": "clip.tar.gz", "source_file_record": None, "compressed_file_record": None,
    "s3_file_record": None,
}  # fmt: skip
"""The record of an upload that has succeeded, with what every record has and no more."""
LEASE: Plain = {"epoch": 1, "expires_in_seconds": 600}


class PaperService(LoopbackServer):
    """Answers every call of the protocol but a restore, PUTs, and GETs of what it was told to keep."""

    def __init__(self) -> None:
        self.limits: Plain = {}
        """Fields of the self-description that differ from the usual."""
        self.change: Change = lambda _, answer: answer
        self.mangle: Mangle = lambda _, __: None
        self.asked: list[tuple[str, Any]] = []
        """What was asked for, and with which body."""
        self.records: dict[str, Plain] = {}
        self.keeps = False
        """Whether the bytes that are PUT are kept, so that they can be fetched."""
        self.bodies: dict[str, bytes] = {}
        """Archives, their parts and their indexes, by their addresses."""
        self._items: dict[str, Plain] = {}
        self._indexes: dict[str, Plain] = {}
        super().__init__(self._make_handler())

    def reset(self) -> None:
        """Forget everything but the bytes, and answer right again."""
        self.change, self.mangle = (lambda _, answer: answer), (lambda _, __: None)
        for kept in (self.limits, self.asked, self.records, self._items, self._indexes):
            kept.clear()

    def count(self, what: str) -> int:
        """Count the calls of one kind."""
        return sum(asked == what for asked, _ in self.asked)

    # --- right answers -------------------------------------------------------------------------------------

    def describe(self) -> Plain:
        """What the service is."""
        service = Service(1, 1, "9", "paper", "eu-west-1", "", 16 * MIB, 10_000, 100, 100, 600)
        return {**to_plain(service), **self.limits}

    def answer(self, what: str, body: Any) -> Any:
        """The right answer to a call."""
        if what == "service":
            return self.describe()
        if what == "history":
            found = [each for each in self.records.values() if body.get("name") in (None, *_names_of(each))]
            return {"records": found[::-1][: int(body.get("limit", 50))], "cursor": None}
        if what == "me":
            return {"id": "1", "name": "anna", "role": "member", "groups": []}
        if what == "look":
            return {"results": [self._look(id_, body.get("signs_indexes")) for id_ in body["upload_ids"]]}
        if what == "look-up":
            return {"results": [self._answer_record(id_) for id_ in body["operation_ids"]]}
        answers: dict[str, Callable[[Plain], Plain]] = {
            "start": self._start, "preview": _preview, "sign": self._sign, "complete": self._complete,
            "fail": lambda item: self._answer_record(item["operation_id"], "failed"),
            "clean-up": lambda item: self._answer_record(item["operation_id"]), "open": self._open, "end": self._end,
            "delete": lambda item: self._remove("delete", item),
            "undelete": lambda item: self._remove("undelete", item),
        }  # fmt: skip
        results = [answers[what](item) for item in body["items"]]
        return {"results": results, **({"service": self.describe()} if what in ("start", "preview") else {})}

    def _start(self, item: Plain) -> Plain:
        self._items[item["operation_id"]] = item
        content = item.get("content")
        result = {"operation_id": item["operation_id"], "s3_object_key": _key(item), "lease": LEASE}
        if content is None or content["size"] > self.describe()["single_put_max_bytes"]:
            return {**result, "outcome": "multipart", "multipart": {"part_size": 5 * MIB, "received_parts": []}}
        return {**result, "outcome": "put", "request": self._request(item["operation_id"], content)}

    def _request(self, place: str, part: Plain) -> Plain:
        length = str(part.get("size", part.get("length")))
        headers = {"content-length": length, "x-amz-checksum-crc64nvme": part["crc64nvme"]}
        return {"url": f"{self.url}/put/{place}?X-Amz-Signature=0", "headers": headers, "expires_in_seconds": 900}

    def _sign(self, item: Plain) -> Plain:
        id_ = item["operation_id"]
        parts = [
            {"number": part["number"], "request": self._request(f"{id_}/{part['number']}", part)}
            for part in item["parts"]
        ]
        index = self._request(f"{id_}/index", item["index"]) if item.get("index") else None
        if index is not None:
            self._indexes[id_] = item["index"]
        return {"operation_id": id_, "outcome": "signed", "lease": LEASE, "parts": parts, "index_request": index}

    def _complete(self, item: Plain) -> Plain:
        record = self._record(item["operation_id"], "success", item["content"])
        return {"operation_id": item["operation_id"], "outcome": "done", "record": record}

    def _answer_record(self, operation_id: str, status: str = "success") -> Plain:
        record = self.records.get(operation_id) or self._record(operation_id, status, None)
        return {"operation_id": operation_id, "outcome": "record", "record": record}

    def _record(self, operation_id: str, status: str, content: Plain | None) -> Plain:
        item = self._items.get(operation_id, {"name": "of-before", "prefix": "", "compressed_file_path": ""})
        key, now = _key(item), format_time(datetime.now(UTC))
        stored = {"name": item["name"], "path": key, "location": "s3", "is_directory": False, "status": "completed"}
        record = {
            "operation_id": operation_id, "operation_type": "upload", "target_path": item["name"], "started_at": now,
            "status": status, "result_path": key, "error_message": None, "compression_type": "gzip",
            "phase": "done" if status == "success" else "failed", "actor": "anna", "actor_id": "1", "finished_at": now,
            "compressed_file_path": item["compressed_file_path"], "s3_bucket": "paper", "s3_object_key": key,
            "source_file_record": item.get("source_file_record"), "compressed_file_record": None,
            "codec": item.get("packing", {}).get("codec"),
            "s3_file_record": {**stored, "size": content["size"]} if content else None,
            **({name: content[name] for name in content if name != "size"} if content else {}),
        }  # fmt: skip
        if operation_id in self._indexes:
            record |= {f"index_{name}": value for name, value in self._indexes[operation_id].items()}
        self.records[operation_id] = record
        return record

    # --- what is stored ------------------------------------------------------------------------------------

    def _get(self, place: str) -> Plain:
        return {"url": f"{self.url}/get/{place}?X-Amz-Signature=0", "headers": {}, "expires_in_seconds": 900}

    def _stored(self, upload: Plain) -> Plain:
        return {"size": upload["s3_file_record"]["size"], "crc64nvme": upload["crc64nvme"], "is_current": True}

    def _index_of(self, upload: Plain) -> Plain | None:
        return self._get(f"{upload['operation_id']}/index") if upload.get("index_size") else None

    def _open(self, item: Plain) -> Plain:
        upload = self.records.get(item["upload_id"], {})
        if not upload.get("s3_file_record"):
            return {"operation_id": item["operation_id"], "outcome": "problem", "problem": NOT_STORED}
        return {
            "operation_id": item["operation_id"], "outcome": "opened", "upload": upload, "stored": self._stored(upload),
            "request": self._get(item["upload_id"]), "index_request": self._index_of(upload),
            "record": self._about(item, "download", upload, "pending"),
        }  # fmt: skip

    def _end(self, item: Plain) -> Plain:
        upload = next(each for each in self.records.values() if each.get("s3_file_record"))
        record = self._about({**item, "target_path": "here"}, "download", upload, "success")
        return {"operation_id": item["operation_id"], "outcome": "record", "record": record}

    def _look(self, upload_id: str, signs_indexes: object) -> Plain:
        upload = self.records.get(upload_id, {})
        if not upload.get("s3_file_record"):
            return {"operation_id": upload_id, "outcome": "problem", "problem": NOT_STORED}
        index = self._index_of(upload)
        return {
            "operation_id": upload_id, "outcome": "there", "s3_object_key": upload["s3_object_key"],
            "stored": self._stored(upload), "index": "there" if index else None,
            "index_request": index if signs_indexes else None,
        }  # fmt: skip

    def _remove(self, operation_type: str, item: Plain) -> Plain:
        upload = self.records.get(item["upload_id"], {})
        if not upload.get("s3_file_record"):
            return {"operation_id": item["operation_id"], "outcome": "problem", "problem": NOT_STORED}
        record = self._about({**item, "target_path": upload["s3_object_key"]}, operation_type, upload, "success")
        return {"operation_id": item["operation_id"], "outcome": "done", "record": record, "upload": upload}

    def _about(self, item: Plain, operation_type: str, upload: Plain, status: str) -> Plain:
        """The record of an operation on an upload's object."""
        now = format_time(datetime.now(UTC))
        return {
            "operation_id": item["operation_id"], "operation_type": operation_type, "target_path": item["target_path"],
            "started_at": now, "status": status, "result_path": None, "error_message": None, "actor": "anna",
            "phase": "done" if status == "success" else "carrying", "upload_id": upload["operation_id"],
            "s3_bucket": "paper", "s3_object_key": upload["s3_object_key"], "version_id": None,
            "size": upload["s3_file_record"]["size"],
        }  # fmt: skip

    def _fetch(self, place: str, range_: str) -> bytes:
        """Answer a GET of an archive or an index, or of a range of it."""
        parts = sorted(path for path in self.bodies if path.startswith(f"{place}/") and "index" not in path)
        body = self.bodies.get(place) or b"".join(self.bodies[path] for path in parts)
        if not range_:
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        first, _, last = range_.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(body)), len(body) - 1)
        told = b"content-range: bytes %d-%d/%d\r\ncontent-length: %d" % (begin, end, len(body), end - begin + 1)
        return b"HTTP/1.1 206 Partial Content\r\n%b\r\n\r\n%b" % (told, body[begin : end + 1])

    # --- HTTP ----------------------------------------------------------------------------------------------

    def _respond(self, what: str, body: Any) -> tuple[Iterable[bytes], bool]:
        """Return the pieces of an answer, and whether the connection may go on after it."""
        self.asked.append((what, body))
        if what == "put":
            whole = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        elif what == "get":
            whole = self._fetch(*body)
        else:
            text = json.dumps(self.change(what, self.answer(what, body))).encode()
            whole = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(text) + text
            )
        mangled = self.mangle(what, whole)
        return ([whole], True) if mangled is None else (mangled, False)

    def _make_handler(self) -> type[QuietHandler]:
        service = self

        class Handler(QuietHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                address = urlsplit(self.path)
                body: Any
                if self.command == "PUT":
                    sent = []
                    while length > 0:
                        sent.append(self.rfile.read(min(length, MIB)) if service.keeps else b"")
                        length -= len(sent[-1]) or len(self.rfile.read(min(length, MIB)))
                    what, body = "put", address.path
                    if service.keeps:
                        service.bodies[address.path.removeprefix("/put/")] = b"".join(sent)
                elif address.path.startswith("/get/"):
                    what, body = "get", (address.path.removeprefix("/get/"), self.headers.get("range", ""))
                elif self.command == "GET":
                    what = address.path.rpartition("/")[2]
                    body = {name: values[0] for name, values in parse_qs(address.query).items()}
                else:
                    what, body = address.path.rpartition("/")[2], json.loads(self.rfile.read(length))
                pieces, may_go_on = service._respond(what, body)
                self.close_connection = not may_go_on
                try:
                    for piece in pieces:
                        self.wfile.write(piece)
                except OSError:  # the client has had enough
                    self.close_connection = True

            do_GET = do_POST = do_PUT = _answer  # noqa: N815  the names http.server looks for

        return Handler


def _names_of(record: Plain) -> tuple[str, str, str]:
    """Say by which names the history finds an upload."""
    return record["target_path"], record["s3_object_key"], record["s3_object_key"].removesuffix(".tar.gz")


def _key(item: Mapping[str, Any]) -> str:
    return "/".join(filter(None, (item["prefix"], f"{item['name']}.tar.gz")))


def _preview(item: Plain) -> Plain:
    return {"operation_id": item["operation_id"], "outcome": "free", "s3_object_key": _key(item)}


@contextmanager
def paper_service() -> Iterator[PaperService]:
    """Run one for as long as the context lasts."""
    with closing(PaperService()) as service:
        yield service
