"""Starting an upload: what is answered, and what is recorded before the first byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mgmt_contract.messages.service import CONTENT_MD5_FIELD, SIGN_INDEX_FIELD
from mgmt_contract.messages.uploads import StartItem
from mgmt_contract.parts import MIB, OBJECT_SIZE_MAX_BYTES, SINGLE_PUT_MAX_BYTES
from mgmt_contract.records import FileRecord
from mgmt_contract.storage import EMBEDDED_CLASSES
from support.fakes import content_md5
from support.interposed import interpose_objects, interpose_records
from support.studio import SETTINGS, Machine, RefusedError, Studio, content_of, item_for

LEASE_SECONDS = 600


def code_of(machine: Machine, item: StartItem) -> str | None:
    problem = machine.start(item).problem
    return problem.code if problem else None


def test_a_packed_archive_gets_one_put_and_a_pending_record(studio, ada):
    item = item_for("clip.mp4", b"bytes", tags={"project": "moon"}, storage_class="STANDARD_IA")
    started = ada.start(item)
    assert (started.outcome, started.s3_object_key) == ("put", "clip.mp4.tar.gz")
    assert started.lease.epoch == 1
    assert started.lease.expires_in_seconds == LEASE_SECONDS
    assert started.request.headers["content-length"] == "5"
    assert started.request.headers["if-none-match"] == "*"
    record = studio.operation(item.operation_id).record
    assert (record.status, record.phase, record.actor, record.actor_id) == (
        "pending",
        "carrying",
        "ada",
        "sub-ada",
    )
    assert (record.s3_bucket, record.s3_object_key, record.result_path) == ("footage", "clip.mp4.tar.gz", None)
    assert record.compressed_file_record == FileRecord(
        "clip.mp4.tar.gz", "clip.mp4.tar.gz", "local", 5, is_directory=False, status="pending"
    )
    assert record.s3_file_record == FileRecord(
        "clip.mp4.tar.gz", "clip.mp4.tar.gz", "s3", 5, is_directory=False, status="pending"
    )
    assert record.source_file_record.status == "pending"
    assert (record.tags, record.storage_class) == ({"project": "moon"}, "STANDARD_IA")
    assert (record.codec, record.compression_plan) == ("isal 1.8.0", "auto")
    assert record.content_digest == item.content.content_digest


def test_the_md5_of_a_whole_archive_is_signed_also_when_it_is_started_again(studio, ada):
    item = item_for("clip.mp4", b"bytes", content_md5=content_md5(b"bytes"))
    assert ada.start_all([item]).service.optional_fields == (CONTENT_MD5_FIELD, SIGN_INDEX_FIELD)
    for again in (item, replace(item, content_md5=None)):
        started = ada.start(again)
        assert started.request.headers["content-md5"] == content_md5(b"bytes")
    assert ada.send(started, b"other") == 400
    assert ada.send(started, b"bytes") == 200
    assert ada.complete(started, item.content).outcome == "done"


def test_without_an_md5_none_is_signed_and_parts_have_none(studio, ada):
    assert "content-md5" not in ada.start(item_for("clip.mp4")).request.headers
    large = replace(content_of(b""), size=SINGLE_PUT_MAX_BYTES + 1)
    started = ada.start(item_for("card", content=large, content_md5=content_md5(b"")))
    assert started.outcome == "multipart"
    assert studio.operation(started.operation_id).content_md5 is None


def test_a_new_upload_costs_one_read_and_two_writes(studio, ada):
    seen: list[str] = []
    studio.serve(
        interpose_records(studio.records, before=seen.append), interpose_objects(studio.objects, before=seen.append)
    )
    assert ada.start(item_for("clip.mp4", b"bytes")).outcome == "put"
    assert seen == ["get_operations_and_names", "put_name", "create_operation", "presign_put"]


def test_the_first_answer_carries_the_service(ada):
    service = ada.start_all([item_for()]).service
    assert (service.bucket, service.lease_seconds, service.single_put_max_bytes) == (
        "footage",
        LEASE_SECONDS,
        SINGLE_PUT_MAX_BYTES,
    )


def test_the_key_joins_both_prefixes(studio):
    studio.settings = replace(studio.settings, root_prefix="team")
    studio.serve(studio.records, studio.objects)
    started = studio.person().start(item_for("clip.mp4", prefix="shoots/day1/"))
    assert started.s3_object_key == "team/shoots/day1/clip.mp4.tar.gz"


def test_what_is_larger_than_a_single_put_goes_in_parts(studio, ada):
    at_limit = replace(content_of(b""), size=SINGLE_PUT_MAX_BYTES)
    above = replace(content_of(b""), size=SINGLE_PUT_MAX_BYTES + 1)
    assert ada.start(item_for("a", content=at_limit)).outcome == "put"
    started = ada.start(item_for("b", content=above))
    assert (started.outcome, started.multipart.part_size, started.multipart.received_parts) == (
        "multipart",
        16 * MIB,
        (),
    )
    operation = studio.operation(started.operation_id)
    assert operation.phase == "carrying"
    assert list(studio.objects.uploads) == [operation.multipart_upload_id]


def test_the_part_size_follows_the_bound(ada):
    started = ada.start(item_for(upper_bound=1024 * 1024 * MIB))
    assert started.multipart.part_size == 105 * MIB


def test_a_list_is_answered_in_order_and_each_item_alone(ada):
    items = [item_for("a"), replace(item_for("b"), operation_id="nonsense"), item_for("c")]
    results = ada.start_all(items).results
    assert [result.outcome for result in results] == ["put", "problem", "put"]
    assert [result.operation_id for result in results] == [item.operation_id for item in items]
    assert results[1].problem.operation_id == "nonsense"


@pytest.mark.parametrize("count", [0, 101])
def test_a_list_holds_1_to_100_items(studio, ada, count):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.start_all([item_for(str(n)) for n in range(count)])
    assert not studio.records.operations


def test_a_hundred_items_are_taken(ada):
    results = ada.start_all([item_for(str(n)) for n in range(100)]).results
    assert {result.outcome for result in results} == {"put"}


@pytest.mark.parametrize("machine_id", ["", "laptop", "6E5C1F2A-0000-7000-8000-000000000000"])
def test_a_machine_is_known_by_a_uuid(ada, machine_id):
    with pytest.raises(RefusedError, match="invalid-request"):
        replace(ada, machine_id=machine_id).start(item_for())


def test_another_bucket_than_expected_refuses_everything_before_anything_is_recorded(studio, ada):
    with pytest.raises(RefusedError, match=r"bucket-differs.*footage.*elsewhere"):
        ada.start(item_for(), expected_bucket="elsewhere")
    assert not studio.records.names
    assert ada.start(item_for(), expected_bucket="footage").outcome == "put"


CONTENT = content_of(b"bytes")
SOURCE = FileRecord("clip.mp4", "clip.mp4", "local", 10, is_directory=False, status="pending")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"operation_id": "6E5C1F2A-0000-7000-8000-000000000000"}, "invalid-request"),
        ({"content": None}, "invalid-request"),
        ({"content": CONTENT, "upper_bound": 10}, "invalid-request"),
        ({"content": replace(CONTENT, size=-1)}, "invalid-request"),
        ({"content": replace(CONTENT, size=OBJECT_SIZE_MAX_BYTES + 1)}, "too-large"),
        ({"content": None, "upper_bound": OBJECT_SIZE_MAX_BYTES + 1}, "too-large"),
        ({"content": None, "upper_bound": -1}, "invalid-request"),
        ({"content": replace(CONTENT, crc64nvme="AAAAAAAAAA==")}, "invalid-request"),
        ({"content": replace(CONTENT, crc64nvme="AAAAAAAAAAB=")}, "invalid-request"),
        ({"content": replace(CONTENT, crc64nvme="not base64!")}, "invalid-request"),
        ({"content": replace(CONTENT, crc64nvme="\u00e4AAAAAAAAAA=")}, "invalid-request"),
        ({"content": replace(CONTENT, content_digest="blake3:" + "0" * 63)}, "invalid-request"),
        ({"content": replace(CONTENT, content_digest="blake3:" + "A" * 64)}, "invalid-request"),
        ({"content": replace(CONTENT, uncompressed_size=-1)}, "invalid-request"),
        ({"content": replace(CONTENT, member_count=2**53)}, "invalid-request"),
        ({"name": ""}, "invalid-name"),
        ({"name": "a/b"}, "invalid-name"),
        ({"name": "a\nb"}, "invalid-name"),
        ({"prefix": "a/../b"}, "invalid-name"),
        ({"name": "x" * 1018}, "invalid-name"),
        ({"target_path": ""}, "invalid-request"),
        ({"target_path": "x" * (16 * 1024 + 1)}, "invalid-request"),
        ({"compressed_file_path": ""}, "invalid-request"),
        ({"source_file_record": replace(SOURCE, location="s3")}, "invalid-request"),
        ({"source_file_record": replace(SOURCE, size=-1)}, "invalid-request"),
        ({"source_file_record": replace(SOURCE, name="")}, "invalid-request"),
        ({"packing": replace(item_for().packing, codec="")}, "invalid-request"),
        ({"packing": replace(item_for().packing, plan="x" * 201)}, "invalid-request"),
        ({"storage_class": "OUTPOSTS"}, "invalid-request"),
        ({"content_md5": "rosUhgoHmIg="}, "invalid-request"),
        ({"content_md5": "d41d8cd98f00b204e9800998ecf8427e"}, "invalid-request"),
        ({"content_md5": content_md5(b""), "upper_bound": 5, "content": None}, "invalid-request"),
        ({"tags": {str(n): "" for n in range(11)}}, "invalid-request"),
        ({"tags": {"": "x"}}, "invalid-request"),
        ({"tags": {"aws:x": "x"}}, "invalid-request"),
        ({"tags": {"mgmt-expired": "x"}}, "invalid-request"),
        ({"tags": {"Mgmt-x": "x"}}, "invalid-request"),
        ({"tags": {"x": "y" * 257}}, "invalid-request"),
        ({"tags": {"x": "a&b"}}, "invalid-request"),
        ({"excludes": ("x" * 511,) * 2 + ("",)}, "invalid-request"),
    ],
)
def test_what_no_upload_can_be_is_refused_and_not_recorded(studio, ada, changes, code):
    assert code_of(ada, replace(item_for(), **changes)) == code
    assert not studio.records.operations
    assert not studio.records.names


def test_a_storage_of_few_classes_is_asked_for_no_other():
    """The record would say what is not true: the embedded backend's engine keeps any class as a mere label."""
    studio = Studio(replace(SETTINGS, storage_classes=EMBEDDED_CLASSES))
    ada = studio.person("ada")
    assert code_of(ada, item_for(storage_class="GLACIER")) == "invalid-request"
    assert not studio.records.operations
    ada.start(item_for(storage_class="STANDARD"))


