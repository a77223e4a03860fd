"""Signing parts: only for the holder, only for the bytes announced, and remembered before it is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mgmt_contract import routes
from mgmt_contract.messages.uploads import Part, SignItem, SignRequest, SignResponse
from support.fakes import crc64nvme
from support.studio import PART_SIZE, RefusedError, content_of, item_for, part_of

CHECKSUM = crc64nvme(b"x")


@pytest.fixture
def started(ada):
    """An upload of up to three parts, still being packed."""
    return ada.start(item_for("clip", upper_bound=2 * PART_SIZE + 5))


def whole(number: int) -> Part:
    return Part(number, PART_SIZE, CHECKSUM)


def content_of_size(size: int):
    return replace(content_of(b"x"), size=size)


def test_a_signed_part_is_good_for_its_bytes_only(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    signed = ada.sign(started, [part_of(1, b"right")], content_of(b"right"))
    request = signed.parts[0].request
    assert studio.objects.put_part(request, b"wrong") == 400
    assert studio.objects.put_part(request, b"right!") == 400
    assert studio.objects.put_part(request, b"right") == 200
    assert studio.objects.put_part(request, b"right") == 200


def test_what_is_signed_is_remembered_before(studio, ada, started):
    signed = ada.sign(started, [whole(1), whole(2)])
    assert [part.number for part in signed.parts] == [1, 2]
    assert studio.records.get_signed_parts(started.operation_id) == {1: whole(1), 2: whole(2)}


def test_the_same_part_is_signed_again_and_other_bytes_are_not(ada, started):
    assert ada.sign(started, [whole(1)]).outcome == "signed"
    assert ada.sign(started, [whole(1)]).outcome == "signed"
    other = Part(1, PART_SIZE, crc64nvme(b"y"))
    assert ada.sign(started, [whole(2), other]).problem.code == "part-differs"


@pytest.mark.parametrize(
    ("part", "final_size"),
    [
        (Part(1, PART_SIZE - 1, CHECKSUM), None),
        (Part(1, PART_SIZE + 1, CHECKSUM), None),
        (Part(0, PART_SIZE, CHECKSUM), None),
        (Part(4, PART_SIZE, CHECKSUM), None),
        (Part(3, 5, CHECKSUM), None),
        (Part(1, PART_SIZE, "AAAA"), None),
        (Part(2, 4, CHECKSUM), PART_SIZE + 5),
        (Part(1, 5, CHECKSUM), PART_SIZE + 5),
        (Part(3, 5, CHECKSUM), PART_SIZE + 5),
        (Part(1, PART_SIZE, CHECKSUM), 2 * PART_SIZE + 6),
        (Part(1, 0, CHECKSUM), -1),
    ],
)
def test_a_part_of_impossible_number_or_length_is_refused(studio, ada, started, part, final_size):
    final = None if final_size is None else content_of_size(final_size)
    result = ada.sign(started, [part], final)
    assert result.problem.code == "invalid-request"
    assert studio.records.get_signed_parts(started.operation_id) == {}
    assert studio.operation(started.operation_id).content is None


def test_the_last_part_may_be_shorter_with_final_or_after_it(studio, ada, started):
    final = content_of_size(PART_SIZE + 5)
    assert ada.sign(started, [Part(2, 5, CHECKSUM)], final).outcome == "signed"
    assert studio.operation(started.operation_id).content == final
    assert studio.operation(started.operation_id).record.s3_file_record.size == PART_SIZE + 5
    assert ada.sign(started, [Part(2, 5, CHECKSUM), whole(1)]).outcome == "signed"


def test_an_empty_archive_has_one_empty_part(ada, started):
    assert ada.sign(started, [part_of(1, b"")], content_of(b"")).outcome == "signed"
    ada.send_parts(ada.sign(started, [part_of(1, b"")]), b"", PART_SIZE)
    assert ada.complete(started, content_of(b"")).outcome == "done"


def test_final_may_be_repeated_but_not_changed(ada, started):
    assert ada.sign(started, [], content_of(b"abc")).outcome == "signed"
    assert ada.sign(started, [], content_of(b"abc")).outcome == "signed"
    assert ada.sign(started, [], content_of(b"abd")).problem.code == "operation-differs"


def test_a_final_that_is_none_is_refused(ada, started):
    final = replace(content_of(b"abc"), content_digest="sha1:x")
    assert ada.sign(started, [], final).problem.code == "invalid-request"


def test_signing_nothing_renews_the_lease(studio, ada, bob, started):
    studio.clock.advance(599)
    assert ada.sign(started, []).lease.expires_in_seconds == 600
    studio.clock.advance(599)
    assert bob.start(item_for("clip")).problem.code == "name-reserved"


def test_a_lease_that_ran_out_but_was_not_taken_holds(studio, ada, started):
    studio.clock.advance(3600)
    assert ada.sign(started, [whole(1)]).outcome == "signed"


def test_only_the_holder_signs(ada, bob, started):
    assert bob.sign(started, []).problem.code == "not-allowed"
    assert ada.elsewhere().sign(started, []).problem.code == "lease-lost"
    assert ada.sign(started, [], epoch=2).problem.code == "lease-lost"


@pytest.mark.parametrize("operation_id", ["00000000-0000-7000-8000-000000000000", "nonsense", ""])
def test_what_was_never_started_cannot_be_signed(ada, started, operation_id):
    result = ada.sign(replace(started, operation_id=operation_id), [])
    assert result.problem.code == "no-such-operation"


def test_one_part_twice_in_a_call_is_refused(ada, started):
    assert ada.sign(started, [whole(1), whole(1)]).problem.code == "invalid-request"


@pytest.mark.parametrize(("counts", "right"), [([100], True), ([60, 40], True), ([101], False), ([60, 41], False)])
def test_a_call_signs_at_most_a_hundred_parts_over_all_items(ada, counts, right):
    items = []
    for index, count in enumerate(counts):
        started = ada.start(item_for(f"clip{index}", upper_bound=101 * PART_SIZE))
        items.append(SignItem(started.operation_id, 1, [whole(n + 1) for n in range(count)]))
    request = SignRequest(ada.machine_id, items)
    if right:
        results = ada.call(routes.SIGN, SignResponse, request).results
        assert [len(result.parts) for result in results] == counts
    else:
        with pytest.raises(RefusedError, match="101 parts"):
            ada.call(routes.SIGN, SignResponse, request)


def test_an_empty_list_is_refused(ada):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.call(routes.SIGN, SignResponse, SignRequest(ada.machine_id, []))


def test_an_upload_that_takes_no_parts_says_so(ada, started):
    whole_put = ada.start(item_for("small"))
    assert ada.sign(whole_put, []).problem.code == "invalid-request"
    ada.carry(whole_put, b"bytes")
    ada.complete(whole_put, content_of(b"bytes"))
    assert ada.sign(whole_put, []).problem.code == "invalid-request"
    ada.fail(started, "the disk is gone")
    problem = ada.sign(started, []).problem
    assert problem.code == "operation-failed"
    assert "the disk is gone" in problem.detail


def test_one_item_in_trouble_does_not_disturb_the_next(ada, started):
    other = ada.start(item_for("other", upper_bound=100))
    items = [SignItem(started.operation_id, 9, []), SignItem(other.operation_id, 1, [])]
    results = ada.call(routes.SIGN, SignResponse, SignRequest(ada.machine_id, items)).results
    assert [result.outcome for result in results] == ["problem", "signed"]
