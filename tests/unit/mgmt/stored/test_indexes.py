"""An upload's index is its own object or made from its archive; a false one is never believed."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import pytest

from mgmt.archive import pack
from mgmt.errors import IntegrityError, LocalStateError, RefusedError, SourceError
from mgmt.source import look
from mgmt.stored.indexes import open_index
from mgmt_contract.names import index_key
from support.stored import change_record, give_index, make_index, read_record, store_upload


def names_in(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def listed(index) -> list[str]:
    return [os.fsdecode(member.path) for member in index.members()]


@pytest.fixture
def indexed(desk, card, tmp_path):
    """The same upload with its index beside it."""
    give_index(desk.team, card.upload.operation_id, make_index(card.archive, tmp_path))
    return replace(card, upload=read_record(desk.team, card.upload.operation_id))


def test_an_index_is_fetched_and_nothing_of_the_archive(desk, indexed):
    with open_index(desk.session, indexed.upload) as index:
        assert listed(index) == names_in(indexed.archive)
        twice = zip(index.members(), index.members(), strict=True)
        assert all(one == other for one, other in twice), "two readers at once"
    assert sum(1 for _ in desk.team.storage.gets) == 1
    assert (desk.downloads(), desk.notices) == ([], [])


def test_many_answers_of_one_look_serve_as_well(desk, indexed):
    [seen] = desk.session.api.look([indexed.upload.operation_id], signs_indexes=True).results
    with open_index(desk.session, indexed.upload, seen=seen) as index:
        assert listed(index) == names_in(indexed.archive)


@pytest.mark.parametrize("fault", ["cut", "refuse"])
def test_the_index_comes_through_a_network_that_breaks(desk, indexed, fault):
    desk.team.storage.get_fault = lambda get: fault if get.attempt == 0 and get.first == 0 else "none"
    with open_index(desk.session, indexed.upload) as index:
        assert listed(index) == names_in(indexed.archive)
    assert desk.notices == []


def test_an_archive_without_an_index_is_read_once_and_that_is_said_first(desk, card):
    asked = []

    def ask(size):
        assert desk.notices == ["archive-read"]
        assert desk.team.storage.gets == []
        asked.append(size)

    with open_index(desk.session, card.upload, on_read_archive=ask) as index:
        assert listed(index) == names_in(card.archive)
        assert (index.facts.archive_size, index.facts.crc64nvme) == (len(card.archive), card.upload.crc64nvme)
    assert asked == [len(card.archive)]
    assert desk.downloads() == [("success", None)]


def test_a_caller_may_refuse_to_have_it_read(desk, card):
    def refuse(_):
        raise RefusedError("Too much.", code="too-much")

    with pytest.raises(RefusedError), open_index(desk.session, card.upload, on_read_archive=refuse):
        pass
    assert desk.team.storage.gets == []


def test_of_a_small_archive_nothing_is_said(desk, card, monkeypatch):
    monkeypatch.setattr("mgmt.stored.indexes.SINGLE_PUT_MAX_BYTES", len(card.archive))
    with open_index(desk.session, card.upload) as index:
        assert listed(index) == names_in(card.archive)
    assert desk.notices == []


@pytest.mark.parametrize(
    "fate", ["gone", "differs", "other checksum", "flipped on the way", "another upload's", "junk"]
)
def test_an_index_that_is_not_this_archives_is_not_believed_and_the_archive_is_read(desk, card, tmp_path, fate):
    upload_id = card.upload.operation_id
    index = make_index(card.archive, tmp_path)
    if fate == "another upload's":
        (card.folder / "notes.txt").write_bytes(b"later")
        other = pack(look(card.folder), tmp_path / "later.tar.gz")
        store_upload(desk.team, other, 2)
        index = make_index(other.path.read_bytes(), tmp_path)
    elif fate == "junk":
        index = b"junk"
    give_index(desk.team, upload_id, index)
    upload = read_record(desk.team, upload_id)
    if fate == "gone":
        desk.team.s3.delete_object(
            Bucket=desk.team.bucket, Key=index_key("", upload_id), VersionId=upload.index_version_id
        )
    elif fate == "differs":
        upload = change_record(desk.team, upload_id, index_size=3)
    elif fate == "other checksum":
        upload = replace(upload, index_crc64nvme="AAAAAAAAAAA=")
    elif fate == "flipped on the way":
        desk.team.storage.get_fault = lambda get: "flip" if "/.mgmt/" in get.path else "none"
    with open_index(desk.session, upload) as found:
        assert listed(found) == names_in(card.archive)
        assert found.facts.content_digest == upload.content_digest
    assert desk.notices == ["index-damaged", "archive-read"]
    assert desk.downloads() == [("success", None)]


def test_where_an_archived_class_holds_the_index_the_archive_is_read(desk, indexed):
    [seen] = desk.session.api.look([indexed.upload.operation_id], signs_indexes=True).results
    with open_index(desk.session, indexed.upload, seen=replace(seen, index_request=None)) as index:
        assert listed(index) == names_in(indexed.archive)
    assert (desk.notices, desk.downloads()) == (["index-damaged", "archive-read"], [("success", None)])


def test_an_index_of_which_a_bit_was_changed_on_the_way_is_fetched_again(desk, indexed):
    desk.team.storage.get_fault = lambda get: "flip" if get.attempt == 0 else "none"
    with open_index(desk.session, indexed.upload) as index:
        assert listed(index)
    assert desk.notices == []
    assert ["/.mgmt/" in get.path for get in desk.team.storage.gets] == [True, True]


def test_an_archive_that_is_not_what_was_recorded_has_no_index_at_all(desk, card):
    false = replace(card.upload, content_digest="blake3:" + 64 * "0")
    with pytest.raises(IntegrityError) as raised, open_index(desk.session, false):
        pass
    assert raised.value.code == "content-differs"
    assert desk.downloads() == [("failed", "content-differs")]


def test_an_archive_that_was_altered_past_the_service_is_not_listed_from_an_index_either(desk, indexed):
    put = desk.team.s3.put_object(
        Bucket=desk.team.bucket, Key=indexed.upload.s3_object_key, Body=b"forged", ChecksumAlgorithm="CRC64NVME"
    )
    altered = change_record(desk.team, indexed.upload.operation_id, version_id=put["VersionId"])
    with pytest.raises(IntegrityError) as raised, open_index(desk.session, altered):
        pass
    assert raised.value.code == "content-differs"


@pytest.mark.parametrize("codec", ["mgmt 2, isal 1.9.1, x86_64", None, "tar"])
def test_an_archive_of_another_format_is_said_to_be_one(desk, card, codec):
    with pytest.raises(SourceError) as raised, open_index(desk.session, replace(card.upload, codec=codec)):
        pass
    assert raised.value.code == "other-format"
    assert desk.team.storage.gets == []


def test_a_full_disk_is_a_sentence(desk, card, monkeypatch):
    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mgmt.archive.index.IndexWriter.add", fill)
    with pytest.raises(LocalStateError) as raised, open_index(desk.session, card.upload):
        pass
    assert raised.value.code == "disk-full"


def test_nothing_is_left_where_temporary_files_lie(desk, card, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with open_index(desk.session, card.upload) as index:
        assert listed(index)
        assert list((tmp_path / "temporary").iterdir()) == [], "also in the middle: a kill leaves nothing"


def test_a_machine_without_a_folder_for_temporary_files_is_told_so(desk, indexed, monkeypatch):
    def refuse(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("mgmt.stored.indexes.tempfile.TemporaryFile", refuse)
    with pytest.raises(LocalStateError, match="TMPDIR"), open_index(desk.session, indexed.upload):
        pass
    assert desk.team.storage.gets == []


@contextmanager
def failing(method: str, error_number: int) -> Iterator[list[str]]:
    """Make the files of lists, whose disk fails at one thing once it is told to."""
    fails: list[str] = []

    class Failing:
        def __init__(self) -> None:
            self._file = io.BytesIO()

        def __getattr__(self, name: str) -> Any:
            if name == method and fails:
                raise OSError(error_number, os.strerror(error_number))
            return getattr(self._file, name)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mgmt.stored.indexes._open_list", Failing)
        yield fails


@pytest.mark.parametrize("upload", ["with an index", "without"])
def test_a_list_that_its_disk_does_not_give_back_is_a_sentence_with_the_disks_words(desk, card, indexed, upload):
    of = indexed if upload == "with an index" else card
    with failing("read", errno.EIO) as fails:
        fails.append("at once")
        with (
            pytest.raises(LocalStateError, match=os.strerror(errno.EIO)) as raised,
            open_index(desk.session, of.upload),
        ):
            pass
    assert (raised.value.exit_code, raised.value.code) == (9, "list-unreadable")
    with failing("read", errno.EIO) as fails, open_index(desk.session, of.upload) as index:
        fails.append("once it is open")
        with pytest.raises(LocalStateError, match="TMPDIR"):
            listed(index)


@pytest.mark.parametrize("method", ["truncate", "flush", "write"])
@pytest.mark.parametrize("upload", ["with an index", "without"])
def test_a_list_that_its_disk_does_not_take_is_a_sentence(desk, card, indexed, upload, method):
    of = indexed if upload == "with an index" else card
    with failing(method, errno.ENOSPC) as fails:
        fails.append("at once")
        with pytest.raises(LocalStateError) as raised, open_index(desk.session, of.upload):
            pass
    assert raised.value.code == "disk-full"
