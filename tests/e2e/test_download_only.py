"""`mgmt download --only`, whole: single files come out of a large archive by its index, and little else is fetched."""

import json
import os
import shutil
import signal

import pytest

from mgmt.layout import is_temporary_name
from mgmt_contract.parts import MIB
from support.stored import give_index, make_index
from support.trees import describe, noise

CLIP_BYTES = 5 * MIB
SLACK_BYTES = 5 * MIB
"""Two blocks, the index, and headers."""

DYING = """
import os, signal
import mgmt.download.chosen, mgmt.archive.extraction, mgmt.archive.extracted_file, mgmt.stored.archive
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
{what}
from mgmt.__main__ import run
run()
"""
DYING_IN_THE_MIDDLE = DYING.format(
    what="""
from mgmt.archive.extracted_file import ExtractedFile
write = ExtractedFile.write
def write_some(self, data):
    if self.done_bytes > 3 * 2**20:
        die()
    write(self, data)
ExtractedFile.write = write_some"""
)


@pytest.fixture
def card(team, anna, tmp_path):
    """A card of 20 MiB that went in parts, and has an index."""
    folder = anna.work / "DCIM"
    (folder / "100").mkdir(parents=True, mode=0o750)
    (folder / "200").mkdir()
    for number in range(4):
        (folder / "100" / f"C000{number}.MP4").write_bytes(noise(CLIP_BYTES + number))
        (folder / "200" / f"still{number}").write_bytes(noise(1000 + number))
    (folder / "200" / "empty").touch()
    (folder / "200" / "link").symlink_to("still1")
    os.link(folder / "100" / "C0000.MP4", folder / "200" / "twin.MP4")
    os.link(folder / "100" / "C0000.MP4", folder / "200" / "twin2.MP4")
    [record] = anna.run("--json", "upload", "DCIM").records
    if record.get("index_size") is None:
        give_index(team, record["operation_id"], make_index(team.objects()["DCIM.tar.gz"], tmp_path))
    team.storage.reset()
    return folder


def only(laptop, *globs, more=(), program=None):
    options = [option for glob in globs for option in ("--only", glob)]
    return laptop.run("--json", "download", *more, *options, "DCIM", program=program)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def chosen(folder, *paths):
    """What `describe` says of these paths of a folder."""
    return {path: facts for path, facts in describe(folder).items() if path.decode() in paths}


def test_one_clip_comes_back_and_little_else_is_fetched(team, bert, card):
    run = only(bert, "C0002*")
    assert (run.exit_code, run.stderr) == (0, "")
    assert describe(bert.work / "DCIM") == chosen(card, "", "/100", "/100/C0002.MP4")
    [record] = run.records
    assert CLIP_BYTES < record["received_bytes"] < CLIP_BYTES + SLACK_BYTES
    assert (record["status"], record["target_path"], record["size"] > 20 * MIB) == ("success", "DCIM", True)
    assert names_in(bert.work) == ["DCIM"]
    shown = bert.run("download", "--only", "C0003*", "DCIM")
    assert (shown.exit_code, "were fetched" in shown.stdout) == (0, True)


def test_a_folder_brings_all_that_is_in_it_and_several_globs_add_up(team, bert, card):
    assert only(bert, "200", "DCIM/100/C0001.MP4").exit_code == 0
    names = ["still0", "still1", "still2", "still3", "empty", "link", "twin.MP4", "twin2.MP4"]
    found = describe(bert.work / "DCIM")
    assert set(found) == {b"", b"/100", b"/100/C0001.MP4", b"/200", *(f"/200/{name}".encode() for name in names)}
    for name in [*names[:5], "twin.MP4"]:
        assert (bert.work / "DCIM" / "200" / name).read_bytes() == (card / "200" / name).read_bytes()
    assert (bert.work / "DCIM" / "200" / "twin.MP4").samefile(bert.work / "DCIM" / "200" / "twin2.MP4")


def test_what_is_there_already_is_not_fetched_again_and_what_else_is_there_stays(team, bert, card):
    assert only(bert, "C0001*").exit_code == 0
    (bert.work / "DCIM" / "mine").write_bytes(b"mine")
    team.storage.gets.clear()
    [record] = only(bert, "C0001*", "still*").records
    assert record["received_bytes"] < 3 * MIB
    assert (bert.work / "DCIM" / "mine").read_bytes() == b"mine"
    assert (bert.work / "DCIM" / "200" / "still3").read_bytes() == (card / "200" / "still3").read_bytes()
    [record] = only(bert, "C0001*", "still*").records
    assert (record["status"], record["received_bytes"]) == ("success", 0)


