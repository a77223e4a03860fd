"""While S3 joins parts an upload is only looked at, and each answer says when to ask again."""

from __future__ import annotations

import pytest

from mgmt_api.ports import OperationInProgressError
from mgmt_contract.parts import MIB
from support.interposed import fail_at, interpose_objects
from support.studio import RefusedError, content_of, item_for, part_of

BODY = b"the bytes"


@pytest.fixture
def item():
    return item_for("clip", upper_bound=32 * MIB)


@pytest.fixture
def joining(studio, ada, item):
    """An upload whose parts S3 has begun to join and will go on joining for long."""
    started = ada.start(item)
    ada.carry(started, BODY)
    error = OperationInProgressError("still at work")
    before = fail_at("complete_multipart_upload", error, times=99)
    studio.serve(studio.records, interpose_objects(studio.objects, before=before))
    result = ada.complete(started, content_of(BODY))
    assert (result.outcome, result.retry_after_seconds, result.missing_parts) == ("completing", 3, [])
    return started


def asked_again(problem, seconds):
    assert (problem.code, problem.retry_after_seconds) == ("changed-meanwhile", seconds)


def test_no_part_is_signed(ada, joining):
    asked_again(ada.sign(joining, [part_of(1, BODY)]).problem, 1)


def test_it_cannot_be_given_up(studio, ada, joining):
    asked_again(ada.fail(joining).problem, 3)
    assert studio.operation(joining.operation_id).phase == "completing"


def test_starting_it_again_there_has_nothing_left_to_send(ada, item, joining):
    result = ada.start(item)
    assert (result.outcome, result.multipart.received_parts) == ("multipart", (1,))


def test_starting_it_again_elsewhere_waits_for_the_lease_and_then_for_s3(studio, ada, item, joining):
    problem = ada.elsewhere().start(item).problem
    assert (problem.code, problem.retry_after_seconds) == ("name-reserved", 600)
    studio.clock.advance(600)
    asked_again(ada.elsewhere().start(item).problem, 3)


def test_nobody_takes_its_name_over(studio, bob, joining):
    studio.clock.advance(600)
    asked_again(bob.start(item_for("clip")).problem, 3)


def test_a_preview_goes_by_the_lease_as_it_was_renewed(studio, ada, bob, item):
    started = ada.start(item)
    studio.clock.advance(500)
    ada.sign(started, [])
    studio.clock.advance(200)
    [result] = bob.preview(item_for("clip"))
    assert result.problem.code == "name-reserved"
    studio.clock.advance(400)
    assert bob.preview(item_for("clip"))[0].outcome == "free"


def test_what_is_done_says_so_with_its_key_and_its_record(ada):
    item = item_for("clip", BODY)
    record = ada.upload(item, BODY).record
    result = ada.start(item)
    assert (result.outcome, result.s3_object_key, result.record) == ("done", "clip.tar.gz", record)


def test_a_call_out_of_time_says_to_ask_at_once(studio, ada):
    """What it had no time to look at may be ready for long."""
    started = ada.start(item_for("other", BODY))
    ada.send(started, BODY)
    before = studio.records.get_operations

    def slow(ids):
        studio.clock.advance(20)
        return before(ids)

    studio.records.get_operations = slow
    result = ada.complete(started, content_of(BODY))
    assert (result.outcome, result.retry_after_seconds) == ("completing", 0)


def test_an_upload_that_failed_takes_no_parts_and_says_why(ada, item):
    started = ada.start(item)
    ada.fail(started, "the disk is gone", code="local-state")
    problem = ada.sign(started, [part_of(1, BODY)]).problem
    assert problem.code == "operation-failed"
    assert "local-state" in problem.detail
    assert "the disk is gone" in problem.detail
    assert ada.fail(started, "again", epoch=7).record.error_message == "the disk is gone"


def test_an_upload_that_is_done_or_sent_whole_takes_no_parts(ada, item):
    whole = ada.start(item_for("small", BODY))
    assert ada.sign(whole, [part_of(1, BODY)]).problem.code == "invalid-request"
    started = ada.start(item)
    ada.carry(started, BODY)
    assert ada.complete(started, content_of(BODY)).outcome == "done"
    assert ada.sign(started, [part_of(1, BODY)]).problem.code == "invalid-request"
    assert ada.fail(started, epoch=7).record.status == "success"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("clip", ["X/a/b/clip.tar.gz", "X/a/clip.tar.gz", "clip.tar.gz"]),
        ("X/a/b/clip", ["X/a/b/clip.tar.gz"]),
        ("/X/a/clip.tar.gz", ["X/a/clip.tar.gz"]),
        ("a/clip", []),
        ("b/clip", []),
        ("/clip", ["clip.tar.gz"]),  # a slash before it: the whole key
    ],
)
def test_a_name_finds_every_key_that_ends_with_it_and_a_whole_key_only_itself(studio, ada, name, keys):
    for prefix in ("", "X/a", "X/a/b"):
        ada.start(item_for("clip", BODY, prefix=prefix))
        studio.clock.advance(1)
    assert [record.s3_object_key for record in ada.history(name=name).records] == keys


def test_a_page_names_where_the_next_begins_and_the_last_does_not(studio, ada):
    with pytest.raises(RefusedError, match="limit"):
        ada.history(limit="101")
    for number in range(3):
        ada.start(item_for(f"clip{number}"))
        studio.clock.advance(1)
    first = ada.history(limit="2")
    assert [record.target_path for record in first.records] == ["clip2", "clip1"]
    second = ada.history(limit="2", cursor=first.cursor)
    assert [record.target_path for record in second.records] == ["clip0"]
    assert second.cursor is None
