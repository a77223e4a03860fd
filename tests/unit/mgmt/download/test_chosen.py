"""A clip comes out of an archive of 500 GB at the price of the clip."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from mgmt.download import DownloadOptions, download
from mgmt.download.results import Summary
from mgmt.events import Emit, Event, Finished, Progress
from mgmt.session import FixedToken, Session, open_session
from mgmt.settings import Settings
from mgmt_contract.messages.downloads import OpenDownloadsRequest, OpenDownloadsResponse
from mgmt_contract.parts import GIB, MIB
from support.endless_archive import CHOSEN_BYTES, EndlessArchive, EndlessService


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[EndlessArchive]:
    with closing(EndlessArchive(tmp_path)) as archive:
        yield archive


def opened_session(tmp_path: Path, emit: Emit) -> AbstractContextManager[Session]:
    return open_session(
        Settings(api_url="http://127.0.0.1:9"),
        token=FixedToken(""),
        state_dir=tmp_path / "state",
        emit=emit,
        stop=threading.Event(),
    )


def test_a_clip_of_a_huge_archive_costs_its_own_bytes_two_blocks_and_the_index(archive, tmp_path):
    (tmp_path / "to").mkdir()
    events: list[Event] = []
    service: Any = EndlessService(archive)
    summary = Summary()
    with opened_session(tmp_path, events.append) as session:
        download(
            ["card"],
            lambda _: archive.upload,
            DownloadOptions(tmp_path / "to", only=("C0250*",)),
            replace(session, api=service),
            tmp_path,
            summary,
        )
    assert (summary.succeeded, summary.errors) == (1, [])
    assert archive.upload.s3_file_record is not None
    assert archive.upload.s3_file_record.size > 499 * GIB
    assert archive.sent_bytes <= CHOSEN_BYTES * 1.001 + 2 * 2 * MIB + len(archive.index)
    assert len(archive.index) < MIB
    hashed, found = blake3(), tmp_path / "to" / "card" / "C0250.MP4"
    hashed.update(found.read_bytes())
    assert (found.stat().st_size, hashed.digest()) == (CHOSEN_BYTES, archive.digest)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["card"]
    assert service.ends == [(archive.sent_bytes - len(archive.index), None)]
    [finished] = [event for event in events if isinstance(event, Finished)]
    assert finished.error is None
    done = [event.done_bytes for event in events if isinstance(event, Progress)]
    assert (done == sorted(done), done[-1]) == (True, CHOSEN_BYTES)


def test_a_download_behind_what_was_hurried_has_all_its_time(archive, tmp_path):
    """`mgmt resume` reports uploads, and downloads to another folder, with five seconds for that."""
    (tmp_path / "to").mkdir()
    seconds: list[float | None] = []

    class Watching(EndlessService):
        def open_downloads(self, request: OpenDownloadsRequest) -> OpenDownloadsResponse:
            seconds.append(session.patience.begin_try())
            return super().open_downloads(request)

    service: Any = Watching(archive)
    options = DownloadOptions(tmp_path / "to", only=("C0250*",))
    with opened_session(tmp_path, lambda _: None) as session:
        session.patience.note_answer()
        session.patience.hurry(5)
        asking = replace(session, api=service)
        download(["card"], lambda _: archive.upload, options, asking, tmp_path, Summary())
    assert seconds == [None], "a try is not bounded"