@pytest.mark.parametrize(
    "changes",
    [
        {"content": replace(CONTENT, size=0)},
        {"upper_bound": 0},
        {"upper_bound": OBJECT_SIZE_MAX_BYTES},
        {"name": "x" * 1017},
        {"tags": {"k" * 128: "v" * 256} | {str(n): "" for n in range(9)}},
        {"target_path": "\\x1b[31m\u2028\u202e"},
    ],
)
def test_the_limits_themselves_are_taken(ada, changes):
    assert ada.start(item_for(**changes)).problem is None


# --- what is there already -----------------------------------------------------------------------------


def test_the_same_content_under_the_name_is_already_there_even_with_replace(studio, ada, bob):
    done = ada.upload(item_for("clip", b"bytes"), b"bytes")
    for replace_it in (False, True):
        item = item_for("clip", b"bytes", replace=replace_it)
        started = bob.start(item)
        assert started.outcome == "already_there"
        assert (started.existing.actor, started.existing.operation_id) == ("ada", done.operation_id)
        assert started.existing.finished_at == done.record.finished_at
        assert not started.existing.is_own
        assert item.operation_id not in studio.records.operations


def test_ones_own_content_packed_in_another_way_is_already_there(studio, ada):
    ada.upload(item_for("clip", b"bytes"), b"bytes")
    for person in (ada, ada.elsewhere()):
        item = item_for("clip", content=content_of(b"other bytes", b"bytes"), replace=True)
        started = person.start(item)
        assert (started.outcome, started.existing.is_own) == ("already_there", True)
        assert item.operation_id not in studio.records.operations


