"""Deleted uploads at the end of their days: tagged by version, and given up in the records after that."""

from __future__ import annotations

import dataclasses

import pytest

from mgmt_api.domain.removal import REMOVAL_MARGIN
from mgmt_api.domain.work import Work
from mgmt_api.ports import ConflictError, StorageUnavailableError
from mgmt_contract.names import index_key
from support.interposed import fail_at, interpose_objects, interpose_records
from support.studio import BODY, CONTENT, index_of, item_for, parts_of

DELETED = Work("deleted")
DAYS = 30 * 24 * 3600 + REMOVAL_MARGIN.total_seconds()
TAG = {"mgmt-expired": "true"}


@pytest.fixture
def deleted(ada):
    """An upload that was stored and deleted."""
    done = ada.upload(item_for("clip", BODY), BODY)
    assert ada.delete(done.operation_id).outcome == "done"
    return done


def tags_of(studio, key, version_id):
    return studio.objects.tags.get((key, version_id), {})


def test_nothing_is_tagged_before_the_named_date(studio, deleted):
    studio.clock.advance(DAYS - 1)
    studio.work(DELETED)
    assert studio.objects.tags == {}
    assert studio.operation(deleted.operation_id).record.removed_at is None


def test_from_then_on_the_version_is_tagged_and_the_record_says_so(studio, deleted):
    studio.clock.advance(DAYS)
    studio.work(DELETED)
    assert tags_of(studio, "clip.tar.gz", deleted.record.version_id) == TAG
    assert studio.operation(deleted.operation_id).record.removed_at == studio.clock()
    before = studio.operation(deleted.operation_id)
    studio.work(DELETED, DELETED)
    assert studio.operation(deleted.operation_id) == before


def test_a_later_version_under_the_name_is_not_tagged(studio, ada, deleted):
    later = ada.upload(item_for("clip", b"later"), b"later")
    assert later.outcome == "done"
    studio.clock.advance(DAYS)
    studio.work(DELETED)
    assert tags_of(studio, "clip.tar.gz", deleted.record.version_id) == TAG
    assert tags_of(studio, "clip.tar.gz", later.record.version_id) == {}


def test_the_index_goes_with_its_archive(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    part_size = started.multipart.part_size
    signed = ada.sign(started, parts_of(BODY, part_size), CONTENT, index=index_of(b"index"))
    ada.send_parts(signed, BODY, part_size)
    assert studio.objects.put(signed.index_request, b"index") == 200
    ada.complete(started, CONTENT)
    studio.work()
    record = studio.operation(started.operation_id).record
    ada.delete(started.operation_id)
    studio.clock.advance(DAYS)
    studio.work(DELETED)
    assert tags_of(studio, index_key("", started.operation_id), record.index_version_id) == TAG
    assert tags_of(studio, "clip.tar.gz", record.version_id) == TAG


def test_what_was_brought_back_is_never_tagged(studio, ada, deleted):
    assert ada.undelete(deleted.operation_id).outcome == "done"
    studio.clock.advance(2 * DAYS)
    studio.work(DELETED)
    assert studio.objects.tags == {}


def test_an_upload_without_a_version_tags_nothing(studio, deleted):
    """What is current would be tagged: perhaps somebody else's."""
    operation = studio.operation(deleted.operation_id)
    studio.records.operations[operation.id] = dataclasses.replace(
        operation, record=dataclasses.replace(operation.record, version_id=None)
    )
    studio.clock.advance(DAYS)
    studio.work(DELETED)
    assert studio.objects.tags == {}
    assert studio.operation(deleted.operation_id).record.removed_at is None


def test_a_version_that_is_gone_already_is_recorded_as_given_up(studio, deleted):
    studio.objects.destroy("clip.tar.gz", deleted.record.version_id)
    studio.clock.advance(DAYS)
    studio.work(DELETED)
    assert studio.operation(deleted.operation_id).record.removed_at is not None


@pytest.mark.parametrize(
    ("method", "error"),
    [("tag_version", StorageUnavailableError("down")), ("update_operation", ConflictError("lost"))],
)
def test_one_that_fails_is_given_up_next_time_and_keeps_no_other_waiting(studio, ada, deleted, method, error):
    other = ada.upload(item_for("other", BODY), BODY)
    ada.delete(other.operation_id)
    studio.clock.advance(DAYS)
    hook = fail_at(method, error)
    studio.serve(interpose_records(studio.records, before=hook), interpose_objects(studio.objects, before=hook))
    studio.work(DELETED)
    removed = [studio.operation(each.operation_id).record.removed_at for each in (deleted, other)]
    assert sum(each is None for each in removed) == 1
    assert studio.metrics.counts["RemovalsFailed"] == 1
    studio.work(DELETED)
    assert None not in [studio.operation(each.operation_id).record.removed_at for each in (deleted, other)]


def test_a_run_without_time_is_gone_on_with(studio, deleted):
    studio.clock.advance(DAYS)
    studio.worker(remaining_seconds=20).do(DELETED)
    assert studio.objects.tags == {}
    studio.work()
    assert tags_of(studio, "clip.tar.gz", deleted.record.version_id) == TAG
