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

from mgmt_contract.messages import Service
from mgmt_contract.parts import MIB
from mgmt_contract.wire import format_time, to_plain
from support.loopback import LoopbackServer, QuietHandler

Plain = dict[str, Any]
Change = Callable[[str, Any], Any]
"""Takes what is asked for (`start`, `put`, ...) and the right answer, and returns another."""
Mangle = Callable[[str, bytes], Iterable[bytes] | None]
"""Takes what is asked for and the whole right answer as bytes, and returns others; None leaves it as it is."""

LEASE: Plain = {"epoch": 1, "expires_in_seconds": 600}


class PaperService(LoopbackServer):
    """Answers every call of the protocol, and PUTs."""

    def __init__(self) -> None:
        self.limits: Plain = {}
        """Fields of the self-description that differ from the usual."""
        self.change: Change = lambda _, answer: answer
        self.mangle: Mangle = lambda _, __: None
        self.asked: list[tuple[str, Any]] = []
        """What was asked for, and with which body."""
        self.records: dict[str, Plain] = {}
        self._items: dict[str, Plain] = {}
        super().__init__(self._make_handler())

    def reset(self) -> None:
        """Forget everything, and answer right again."""
        self.change, self.mangle = (lambda _, answer: answer), (lambda _, __: None)
        for kept in (self.limits, self.asked, self.records, self._items):
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
            return {"records": [*self.records.values()][::-1][: int(body.get("limit", 50))], "cursor": None}
        if what == "look-up":
            return {"results": [self._answer_record(id_) for id_ in body["operation_ids"]]}
        answers: dict[str, Callable[[Plain], Plain]] = {
            "start": self._start, "preview": _preview, "sign": self._sign, "complete": self._complete,
            "fail": lambda item: self._answer_record(item["operation_id"], "failed"),
            "clean-up": lambda item: self._answer_record(item["operation_id"]),
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
            "s3_file_record": {**stored, "size": content["size"]} if content else None,
            **({name: content[name] for name in content if name != "size"} if content else {}),
        }  # fmt: skip
        self.records[operation_id] = record
        return record

    # --- HTTP ----------------------------------------------------------------------------------------------

    def _respond(self, what: str, body: Any) -> tuple[Iterable[bytes], bool]:
        """Return the pieces of an answer, and whether the connection may go on after it."""
        self.asked.append((what, body))
        if what == "put":
            whole = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
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
                    while length > 0:
                        length -= len(self.rfile.read(min(length, MIB)))
                    what, body = "put", address.path
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


def _key(item: Mapping[str, Any]) -> str:
    return "/".join(filter(None, (item["prefix"], f"{item['name']}.tar.gz")))


def _preview(item: Plain) -> Plain:
    return {"operation_id": item["operation_id"], "outcome": "free", "s3_object_key": _key(item)}


@contextmanager
def paper_service() -> Iterator[PaperService]:
    """Run one for as long as the context lasts."""
    with closing(PaperService()) as service:
        yield service