def test_another_file_of_that_name_is_replaced_only_when_asked(team, bert, card):
    place = bert.work / "DCIM" / "200" / "still2"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"another")
    run = only(bert, "still*")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (9, "target-exists")
    assert (place.read_bytes(), [path.name for path in place.parent.iterdir()]) == (b"another", ["still2"])
    assert only(bert, "still*", more=["--replace"]).exit_code == 0
    assert place.read_bytes() == (card / "200" / "still2").read_bytes()


def test_a_glob_that_fits_nothing_is_named_and_nothing_is_made(team, bert, card):
    run = only(bert, "C0001*", "nothing*")
    error = json.loads(run.stderr)
    assert (run.exit_code, error["code"]) == (4, "nothing-chosen")
    assert "'nothing*'" in error["message"]
    assert "C0001" not in error["message"]
    assert names_in(bert.work) == []


def test_after_a_kill_in_the_middle_of_a_file_the_rest_alone_is_fetched(team, bert, card):
    assert only(bert, "C0001*", program=DYING_IN_THE_MIDDLE).exit_code == -signal.SIGKILL
    assert all(map(is_temporary_name, names_in(bert.work)))
    run = only(bert, "C0001*")
    assert run.exit_code == 0, run.stderr
    assert run.records[0]["received_bytes"] < CLIP_BYTES - MIB // 2
    assert (bert.work / "DCIM" / "100" / "C0001.MP4").read_bytes() == (card / "100" / "C0001.MP4").read_bytes()
    assert names_in(bert.work) == ["DCIM"]
    [record] = bert.run("--json", "history", "--type", "download").records
    assert record["status"] == "success"


def test_what_a_killed_run_has_left_is_no_good_and_is_brought_again(team, bert, card):
    assert only(bert, "C0001*", program=DYING_IN_THE_MIDDLE).exit_code == -signal.SIGKILL
    [part] = [path for path in bert.work.iterdir() if path.is_dir()]
    with (part / "100" / "C0001.MP4").open("r+b") as file:
        file.write(b"!")
    assert only(bert, "C0001*").exit_code == 0
    assert (bert.work / "DCIM" / "100" / "C0001.MP4").read_bytes() == (card / "100" / "C0001.MP4").read_bytes()


@pytest.mark.parametrize("more", [[], ["--replace"]], ids=["unasked", "replacing"])
@pytest.mark.parametrize("way", ["100/C0002.MP4/folder", "100"], ids=["folder for a file", "file for a folder"])
def test_a_folder_and_a_file_in_each_others_way_are_found_before_anything_is_fetched(team, bert, card, way, more):
    (bert.work / "DCIM" / way).parent.mkdir(parents=True)
    (bert.work / "DCIM" / way).write_bytes(b"theirs")
    run = only(bert, "C0002*", more=more)
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (9, "target-exists")
    assert bert.run("--json", "history", "--type", "download").records == []
    assert max((get.first for get in team.storage.gets), default=0) == 0, "the index alone"
    assert (names_in(bert.work), (bert.work / "DCIM" / way).read_bytes()) == (["DCIM"], b"theirs")


def test_after_a_kill_in_the_last_step_of_a_merge_no_folder_of_ours_stays(team, bert, card):
    (bert.work / "DCIM").mkdir()
    program = DYING.format(what="from mgmt.machine import filling\nfilling._DescriptorFilling.remove_folder = die")
    assert only(bert, "still1", program=program).exit_code == -signal.SIGKILL
    assert only(bert, "still1").exit_code == 0
    assert names_in(bert.work) == ["DCIM"]


@pytest.mark.parametrize(
    "where",
    [
        "mgmt.stored.archive.ask_to_open",
        "mgmt.stored.archive.take_request",
        "mgmt.archive.extraction.publish",
        "mgmt.stored.archive.StoredArchive.end",
    ],
)
def test_after_a_kill_at_the_end_the_same_command_ends_with_one_record(team, bert, card, where):
    assert only(bert, "200", program=DYING.format(what=f"{where} = die")).exit_code == -signal.SIGKILL
    assert only(bert, "200").exit_code == 0
    assert names_in(bert.work) == ["DCIM"]
    [record] = bert.run("--json", "history", "--type", "download").records
    assert record["status"] == "success"


def test_a_bit_that_was_changed_on_the_way_costs_its_file_once_more(team, bert, card):
    flips = iter(["flip"])
    team.storage.get_fault = lambda get: next(flips, "none") if get.first > MIB else "none"
    run = only(bert, "C000*")
    assert (run.exit_code, run.stderr) == (0, "")
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["fetched-again"]
    for made in (bert.work / "DCIM").rglob("C000*"):
        assert made.read_bytes() == (card / made.relative_to(bert.work / "DCIM")).read_bytes()
    assert names_in(bert.work) == ["DCIM"]


