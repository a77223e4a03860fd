"""Joining parts: the call hands it over, the worker does it, and the next call finds it done."""

from __future__ import annotations

from collections import Counter

import pytest

from mgmt_api.domain.work import Work
from mgmt_api.ports import OperationInProgressError, StorageError, StorageUnavailableError, WriteCondition
from support.interposed import fail_at, interpose_objects
from support.studio import BODY, CONTENT, index_of, item_for, parts_of


def carried(machine, **changes):
    """An upload in parts whose only part has arrived."""
    started = machine.start(item_for("clip", upper_bound=100, **changes))
    machine.carry(started, BODY)
    return started


def test_a_call_hands_the_join_over_and_the_next_finds_it_done(studio, ada):
    started = carried(ada)
    asked = ada.complete(started, CONTENT)
    assert (asked.outcome, asked.retry_after_seconds) == ("completing", 0)
    assert studio.objects.head_object("clip.tar.gz") is None, "no call joins"
    studio.work()
    done = ada.complete(started, CONTENT)
    assert done.outcome == "done"
    assert done.record.settled_by is None, "the client has asked for it"
    assert studio.objects.read("clip.tar.gz") == BODY


def test_a_join_that_the_worker_has_made_at_once_is_told_by_the_call_that_asked(studio, ada):
    studio.queue.do_at_once = studio.worker().do
    started = carried(ada)
    done = ada.complete(started, CONTENT)
    assert done.outcome == "done"
    assert done.record.settled_by is None, "the client has asked for it"


def test_a_refusal_that_the_worker_has_met_at_once_is_told_by_the_call_that_asked(studio, ada):
    started = carried(ada)
    refuse = fail_at("complete_multipart_upload", StorageError("not today", code="InvalidRequest"))
    studio.serve(studio.records, interpose_objects(studio.objects, before=refuse))
    studio.queue.do_at_once = studio.worker().do
    problem = ada.complete(started, CONTENT).problem
    assert problem.code == "storage-unavailable"
    assert "InvalidRequest" in problem.detail
    studio.clock.advance(31)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_worker_that_fails_at_once_leaves_the_upload_completing(studio, ada):
    def fail(work: Work) -> None:
        assert work == Work("settle", started.operation_id)

    started = carried(ada)
    studio.queue.do_at_once = fail
    assert ada.complete(started, CONTENT).outcome == "completing"
    studio.queue.do_at_once = None
    studio.clock.advance(31)
    studio.work(Work("pending"))
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_whole_object_is_confirmed_within_the_call(studio, ada):
    assert ada.upload(item_for("clip", BODY), BODY).outcome == "done"
    assert studio.queue.waiting == []


