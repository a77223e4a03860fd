"""Nothing is lost, and the record is true, though no client ever asks again: the worker finds out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.programs import QUICK_WAITS
from support.trees import noise

MB = 1_000_000
LAPSED = timedelta(minutes=11)
"""Longer than a lease lasts."""


def kill_after_the_last_byte(team, laptop, name, last, *, has_index=True):
    """The storage has everything, or all but the index; the client never learned of it, and never comes back."""

    def lose_the_answer_then_stall(put):
        if put.is_index and not has_index:
            return "refuse"
        if put.is_index or put.part_number != last:
            return "none"
        return "lose-answer" if put.attempt == 0 else "stall"

    team.storage.fault = lose_the_answer_then_stall
    team.kill_stalled(laptop.begin("upload", name, "--jobs", "1", program=QUICK_WAITS))


@pytest.mark.parametrize(
    ("size", "last", "has_index"),
    [(200_000, None, True), (40 * MB, 3, True), (40 * MB, 3, False)],
    ids=["whole", "parts", "parts without index"],
)
def test_a_client_that_is_killed_for_ever_after_the_last_byte_is_a_success_within_one_run(
    team, anna, bert, size, last, has_index
):
    """With its index, or with the index named as missing."""
    (anna.work / "clip.mov").write_bytes(noise(size))
    kill_after_the_last_byte(team, anna, "clip.mov", last, has_index=has_index)
    team.go_round()
    assert [each["status"] for each in bert.run("--json", "history").records] == ["pending"], "its lease lasts"
    team.ahead = LAPSED
    team.go_round()
    [record] = bert.run("--json", "history").records
    assert (record["status"], record["settled_by"]) == ("success", "worker")
    [(key, archive)] = team.objects().items()
    assert (record["s3_object_key"], record["s3_file_record"]["size"]) == (key, len(archive))
    sizes = [record["index_size"]] if last and has_index else []
    assert [len(each) for each in team.indexes().values()] == sizes
    assert record["index_missing"] is not has_index
    assert team.multipart_uploads() == 0
    assert bert.run("download", "clip.mov").exit_code == 0


def test_the_machine_that_comes_back_after_all_learns_of_it_and_cleans_up(team, anna):
    (anna.work / "clip.mov").write_bytes(noise(40 * MB))
    kill_after_the_last_byte(team, anna, "clip.mov", 3)
    team.ahead = LAPSED
    team.go_round()
    run = anna.run("--json", "upload", "clip.mov")
    assert (run.exit_code, run.stderr) == (0, "")
    assert team.storage.puts == [], "nothing is sent again"
    assert anna.left_overs() == []
    [record] = anna.run("--json", "history").records
    assert record["compressed_file_record"]["status"] == "deleted"


def test_an_upload_that_nobody_goes_on_with_ends_after_its_days_and_leaves_no_parts(team, anna):
    (anna.work / "clip.mov").write_bytes(noise(40 * MB))
    team.storage.fault = lambda put: "stall" if put.part_number == 3 else "none"
    team.kill_stalled(anna.begin("upload", "clip.mov", "--jobs", "1"))
    team.ahead = LAPSED + timedelta(days=6)
    team.go_round()
    assert team.multipart_uploads() == 1
    team.ahead = LAPSED + timedelta(days=7)
    team.go_round()
    assert team.multipart_uploads() == 0
    [record] = anna.run("--json", "history").records
    assert (record["status"], record["error_code"]) == ("failed", "abandoned")
    assert anna.run("upload", "clip.mov").exit_code == 0, "and the same command begins anew"
    assert len(team.objects()) == 1