@pytest.mark.parametrize("size_bytes", [4, 11, SINGLE_PUT_MAX_BYTES + 1])
def test_junk_under_somebodys_digest_does_not_make_their_upload_already_there(studio, ada, bob, size_bytes):
    """Digests are in the history, so any bytes can be uploaded under any digest."""
    mine = replace(content_of(b"my own bytes"), size=size_bytes)
    junk = content_of(b"junk", b"my own bytes")
    assert (junk.content_digest, junk.crc64nvme) != (mine.content_digest, mine.crc64nvme)
    lie = bob.start(item_for("clip", content=junk))
    bob.send(lie, b"junk")
    done = bob.complete(lie, junk)
    assert done.outcome == "done"
    item = item_for("clip", content=mine)
    started = ada.start(item)
    assert (started.outcome, started.problem.code) == ("claimed_same", "claimed-same")
    assert (started.existing.operation_id, started.existing.is_own) == (done.operation_id, False)
    assert started.problem.operation_id == item.operation_id
    assert "bob on 2026-11-01T12:00:00.000Z" in started.problem.detail
    assert "--replace" in started.problem.detail
    assert item.operation_id not in studio.records.operations
    replaced = ada.start(replace(item, replace=True))
    assert replaced.outcome == ("put" if size_bytes < SINGLE_PUT_MAX_BYTES else "multipart")
    assert studio.operation(item.operation_id).replaces_etag == started.existing.etag


