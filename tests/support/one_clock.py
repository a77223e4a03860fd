"""A client, the service and a storage in one process, on one clock that moves only when something takes its time.

The client is the real command and the service the real app; between them no socket is opened: each request is handed
over, and a test may do anything at that moment, such as let the laptop sleep. So hours pass in a second, and nothing
depends on how fast the machine is.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pytest
import urllib3

from mgmt import session
from mgmt.cli.main import main
from mgmt.network import Answer
from mgmt.network.retry import PROGRESS_BUDGET_SECONDS, Patience
from mgmt.service import replies
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.parts import KIB, MIB
from support.events import make_claims, make_event
from support.fakes import FakeObjectStore
from support.studio import SETTINGS, Studio

PART_BYTES: Final = 256 * KIB
"""Everybody here agrees on parts this small, so that many of them cost little."""
SERVICE_URL: Final = "https://api.example"
_REASON: Final = "said by a test"
_CODES: Final = {400: "BadDigest", 403: "AccessDenied", 404: "NoSuchUpload", 412: "PreconditionFailed"}


class Bucket(FakeObjectStore):
    """A storage whose addresses are those of S3."""

    def _sign(self, promise: Any, headers: Mapping[str, str], expires_in_seconds: int) -> SignedRequest:
        made = super()._sign(promise, headers, expires_in_seconds)
        known = self._promises.pop(made.url)
        here = self._here(made)
        self._promises[here.url] = known
        return here

    def presign_get(self, key: str, version_id: str | None, *, expires_in_seconds: int) -> SignedRequest:
        """See `ObjectStore`."""
        made = super().presign_get(key, version_id, expires_in_seconds=expires_in_seconds)
        known = self._readable.pop(made.url)
        here = self._here(made)
        self._readable[here.url] = known
        return here

    def _here(self, made: SignedRequest) -> SignedRequest:
        host = f"{SETTINGS.bucket}.s3.{SETTINGS.region}.amazonaws.com"
        return SignedRequest(made.url.replace("bucket.invalid", host), dict(made.headers), made.expires_in_seconds)


@dataclass(frozen=True)
class Request:
    """One request of the client."""

    method: str
    path: str
    is_to_storage: bool
    number: int
    """How many of this method and path came before, from 0."""
    part_number: int | None = None
    token: str = ""
    url: str = ""


@dataclass
class BrokenError(Exception):
    """Raised by a test at a request: the connection breaks."""

    after_share: float = 0.0
    """Of the body that goes out before."""
    arrives: bool = False
    """Whether the request arrives, and only its answer is lost."""
    error: type[urllib3.exceptions.HTTPError] | None = None
    """What urllib3 calls it; a connection that was reset by default."""

    def as_urllib3(self) -> urllib3.exceptions.HTTPError:
        """Make the error that urllib3 raises."""
        where: Any = None
        if self.error is urllib3.exceptions.NameResolutionError:
            return urllib3.exceptions.NameResolutionError("api.example", where, socket.gaierror(-3, _REASON))
        if self.error is urllib3.exceptions.NewConnectionError:
            return urllib3.exceptions.NewConnectionError(where, _REASON)
        if self.error is urllib3.exceptions.ReadTimeoutError:
            return urllib3.exceptions.ReadTimeoutError(where, "/", _REASON)
        return urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError())


@dataclass
class FlippedError(Exception):
    """Raised by a test at a request: one bit of its body is changed, or of its answer's where it has none."""


On = Callable[[Request], Answer | None]
"""Called before a request is handed over; may let time pass, raise one of the errors above, or answer itself."""