def test_bytes_that_were_changed_on_the_way_never_get_a_name(team, bert, card):
    team.storage.get_fault = lambda get: "flip" if get.first > MIB else "none"
    run = only(bert, "C0002*")
    assert (run.exit_code, json.loads(run.stderr)["exit_code"]) == (8, 8)
    assert names_in(bert.work) == []


def test_an_index_that_was_altered_is_not_believed_and_the_archive_is_read(team, bert, card):
    [upload] = bert.run("--json", "history", "--type", "upload").records
    index = make_index(team.objects()["DCIM.tar.gz"], bert.folder)
    give_index(team, upload["operation_id"], index[:-100] + bytes(100))
    run = only(bert, "still1")
    assert (run.exit_code, run.stderr) == (0, "")
    assert {line["code"] for line in run.lines if line["type"] == "notice"} == {"index-damaged", "archive-read"}
    assert (bert.work / "DCIM" / "200" / "still1").read_bytes() == (card / "200" / "still1").read_bytes()


def test_a_link_whose_file_is_there_already_comes_as_a_file(team, bert, card):
    assert only(bert, "C0000*").exit_code == 0
    assert only(bert, "C0000*", "twin*").exit_code == 0
    for name in ("twin.MP4", "twin2.MP4"):
        assert (bert.work / "DCIM" / "200" / name).read_bytes() == (card / "100" / "C0000.MP4").read_bytes()


def test_a_link_whose_clip_is_not_chosen_comes_behind_the_last_block_though_its_own_lie_before_that(team, anna, bert):
    """All blocks are stored, so only the index tells where the last one, which is shorter, ends."""
    folder = anna.work / "DCIM"
    (folder / "100").mkdir(parents=True)
    (folder / "200").mkdir()
    (folder / "100" / "C0000.MP4").write_bytes(noise(CLIP_BYTES))
    (folder / "200" / "still").write_bytes(noise(300_000))
    os.link(folder / "100" / "C0000.MP4", folder / "200" / "twin.MP4")
    assert anna.run("upload", "DCIM", "--compression", "store").exit_code == 0
    run = only(bert, "200")
    assert (run.exit_code, run.stderr) == (0, "")
    for name in ("still", "twin.MP4"):
        assert (bert.work / "DCIM" / "200" / name).read_bytes() == (folder / "200" / name).read_bytes()


def test_a_link_that_came_alone_is_what_was_uploaded_and_stays_when_its_file_comes(team, bert, card):
    assert only(bert, "twin.MP4").exit_code == 0
    run = only(bert, "100", "200")
    assert run.exit_code == 0, run.stderr
    for name in ("100/C0000.MP4", "200/twin.MP4", "200/twin2.MP4", "200/still1"):
        assert (bert.work / "DCIM" / name).read_bytes() == (card / name).read_bytes()
    (bert.work / "DCIM" / "200" / "twin.MP4").write_bytes(b"another")
    (bert.work / "DCIM" / "100" / "C0000.MP4").unlink()
    assert json.loads(only(bert, "100", "200").stderr)["code"] == "target-exists"


def test_without_an_index_the_archive_is_read_and_said_to_be(team, anna, bert):
    folder = anna.work / "few"
    folder.mkdir()
    (folder / "a").write_bytes(b"one")
    (folder / "b").write_bytes(b"two")
    assert anna.run("upload", "few").exit_code == 0
    shutil.rmtree(folder)
    run = bert.run("download", "--only", "b", "few")
    assert (run.exit_code, (bert.work / "few" / "b").read_bytes()) == (0, b"two")
    assert names_in(bert.work / "few") == ["b"]


@pytest.mark.parametrize("more", [[], ["--replace"]], ids=["unasked", "replacing"])
def test_what_a_killed_run_has_left_of_a_file_never_takes_the_place_of_the_whole_one(team, bert, card, more):
    assert only(bert, "C0001*", "C0002*", more=more, program=DYING_IN_THE_MIDDLE).exit_code == -signal.SIGKILL
    assert only(bert, "C0001*").exit_code == 0  # another choice, so what the first has left is not used
    run = only(bert, "C0001*", "C0002*", more=more)
    assert run.exit_code == 0, run.stderr
    for name in ("C0001.MP4", "C0002.MP4"):
        assert (bert.work / "DCIM" / "100" / name).read_bytes() == (card / "100" / name).read_bytes()
    assert names_in(bert.work) == ["DCIM"]