@pytest.mark.parametrize("change", [{"size": 6}, {"crc64nvme": "AAAAAAAAAAA="}])
def test_both_size_and_checksum_must_be_the_same(ada, bob, change):
    ada.upload(item_for("clip", b"bytes"), b"bytes")
    assert bob.start(item_for("clip", content=replace(content_of(b"bytes"), **change))).outcome == "claimed_same"


def test_junk_that_arrived_after_its_upload_was_given_up_proves_nothing_either(ada, bob):
    lie = bob.start(item_for("clip", content=content_of(b"junk", b"bytes")))
    bob.fail(lie)
    assert bob.send(lie, b"junk") == 200
    started = ada.start(item_for("clip", content=content_of(b"bytes"), upper_bound=None, replace=False))
    assert started.outcome == "put", "its PUT can only create, and will be told so by the storage"
    large = replace(content_of(b"bytes"), size=SINGLE_PUT_MAX_BYTES + 1)
    ada.fail(started)
    assert ada.start(item_for("clip", content=large)).outcome == "claimed_same"


def test_an_upper_bound_that_meets_junk_is_told_so_once_its_content_is_known(studio, ada, bob):
    lie = bob.start(item_for("clip", content=content_of(b"junk", b"bytes")))
    bob.send(lie, b"junk")
    bob.complete(lie, content_of(b"junk", b"bytes"))
    item = item_for("clip", upper_bound=2 * SINGLE_PUT_MAX_BYTES)
    assert ada.start(item).outcome == "name_taken"
    packed = replace(item, upper_bound=None, content=replace(content_of(b"bytes"), size=SINGLE_PUT_MAX_BYTES + 1))
    assert ada.start(packed).outcome == "claimed_same"
    assert not studio.objects.uploads


def test_other_content_under_the_name_is_refused_and_says_whose_it_is(studio, ada, bob):
    done = ada.upload(item_for("clip", b"bytes"), b"bytes")
    item = item_for("clip", b"other")
    started = bob.start(item)
    assert (started.outcome, started.problem.code) == ("problem", "name-taken")
    assert "ada on 2026-11-01T12:00:00.000Z" in started.problem.detail
    assert started.existing.operation_id == done.operation_id
    assert item.operation_id not in studio.records.operations


@pytest.mark.parametrize("replace_it", [False, True])
def test_an_upper_bound_learns_that_the_name_is_taken_and_nothing_is_recorded(studio, ada, bob, replace_it):
    done = ada.upload(item_for("clip", b"bytes"), b"bytes")
    item = item_for("clip", upper_bound=100, replace=replace_it)
    started = bob.start(item)
    assert started.outcome == "name_taken"
    assert started.existing.content_digest == done.record.content_digest
    assert item.operation_id not in studio.records.operations
    assert not studio.objects.uploads


def test_replace_replaces_exactly_the_object_that_is_there(studio, ada, bob):
    ada.upload(item_for("clip", b"bytes"), b"bytes")
    etag = studio.objects.head_object("clip.tar.gz").etag
    item = item_for("clip", b"other", replace=True)
    started = bob.start(item)
    assert started.request.headers["if-match"] == etag
    bob.carry(started, b"other")
    assert bob.complete(started, content_of(b"other")).outcome == "done"
    assert [body for _, body in studio.objects.versions["clip.tar.gz"]] == [b"bytes", b"other"]


def test_replace_of_what_is_not_there_creates(studio, ada):
    started = ada.start(item_for("clip", replace=True))
    assert started.request.headers["if-none-match"] == "*"