def test_missing_parts_are_named_at_once(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    assert ada.complete(started, CONTENT).missing_parts == [1]


def test_the_pauses_grow_and_the_worker_is_asked_again_only_after_a_while(studio, ada):
    started = carried(ada)
    ada.complete(started, CONTENT)
    pauses = []
    for _ in range(29):
        pauses.append(ada.complete(started, CONTENT).retry_after_seconds)
        studio.clock.advance(1)
    assert pauses == [0] * 2 + [1] * 8 + [3] * 19
    assert len(studio.queue.take_due()) == 1
    studio.clock.advance(1)
    ada.complete(started, CONTENT)
    assert studio.queue.take_due() == [Work("settle", started.operation_id)], "the first message may be lost"
    assert ada.complete(started, CONTENT).retry_after_seconds == 0


def test_a_queue_that_is_out_of_order_fails_no_call(studio, ada):
    studio.queue.is_broken = True
    started = carried(ada)
    assert ada.complete(started, CONTENT).outcome == "completing"
    studio.queue.is_broken = False
    studio.work(Work("pending"))
    assert ada.complete(started, CONTENT).outcome == "completing", "asked a moment ago"
    studio.clock.advance(31)
    studio.work(Work("pending"))
    assert ada.complete(started, CONTENT).outcome == "done"


def test_done_twice_it_is_joined_once(studio, ada):
    started = carried(ada)
    ada.complete(started, CONTENT)
    calls: Counter[str] = Counter()
    studio.serve(studio.records, interpose_objects(studio.objects, before=lambda name: calls.update([name])))
    work = Work("settle", started.operation_id)
    studio.work(work, work, work)
    assert calls["complete_multipart_upload"] == 1
    assert ada.complete(started, CONTENT).outcome == "done"


def test_two_workers_at_once_make_one_object_and_one_record(studio, ada):
    """The second begins while the first waits for the storage: it only looks."""
    started = carried(ada)
    ada.complete(started, CONTENT)
    work = Work("settle", started.operation_id)
    calls: Counter[str] = Counter()

    def begin_another(name: str) -> None:
        calls.update([name])
        if name == "complete_multipart_upload" and calls[name] == 1:
            studio.worker().do(work)

    studio.serve(studio.records, interpose_objects(studio.objects, before=begin_another))
    studio.worker().do(work)
    assert calls["complete_multipart_upload"] == 1
    assert studio.operation(started.operation_id).phase == "done"


def test_the_worker_waits_no_longer_than_others_only_look(studio, ada, monkeypatch):
    """Else another could ask the storage a second time while it waits."""
    waits = []
    join = studio.objects.complete_multipart_upload
    monkeypatch.setattr(
        studio.objects,
        "complete_multipart_upload",
        lambda *a, **k: (waits.append(k["within_seconds"]), join(*a, **k))[1],
    )
    started = carried(ada)
    ada.complete(started, CONTENT)
    studio.work()
    assert waits == [studio.settings.join_patience_seconds] == [600]


def test_a_join_that_takes_longer_is_found_by_a_later_look(studio, ada):
    started = carried(ada)
    ada.complete(started, CONTENT)
    slow = fail_at("complete_multipart_upload", OperationInProgressError("slow"))
    studio.serve(studio.records, interpose_objects(studio.objects, before=slow))
    studio.worker().do(Work("settle", started.operation_id))
    assert ada.complete(started, CONTENT).outcome == "completing"
    (multipart_upload_id,) = studio.objects.uploads
    studio.objects.complete_multipart_upload(
        "clip.tar.gz",
        multipart_upload_id,
        studio.objects.list_parts("clip.tar.gz", multipart_upload_id),
        size=CONTENT.size,
        crc64nvme=CONTENT.crc64nvme,
        condition=WriteCondition(),
        within_seconds=1,
    )
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_part_that_was_lost_before_the_join_is_sent_again(studio, ada):
    started = carried(ada)
    ada.complete(started, CONTENT)
    (upload,) = studio.objects.uploads.values()
    upload.parts.clear()
    studio.work()
    assert ada.complete(started, CONTENT).missing_parts == [1]
    ada.carry(started, BODY)
    assert ada.complete(started, CONTENT).outcome == "completing", "asked at once, however recently it was before"
    studio.work()
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_refusal_to_join_is_told_and_asked_again_later(studio, ada):
    started = carried(ada)
    ada.complete(started, CONTENT)
    refusing = fail_at("complete_multipart_upload", StorageError("no", code="InvalidPart"))
    studio.serve(studio.records, interpose_objects(studio.objects, before=refusing))
    studio.work()
    refused = ada.complete(started, CONTENT)
    assert (refused.outcome, refused.problem.code) == ("problem", "storage-unavailable")
    assert "InvalidPart" in refused.problem.detail
    studio.serve(studio.records, studio.objects)
    studio.clock.advance(31)
    assert ada.complete(started, CONTENT).outcome == "completing"
    studio.work()
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_storage_that_is_down_makes_the_work_come_again(studio, ada):
    started = carried(ada)
    ada.complete(started, CONTENT)
    down = fail_at("complete_multipart_upload", StorageUnavailableError("down"))
    studio.serve(studio.records, interpose_objects(studio.objects, before=down))
    with pytest.raises(StorageUnavailableError):
        studio.work()
    studio.serve(studio.records, studio.objects)
    studio.worker().do(Work("settle", started.operation_id))
    assert ada.complete(started, CONTENT).outcome == "done"


def test_what_nobody_knows_is_no_fault(studio):
    studio.work(Work("settle", "01a2041b-befb-730e-9a3c-9ad5ec9c722f"))


@pytest.mark.parametrize("work", [Work("settle"), Work("arrival"), Work("dance")])
def test_work_that_makes_no_sense_is_refused(studio, work):
    with pytest.raises(ValueError, match="no such work"):
        studio.worker().do(work)


def test_an_upload_whose_client_is_gone_after_the_last_byte_is_joined_when_its_urls_have_expired(studio, ada):
    """`sign` with `final` has left word."""
    started = carried(ada)
    studio.clock.advance(899)
    studio.work()
    assert studio.operation(started.operation_id).phase == "carrying"
    studio.clock.advance(1)
    studio.work()
    record = studio.operation(started.operation_id).record
    assert (record.phase, record.settled_by, record.index_missing) == ("done", "worker", False)
    assert studio.metrics.counts["Settled"] == 1


def test_a_record_names_an_index_that_is_missing(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    signed = ada.sign(started, parts_of(BODY, started.multipart.part_size), CONTENT, index=index_of(b"index"))
    ada.send_parts(signed, BODY, started.multipart.part_size)
    studio.clock.advance(900)
    studio.work()
    record = studio.operation(started.operation_id).record
    assert (record.phase, record.index_size, record.index_missing) == ("done", None, True)


def test_a_client_that_comes_back_finds_it_done(studio, ada):
    started = carried(ada)
    studio.clock.advance(900)
    studio.work()
    done = ada.complete(started, CONTENT)
    assert done.outcome == "done"
    assert done.record == studio.operation(started.operation_id).record
