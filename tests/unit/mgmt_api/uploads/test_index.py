"""The index of an archive in parts: signed with the last part, seen at completion, and never waited for."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from mgmt_api.ports import StorageError, StorageUnavailableError
from mgmt_contract.messages.uploads import IndexFile, SignResult, StartResult
from mgmt_contract.names import index_key
from mgmt_contract.parts import GIB, MIB
from support.fakes import crc64nvme
from support.studio import Machine, Studio, content_of, index_of, item_for, parts_of

BODY = bytes(17 * MIB)
INDEX = b"what is in it and where"
OTHER_INDEX = b"another list of the same"
PART = 16 * MIB


def sign(person: Machine, started: StartResult, index: IndexFile | None, *, has_final: bool = True) -> SignResult:
    parts = parts_of(BODY, PART)
    if not has_final:
        return person.sign(started, parts[:1], index=index)
    return person.sign(started, parts, content_of(BODY), index=index)


@pytest.fixture
def started(ada: Machine) -> StartResult:
    return ada.start(item_for("card", None, upper_bound=64 * MIB, prefix="day1", storage_class="DEEP_ARCHIVE"))


def upload_with(ada: Machine, started: StartResult, index: bytes | None) -> SignResult:
    """Send every part, and the index where one is given."""
    signed = sign(ada, started, index_of(INDEX))
    assert set(ada.send_parts(signed, BODY, PART)) == {200}
    if index is not None:
        assert ada.studio.objects.put(signed.index_request, index) == 200
    return signed


def test_the_index_is_signed_with_final_and_lies_beside_the_archives_in_a_class_that_can_be_read(
    studio: Studio, ada: Machine, started: StartResult
):
    upload_with(ada, started, INDEX)
    stored = studio.objects.head_object(f".mgmt/{started.operation_id}.index.gz")
    assert (stored.size, stored.operation_id, stored.storage_class) == (len(INDEX), started.operation_id, None)


def test_it_lies_under_the_root_prefix():
    studio = Studio(replace(Studio().settings, root_prefix="team"))
    ada = studio.person("ada")
    started = ada.start(item_for("card", None, upper_bound=64 * MIB))
    upload_with(ada, started, INDEX)
    assert studio.objects.head_object(f"team/.mgmt/{started.operation_id}.index.gz") is not None


def test_an_index_that_was_seen_is_in_the_record(ada: Machine, started: StartResult, studio: Studio):
    upload_with(ada, started, INDEX)
    record = ada.complete(started, content_of(BODY)).record
    stored = studio.objects.head_object(index_key("", started.operation_id))
    assert (record.status, record.index_size, record.index_crc64nvme) == ("success", len(INDEX), crc64nvme(INDEX))
    assert record.index_version_id == stored.version_id
    assert record.storage_class == "DEEP_ARCHIVE"


def test_done_never_waits_for_an_index(ada: Machine, started: StartResult):
    upload_with(ada, started, None)
    result = ada.complete(started, content_of(BODY))
    assert (result.outcome, result.record.index_size, result.record.index_crc64nvme) == ("done", None, None)


def test_what_is_not_the_announced_index_is_none(studio: Studio, ada: Machine, started: StartResult):
    upload_with(ada, started, None)
    studio.objects.place(index_key("", started.operation_id), INDEX, operation_id=str(uuid.uuid4()))
    assert ada.complete(started, content_of(BODY)).record.index_size is None


@pytest.mark.parametrize("error", [StorageError("403"), StorageError("400"), StorageUnavailableError("slow down")])
def test_an_index_that_cannot_be_looked_at_is_not_taken_for_missing(
    studio: Studio, ada: Machine, started: StartResult, monkeypatch: pytest.MonkeyPatch, error: StorageError
):
    """A record without an index never gets one: so the upload is done only when the storage has said."""
    upload_with(ada, started, INDEX)
    look = studio.objects.head_object

    def fail(key: str, version_id: str | None = None):
        if key.startswith(".mgmt/"):
            raise error
        return look(key, version_id)

    with monkeypatch.context() as patch:
        patch.setattr(studio.objects, "head_object", fail)
        result = ada.complete(started, content_of(BODY))
    assert (result.outcome, result.problem.code) == ("problem", "storage-unavailable")
    again = ada.complete(started, content_of(BODY))
    assert (again.outcome, again.record.index_size) == ("done", len(INDEX))


def test_asking_again_with_the_same_index_signs_it_again_and_with_another_is_refused(
    studio: Studio, ada: Machine, started: StartResult
):
    first = upload_with(ada, started, INDEX)
    again = sign(ada, started, index_of(INDEX))
    assert (again.outcome, studio.objects.put(again.index_request, INDEX)) == ("signed", 412), "it is there"
    assert first.index_request.headers == again.index_request.headers
    assert sign(ada, started, index_of(OTHER_INDEX)).problem.code == "index-differs"
    without = sign(ada, started, None)
    assert (without.outcome, without.index_request) == ("signed", None)
    assert ada.complete(started, content_of(BODY)).record.index_size == len(INDEX)


def test_no_other_bytes_become_the_index(studio: Studio, ada: Machine, started: StartResult):
    signed = sign(ada, started, index_of(INDEX))
    assert studio.objects.put(signed.index_request, INDEX[:-1] + b"!") in (400, 403)


@pytest.mark.parametrize(
    ("index", "has_final", "code"),
    [
        (IndexFile(0, crc64nvme(b"")), True, "invalid-request"),
        (IndexFile(-1, crc64nvme(INDEX)), True, "invalid-request"),
        (IndexFile(GIB + 1, crc64nvme(INDEX)), True, "too-large"),
        (IndexFile(5, "no checksum"), True, "invalid-request"),
        (index_of(INDEX), False, "invalid-request"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(studio, ada, started, index: IndexFile, has_final: bool, code: str):
    assert sign(ada, started, index, has_final=has_final).problem.code == code
    assert studio.operation(started.operation_id).index is None


def test_an_index_of_the_largest_size_is_signed(ada: Machine, started: StartResult):
    assert sign(ada, started, IndexFile(GIB, crc64nvme(INDEX))).outcome == "signed"


# --- getting it back -----------------------------------------------------------------------------------


def test_a_download_has_the_url_of_the_index_and_a_look_sees_it(
    studio: Studio, ada: Machine, bob: Machine, started: StartResult
):
    upload_with(ada, started, INDEX)
    record = ada.complete(started, content_of(BODY)).record
    studio.objects.state(record.s3_object_key, record.version_id, storage_class=None)
    key = index_key("", started.operation_id)
    opened = bob.open_download(started.operation_id)
    assert studio.objects.get(opened.index_request) == (200, INDEX)
    assert [seen.index for seen in bob.look(started.operation_id)] == ["there"]
    studio.objects.place(key, b"junk")
    assert studio.objects.get(opened.index_request) == (200, INDEX), "the version that was seen"
    assert [seen.index for seen in bob.look(started.operation_id)] == ["there"]
    studio.objects.state(key, record.index_version_id, size=3)
    assert [seen.index for seen in bob.look(started.operation_id)] == ["differs"]
    studio.objects.destroy(key, record.index_version_id)
    assert [(seen.outcome, seen.index) for seen in bob.look(started.operation_id)] == [("there", "gone")]


def test_a_look_has_the_url_of_an_index_that_is_there_where_asked_for_and_writes_nothing(
    studio: Studio, ada: Machine, bob: Machine, started: StartResult
):
    upload_with(ada, started, INDEX)
    record = ada.complete(started, content_of(BODY)).record
    before = dict(studio.records.operations)
    [asked], [unasked] = bob.look(started.operation_id, signs_indexes=True), bob.look(started.operation_id)
    assert studio.objects.get(asked.index_request) == (200, INDEX)
    assert (unasked.index, unasked.index_request) == ("there", None)
    studio.objects.state(index_key("", started.operation_id), record.index_version_id, size=3)
    assert [seen.index_request for seen in bob.look(started.operation_id, signs_indexes=True)] == [None]
    assert studio.records.operations == before


def test_an_index_that_somebody_has_archived_is_there_and_has_no_url(
    studio: Studio, ada: Machine, bob: Machine, started: StartResult
):
    """A rule of the admin's own that reaches it: whoever needs the list reads the archive."""
    upload_with(ada, started, INDEX)
    record = ada.complete(started, content_of(BODY)).record
    studio.objects.state(index_key("", started.operation_id), record.index_version_id, storage_class="GLACIER")
    [seen] = bob.look(started.operation_id, signs_indexes=True)
    assert (seen.outcome, seen.index, seen.index_request) == ("there", "there", None)


def test_an_archive_without_an_index_has_no_url_of_one(studio: Studio, ada: Machine):
    item = item_for("clip", b"bytes")
    ada.upload(item, b"bytes")
    assert ada.open_download(item.operation_id).index_request is None
    assert [seen.index_request for seen in ada.look(item.operation_id, signs_indexes=True)] == [None]
    assert [seen.index for seen in ada.look(item.operation_id)] == [None]


@pytest.mark.parametrize("prefix", [".mgmt", ".mgmt/x", "/.mgmt/", ".MGMT", ".mgmt-old/x"])
def test_no_prefix_of_a_person_begins_where_indexes_lie(ada: Machine, prefix: str):
    problem = ada.start(item_for("clip", b"bytes", prefix=prefix)).problem
    assert (problem.code, "which mgmt keeps for itself" in problem.detail) == ("invalid-name", True)


@pytest.mark.parametrize("prefix", ["day1/.mgmt", "mgmt", "x.mgmt"])
def test_other_prefixes_are_free(ada: Machine, prefix: str):
    assert ada.start(item_for("clip", b"bytes", prefix=prefix)).outcome == "put"
