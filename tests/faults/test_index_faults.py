"""The index of a large archive: there before the archive is whole, through kills and refusals, and never in its way."""

from __future__ import annotations

import dataclasses

import pytest

from mgmt.archive.index import Index
from mgmt_contract.messages.uploads import IndexFile
from support.programs import QUICK_WAITS
from support.trees import noise

MB = 1_000_000
LAST_PART = 3
WORDS = {"corrupted": "arrived corrupted", "storage-refuses": "refuses 5 fresh URLs"}


@pytest.fixture
def card(anna):
    """A folder of three parts."""
    folder = anna.work / "CARD_A"
    (folder / "DCIM").mkdir(parents=True)
    for number in range(4):
        (folder / "DCIM" / f"C{number}.MP4").write_bytes(noise(10 * MB, seed=number))
    return folder


def read_members(tmp_path, data):
    path = tmp_path / "index.gz"
    path.write_bytes(data)
    index = Index(path)
    return index, {member.path.decode(): member.size_bytes for member in index.members() if member.kind == "file"}


def upload(laptop, *options):
    run = laptop.run("--json", "upload", "CARD_A", *options, program=QUICK_WAITS)
    assert run.exit_code == 0, run.stderr
    [record] = run.records
    assert laptop.left_overs() == []
    return run, record


def stop_before_the_last_part(team, laptop):
    """Kill an upload when all is sent but the last part."""
    team.storage.fault = lambda put: "stall" if put.part_number == LAST_PART else "none"
    team.kill_stalled(laptop.begin("upload", "CARD_A", "--jobs", "1"))


def test_the_index_of_a_large_archive_lies_beside_it_before_its_last_part_does(team, anna, card, tmp_path):
    order = []

    def note(put):
        order.append("index" if put.is_index else put.part_number)
        return "none"

    team.storage.fault = note
    run, record = upload(anna)
    assert run.stderr == ""
    assert sorted(map(str, order)) == ["1", "2", "3", "index"]
    assert order.index("index") < order.index(LAST_PART)
    [(key, data)] = team.indexes().items()
    assert key == f".mgmt/{record['operation_id']}.index.gz"
    index, files = read_members(tmp_path, data)
    index.refuse_false(record["content_digest"], record["s3_file_record"]["size"])
    assert files == {f"CARD_A/DCIM/C{number}.MP4": 10 * MB for number in range(4)}
    assert (record["index_size"], record["index_version_id"]) == (len(data), team.version_id(key))
    assert f"index         {len(data)} B" in anna.run("show", "CARD_A").stdout


def test_killed_between_the_index_and_the_last_part_the_next_run_finds_it_there(team, anna, card, tmp_path):
    """Rebuilt from the archive it has the same bytes, so that the storage says: it is there."""
    stop_before_the_last_part(team, anna)
    [(key, data)] = team.indexes().items()
    run, record = upload(anna)
    assert run.stderr == ""
    assert [put.part_number for put in team.storage.puts] == [LAST_PART]
    assert len(team.storage.index_puts) == 1
    assert (team.indexes(), team.versions(key)) == ({key: data}, 1)
    assert record["index_size"] == len(data)


def test_an_archive_of_an_earlier_run_gets_its_index_too(team, anna, card, tmp_path):
    """Killed with the archive whole on the disk, and nothing of the index sent."""
    team.storage.fault = lambda put: "stall" if put.is_index else "none"
    team.kill_stalled(anna.begin("upload", "CARD_A", "--jobs", "1"))
    assert team.indexes() == {}
    _, record = upload(anna)
    [data] = team.indexes().values()
    index, files = read_members(tmp_path, data)
    index.refuse_false(record["content_digest"], record["s3_file_record"]["size"])
    assert (len(files), record["index_size"]) == (4, len(data))


@pytest.mark.parametrize(("fault", "code"), [("refuse", "storage-refuses"), ("flip", "corrupted")])
def test_an_index_that_the_storage_does_not_take_is_told_and_the_upload_goes_on(team, anna, card, fault, code):
    team.storage.fault = lambda put: fault if put.is_index else "none"
    run, record = upload(anna)
    [notice] = [line for line in run.lines if line.get("code") == "index-not-stored"]
    assert WORDS[code] in notice["message"]
    assert "goes on without" in notice["message"]
    assert (record["status"], record["index_size"], team.indexes()) == ("success", None, {})
    assert len(team.objects()) == 1
    assert "index         missing; the archive itself is whole" in anna.run("show", "CARD_A").stdout


@pytest.mark.parametrize("fault", ["cut", "lose-answer", "flip"])
def test_an_index_that_goes_wrong_once_is_sent_again(team, anna, card, fault):
    team.storage.fault = lambda put: fault if put.is_index and put.attempt == 0 else "none"
    _, record = upload(anna)
    assert record["index_size"] == len(next(iter(team.indexes().values())))
    assert len(team.storage.index_puts) == 2
    assert len(team.storage.puts) == LAST_PART


def test_another_index_than_was_announced_is_left_out(team, anna, card):
    """As after an update that packs the list in other words: the upload goes on without asking anybody."""
    stop_before_the_last_part(team, anna)
    [pending] = anna.run("--json", "history").records
    stored = team.records.get_operations([pending["operation_id"]])[pending["operation_id"]]
    other = IndexFile(1432, "rosUhgp5mYg=")
    team.records.update_operation(dataclasses.replace(stored, index=other))
    run, record = upload(anna)
    assert (run.stderr, team.storage.index_puts) == ("", [])
    assert (record["status"], record["index_size"]) == ("success", None)


def test_what_goes_in_one_put_has_no_index(team, anna):
    (anna.work / "CARD_A").mkdir()
    (anna.work / "CARD_A" / "clip.mp4").write_bytes(noise(200_000))
    _, record = upload(anna)
    assert (record["index_size"], team.indexes(), team.storage.index_puts) == (None, {}, [])
    assert "index" not in anna.run("show", "CARD_A").stdout