def test_an_object_unknown_to_the_records_counts_as_existing_for_parts(studio, ada):
    stored = studio.objects.place("clip.tar.gz", b"theirs")
    started = ada.start(item_for("clip", upper_bound=100))
    assert started.outcome == "name_taken"
    assert (started.existing.operation_id, started.existing.actor) == (None, None)
    assert (started.existing.etag, started.existing.size) == (stored.etag, 6)
    large = replace(content_of(b""), size=SINGLE_PUT_MAX_BYTES + 1)
    problem = ada.start(item_for("clip", content=large)).problem
    assert problem.code == "name-taken"
    assert "somebody outside this service" in problem.detail


def test_an_object_unknown_to_the_records_can_be_replaced(studio, ada):
    stored = studio.objects.place("clip.tar.gz", b"theirs")
    started = ada.start(item_for("clip", replace=True))
    assert started.request.headers["if-match"] == stored.etag


def test_a_version_that_was_deleted_from_the_bucket_does_not_block_its_name(studio, ada, bob):
    ada.upload(item_for("clip", b"bytes"), b"bytes")
    studio.objects.delete("clip.tar.gz")
    done = bob.upload(item_for("clip", b"bytes"), b"bytes")
    assert done.outcome == "done"


def test_an_object_replaced_past_the_service_is_not_taken_for_the_recorded_one(studio, ada):
    ada.upload(item_for("clip", b"bytes"), b"bytes")
    studio.objects.place("clip.tar.gz", b"theirs")
    started = ada.start(item_for("clip", b"bytes"))
    assert started.problem.code == "name-taken"
    assert started.existing.operation_id is None


def test_bytes_that_arrived_after_their_upload_was_given_up_are_known(studio, ada):
    item = item_for("clip", b"bytes")
    started = ada.start(item)
    ada.fail(started)
    assert ada.send(started, b"bytes") == 200
    again = ada.start(item_for("clip", b"bytes", replace=True))
    assert again.outcome == "already_there"
    assert (again.existing.operation_id, again.existing.actor) == (item.operation_id, "ada")


def test_metadata_that_names_an_operation_with_other_bytes_proves_nothing(studio, ada):
    item = item_for("clip", b"bytes")
    ada.start(item)
    studio.objects.place("clip.tar.gz", b"forged", operation_id=item.operation_id)
    studio.objects.place("take.tar.gz", b"bytes", operation_id=item.operation_id)
    for name in ("clip", "take"):
        assert ada.start(item_for(name, upper_bound=9)).existing.operation_id is None


# --- names that are taken ----------------------------------------------------------------------------------


def test_a_second_uploader_is_told_at_the_start_who_was_first(studio, ada, bob):
    ada.start(item_for("clip"))
    item = item_for("clip", b"bobs")
    problem = bob.start(item).problem
    assert problem.code == "name-reserved"
    assert "ada is uploading clip.tar.gz now" in problem.detail
    assert item.operation_id not in studio.records.operations


def test_another_machine_of_the_same_person_waits_too(ada):
    ada.start(item_for("clip"))
    assert code_of(ada.elsewhere(), item_for("clip")) == "name-reserved"


def test_another_person_at_the_same_machine_waits_too(ada, bob):
    ada.start(item_for("clip"))
    assert code_of(replace(bob, machine_id=ada.machine_id), item_for("clip")) == "name-reserved"


def test_the_same_person_at_the_same_machine_takes_the_name_over(studio, ada):
    first = ada.start(item_for("clip", upper_bound=100))
    second = ada.start(item_for("clip", upper_bound=100))
    assert second.outcome == "multipart"
    superseded = studio.operation(first.operation_id).record
    assert (superseded.status, superseded.error_code) == ("failed", "superseded")
    assert superseded.error_message == f"ada began this upload anew, as operation {second.operation_id}."
    assert list(studio.objects.uploads) == [studio.operation(second.operation_id).multipart_upload_id]


def test_a_lapsed_lease_gives_the_name_to_the_next(studio, ada, bob):
    first = ada.start(item_for("clip"))
    studio.clock.advance(LEASE_SECONDS - 1)
    assert code_of(bob, item_for("clip")) == "name-reserved"
    studio.clock.advance(1)
    second = bob.start(item_for("clip", b"bobs"))
    assert second.outcome == "put"
    assert studio.operation(first.operation_id).record.status == "failed"
    assert ada.complete(first, content_of(b"bytes")).problem.code == "operation-failed"


def test_a_renewed_lease_counts_not_the_one_at_the_start(studio, ada, bob):
    started = ada.start(item_for("clip", upper_bound=100))
    studio.clock.advance(LEASE_SECONDS - 1)
    assert ada.sign(started, []).outcome == "signed"
    studio.clock.advance(LEASE_SECONDS - 1)
    assert code_of(bob, item_for("clip")) == "name-reserved"


