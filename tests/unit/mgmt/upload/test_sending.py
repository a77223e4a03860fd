"""Sending an archive from where it lies, and telling how far it has come."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mgmt.errors import LocalStateError
from mgmt.machine import elapsed_seconds
from mgmt.network import Connections
from mgmt.network.retry import Patience
from mgmt.storage import Carrier, RateLimit
from mgmt.upload.sending import Meter, send_whole
from mgmt_contract.messages.objects import SignedRequest
from support.scripted_server import Answer, scripted_server

SIZE_BYTES = 1000
SECONDS_FOR_ANOTHER = 0.2
NOBODY_LISTENS = SignedRequest("http://127.0.0.1:9/key", {}, 900)


@pytest.fixture
def session():
    stop, connections = threading.Event(), Connections()
    carrier = Carrier(connections, stop, RateLimit(None, stop))
    yield SimpleNamespace(carrier=carrier, patience=Patience(stop), emit=lambda _: None)
    connections.close()


def job_for(path: Path) -> Any:
    archive = SimpleNamespace(path=path, size=SIZE_BYTES)
    return SimpleNamespace(
        operation_id="operation",
        target_path="clip",
        archive=archive,
        archive_path=path,
        lease=None,
        granted_at=elapsed_seconds(),
        enter=lambda _: None,
    )


class Renamed:
    """An archive that gets its final name after it was asked for its path."""

    size = SIZE_BYTES

    def __init__(self, *places: Path) -> None:
        self._places = iter(places)

    @property
    def path(self) -> Path:
        return next(self._places)


def lay_a_folder(path):
    path.mkdir()


def lay_a_loop(path):
    path.symlink_to(path.name)


def lay_what_is_closed(path):
    path.write_bytes(bytes(SIZE_BYTES))
    path.chmod(0)


def lay_behind_what_is_closed(path):
    path.parent.joinpath("closed").mkdir()
    path.parent.joinpath("closed").chmod(0)
    path.symlink_to(Path("closed", "archive"))


@pytest.mark.skipif(os.name == "nt", reason="links and rights are others there")
@pytest.mark.parametrize("lay", [lay_a_folder, lay_a_loop, lay_what_is_closed, lay_behind_what_is_closed, None])
def test_an_archive_that_cannot_be_opened_is_told_with_its_path_and_why(session, somebody, lay):
    path = somebody / "clip.tar.gz"
    if lay is not None:
        lay(path)
    with pytest.raises(LocalStateError) as caught:
        send_whole(session, job_for(path), NOBODY_LISTENS, Meter(session, job_for(path)))
    error = caught.value
    assert (error.code, error.exit_code) == ("archive-unreadable", 9)
    assert f"'{path}' cannot be read: {error.__cause__.strerror}." in error.message
    assert "packed again" in error.message


def test_an_archive_that_gets_its_name_before_it_is_opened_is_sent(session, tmp_path):
    final = tmp_path / "clip.tar.gz"
    final.write_bytes(bytes(SIZE_BYTES))
    job = job_for(final)
    job.archive = Renamed(tmp_path / ".clip.part", final)
    with scripted_server(Answer()) as server:
        send_whole(session, job, SignedRequest(f"{server.url}/key", {}, 900), Meter(session, job))
        [asked] = server.asked
    assert asked.body == bytes(SIZE_BYTES)


def test_progress_is_told_in_the_order_in_which_it_is_counted(session, tmp_path):
    """The first to count is slow to tell; the other must not overtake it, or bars would go back."""
    told, first_tells, other_told = [], threading.Event(), threading.Event()

    def emit(event):
        if not first_tells.is_set():
            first_tells.set()
            other_told.wait(SECONDS_FOR_ANOTHER)
        told.append(event.done_bytes)
        other_told.set()

    session.emit = emit
    meter = Meter(session, job_for(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(meter.add, 1)
        assert first_tells.wait(20)
        other = pool.submit(meter.add, 1)
        first.result(20)
        other.result(20)
    assert told == [1, 2]
