"""What is safe is decided from facts alone: each row of these tables, and no doubt ever becomes a yes."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mgmt.safe.deciding import LOSSES, REASONS, Answer, MemberFacts, find_loss, judge_member
from mgmt_contract.messages.objects import LookResult, StoredVersion
from mgmt_contract.problems import make_problem
from mgmt_contract.records import FileRecord, OperationRecord, UploadRecord

STANDING = {0: None, 1: None}
FALLEN = {0: "gone", 1: "deleted"}


def facts(problem=None, was_read=True, same=(), other=(), excluded=()):
    return MemberFacts(problem, was_read=was_read, same=same, other=other, excluded=excluded)


@pytest.mark.parametrize(
    ("known", "losses", "answer"),
    [
        (facts(same=[0]), STANDING, Answer(None, 0)),
        (facts(same=[0, 1]), STANDING, Answer(None, 0)),
        (facts(same=[0, 1]), {0: "gone", 1: None}, Answer(None, 1)),
        (facts(same=[1], other=[0]), STANDING, Answer(None, 1)),
        (facts(), STANDING, Answer("not-stored")),
        (facts(other=[1]), STANDING, Answer("differs", 1)),
        (facts(other=[0, 1]), {0: "gone", 1: None}, Answer("differs", 1)),
        (facts(other=[0]), FALLEN, Answer("not-stored")),
        (facts(excluded=[0, 1]), STANDING, Answer("excluded", 0)),
        (facts(other=[1], excluded=[0]), STANDING, Answer("differs", 1)),
        (facts(excluded=[0]), FALLEN, Answer("not-stored")),
        (facts(same=[0, 1]), FALLEN, Answer("gone", 0)),
        (facts(same=[1], other=[0]), {0: None, 1: "altered"}, Answer("altered", 1)),
        (facts(was_read=False, same=[0]), STANDING, Answer("unreadable")),
        (facts("unreadable", same=[0]), STANDING, Answer("unreadable")),
        (facts("changed", same=[0]), STANDING, Answer("changed")),
        (facts("special", was_read=False), STANDING, Answer("special")),
    ],
)
def test_each_case_of_a_file_has_its_answer(known, losses, answer):
    assert judge_member(known, losses) == answer


def test_of_all_combinations_only_those_that_were_read_and_rest_on_an_upload_that_stands_are_safe():
    subsets = [(), (0,), (1,), (0, 1)]
    losses = [None, *LOSSES]
    for problem, was_read, same, other, first, second in itertools.product(
        (None, *REASONS), (True, False), subsets, subsets, losses, losses
    ):
        answer = judge_member(facts(problem, was_read, same, other), {0: first, 1: second})
        rests = problem is None and was_read and any((first, second)[upload] is None for upload in same)
        assert (answer.code is None) == rests, (problem, was_read, same, other, first, second)
        assert answer.code is None or answer.code in {**LOSSES, **REASONS}


# --- does an upload stand? -----------------------------------------------------------------------------

UPLOAD = UploadRecord(
    operation_id="id",
    operation_type="upload",
    target_path="DCIM",
    started_at=datetime(2026, 11, 1, tzinfo=UTC),
    status="success",
    result_path="DCIM.tar.gz",
    error_message=None,
    compression_type="gzip",
    compressed_file_path="DCIM.tar.gz",
    s3_bucket="footage",
    s3_object_key="DCIM.tar.gz",
    source_file_record=None,
    compressed_file_record=None,
    s3_file_record=FileRecord("DCIM.tar.gz", "DCIM.tar.gz", "s3", 9, is_directory=False, status="completed"),
    content_digest="blake3:1",
    crc64nvme="p5gPvcwLjHQ=",
    version_id="v1",
    codec="mgmt 3, isal",
)
STORED = StoredVersion(9, "p5gPvcwLjHQ=", is_current=True)
LOOK = LookResult("id", "there", s3_object_key="DCIM.tar.gz", version_id="v1", stored=STORED)
OTHER_SIZE = FileRecord("DCIM.tar.gz", "DCIM.tar.gz", "s3", 8, is_directory=False, status="completed")
PROBLEM = make_problem("object-gone", "It is gone.")


def look(**changes):
    return replace(LOOK, **changes)


def stored(**changes):
    return replace(LOOK, stored=replace(STORED, **changes))


def test_an_upload_stands_that_is_there_as_it_was_compared():
    assert find_loss(UPLOAD, UPLOAD, LOOK) is None
    assert find_loss(UPLOAD, replace(UPLOAD, finished_at=datetime(2026, 11, 2, tzinfo=UTC)), LOOK) is None
    assert find_loss(UPLOAD, UPLOAD, stored(storage_class="DEEP_ARCHIVE")) is None


@pytest.mark.parametrize(
    ("now", "seen", "loss"),
    [
        (None, LOOK, "rewritten"),
        (OperationRecord("id", "rebuild", "DCIM", UPLOAD.started_at, "success", None, None), LOOK, "rewritten"),
        (replace(UPLOAD, operation_id="other"), LOOK, "rewritten"),
        (replace(UPLOAD, status="failed"), LOOK, "failed"),
        (replace(UPLOAD, status="pending"), LOOK, "pending"),
        (replace(UPLOAD, status="odd"), LOOK, "pending"),
        (replace(UPLOAD, content_digest="blake3:2"), LOOK, "rewritten"),
        (replace(UPLOAD, crc64nvme="AAAAAAAAAAA="), LOOK, "rewritten"),
        (replace(UPLOAD, version_id="v2"), LOOK, "rewritten"),
        (replace(UPLOAD, s3_object_key="DCIM2.tar.gz"), LOOK, "rewritten"),
        (replace(UPLOAD, s3_bucket="elsewhere"), LOOK, "rewritten"),
        (replace(UPLOAD, s3_file_record=OTHER_SIZE), LOOK, "rewritten"),
        (replace(UPLOAD, s3_file_record=None), LOOK, "rewritten"),
        (replace(UPLOAD, codec="mgmt 2"), LOOK, "rewritten"),
        (replace(UPLOAD, deleted_at=UPLOAD.started_at), LOOK, "deleted"),
        (UPLOAD, look(deleted_at=UPLOAD.started_at), "deleted"),
        (UPLOAD, look(operation_id="other"), "rewritten"),
        (UPLOAD, look(version_id="v2"), "rewritten"),
        (UPLOAD, look(s3_object_key="DCIM2.tar.gz"), "rewritten"),
        (UPLOAD, look(outcome="gone", stored=None, problem=PROBLEM), "gone"),
        (UPLOAD, look(outcome="differs", problem=PROBLEM), "altered"),
        (UPLOAD, look(outcome="problem", problem=PROBLEM), "unproven"),
        (UPLOAD, look(outcome="what a newer service says"), "unproven"),
        (UPLOAD, look(stored=None), "unproven"),
        (UPLOAD, stored(size=8), "altered"),
        (UPLOAD, stored(crc64nvme="AAAAAAAAAAA="), "altered"),
        (UPLOAD, stored(crc64nvme=None), "unproven"),
        (UPLOAD, stored(is_current=None), "unproven"),
        (UPLOAD, stored(is_current=False), "replaced"),
    ],
)
def test_every_doubt_takes_an_uploads_proof_away(now, seen, loss):
    assert find_loss(UPLOAD, now, seen) == loss


def test_an_upload_whose_record_names_no_object_proves_nothing():
    without = replace(UPLOAD, s3_file_record=None)
    assert find_loss(without, without, LOOK) == "altered"
    unchecked = replace(UPLOAD, crc64nvme=None)
    assert find_loss(unchecked, unchecked, stored(crc64nvme=None)) == "unproven"
