"""Previewing an upload: the answer that a start would get, and not one write."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from mgmt_contract.parts import MIB, OBJECT_SIZE_MAX_BYTES
from support.interposed import interpose_objects, interpose_records
from support.studio import RefusedError, content_of, item_for, part_of

READS = {"get_operations", "get_names", "get_operations_and_names", "head_object"}


@pytest.fixture
def calls(studio) -> list[str]:
    """The names of everything that is asked of the stores."""
    seen: list[str] = []
    studio.serve(
        interpose_records(studio.records, before=seen.append), interpose_objects(studio.objects, before=seen.append)
    )
    return seen


def preview(machine, item, **more):
    [result] = machine.preview(item, **more)
    return result


def code_of(result) -> str | None:
    return result.problem.code if result.problem else None


def test_a_free_name_is_free_and_stays_so(studio, ada, calls):
    studio.settings = replace(studio.settings, root_prefix="team")
    item = item_for("clip.mp4", None, upper_bound=10 * MIB, prefix="day1")
    result = preview(ada, item)
    assert (result.outcome, result.s3_object_key) == ("free", "team/day1/clip.mp4.tar.gz")
    assert set(calls) <= READS
    assert (studio.records.operations, studio.records.names, studio.objects.uploads) == ({}, {}, {})


def test_a_taken_name_tells_who_and_what(ada, bob):
    item = item_for("clip.mp4", b"one")
    ada.upload(item, b"one")
    result = preview(bob, item_for("clip.mp4", None, upper_bound=100))
    assert result.outcome == "taken"
    assert (result.existing.actor, result.existing.content_digest) == ("ada", content_of(b"one").content_digest)
    assert (result.existing.size, result.existing.crc64nvme) == (3, content_of(b"one").crc64nvme)
    assert not result.existing.is_own
    assert preview(ada, item_for("clip.mp4", None, upper_bound=100)).existing.is_own


def test_an_object_that_the_records_do_not_know_is_taken_too(studio, ada):
    studio.objects.place("clip.mp4.tar.gz", b"somebody's")
    result = preview(ada, item_for("clip.mp4", None, upper_bound=100))
    assert (result.outcome, result.existing.actor, result.existing.content_digest) == ("taken", None, None)


@pytest.mark.parametrize("name", ["clip.mp4", "Clip.mp4"])
def test_a_name_that_somebody_is_uploading_is_refused_as_a_start_would(studio, ada, bob, name):
    ada.start(item_for("clip.mp4", None, upper_bound=64 * MIB))
    item = item_for(name, None, upper_bound=64 * MIB)
    assert code_of(preview(bob, item)) == code_of(bob.start(item)) is not None
    assert preview(ada, replace(item, name="clip.mp4")).outcome == "free", "her own, at the same machine"
    assert code_of(preview(ada.elsewhere(), replace(item, name="clip.mp4"))) == "name-reserved"


def test_an_abandoned_upload_is_not_in_the_way_and_is_not_ended(studio, ada, bob, calls):
    started = ada.start(item_for("clip.mp4", None, upper_bound=64 * MIB))
    part = bytes(16 * MIB)
    ada.send_parts(ada.sign(started, [part_of(1, part)]), part, len(part))
    studio.clock.advance(3600)
    before = copy.deepcopy((studio.records.operations, studio.records.names)), dict(studio.objects.uploads)
    calls.clear()
    assert preview(bob, item_for("clip.mp4", None, upper_bound=64 * MIB)).outcome == "free"
    assert set(calls) <= READS
    assert ((studio.records.operations, studio.records.names), studio.objects.uploads) == before


def test_a_failed_upload_is_not_in_the_way(studio, ada, bob, calls):
    ada.fail(ada.start(item_for("clip.mp4", None, upper_bound=64 * MIB)))
    calls.clear()
    assert preview(bob, item_for("clip.mp4", None, upper_bound=64 * MIB)).outcome == "free"
    assert set(calls) <= READS


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "a/b"}, "invalid-name"),
        ({"name": ".."}, "invalid-name"),
        ({"prefix": "a//b"}, "invalid-name"),
        ({"upper_bound": OBJECT_SIZE_MAX_BYTES + 1}, "too-large"),
        ({"storage_class": "CHEAP"}, "invalid-request"),
        ({"tags": {"aws:x": "y"}}, "invalid-request"),
        ({"tags": {"mgmt-expired": "y"}}, "invalid-request"),
        ({"operation_id": "x"}, "invalid-request"),
    ],
)
def test_what_a_start_refuses_a_preview_refuses_in_the_same_words(ada, changes, code):
    item = replace(item_for("clip.mp4", None, upper_bound=100), **changes)
    result = preview(ada, item)
    assert code_of(result) == code
    assert result.problem == ada.start(item).problem


def test_a_list_is_answered_item_by_item_in_order(ada):
    ada.upload(item_for("b", b"b"), b"b")
    items = [item_for(name, None, upper_bound=100) for name in ("a", "b", "..", "B", "a")]
    results = ada.preview(*items)
    assert [result.operation_id for result in results] == [item.operation_id for item in items]
    assert [result.outcome for result in results] == ["free", "taken", "problem", "problem", "problem"]
    assert [code_of(result) for result in results[2:]] == ["invalid-name", "name-differs-in-case", "name-reserved"]


def test_the_whole_list_is_refused_as_a_start_would(ada):
    item = item_for("clip.mp4", None, upper_bound=100)
    for items, more in (([], {}), ([item] * 101, {}), ([item], {"expected_bucket": "other"})):
        with pytest.raises(RefusedError) as previewed:
            ada.preview(*items, **more)
        with pytest.raises(RefusedError) as started:
            ada.start_all(items, **more)
        assert previewed.value.problem == started.value.problem