def test_an_upload_whose_bytes_had_arrived_is_settled_and_not_superseded(studio, ada, bob):
    first = ada.start(item_for("clip", b"bytes"))
    ada.carry(first, b"bytes")
    studio.clock.advance(LEASE_SECONDS)
    second = bob.start(item_for("clip", b"bobs"))
    assert (second.outcome, second.problem.code) == ("problem", "name-taken")
    assert second.existing.operation_id == first.operation_id
    assert studio.operation(first.operation_id).record.status == "success"
    assert ada.complete(first, content_of(b"bytes")).outcome == "done"


def test_a_failed_upload_frees_its_name_at_once(ada, bob):
    ada.fail(ada.start(item_for("clip")))
    assert bob.start(item_for("clip")).outcome == "put"


def test_a_name_reserved_by_a_call_that_went_no_further_waits_for_its_lease(studio, ada, bob):
    first = ada.start(item_for("clip"))
    del studio.records.operations[first.operation_id]
    assert code_of(bob, item_for("clip")) == "name-reserved"
    assert ada.start(item_for("clip")).outcome == "put"
    studio.records.operations.clear()
    studio.clock.advance(LEASE_SECONDS)
    assert bob.start(item_for("clip")).outcome == "put"


def test_the_id_in_a_reservation_of_somebody_else_is_no_key_to_it(studio, ada, bob):
    item = item_for("clip")
    ada.start(item)
    del studio.records.operations[item.operation_id]
    assert code_of(bob, item) == "name-reserved"


def test_a_reservation_is_not_held_by_an_operation_that_went_under_another_name(studio, ada, bob):
    item = item_for("clip")
    ada.start(item)
    del studio.records.operations[item.operation_id]
    other = ada.start(replace(item, name="other"))
    assert other.outcome == "put"
    studio.clock.advance(LEASE_SECONDS)
    assert ada.start(replace(item, name="other")).outcome == "put"
    assert bob.start(item_for("clip")).outcome == "put"
    assert studio.operation(item.operation_id).phase == "carrying"


def test_one_name_twice_in_a_list_is_refused_the_second_time(ada):
    results = ada.start_all([item_for("clip"), item_for("clip"), item_for("CLIP")]).results
    assert results[0].outcome == "put"
    assert [result.problem.code for result in results[1:]] == ["name-reserved", "name-differs-in-case"]


# --- twins ---------------------------------------------------------------------------------------------


def test_a_name_that_differs_only_by_case_is_told(ada, bob):
    ada.upload(item_for("Clip", b"bytes"), b"bytes")
    problem = bob.start(item_for("clip", b"bytes")).problem
    assert problem.code == "name-differs-in-case"
    assert "Clip.tar.gz is stored, by ada" in problem.detail


def test_two_spellings_at_once_do_not_end_each_other(studio, ada):
    first = ada.start(item_for("Clip"))
    assert code_of(ada, item_for("clip")) == "name-differs-in-case"
    assert studio.operation(first.operation_id).phase == "carrying"


def test_a_spelling_that_came_to_nothing_does_not_count(studio, ada, bob):
    ada.fail(ada.start(item_for("Clip")))
    done = bob.upload(item_for("clip", b"bytes"), b"bytes")
    assert done.outcome == "done"
    assert studio.records.names["clip.tar.gz"].key == "clip.tar.gz"


def test_a_lapsed_other_spelling_is_ended(studio, ada, bob):
    first = ada.start(item_for("Clip"))
    studio.clock.advance(LEASE_SECONDS)
    assert bob.start(item_for("clip")).outcome == "put"
    assert studio.operation(first.operation_id).phase == "failed"


def test_the_other_normalization_of_one_name_is_the_same_key(ada):
    done = ada.upload(item_for("Cafe\u0301", b"bytes"), b"bytes")
    assert done.record.s3_object_key == "Caf\u00e9.tar.gz"
    assert ada.start(item_for("Caf\u00e9", b"bytes")).outcome == "already_there"


def test_a_deleted_other_spelling_does_not_count(studio, ada, bob):
    ada.upload(item_for("Clip", b"bytes"), b"bytes")
    studio.objects.delete("Clip.tar.gz")
    assert bob.upload(item_for("clip", b"bytes"), b"bytes").outcome == "done"