@dataclass
class OneClock:
    """A team of one person, whose requests take no time but what the two numbers and a test say."""

    studio: Studio
    on: On = lambda _: None
    seconds_per_request: float = 0.05
    seconds_per_transfer: float = 0.0
    """Of a body to or from the storage; its URL is judged at its beginning."""
    asked: list[Request] = field(default_factory=list)
    slept_seconds: float = 0.0
    """Of the client's clock that stands still while the machine sleeps."""
    paused_seconds: list[float] = field(default_factory=list)
    """The pauses between tries."""
    on_pause: Callable[[], object] = lambda: None
    refused_tokens: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # --- time ----------------------------------------------------------------------------------------------

    def passed(self) -> float:
        """Tell the seconds that have passed for everybody."""
        return self.studio.clock().timestamp()

    def awake(self) -> float:
        """Tell the seconds that have passed for a laptop that was awake."""
        return self.passed() - self.slept_seconds

    def sleep(self, seconds: float) -> None:
        """Let the laptop sleep."""
        self.studio.clock.advance(seconds)
        self.slept_seconds += seconds

    def pause(self, seconds: float) -> None:
        """Pass a pause between two tries."""
        assert seconds >= 0
        with self._lock:
            self.paused_seconds.append(seconds)
            self.studio.clock.advance(seconds)
            self.on_pause()

    # --- requests ------------------------------------------------------------------------------------------

    def count(self, word: str) -> int:
        """Count the requests whose path has a word in it."""
        return sum(word in each.path for each in self.asked)

    def puts(self) -> list[str]:
        """Name the addresses of objects and parts that were sent to, in order."""
        return [each.path for each in self.asked if each.method == "PUT"]

    def ask(self, method: str, url: str, body: Any, headers: Mapping[str, str], *_: object) -> Answer:
        """Hand a request over, in place of `Connections.ask`."""
        data = b"" if body is None else body
        with self._lock:
            request = self._note(method, url, headers.get("authorization", "").removeprefix("Bearer "))
            hand_over = partial(
                self._put if request.is_to_storage else self._call, method=method, url=url, headers=headers
            )
            try:
                answer = self.on(request)
            except BrokenError as broken:
                if not isinstance(data, bytes):
                    length = int(headers["content-length"])
                    data = _read_all(data, length if broken.arrives else int(length * broken.after_share))
                if broken.arrives:
                    hand_over(data)
                raise broken.as_urllib3() from broken
            except FlippedError:
                return hand_over(_flip(data if isinstance(data, bytes) else _read_all(data)))
            if not isinstance(data, bytes):
                data = _read_all(data)
            return hand_over(data) if answer is None else answer

    def _note(self, method: str, url: str, token: str = "") -> Request:
        path, promise = urlsplit(url).path, self.studio.objects._promises.get(url)
        part_number = promise.part_number or None if promise is not None else None
        same = (method, path, part_number)
        earlier = sum((each.method, each.path, each.part_number) == same for each in self.asked)
        request = Request(method, path, not url.startswith(SERVICE_URL), earlier, part_number, token, url)
        self.asked.append(request)
        self.studio.clock.advance(self.seconds_per_request)
        return request

    def _put(self, data: bytes, *, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        assert method == "PUT"
        signed, promise = SignedRequest(url, dict(headers), 0), self.studio.objects._promises.get(url)
        is_part = promise is not None and promise.multipart_upload_id is not None
        status = (self.studio.objects.put_part if is_part else self.studio.objects.put)(signed, data)
        self.studio.clock.advance(self.seconds_per_transfer)
        code = _CODES.get(status, "")
        return Answer(status, f"<Error><Code>{code}</Code></Error>".encode() if code else b"", {}, is_whole=True)

    def _call(self, data: bytes, *, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        address = urlsplit(url)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token in self.refused_tokens:
            return Answer(401, b'{"message":"Unauthorized"}', {"content-type": "application/json"}, is_whole=True)
        claims = make_claims("sub-anna", "anna") if token else None
        query = dict(parse_qsl(address.query))
        event = make_event((method, address.path), claims=claims, body=data.decode() or None, query=query)
        said = self.studio.app(event)
        told = {name.lower(): value for name, value in said["headers"].items()}
        return Answer(said["statusCode"], said["body"].encode(), told, is_whole=True)

    def pool_for(self, _: str) -> OneClock:
        """Stand for a pool of connections, to fetch with."""
        return self

    def request(self, method: str, url: str, headers: Mapping[str, str], **_: object) -> urllib3.BaseHTTPResponse:
        """Hand a GET over."""
        with self._lock:
            address = urlsplit(url)
            asked = self._note(method, url)
            is_flipped = False
            try:
                answer = self.on(asked)
            except BrokenError as broken:
                raise broken.as_urllib3() from broken
            except FlippedError:
                answer, is_flipped = None, True
            if answer is not None:
                return _respond(url, answer.status, answer.body, answer.headers)
            first, last = map(int, headers["range"].removeprefix("bytes=").split("-"))
            status, data = self.studio.objects.get(SignedRequest(url, {}, 0), (first, last))
            self.studio.clock.advance(self.seconds_per_transfer)
            size = self.studio.objects.head_object(address.path.removeprefix("/"))
            told = {"content-range": f"bytes {first}-{last}/{size.size if size else 0}"} if status == 206 else {}
            return _respond(url, status, _flip(data) if is_flipped else data, told)

    def close(self) -> None:
        """Stand for connections that are closed in the end."""

    # --- the command ---------------------------------------------------------------------------------------

    def run(self, *arguments: str) -> int:
        """Run a command to its end; return its exit code."""
        return main(list(arguments))


def _read_all(body: Any, most_bytes: int | None = None) -> bytes:
    data = bytearray()
    while most_bytes is None or len(data) < most_bytes:
        piece = body.read(MIB)
        if not piece:
            break
        data += piece
    return bytes(data)


def _flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _respond(url: str, status: int, data: bytes, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    told = {"content-length": str(len(data)), **headers}
    return urllib3.HTTPResponse(
        io.BytesIO(data), told, status, reason=http.client.responses[status], preload_content=False, request_url=url
    )


@contextmanager
def one_clock(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, budget_seconds: float = PROGRESS_BUDGET_SECONDS, **of_studio: Any
) -> Iterator[OneClock]:
    """Sit somebody down at a laptop in an empty work folder, before a service on the same clock.

    A client that has had an answer waits for `budget_seconds` without progress.
    """
    studio = Studio(**of_studio)
    studio.objects = Bucket(studio.clock, tells_part_checksums=False)
    studio.serve(studio.records, studio.objects)
    at = OneClock(studio)
    work = folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in [name for name in os.environ if name.startswith("MGMT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MGMT_TOKEN", "sesame")
    monkeypatch.setenv("MGMT_API_URL", SERVICE_URL)
    # In PATH is no helper that keeps this machine awake.
    for name, place in (("MGMT_CONFIG", "config"), ("MGMT_STATE_DIR", "state"), ("PATH", "nothing")):
        monkeypatch.setenv(name, os.fspath(folder / place))
    for module in ("mgmt_api.uploads.drafts", "mgmt_api.domain.description"):
        monkeypatch.setattr(f"{module}.SINGLE_PUT_MAX_BYTES", PART_BYTES)
    for module in ("mgmt.service.replies", "support.fakes"):
        monkeypatch.setattr(f"{module}.PART_SIZE_MIN_BYTES", PART_BYTES)
    monkeypatch.setattr("mgmt_api.uploads.drafts.part_size_for", lambda _: PART_BYTES)
    monkeypatch.setattr(replies, "Limits", partial(replies.Limits, single_put_max_bytes=PART_BYTES))
    monkeypatch.setattr(session, "Connections", lambda **_: at)
    begin = Patience.__init__

    def begin_on_this_clock(self: Patience, *given: Any, **named: Any) -> None:
        own = {"monotonic": at.awake, "elapsed": at.passed, "budget_seconds": budget_seconds}
        begin(self, *given, **{**named, **own})

    monkeypatch.setattr(Patience, "__init__", begin_on_this_clock)
    monkeypatch.setattr(Patience, "_pause", at.pause)
    yield at
