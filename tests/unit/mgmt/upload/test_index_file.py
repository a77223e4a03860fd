"""The index of an archive on its way: made, made again, or given up without a word against the upload."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mgmt.archive import pack
from mgmt.archive.checksums import crc64nvme, written
from mgmt.archive.index import Index
from mgmt.errors import CancelledError
from mgmt.source import look
from mgmt.storage import PutOutcome, PutResult
from mgmt.upload import index_file
from mgmt.upload.index_file import ArchiveIndex
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.service import SIGN_INDEX_FIELD
from support.trees import awkward_tree

FOR_THE_INDEX = SignedRequest("https://bucket.invalid/index", {}, 900)


class Session:
    """Takes what is sent, and notes what is said."""

    def __init__(self, *fields: str) -> None:
        self.api = SimpleNamespace(optional_fields=fields)
        self.said: list[str] = []
        self.carrier = self
        self.taken: list[bytes] = []

    def emit(self, event: Any) -> None:
        self.said.append(event.code)

    def put_from(self, _: SignedRequest, file: Any, __: str, length: int, ___: Any) -> PutResult:
        self.taken.append(file.read(length))
        return PutResult(PutOutcome.STORED, "")


@pytest.fixture
def tree(tmp_path):
    return awkward_tree(tmp_path / "tree")


def pack_job(index: ArchiveIndex, job: Any, tree: Path) -> None:
    job.archive = pack(look(tree), job.archive_path, index=index.begin())
    job.content = job.archive.content


def job_for(tmp_path: Path) -> Any:
    path = tmp_path / "tree.tar.gz"
    return SimpleNamespace(archive_path=path, target_path="tree", operation_id="id", content=None)


def test_the_index_that_is_sent_is_the_one_that_was_stated_each_time(tree, tmp_path):
    session: Any = Session(SIGN_INDEX_FIELD)
    job = job_for(tmp_path)
    with ArchiveIndex(session, job) as index:
        pack_job(index, job, tree)
        stated = index.finish()
        assert index.finish() == stated
        for _ in range(2):
            index.put(FOR_THE_INDEX, lambda _: None)
    first, second = session.taken
    assert first == second
    assert (len(first), written(crc64nvme(first))) == (stated.size, stated.crc64nvme)
    (tmp_path / "index.gz").write_bytes(first)
    Index(tmp_path / "index.gz").refuse_false(job.content.content_digest, job.content.size)
    with ArchiveIndex(session, job) as again:
        again.rebuild(threading.Event())
        assert again.finish() == stated, "made again it has the same bytes"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.gz", "tree", "tree.tar.gz"]
    assert session.said == []


def test_for_a_service_that_takes_none_nothing_is_made(tree, tmp_path):
    session: Any = Session("start.content_md5")
    job = job_for(tmp_path)
    with ArchiveIndex(session, job) as index:
        assert index.begin() is None
        pack_job(index, job, tree)
        index.rebuild(threading.Event())
        assert (index.finish(), session.said) == (None, [])


def test_an_archive_that_was_changed_since_gets_no_index(tree, tmp_path):
    session: Any = Session(SIGN_INDEX_FIELD)
    job = job_for(tmp_path)
    with ArchiveIndex(session, job) as index:
        pack_job(index, job, tree)
    (tree / "one more").write_bytes(b"x")
    job.archive_path.unlink()
    pack(look(tree), job.archive_path)
    with ArchiveIndex(session, job) as index:
        index.rebuild(threading.Event())
        assert (index.finish(), session.said) == (None, [])


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_an_archive_that_cannot_be_read_gets_no_index_which_is_said(tree, tmp_path, harm):
    session: Any = Session(SIGN_INDEX_FIELD)
    job = job_for(tmp_path)
    with ArchiveIndex(session, job) as index:
        pack_job(index, job, tree)
    harm(job.archive_path)
    with ArchiveIndex(session, job) as index:
        index.rebuild(threading.Event())
        assert (index.finish(), session.said) == (None, ["index-not-stored"])


def test_reading_an_archive_again_ends_when_the_command_is_stopped(tree, tmp_path):
    session: Any = Session(SIGN_INDEX_FIELD)
    job, stop = job_for(tmp_path), threading.Event()
    with ArchiveIndex(session, job) as index:
        pack_job(index, job, tree)
    stop.set()
    with ArchiveIndex(session, job) as index, pytest.raises(CancelledError):
        index.rebuild(stop)


def test_a_disk_without_room_for_an_index_is_said_and_packing_goes_on(tree, tmp_path):
    session: Any = Session(SIGN_INDEX_FIELD)
    job = job_for(tmp_path / "gone")
    with ArchiveIndex(session, job) as index:
        assert index.begin() is None
        assert session.said == [], "the archive may not be possible there either, and nothing go on"
        assert [index.finish(), index.finish()] == [None, None]
        assert session.said == ["index-not-stored"]


def test_an_index_that_is_larger_than_the_service_takes_is_not_sent(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(index_file, "INDEX_SIZE_MAX_BYTES", 100)
    session: Any = Session(SIGN_INDEX_FIELD)
    job = job_for(tmp_path)
    with ArchiveIndex(session, job) as index:
        pack_job(index, job, tree)
        assert (index.finish(), session.said) == (None, [])
