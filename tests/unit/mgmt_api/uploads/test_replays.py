"""Starting the same operation again: the same outcome, with fresh URLs, from wherever it had got to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mgmt_contract.parts import MIB
from support.studio import content_of, item_for, part_of, parts_of

LEASE_SECONDS = 600
LARGE = bytes(17 * MIB)


def test_the_same_start_gets_a_fresh_url_and_keeps_its_record(studio, ada):
    item = item_for("clip", b"bytes")
    first = ada.start(item)
    studio.clock.advance(900)
    assert ada.send(first, b"bytes") == 403
    again = ada.start(item)
    assert (again.outcome, again.lease.epoch) == ("put", 1)
    assert again.request.url != first.request.url
    assert ada.send(again, b"bytes") == 200
    assert len(studio.records.operations) == 1


def test_starting_again_renews_the_lease(studio, ada, bob):
    item = item_for("clip")
    ada.start(item)
    studio.clock.advance(LEASE_SECONDS)
    ada.start(item)
    studio.clock.advance(LEASE_SECONDS - 1)
    assert bob.start(item_for("clip")).problem.code == "name-reserved"


def test_a_done_operation_answers_its_record(ada):
    item = item_for("clip", b"bytes")
    done = ada.upload(item, b"bytes")
    again = ada.start(item)
    assert again.outcome == "done"
    assert again.record == done.record


def test_a_failed_operation_cannot_go_on(ada):
    item = item_for("clip")
    ada.fail(ada.start(item), "the disk is gone", code="local-state")
    problem = ada.start(item).problem
    assert problem.code == "operation-failed"
    assert "local-state" in problem.detail
    assert "the disk is gone" in problem.detail


def test_the_id_of_somebody_else_tells_nothing(ada, bob):
    item = item_for("secret project")
    ada.start(item)
    problem = bob.start(item).problem
    assert problem.code == "not-allowed"
    assert "secret" not in problem.detail
    assert "ada" not in problem.detail.replace(item.operation_id, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"prefix": "other"},
        {"content": content_of(b"other")},
        {"content": None, "upper_bound": 100},
        {"tags": {"a": "b"}},
        {"storage_class": "GLACIER"},
        {"packing": replace(item_for().packing, plan="best")},
    ],
)
def test_one_id_for_two_requests_is_refused(ada, changes):
    item = item_for("clip", b"bytes")
    ada.start(item)
    assert ada.start(replace(item, **changes)).problem.code == "operation-differs"


@pytest.mark.parametrize("body", [b"new", LARGE], ids=["whole", "parts"])
def test_an_upload_that_replaces_goes_on_only_where_that_is_asked_for_again(studio, ada, body):
    """A start without `replace` needs a new operation, and is answered with the object that is stored."""
    ada.upload(item_for("clip", b"old"), b"old")
    replacing = item_for("clip", body, replace=True)
    started = ada.start(replacing)
    cautious = replace(replacing, replace=False)
    for machine in (ada, ada.elsewhere()):
        assert machine.start(cautious).problem.code == "operation-differs"
    assert ada.start(replacing).outcome == started.outcome
    assert ada.start(item_for("clip", body)).problem.code == "name-taken"
    assert ada.start(replacing).problem.code == "operation-failed"
    assert studio.objects.read("clip.tar.gz") == b"old"


@pytest.mark.parametrize("body", [b"new", LARGE], ids=["whole", "parts"])
@pytest.mark.parametrize("is_asked_first", [False, True])
def test_an_upload_that_can_only_create_goes_on_with_and_without_replace(studio, ada, body, is_asked_first):
    """The operation still only creates: an object that was stored since then stays."""
    item = item_for("clip", body, replace=is_asked_first)
    ada.start(item)
    again = ada.start(replace(item, replace=not is_asked_first))
    assert again.problem is None
    assert len(studio.records.operations) == 1
    studio.objects.place("clip.tar.gz", b"theirs")
    if again.request is not None:
        assert ada.send(again, body) == 412
    else:
        ada.carry(again, body)
    assert ada.complete(again, content_of(body)).problem.code == "name-taken"
    assert studio.objects.read("clip.tar.gz") == b"theirs"


def test_an_upload_started_with_a_bound_may_come_again_with_its_content(ada):
    """A client that was interrupted after packing has the whole archive when it asks again."""
    bound = replace(item_for("clip", LARGE), content=None, upper_bound=len(LARGE) + 100)
    started = ada.start(bound)
    again = ada.start(replace(bound, content=content_of(LARGE), upper_bound=None))
    assert (again.outcome, again.lease, again.multipart) == ("multipart", started.lease, started.multipart)
    assert ada.start(bound).outcome == "multipart"
    larger = replace(content_of(LARGE), size=len(LARGE) + 101)
    assert ada.start(replace(bound, content=larger, upper_bound=None)).problem.code == "operation-differs"


def test_parts_the_storage_holds_are_not_sent_again(studio, ada):
    item = item_for("clip", LARGE)
    started = ada.start(item)
    part_size = started.multipart.part_size
    first, second = parts_of(LARGE, part_size)
    signed = ada.sign(started, [first, second])
    assert studio.objects.put_part(signed.parts[1].request, LARGE[part_size:]) == 200
    again = ada.start(item)
    assert again.multipart.received_parts == (2,)
    assert (again.lease.epoch, len(studio.objects.uploads)) == (1, 1)
    assert ada.send_parts(ada.sign(again, [first]), LARGE, part_size) == [200]
    assert ada.complete(again, content_of(LARGE)).outcome == "done"
    assert studio.objects.read("clip.tar.gz") == LARGE


def test_a_multipart_upload_that_is_gone_is_opened_anew(studio, ada):
    item = item_for("clip", upper_bound=100)
    started = ada.start(item)
    ada.send_parts(ada.sign(started, [part_of(1, b"bytes")], content_of(b"bytes")), b"bytes", 16 * MIB)
    studio.objects.uploads.clear()
    again = ada.start(item)
    assert (again.outcome, again.multipart.received_parts) == ("multipart", ())
    ada.carry(again, b"bytes")
    assert ada.complete(again, content_of(b"bytes")).outcome == "done"


def test_another_machine_waits_for_the_lease_of_the_same_operation(studio, ada):
    item = item_for("clip")
    ada.start(item)
    problem = ada.elsewhere().start(item).problem
    assert (problem.code, problem.retry_after_seconds) == ("name-reserved", LEASE_SECONDS)
    assert "another machine" in problem.detail


def test_another_machine_takes_a_lapsed_upload_over_and_the_first_has_lost_it(studio, ada):
    item = item_for("clip", b"bytes")
    started = ada.start(item)
    studio.clock.advance(LEASE_SECONDS)
    other = ada.elsewhere()
    taken = other.start(item)
    assert (taken.outcome, taken.lease.epoch) == ("put", 2)
    assert ada.complete(started, content_of(b"bytes")).problem.code == "lease-lost"
    assert ada.fail(started).problem.code == "lease-lost"
    other.carry(taken, b"bytes")
    assert other.complete(taken, content_of(b"bytes")).outcome == "done"


def test_bytes_of_the_old_holder_cannot_mix_into_a_taken_over_upload(studio, ada):
    """Its URLs still work, for the very bytes that the new holder has to send as well."""
    item = item_for("clip", upper_bound=100)
    started = ada.start(item)
    old = ada.sign(started, [part_of(1, b"old..")], content_of(b"old.."))
    studio.clock.advance(LEASE_SECONDS)
    other = ada.elsewhere()
    taken = other.start(item)
    assert taken.multipart.received_parts == ()
    assert other.sign(taken, [part_of(1, b"new..")]).problem.code == "part-differs"
    assert other.sign(taken, [], content_of(b"new..")).problem.code == "operation-differs"
    assert ada.send_parts(old, b"old..", 16 * MIB) == [200]
    assert len(studio.objects.uploads) == 1
    assert ada.sign(started, [part_of(1, b"old..")]).problem.code == "lease-lost"
    assert other.complete(taken, content_of(b"old..")).outcome == "done"


@pytest.mark.parametrize("codec", ["the same", "another"])
def test_parts_are_kept_for_another_machine_under_the_same_codec_alone(studio, ada, codec):
    item = item_for("clip", upper_bound=40 * MIB)
    started, body = ada.start(item), bytes(16 * MIB)
    ada.send_parts(ada.sign(started, [part_of(1, body)]), body, 16 * MIB)
    studio.clock.advance(LEASE_SECONDS)
    packing = item.packing if codec == "the same" else replace(item.packing, codec="zlib")
    result = ada.elsewhere().start(replace(item, packing=packing))
    if codec == "the same":
        assert (result.lease.epoch, result.multipart.received_parts) == (2, (1,))
    else:
        assert result.problem.code == "operation-differs"


def test_a_machine_that_takes_over_begins_the_parts_anew_where_the_storage_has_lost_them(studio, ada):
    item = item_for("clip", upper_bound=100)
    ada.carry(ada.start(item), b"bytes")
    studio.objects.uploads.clear()
    studio.clock.advance(LEASE_SECONDS)
    other = ada.elsewhere()
    taken = other.start(item)
    assert (taken.lease.epoch, taken.multipart.received_parts) == (2, ())
    other.carry(taken, b"bytes")
    assert other.complete(taken, content_of(b"bytes")).outcome == "done"


def test_the_same_item_twice_in_one_list_is_one_upload(studio, ada):
    item = item_for("clip")
    results = ada.start_all([item, item]).results
    assert [result.outcome for result in results] == ["put", "put"]
    assert len(studio.records.operations) == 1
