"""Orphans are found, counted and told; what the records know is left in peace, and nothing is destroyed."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.work import Work
from mgmt_api.ports import NewObject, StorageError, StorageUnavailableError
from mgmt_api.upkeep.orphans import find_orphans
from mgmt_contract.names import index_key
from mgmt_contract.wire import MessageError
from support.interposed import refuse_some
from support.studio import BODY, CONTENT, index_of, item_for, parts_of

ORPHANS = Work("orphans")
DAY = 24 * 3600
UNKNOWN = "01a2041b-befb-730e-9a3c-9ad5ec9c722f"


def unended(studio):
    """The multipart uploads but for those whose record has ended: there are none, unless a call was interrupted."""
    ended = {each.multipart_upload_id for each in studio.records.operations.values() if each.phase == "failed"}
    return {id_: each for id_, each in studio.objects.uploads.items() if id_ not in ended}


@pytest.fixture
def told(studio, caplog):
    """Make the search, and say what it told."""

    def search():
        caplog.clear()
        counted = studio.metrics.counts["Orphans"]
        before = copy.deepcopy((studio.objects.versions, unended(studio), studio.objects.tags))
        studio.work(ORPHANS)
        assert (studio.objects.versions, unended(studio), studio.objects.tags) == before, "nothing is destroyed"
        found = [(line.kind, line.key) for line in caplog.records if line.message == "orphan"]
        assert studio.metrics.counts["Orphans"] - counted == len(found)
        return found

    return search


def store_with_an_index(studio, ada, name="large"):
    started = ada.start(item_for(name, upper_bound=100))
    part_size = started.multipart.part_size
    signed = ada.sign(started, parts_of(BODY, part_size), CONTENT, index=index_of(b"index"))
    ada.send_parts(signed, BODY, part_size)
    studio.objects.put(signed.index_request, b"index")
    ada.complete(started, CONTENT)
    studio.work()
    return studio.operation(started.operation_id).record


def test_what_the_service_has_stored_is_none(studio, ada, told):
    ada.upload(item_for("clip", BODY), BODY)
    ada.upload(item_for("clip", b"again", replace=True), b"again")
    gone = ada.upload(item_for("deleted", BODY), BODY)
    ada.delete(gone.operation_id)
    store_with_an_index(studio, ada)
    ada.sign(ada.start(item_for("pending", upper_bound=10**9)), [])
    studio.clock.advance(2 * DAY)
    assert told() == []


def test_objects_that_no_record_knows(studio, told):
    studio.objects.place("strange.bin", BODY)
    studio.objects.place("lost.tar.gz", BODY, operation_id=UNKNOWN)
    studio.objects.place(index_key("", UNKNOWN), BODY, operation_id=UNKNOWN)
    studio.objects.place(index_key("", "no-id"), BODY)
    assert told() == [], "they may be on their way into the records"
    studio.clock.advance(DAY)
    assert sorted(told()) == [
        ("index", index_key("", UNKNOWN)),
        ("index", index_key("", "no-id")),
        ("object", "lost.tar.gz"),
        ("object", "strange.bin"),
    ]


def test_the_index_of_a_failed_upload_is_known(studio, ada, told):
    started = ada.start(item_for("large", upper_bound=100))
    part_size = started.multipart.part_size
    signed = ada.sign(started, parts_of(BODY, part_size), CONTENT, index=index_of(b"index"))
    studio.objects.put(signed.index_request, b"index")
    ada.fail(started)
    studio.clock.advance(DAY)
    assert told() == []


def test_an_object_that_was_put_over_a_known_one_past_the_service(studio, ada, told):
    ada.upload(item_for("clip", BODY), BODY)
    studio.objects.place("clip.tar.gz", b"other")
    studio.clock.advance(DAY)
    assert told() == [("object", "clip.tar.gz")]


def test_only_what_is_below_the_root_is_looked_at(studio, ada, told):
    studio.settings = replace(studio.settings, root_prefix="team/footage")
    ada.upload(item_for("clip", BODY), BODY)
    for key in ("team/footage-2/x.tar.gz", "x.tar.gz", "team/footage/x.tar.gz"):
        studio.objects.place(key, BODY)
    studio.clock.advance(DAY)
    assert told() == [("object", "team/footage/x.tar.gz")]


def test_multipart_uploads_that_no_record_knows_are_told_and_those_of_ended_uploads_go(studio, ada, told):
    ada.start(item_for("pending", upper_bound=10**9))
    ended = ada.start(item_for("ended", upper_bound=10**9))
    parts = dict(studio.objects.uploads)
    ada.fail(ended)
    studio.objects.uploads = parts  # as if throwing them away had failed
    unknown = studio.objects.create_multipart_upload(NewObject("unknown.tar.gz", UNKNOWN))
    assert told() == []
    assert len(studio.objects.uploads) == 3
    studio.clock.advance(DAY)
    assert told() == [("multipart upload", "unknown.tar.gz")]
    assert {held.new_object.key for held in studio.objects.uploads.values()} == {"pending.tar.gz", "unknown.tar.gz"}
    assert unknown in studio.objects.uploads


def test_records_whose_object_or_index_is_gone(studio, ada, told):
    kept = store_with_an_index(studio, ada, "kept")
    studio.clock.advance(1)
    lost = ada.upload(item_for("clip", BODY), BODY)
    studio.objects.destroy(index_key("", kept.operation_id), kept.index_version_id)
    studio.objects.destroy("clip.tar.gz", lost.record.version_id)
    assert told() == [
        ("record without index", index_key("", kept.operation_id)),
        ("record without object", "clip.tar.gz"),
    ]


def test_what_was_given_up_is_not_missed(studio, ada, told):
    done = ada.upload(item_for("clip", BODY), BODY)
    ada.delete(done.operation_id)
    studio.clock.advance(31 * DAY)
    studio.work(Work("deleted"))
    studio.objects.destroy("clip.tar.gz", done.record.version_id)
    assert told() == []


def test_an_object_that_arrived_unnoticed_is_settled_on_the_way(studio, ada, told):
    started = ada.start(item_for("clip", BODY))
    ada.send(started, BODY)
    studio.clock.advance(DAY)
    assert told() == []
    assert studio.operation(started.operation_id).record.settled_by == "worker"


def test_many_pages_and_runs_find_each_once(studio, told):
    studio.objects.listed_at_once = 2
    for number in range(5):
        studio.objects.place(f"{number}.bin", BODY)
        studio.objects.create_multipart_upload(NewObject(f"{number}.tar.gz", UNKNOWN))
    studio.clock.advance(DAY)
    assert len(told()) == 10


def test_a_run_without_time_says_where_to_go_on(studio):
    studio.worker(remaining_seconds=20).do(Work("orphans", after="objects 3.bin"))
    assert studio.queue.take_due() == [Work("orphans", after="objects 3.bin")]
    studio.worker(remaining_seconds=20).do(ORPHANS)
    assert studio.queue.take_due() == [Work("orphans", after="objects ")]


def search(studio, *, objects=None, records=None, remaining_seconds=lambda: 900.0):
    backends = Backends(
        studio.settings,
        records or studio.records,
        objects or studio.objects,
        studio.clock,
        studio.metrics,
        remaining_seconds=remaining_seconds,
    )
    return lambda after=None: find_orphans(backends, after)


@pytest.mark.parametrize("error", [StorageError("403"), StorageUnavailableError("400, as of a customer's own key")])
def test_an_object_that_the_storage_does_not_show_keeps_no_other_from_being_found(studio, caplog, error):
    """Such as one that an admin has stored with a KMS key: every search would have ended there."""
    for key in ("a.bin", "b.bin", "c.bin"):
        studio.objects.place(key, BODY)
    studio.clock.advance(DAY)
    assert search(studio, objects=refuse_some(studio.objects, {"b.bin": error}))() is None
    assert [(line.message, line.key) for line in caplog.records if hasattr(line, "key")] == [
        ("orphan", "a.bin"),
        ("not looked at this time", "b.bin"),
        ("orphan", "c.bin"),
    ]


def test_a_record_that_cannot_be_read_keeps_no_other_from_being_found(studio, ada, caplog):
    """As a hand in the table, or a version to come, may leave it."""
    store_with_an_index(studio, ada)
    clip = ada.upload(item_for("clip", BODY), BODY)
    lost = ada.upload(item_for("lost", BODY), BODY)
    studio.objects.destroy("lost.tar.gz", lost.record.version_id)
    studio.objects.place("strange.bin", BODY)
    studio.objects.place(index_key("", UNKNOWN), BODY, operation_id=UNKNOWN)
    studio.clock.advance(DAY)
    unreadable = MessageError("of a type to come")
    faults = {UNKNOWN: unreadable, "clip.tar.gz": unreadable}
    assert search(studio, records=refuse_some(studio.records, faults))() is None
    assert [line.key for line in caplog.records if line.message == "orphan"] == ["strange.bin", "lost.tar.gz"]
    unseen = [line.key for line in caplog.records if line.message == "cannot be looked at"]
    assert unseen == [index_key("", UNKNOWN), clip.record.s3_object_key]


def test_a_storage_that_takes_long_is_searched_in_several_runs_and_each_object_is_looked_at_once(studio, ada, caplog):
    """A run that Lambda cuts off in the middle of a page would begin at the same place again, five times."""
    for number in range(4):
        studio.objects.place(f"{number}.bin", BODY)
        studio.objects.create_multipart_upload(NewObject(f"{number}.tar.gz", UNKNOWN))
        lost = ada.upload(item_for(f"lost{number}", BODY), BODY)
        studio.objects.destroy(f"lost{number}.tar.gz", lost.record.version_id)
        studio.clock.advance(1)
    studio.clock.advance(DAY)
    time_left, runs, place = iter(()), 0, None
    find = search(studio, remaining_seconds=lambda: next(time_left, 0.0))
    while runs == 0 or place is not None:
        time_left, runs = iter([900.0] * 4), runs + 1
        place = find(place)
    told = [line.key for line in caplog.records if line.message == "orphan"]
    expected = ("{}.bin", "{}.tar.gz", "lost{}.tar.gz")
    assert sorted(told) == sorted(each.format(number) for each in expected for number in range(4))
    assert runs > 4
