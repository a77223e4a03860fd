"""The embedded backend in tests: started, spoken to, killed, and looked at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]  # its types are a distribution of their own
import urllib3

from mgmt_contract.messages.history import LookUpRequest, RecordsResponse
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.removal import RemovalItem, RemovalRequest, RemovalResponse, RemovalResult
from mgmt_contract.messages.uploads import (
    CompleteItem,
    CompleteRequest,
    CompleteResponse,
    CompleteResult,
    Content,
    Part,
    SignItem,
    SignRequest,
    SignResponse,
    StartItem,
    StartRequest,
    StartResponse,
    StartResult,
)
from mgmt_contract.routes import COMPLETE, LOOK_UP, SIGN, START, Route
from mgmt_contract.wire import from_json, to_plain
from mgmt_local import control
from mgmt_local.control import Endpoint
from mgmt_local.process.alive import list_holders
from support.studio import content_of, item_for
from support.team import Laptop

T = TypeVar("T")

DEADLINE_SECONDS = 60.0


@contextmanager
def local_backend(state_dir: Path, *, idle_seconds: float = 600) -> Iterator[Endpoint]:
    """Run the backend in the background; at the end it is gone, however the test has left it."""
    try:
        yield control.start(state_dir, idle_seconds=idle_seconds)
    finally:
        kill_backend(state_dir)


@contextmanager
def backend_in_use(state_dir: Path, *, idle_seconds: float) -> Iterator[Endpoint]:
    """Start a backend and hold it; once more where it has ended before, because a busy machine let it wait so long."""
    while True:
        endpoint = control.start(state_dir, idle_seconds=idle_seconds)
        with control.hold(endpoint):
            if list_holders(endpoint.url, endpoint.token, DEADLINE_SECONDS):
                yield endpoint
                return


def kill_backend(state_dir: Path) -> None:
    """End whatever runs of a backend: an end in order takes its engine more than a second."""
    while running := processes_in(state_dir):
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(running)
    control.stop(state_dir)


def make_laptop(folder: Path) -> Laptop:
    """Make a machine with nothing configured, whose embedded backend keeps its data in `folder / "backend"`."""
    (folder / "work").mkdir()
    places = {"MGMT_CONFIG": "config", "MGMT_STATE_DIR": "state", "MGMT_LOCAL_STATE_DIR": "backend"}
    return Laptop(folder, folder / "work", {name: os.fspath(folder / place) for name, place in places.items()})


def wait_until(condition: Callable[[], object], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for a condition of the outside world that sends no event."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        pause.wait(0.02)


def gateway_process(state_dir: Path) -> psutil.Process:
    """Return the running background process."""
    pid = control.status(state_dir).pid
    assert pid is not None
    return psutil.Process(pid)


def engine_process(state_dir: Path) -> psutil.Process:
    """Return the running storage engine's process."""
    return psutil.Process(json.loads((state_dir / "engine" / "engine.json").read_text("utf-8"))["pid"])


def listeners(pid: int) -> list[Any]:
    """Return every listening socket of a process and those it has started."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return [found for one in family for found in one.net_connections() if found.status == psutil.CONN_LISTEN]


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return every process that works in a folder: gateway and engine both do."""
    return [process for process in psutil.process_iter() if _works_in(process, folder)]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False


@dataclass
class Person:
    """A person's client of the protocol, over HTTP."""

    endpoint: Endpoint
    machine_id: str = "0192e4a0-0000-7000-8000-000000000001"

    def call(self, route: Route, kind: type[T], body: Any = None) -> T:
        """Make one call."""
        status, text = request(
            self.endpoint.url, route.method, route.path, token=self.endpoint.token, body=to_plain(body)
        )
        assert status == 200, text
        return from_json(kind, text)

    def start(self, item: StartItem) -> StartResult:
        """Start one upload."""
        (result,) = self.call(START, StartResponse, StartRequest(self.machine_id, [item])).results
        assert result.problem is None, result.problem
        return result

    def send_part(self, started: StartResult, part: Part, body: bytes, final: Content | None = None) -> int:
        """Have a part signed and send it; return the storage's status."""
        item = SignItem(started.operation_id, _epoch_of(started), [part], final)
        (result,) = self.call(SIGN, SignResponse, SignRequest(self.machine_id, [item])).results
        assert result.problem is None, result.problem
        return self.send(result.parts[0].request, body)

    def complete(self, started: StartResult, content: Content) -> CompleteResult:
        """Have one upload completed."""
        item = CompleteItem(started.operation_id, _epoch_of(started), content)
        (result,) = self.call(COMPLETE, CompleteResponse, CompleteRequest(self.machine_id, [item])).results
        return result

    def upload(self, name: str, body: bytes) -> CompleteResult:
        """Upload a small archive whole."""
        started = self.start(item_for(name, body))
        assert started.request is not None, started
        assert self.send(started.request, body) == 200
        return self.complete(started, content_of(body))

    def remove(self, route: Route, upload_id: str) -> RemovalResult:
        """Delete one upload, or bring it back."""
        asked = RemovalRequest([RemovalItem(str(uuid.uuid4()), upload_id)])
        return self.call(route, RemovalResponse, asked).results[0]

    def look_up(self, operation_id: str) -> Any:
        """Return one record."""
        return self.call(LOOK_UP, RecordsResponse, LookUpRequest([operation_id])).results[0].record

    def send(self, signed: SignedRequest, body: bytes) -> int:
        """PUT to a presigned URL and return the status."""
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            return pool.request("PUT", signed.url, body=body, headers=signed.headers).status


def _epoch_of(started: StartResult) -> int:
    assert started.lease is not None, started
    return started.lease.epoch


def request(
    url: str,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Send one request to a gateway; return status and body."""
    sent = dict(headers or {})
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    if body is not None and not isinstance(body, bytes):
        sent["content-type"] = "application/json"
        body = json.dumps(body).encode()
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        answer = pool.request(method, url + path, body=body, headers=sent, redirect=False)
        return answer.status, answer.data.decode()
