"""The disk of the embedded backend's storage fills up: one sentence, exit code 9, and the same command goes on."""

import json
from dataclasses import replace

import pytest

from mgmt_api.ports import RecordsFullError
from mgmt_contract.parts import PART_SIZE_DEFAULT_BYTES
from support.programs import QUICK_WAITS
from support.trees import noise

MB = 1_000_000


def fill(team):
    """Have nothing left but what has to stay free, and the storage refuse what comes."""
    team.room = replace(team.room, free_bytes=team.room.total_bytes // 100)
    team.storage.fault = lambda _: "fail"


def make_room(team):
    team.room = replace(team.room, free_bytes=team.room.total_bytes)
    team.storage.fault = lambda _: "none"


def told(run):
    """Return the one error of a command that was stopped."""
    error = json.loads(run.stderr.splitlines()[-1])
    assert (run.exit_code, error["exit_code"], error["code"]) == (9, 9, "storage-full"), run.stderr
    assert "The embedded backend has no room: " in error["message"]
    assert "then run the same command again: it goes on, and nothing is lost." in error["message"]
    return error["message"]


@pytest.mark.parametrize(
    ("size", "again"),
    [pytest.param(MB, ("upload", "clip.mov"), id="whole"), pytest.param(20 * MB, ("resume",), id="parts")],
)
def test_an_upload_to_a_full_storage_ends_at_once_and_goes_on_under_the_same_id(team, anna, size, again):
    (anna.work / "clip.mov").write_bytes(noise(size))
    fill(team)
    told(anna.run("--json", "upload", "clip.mov"))
    assert (team.storage.puts, team.own_faults, anna.left_overs()) == ([], 0, [])
    [pending] = anna.run("--json", "history").records
    make_room(team)
    run = anna.run("--json", *again)
    assert run.exit_code == 0, run.stderr
    [record] = anna.run("--json", "history").records
    assert (record["operation_id"], record["status"]) == (pending["operation_id"], "success")
    assert (list(team.objects()), team.multipart_uploads(), anna.left_overs()) == (["clip.mov.tar.gz"], 0, [])


def test_a_person_is_told_of_resume(team, anna):
    (anna.work / "clip.mov").write_bytes(b"x")
    fill(team)
    run = anna.run("upload", "clip.mov")
    assert run.exit_code == 9
    assert "`mgmt resume` goes on with all of it, in any folder." in run.stderr


def test_a_storage_that_fills_up_under_an_upload_ends_it_and_no_part_is_sent_again(team, anna):
    (anna.work / "clip.mov").write_bytes(noise(2 * PART_SIZE_DEFAULT_BYTES + MB))

    def fill_at_second(put):
        if put.part_number == 2:
            fill(team)
            return "fail"
        return "none"

    team.storage.fault = fill_at_second
    run = anna.run("--json", "upload", "clip.mov", "--jobs", "1", program=QUICK_WAITS)
    assert "of clip.mov are still to be sent." in told(run)
    # The next one may have begun before the run was stopped.
    assert [put.part_number for put in team.storage.puts] in ([1, 2], [1, 2, 3])
    assert "index-not-stored" not in run.stdout
    make_room(team)
    team.storage.puts.clear()
    assert anna.run("upload", "clip.mov", "--jobs", "1").exit_code == 0
    assert [put.part_number for put in team.storage.puts] == [2, 3]
    [record] = anna.run("--json", "history").records
    assert (record["status"], team.multipart_uploads(), anna.left_overs()) == ("success", 0, [])
    assert len(team.indexes()) == 1


def test_a_storage_that_fills_up_before_the_index_stops_the_upload_so_that_it_gets_its_index(team, anna):
    (anna.work / "clip.mov").write_bytes(noise(PART_SIZE_DEFAULT_BYTES + MB))

    def fill_at_index(put):
        if put.is_index:
            fill(team)
            return "fail"
        return "none"

    team.storage.fault = fill_at_index
    run = anna.run("--json", "upload", "clip.mov", "--jobs", "1", program=QUICK_WAITS)
    told(run)
    assert "index-not-stored" not in run.stdout
    make_room(team)
    assert anna.run("upload", "clip.mov").exit_code == 0
    assert (list(team.objects()), len(team.indexes())) == (["clip.mov.tar.gz"], 1)


def test_a_whole_archive_that_the_storage_refuses_is_asked_for_again_and_ends_with_the_reason(team, anna):
    (anna.work / "clip.mov").write_bytes(noise(MB))

    def fill_up(_):
        fill(team)
        return "fail"

    team.storage.fault = fill_up
    told(anna.run("--json", "upload", "clip.mov", program=QUICK_WAITS))
    assert len(team.storage.puts) == 1
    make_room(team)
    assert anna.run("upload", "clip.mov").exit_code == 0
    assert (list(team.objects()), anna.left_overs()) == (["clip.mov.tar.gz"], [])


def test_of_several_uploads_those_for_which_there_is_room_end_well(team, anna):
    """And the others are gone on with by the same command; none is a failed record."""
    for name, size in (("a", 100), ("b", 5 * MB), ("c", 100)):
        (anna.work / name).write_bytes(noise(size))
    team.room = replace(team.room, free_bytes=team.room.total_bytes // 100 + MB)
    told(anna.run("--json", "upload", "all"))
    assert sorted(team.objects()) == ["a.tar.gz", "c.tar.gz"]
    make_room(team)
    run = anna.run("--json", "upload", "all")
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 2}
    assert {record["status"] for record in anna.run("--json", "history").records} == {"success"}


def test_records_that_have_no_room_end_an_upload_with_the_reason_and_lose_nothing(team, anna, monkeypatch):
    """SQLite writes them to the same disk. What has become of local files is reported later, alone or with a call."""
    refused = []

    def refuse(operation):
        refused.append(operation)
        raise RecordsFullError("The disk with the records is full.")

    (anna.work / "a").write_bytes(b"a")
    (anna.work / "b").write_bytes(b"b")
    update = team.records.update_operation

    def refuse_clean_ups(operation):
        is_clean_up = operation.phase == "done" and operation.record.compressed_file_record.status == "deleted"
        return refuse(operation) if is_clean_up else update(operation)

    monkeypatch.setattr(team.records, "update_operation", refuse_clean_ups)
    assert anna.run("upload", "a").exit_code == 0
    assert len(refused) == 1, "asked once: waiting does not help"
    run = anna.run("--json", "upload", "b")
    assert (run.exit_code, json.loads(run.stderr.splitlines()[-1])["code"]) == (9, "storage-full"), run.stderr
    assert len(refused) == 2

    monkeypatch.undo()
    assert anna.run("upload", "b").exit_code == 0
    records = anna.run("--json", "history").records
    assert {record["compressed_file_record"]["status"] for record in records} == {"deleted"}
    assert [record["status"] for record in records] == ["success", "success"]
