"""`mgmt download`, whole: the real client, the real service, the real engine, a network that breaks."""

import contextlib
import errno
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from mgmt.layout import is_temporary_name
from mgmt_contract.parts import MIB
from mgmt_local.process.state import open_state_folder
from support.database import open_database
from support.fakes import crc64nvme
from support.hostile_archives import archive_of, file, folder, tar_of
from support.inputs import WITHOUT_PRIVILEGE
from support.programs import LOW_LIMITS, QUICK_WAITS, noting_memory
from support.stored import change_record
from support.trees import describe, noise

LARGE_BYTES = 40 * MIB
"""Ten ranges and some bytes."""
RANGES = 11

PATCHED = """
import errno, os, signal
import mgmt.download, mgmt.download.extracted, mgmt.download.unfinished, mgmt.download.whole, mgmt.stored.archive
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def refuse(*_, **__):
    raise OSError({error}, os.strerror({error}))
{what}
from mgmt.__main__ import run
run()
"""


def dying_in(what):
    """Write a program: the command, killed where it would do that."""
    return PATCHED.format(what=f"{what} = die", error=0)


DYING_AFTER_PUBLISHING = PATCHED.format(
    what="""
import mgmt.archive.extraction
publish = mgmt.archive.extraction.publish
def publish_and_die(*given, **named):
    publish(*given, **named)
    die()
mgmt.archive.extraction.publish = publish_and_die""",
    error=0,
)
SMALL_STEPS = PATCHED.format(
    what="""
from mgmt.download.unfinished_tree import UnfinishedTree
mgmt.download.extracted.STEP_BYTES = mgmt.download.unfinished_tree.STEP_BYTES = 4 * 2**20
save = UnfinishedTree.save
def save_at_once(self, *given):
    save(self, *given)
    self._wait()
UnfinishedTree.save = save_at_once""",
    error=0,
)
"""Checkpoints often, and none that a kill comes before."""
FREQUENT_STEPS = PATCHED.format(
    what="mgmt.download.extracted.STEP_BYTES = mgmt.download.unfinished_tree.STEP_BYTES = 2 * 2**20", error=0
)
KILLS = int(os.environ.get("MGMT_DOWNLOAD_KILLS", "4"))


@pytest.fixture
def large(anna):
    (anna.work / "big.mov").write_bytes(noise(LARGE_BYTES))
    assert anna.run("upload", "--keep-archive", "big.mov").exit_code == 0
    return (anna.work / "big.mov.tar.gz").read_bytes()


@pytest.fixture
def tree(anna):
    folder = anna.work / "DCIM"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "clip.mov").write_bytes(noise(3 * MIB))
    (folder / "empty").touch(0o600)
    os.utime(folder / "empty", (1e9, 1e9))
    (folder / "link").symlink_to("sub/clip.mov")
    os.link(folder / "sub" / "clip.mov", folder / "twin")
    assert anna.run("upload", "DCIM").exit_code == 0
    return folder


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def download_of(laptop, name):
    """Return the newest download that the history has."""
    return laptop.run("--json", "history", "--type", "download", name).records[0]


@pytest.mark.parametrize("options", [[], ["--jobs", "1"], ["--jobs", "16"]])
def test_an_archive_that_somebody_else_uploaded_comes_back_byte_for_byte(bert, large, options):
    run = bert.run("--json", "download", *options, "big.mov")
    assert (run.exit_code, run.stderr) == (0, "")
    assert (bert.work / "big.mov.tar.gz").read_bytes() == large
    assert names_in(bert.work) == ["big.mov.tar.gz"]
    [record] = run.records
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 0}
    assert (record["status"], record["actor"], record["target_path"]) == ("success", "bert", "big.mov.tar.gz")
    assert (record["received_bytes"], record["size"]) == (len(large), len(large))
    assert download_of(bert, "big.mov")["operation_id"] == record["operation_id"]


@pytest.mark.parametrize("ways", [[], ["--extract"]], ids=["whole", "extracted"])
def test_a_folder_of_any_name_takes_a_download_and_is_found_by_its_record(bert, tree, ways):
    odd = bert.work / "take\n1"
    odd.mkdir()
    program = dying_in("mgmt.stored.archive.take_request = mgmt.download.whole.take_request")
    died = bert.run("download", "--to", "take\n1", *ways, "DCIM", program=program)
    assert died.exit_code == -signal.SIGKILL
    assert names_in(odd) != []
    record = download_of(bert, "DCIM")
    assert (record["status"], record["target_path"]) == ("pending", f"take\\n1/DCIM{'' if ways else '.tar.gz'}")
    assert bert.run("cancel", "--yes", record["operation_id"]).exit_code == 0
    assert names_in(odd) == [], "the order is known by its record"
    assert bert.run("download", "--to", "take\n1", *ways, "DCIM").exit_code == 0


def test_an_archive_gets_the_rights_that_any_new_file_gets(bert, tree):
    (bert.work / "any").touch()
    assert bert.run("download", "DCIM").exit_code == 0
    assert (bert.work / "DCIM.tar.gz").stat().st_mode == (bert.work / "any").stat().st_mode


def test_a_folder_comes_back_as_it_was_and_no_archive_stays(bert, tree):
    (bert.work / "restored").mkdir()
    run = bert.run("download", "--extract", "--to", "restored", "DCIM")
    assert run.exit_code == 0, run.stderr
    assert describe(bert.work / "restored" / "DCIM") == describe(tree)
    assert names_in(bert.work / "restored") == ["DCIM"]
    assert download_of(bert, "DCIM")["target_path"] == "restored/DCIM"


def test_several_come_back_and_one_that_is_not_there_does_not_stop_the_others(anna, bert):
    for name in ("a", "b"):
        (anna.work / name).write_bytes(name.encode() * 1000)
    assert anna.run("upload", "a", "b").exit_code == 0
    run = bert.run("--json", "download", "--extract", "a", "nowhere", "b", "a")
    assert run.exit_code == 3
    assert [(bert.work / name).read_bytes() for name in "ab"] == [b"a" * 1000, b"b" * 1000]
    assert [each["status"] for each in run.records] == ["success", "failed", "success"]
    assert json.loads(run.stderr)["code"] == "not-found"
    assert bert.run("download", "nowhere").exit_code == 4


def test_a_name_that_fits_several_uploads_lists_them_as_show_does(anna, bert):
    (anna.work / "a").write_bytes(b"a")
    for prefix in ("day1", "day2"):
        assert anna.run("upload", "--prefix", prefix, "a").exit_code == 0
    run = bert.run("download", "a")
    assert (run.exit_code, run.stdout) == (2, "")
    assert run.stderr == bert.run("show", "a").stderr
    assert [line.split()[-1] for line in run.stderr.splitlines()] == ["key:", "KEY", "day2/a.tar.gz", "day1/a.tar.gz"]


@pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "*"]], ids=["archive", "extracted", "only"])
def test_one_that_is_there_already_does_not_keep_the_others_from_coming(anna, bert, options):
    """A command that was interrupted in its second download, and is given again, brings that one."""
    for name in ("a", "b"):
        (anna.work / name).write_bytes(name.encode() * 1000)
    assert anna.run("upload", "a", "b").exit_code == 0
    suffix = "" if options else ".tar.gz"
    (bert.work / f"a{suffix}").write_bytes(b"theirs")
    run = bert.run("--json", "download", *options, "a", "b")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (3, "target-exists")
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 1, "skipped": 0}
    assert (bert.work / f"a{suffix}").read_bytes() == b"theirs"
    assert (bert.work / f"b{suffix}").exists()
    assert bert.run("download", *options, "a").exit_code == 9


@pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "*"]], ids=["archive", "extracted", "only"])
def test_two_uploads_of_one_name_never_take_each_others_place(anna, bert, options):
    """Cards are called alike: with --replace the second one would lie where the first is said to be."""
    for day in ("day1", "day2"):
        (anna.work / "DCIM").mkdir(exist_ok=True)
        (anna.work / "DCIM" / "clip.mov").write_bytes(day.encode())
        assert anna.run("upload", "--prefix", day, "DCIM").exit_code == 0
    keys = [f"{day}/DCIM.tar.gz" for day in ("day1", "day2")]
    run = bert.run("--json", "download", "--replace", *options, *keys)
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (3, "place-taken")
    assert [each["status"] for each in run.records] == ["failed", "success"], "it is said before anything is fetched"
    assert names_in(bert.work) == ["DCIM" if options else "DCIM.tar.gz"]
    if options:
        assert (bert.work / "DCIM" / "clip.mov").read_bytes() == b"day1"
    else:
        (bert.work / "DCIM.tar.gz").rename(bert.work / "first")
        assert bert.run("download", keys[0]).exit_code == 0
        assert (bert.work / "DCIM.tar.gz").read_bytes() == (bert.work / "first").read_bytes()
    (bert.work / "other").mkdir()
    assert bert.run("download", *options, "--to", "other", keys[1]).exit_code == 0


@pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "*"]], ids=["archive", "extract", "only"])
def test_names_that_some_disks_take_for_one_are_not_replaced_by_each_other(anna, bert, options):
    for day, name in (("day1", "Clip.mov"), ("day2", "clip.mov")):
        (anna.work / name).write_bytes(name.encode())
        assert anna.run("upload", "--prefix", day, name).exit_code == 0
    keys = ["day1/Clip.mov.tar.gz", "day2/clip.mov.tar.gz"]
    run = bert.run("--json", "download", "--replace", *options, *keys)
    error = json.loads(run.stderr)
    assert (run.exit_code, error["code"]) == (3, "place-taken")
    assert "many disks do not tell capital letters from small ones" in error["message"]
    assert names_in(bert.work) == ["Clip.mov" if options else "Clip.mov.tar.gz"]
    (bert.work / "other").mkdir()
    assert bert.run("download", *options, *keys, "--to", "other").exit_code == 0
    assert len(names_in(bert.work / "other")) == 2


def test_an_upload_is_found_by_its_id_also_after_it_was_replaced(anna, bert):
    (anna.work / "clip").write_bytes(b"first")
    [first] = anna.run("--json", "upload", "clip").records
    (anna.work / "clip").write_bytes(b"second")
    assert anna.run("upload", "--replace", "clip").exit_code == 0
    assert bert.run("download", "--extract", first["operation_id"]).exit_code == 0
    assert (bert.work / "clip").read_bytes() == b"first"
    assert bert.run("download", "--extract", "--replace", "clip").exit_code == 0
    assert (bert.work / "clip").read_bytes() == b"second"


def test_an_upload_that_was_replaced_is_found_by_its_name_and_version(anna, bert):
    versions = []
    for content in (b"first", b"second"):
        (anna.work / "clip").write_bytes(content)
        [record] = anna.run("--json", "upload", "--replace", "clip").records
        versions.append(record["version_id"])
    for version, content in zip(versions, (b"first", b"second"), strict=True):
        run = bert.run("download", "--extract", "--replace", "--version", version, "clip")
        assert (run.exit_code, (bert.work / "clip").read_bytes()) == (0, content), run.stderr
    run = bert.run("--json", "download", "--version", "none", "clip")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (4, "no-version")
    run = bert.run("--json", "download", "--version", versions[0], "clip", "other")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (2, "several-names")


@pytest.mark.parametrize("options", [[], ["--extract"]], ids=["archive", "extracted"])
def test_nothing_that_exists_is_replaced_unasked_and_nothing_is_fetched_for_it(team, anna, bert, options):
    (anna.work / "clip").write_bytes(b"footage")
    assert anna.run("upload", "clip").exit_code == 0
    place = bert.work / ("clip" if options else "clip.tar.gz")
    place.write_bytes(b"theirs")
    run = bert.run("--json", "download", *options, "clip")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (9, "target-exists")
    assert (place.read_bytes(), names_in(bert.work), team.storage.gets) == (b"theirs", [place.name], [])
    assert bert.run("download", *options, "--replace", "clip").exit_code == 0
    assert place.read_bytes() != b"theirs"
    assert names_in(bert.work) == [place.name]


@pytest.mark.parametrize(
    ("name", "options", "in_the_way"),
    [
        ("clip", [], "clip.tar.gz/"),
        ("clip", ["--extract"], "clip/"),
        ("DCIM", ["--extract"], "DCIM"),
    ],
)
@pytest.mark.usefixtures("tree")
def test_a_folder_is_no_place_for_a_file_nor_a_file_for_a_folder_and_nothing_is_fetched_for_it(
    team, anna, bert, name, options, in_the_way
):
    (anna.work / "clip").write_bytes(b"footage")
    assert anna.run("upload", "clip").exit_code == 0
    place = bert.work / in_the_way
    place.mkdir() if in_the_way.endswith("/") else place.write_bytes(b"theirs")
    run = bert.run("--json", "download", "--replace", *options, name)
    said = json.loads(run.stderr)
    assert (run.exit_code, said["code"], "--replace" in said["message"]) == (9, "target-exists", False)
    assert "Rename or remove it" in said["message"]
    assert (names_in(bert.work), team.storage.gets) == ([place.name], [])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak")
@pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "big.mov"]], ids=["whole", "extract", "only"])
@pytest.mark.usefixtures("large")
def test_a_download_takes_at_most_64_mb_of_memory(bert, tmp_path, options):
    run = bert.run("download", *options, "big.mov", program=noting_memory(tmp_path / "peak"))
    assert run.exit_code == 0, run.stderr
    assert int((tmp_path / "peak").read_text()) <= 64_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak")
@pytest.mark.usefixtures("large")
def test_fetching_again_what_arrived_wrong_takes_no_more_memory(team, bert, tmp_path):
    team.storage.get_fault = lambda get: "flip" if get.attempt == 0 and get.first == 32 * MIB else "none"
    run = bert.run("--json", "download", "big.mov", program=noting_memory(tmp_path / "peak"))
    assert run.exit_code == 0, run.stderr
    assert notices(run) == ["fetched-again"]
    assert int((tmp_path / "peak").read_text()) <= 64_000_000


@pytest.mark.parametrize("fault", ["cut", "refuse"])
def test_a_range_that_breaks_goes_on_where_it_was(team, bert, large, fault):
    team.storage.get_fault = lambda get: fault if get.attempt == 0 and get.first == 8 * MIB else "none"
    run = bert.run("--json", "download", "big.mov", program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert (bert.work / "big.mov.tar.gz").read_bytes() == large
    again = {"cut": 10 * MIB, "refuse": 8 * MIB}[fault]
    assert [get.first for get in team.storage.gets].count(again) == (1 if fault == "cut" else 2)
    assert len(team.storage.gets) == RANGES + 1


def notices(run):
    return [line["code"] for line in run.lines if line["type"] == "notice"]


@pytest.mark.parametrize("number", [1, RANGES - 1])
def test_a_bit_that_was_changed_on_the_way_costs_one_range_and_no_second_run(team, bert, large, number):
    flips = iter(["flip"])
    first = number * 4 * MIB
    team.storage.get_fault = lambda get: next(flips, "none") if get.first == first else "none"
    run = bert.run("--json", "download", "big.mov")
    assert (run.exit_code, run.stderr, notices(run)) == (0, "", ["fetched-again"])
    assert (bert.work / "big.mov.tar.gz").read_bytes() == large
    assert names_in(bert.work) == ["big.mov.tar.gz"]
    # Compared from the end backwards, in steps of 4 MiB; a few are asked for ahead.
    assert max(Counter(get.first for get in team.storage.gets).values()) <= 2
    assert min(get.first for get in team.storage.gets[RANGES:]) >= first - 16 * MIB
    record = download_of(bert, "big.mov")
    assert (record["status"], record["received_bytes"] > record["size"]) == ("success", True)


def test_two_ranges_that_were_changed_on_the_way_are_both_mended(team, bert, large):
    team.storage.get_fault = lambda get: "flip" if get.attempt == 0 and get.first in (0, 24 * MIB) else "none"
    run = bert.run("--json", "download", "big.mov")
    assert (run.exit_code, run.stderr, notices(run)) == (0, "", ["fetched-again"] * 2)
    assert (bert.work / "big.mov.tar.gz").read_bytes() == large


def test_an_extraction_gets_over_a_bit_that_was_changed_on_the_way(team, bert, footage):
    team.storage.get_fault = lambda get: "flip" if get.attempt == 0 and get.first == 16 * MIB else "none"
    run = bert.run("--json", "download", "--extract", "DCIM", program=SMALL_STEPS)
    assert (run.exit_code, run.stderr, notices(run)) == (0, "", ["fetched-again"])
    assert describe(bert.work / "DCIM") == describe(footage)
    assert names_in(bert.work) == ["DCIM"]
    assert download_of(bert, "DCIM")["status"] == "success"


@pytest.mark.parametrize("options", [[], ["--extract"]], ids=["whole", "extract"])
def test_an_object_that_has_rotted_is_fetched_twice_and_refused(team, bert, large, options):
    team.storage.rotten_offset = len(large) // 2
    run = bert.run("--json", "download", *options, "big.mov")
    assert (run.exit_code, notices(run)) == (8, ["fetched-again"])
    assert names_in(bert.work) == []
    assert download_of(bert, "big.mov")["status"] == "failed"
    fetched = Counter(get.first for get in team.storage.gets)
    assert max(fetched.values()) == 2, "the same bytes twice are what is stored"


def test_bytes_that_are_changed_on_the_way_never_get_the_name(team, bert, large):
    team.storage.get_fault = lambda get: "flip" if get.first == 16 * MIB else "none"
    run = bert.run("--json", "download", "big.mov")
    assert (run.exit_code, json.loads(run.stderr)["exit_code"]) == (8, 8)
    assert names_in(bert.work) == []
    record = download_of(bert, "big.mov")
    assert (record["status"], record["error_code"]) == ("failed", json.loads(run.stderr)["code"])
    team.storage.reset()
    assert bert.run("download", "big.mov").exit_code == 0
    assert (bert.work / "big.mov.tar.gz").read_bytes() == large


def test_an_object_that_was_altered_past_the_service_is_refused(team, anna, bert):
    (anna.work / "clip").write_bytes(b"footage")
    [upload] = anna.run("--json", "upload", "clip").records
    store_past_the_service(team, upload, b"forged")
    run = bert.run("--json", "download", "clip")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (8, "content-differs")
    assert names_in(bert.work) == []


def store_past_the_service(team, upload, body):
    """Store other bytes, and have the records name them."""
    key = upload["result_path"]
    altered = team.s3.put_object(Bucket=team.bucket, Key=key, Body=body, ChecksumAlgorithm="CRC64NVME")
    with open_database(open_state_folder(team.folder).records) as database:
        for table, column in versions_of(database):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",  # noqa: S608  names of the schema
                (upload["version_id"], altered["VersionId"]),
            )


def versions_of(database):
    """Name every column of texts."""
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
            if kind == "TEXT":
                yield table, column


def test_after_a_kill_in_the_middle_only_what_is_missing_is_fetched(team, bert, large):
    team.storage.get_fault = lambda get: "stall" if get.first == 24 * MIB else "none"
    process = bert.begin("download", "--jobs", "1", "big.mov")
    assert team.storage.stalled.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert all(is_temporary_name(name) for name in names_in(bert.work)), "nothing looks finished"
    assert bert.run("--json", "upload", "--dry-run", "all").lines[-1]["succeeded"] == 0
    team.storage.get_fault = lambda _: "none"
    team.storage.gets.clear()
    run = bert.run("--json", "download", "big.mov")
    assert run.exit_code == 0, run.stderr
    assert sorted(get.first for get in team.storage.gets) == [24 * MIB, 28 * MIB, 32 * MIB, 36 * MIB, 40 * MIB]
    assert (bert.work / "big.mov.tar.gz").read_bytes() == large
    assert names_in(bert.work) == ["big.mov.tar.gz"]
    [record] = bert.run("--json", "history", "--type", "download").records
    assert (record["status"], record["received_bytes"]) == ("success", len(large))


@pytest.mark.parametrize(
    "where",
    [
        "mgmt.download.unfinished.Unfinished.open",
        "mgmt.download.whole.take_request",
        "mgmt.download.unfinished.Unfinished.sync",
        "mgmt.download.unfinished.Unfinished.promise",
        "mgmt.download.whole.publish",
        "mgmt.download.whole.report_end",
        "mgmt.download.unfinished.Unfinished.discard",
    ],
)
def test_after_a_kill_anywhere_the_same_command_ends_with_one_archive_and_one_record(team, bert, large, where):
    assert bert.run("download", "big.mov", program=dying_in(where)).exit_code == -signal.SIGKILL
    assert [each for each in names_in(bert.work) if not is_temporary_name(each)] in ([], ["big.mov.tar.gz"])
    run = bert.run("--json", "download", "big.mov")
    assert run.exit_code == 0, run.stderr
    assert (bert.work / "big.mov.tar.gz").read_bytes() == large
    assert names_in(bert.work) == ["big.mov.tar.gz"]
    records = bert.run("--json", "history", "--type", "download").records
    assert [record["status"] for record in records] == ["success"]
    assert len({get.first for get in team.storage.gets}) == len(team.storage.gets) == RANGES, "nothing twice"


@pytest.mark.parametrize(
    "where",
    [
        "mgmt.stored.archive.ask_to_open",
        "mgmt.stored.archive.take_request",
        "mgmt.download.extracted.unpack",
        "mgmt.download.extracted.check_end",
        "mgmt.download.extracted.Extraction.publish",
        "mgmt.archive.extraction.publish",
        "mgmt.stored.archive.StoredArchive.end",
        "mgmt.download.extracted.UnfinishedTree.discard",
        "after publishing",
    ],
)
def test_after_a_kill_while_it_is_extracted_the_same_command_ends_with_one_tree(bert, tree, where):
    program = dying_in(where) if "." in where else DYING_AFTER_PUBLISHING
    assert bert.run("download", "--extract", "DCIM", program=program).exit_code == -signal.SIGKILL
    run = bert.run("download", "--extract", "DCIM")
    assert run.exit_code == 0, run.stderr
    assert describe(bert.work / "DCIM") == describe(tree)
    assert names_in(bert.work) == ["DCIM"]
    assert [each["status"] for each in bert.run("--json", "history", "--type", "download").records] == ["success"]


@pytest.fixture
def footage(anna):
    """A folder that takes several ranges."""
    folder = anna.work / "DCIM"
    (folder / "sub").mkdir(parents=True)
    for number in range(20):
        (folder / "sub" / f"still{number:02}").write_bytes(noise(5000 + number))
    (folder / "clip.mov").write_bytes(noise(14 * MIB))
    (folder / "tail.mov").write_bytes(noise(14 * MIB + 1))
    os.link(folder / "clip.mov", folder / "twin.mov")
    assert anna.run("upload", "DCIM").exit_code == 0
    return folder


def kill_at(team, laptop, offset):
    """Kill an extraction when it waits for a range that begins there or later."""
    team.storage.get_fault = lambda get: "stall" if get.first >= offset else "none"
    process = laptop.begin("download", "--extract", "--jobs", "1", "DCIM", program=SMALL_STEPS)
    assert team.storage.stalled.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    team.storage.get_fault = lambda _: "none"
    team.storage.gets.clear()
    team.storage.stalled.clear()
    assert all(map(is_temporary_name, names_in(laptop.work))), "nothing looks finished"


def test_no_byte_of_the_archive_is_kept_while_it_is_extracted(team, bert, footage):
    kill_at(team, bert, 24 * MIB)
    assert any((path / "tail.mov").exists() for path in bert.work.iterdir())
    beside = [path.lstat().st_size for path in bert.work.iterdir() if path.is_file()]
    assert max(beside) < 10_000, "lists alone"


def test_an_extraction_that_was_killed_goes_on_where_it_was(team, bert, footage):
    kill_at(team, bert, 24 * MIB)  # the clip's last block lies in the range from 16 MiB on, which was read by then
    [tree] = [path for path in bert.work.iterdir() if path.is_dir()]
    assert (tree / "clip.mov").read_bytes() == (footage / "clip.mov").read_bytes()
    kill_at(team, bert, 24 * MIB)
    run = bert.run("--json", "download", "--extract", "DCIM", program=SMALL_STEPS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert describe(bert.work / "DCIM") == describe(footage)
    assert names_in(bert.work) == ["DCIM"]
    assert min(get.first for get in team.storage.gets) >= 16 * MIB
    [record] = bert.run("--json", "history", "--type", "download").records
    assert (record["status"], record["received_bytes"]) == ("success", record["size"])


def test_what_was_changed_in_a_killed_extraction_is_brought_again(team, bert, footage):
    kill_at(team, bert, 20 * MIB)
    [tree] = [path for path in bert.work.iterdir() if path.is_dir()]
    with (tree / "clip.mov").open("r+b") as file:
        file.write(b"!")
    run = bert.run("--json", "download", "--extract", "DCIM", program=SMALL_STEPS)
    assert run.exit_code == 0, run.stderr
    assert describe(bert.work / "DCIM") == describe(footage)
    assert names_in(bert.work) == ["DCIM"]
    assert min(get.first for get in team.storage.gets) == 0


@pytest.mark.parametrize("fault", ["cut", "refuse"])
def test_an_extraction_outlives_a_range_that_breaks(team, bert, footage, fault):
    team.storage.get_fault = lambda get: fault if get.attempt == 0 and get.first == 8 * MIB else "none"
    run = bert.run("--json", "download", "--extract", "DCIM", program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert describe(bert.work / "DCIM") == describe(footage)


@pytest.mark.parametrize("offset", [0, 16 * MIB, 28 * MIB])
def test_nothing_is_extracted_of_bytes_that_were_changed_on_the_way(team, bert, footage, offset):
    team.storage.get_fault = lambda get: "flip" if get.first == offset else "none"
    run = bert.run("--json", "download", "--extract", "DCIM", program=SMALL_STEPS)
    assert (run.exit_code, json.loads(run.stderr)["exit_code"]) == (8, 8)
    assert names_in(bert.work) == []
    record = download_of(bert, "DCIM")
    assert (record["status"], record["error_code"]) == ("failed", json.loads(run.stderr)["code"])


def test_an_extraction_onto_a_full_disk_goes_on_when_there_is_room(team, bert, footage):
    full = SMALL_STEPS.replace(
        "from mgmt.__main__ import run",
        """
from mgmt.archive.extracted_file import ExtractedFile
write = ExtractedFile.write
def write_until_full(self, data):
    if self.done_bytes > 8 * 2**20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write(self, data)
ExtractedFile.write = write_until_full
from mgmt.__main__ import run""",
    )
    run = bert.run("--json", "download", "--extract", "DCIM", program=full)
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (9, "disk-full")
    assert all(map(is_temporary_name, names_in(bert.work)))
    team.storage.gets.clear()
    assert bert.run("download", "--extract", "DCIM", program=SMALL_STEPS).exit_code == 0
    assert describe(bert.work / "DCIM") == describe(footage)
    assert min(get.first for get in team.storage.gets) > 0


def test_an_extraction_that_was_merged_and_killed_is_known_to_be_done(team, bert, footage):
    (bert.work / "DCIM").mkdir()
    (bert.work / "DCIM" / "mine").write_bytes(b"mine")
    program = dying_in("mgmt.stored.archive.StoredArchive.end")
    assert bert.run("download", "--extract", "--replace", "DCIM", program=program).exit_code == -signal.SIGKILL
    team.storage.gets.clear()
    assert bert.run("download", "--extract", "--replace", "DCIM").exit_code == 0
    assert team.storage.gets == []
    assert names_in(bert.work) == ["DCIM"]
    assert names_in(bert.work / "DCIM") == ["clip.mov", "mine", "sub", "tail.mov", "twin.mov"]


def test_a_folder_that_took_the_place_of_a_finished_download_is_not_taken_for_it(bert, tree):
    program = dying_in("mgmt.stored.archive.StoredArchive.end")
    assert bert.run("download", "--extract", "DCIM", program=program).exit_code == -signal.SIGKILL
    (bert.work / "DCIM").rename(bert.work / "elsewhere")
    (bert.work / "DCIM").mkdir()
    assert bert.run("download", "--extract", "DCIM").exit_code == 9
    assert names_in(bert.work / "DCIM") == []


def test_a_full_disk_is_said_and_the_same_command_goes_on(bert, large):
    full = PATCHED.format(what="mgmt.download.unfinished.Unfinished.write = refuse", error=errno.ENOSPC)
    run = bert.run("--json", "download", "big.mov", program=full)
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (9, "disk-full")
    assert all(map(is_temporary_name, names_in(bert.work)))
    assert bert.run("download", "big.mov").exit_code == 0
    assert (bert.work / "big.mov.tar.gz").read_bytes() == large


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(bert, tree):
    (bert.work / "locked").mkdir(0o500)
    run = bert.run("--json", "download", "--to", "locked", "DCIM")
    assert run.exit_code == 9


def test_two_downloads_into_one_place_are_refused(team, bert, large):
    team.storage.get_fault = lambda _: "stall"
    first = bert.begin("download", "big.mov")
    assert team.storage.stalled.wait(60)
    second = bert.run("--json", "download", "big.mov")
    assert (second.exit_code, json.loads(second.stderr)["code"]) == (6, "busy-here")
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=20)
    assert first.returncode == 130
    team.storage.get_fault = lambda _: "none"
    assert bert.run("download", "big.mov").exit_code == 0


def kill_at_range(team, laptop, number, *command):
    """Kill a download whose range of this number, from 0, does not arrive."""
    team.storage.gets.clear()
    team.storage.get_fault = lambda _: "stall" if len(team.storage.gets) > number else "none"
    team.kill_stalled(laptop.begin(*command))


@pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "clip.mov"]], ids=["archive", "tree", "only"])
def test_two_people_download_into_one_folder_one_after_the_other(team, anna, bert, tree, tmp_path, options):
    """Such as on a network disk: their journals do not know of each other, and both would use the same hidden names."""
    shared = tmp_path / "shared"
    shared.mkdir()
    command = ("download", "--to", str(shared), *options, "DCIM")
    team.storage.get_fault = lambda _: "stall"
    first = bert.begin(*command)
    assert team.storage.stalled.wait(60)
    left = {path.name: path.lstat().st_ino for path in shared.iterdir()}
    second = anna.run("--json", *command)
    assert (second.exit_code, json.loads(second.stderr)["code"]) == (6, "busy-here")
    assert {path.name: path.lstat().st_ino for path in shared.iterdir()} == left
    first.kill()
    first.communicate()
    team.storage.get_fault = lambda _: "none"
    assert anna.run(*command).exit_code == 0, "what a killed run has left keeps nobody away"
    assert len(names_in(shared)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the superuser's rights are put down with setpriv")
def test_a_read_only_folder_that_replace_would_write_to_is_named(anna, bert):
    """Such as one that mgmt itself has extracted, as it was read-only on the card."""
    (anna.work / "DCIM" / "locked").mkdir(parents=True)
    (anna.work / "DCIM" / "locked" / "clip.mov").write_bytes(b"x")
    (anna.work / "DCIM" / "locked").chmod(0o555)
    assert anna.run("upload", "DCIM").exit_code == 0
    assert bert.run("download", "--extract", "DCIM").exit_code == 0
    options = ("--json", "download", "--extract", "--replace", "DCIM")
    prefix = WITHOUT_PRIVILEGE if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "mgmt", *options],
        cwd=bert.work, env=bert.whole_environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    error = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, error["code"]) == (9, "not-writable")
    assert "DCIM/locked': Permission denied. Make that folder writable (chmod u+rwx)" in error["message"]
    (bert.work / "DCIM" / "locked").chmod(0o755)
    assert bert.run("resume").exit_code == 0
    assert names_in(bert.work) == ["DCIM"]


@pytest.mark.usefixtures("tree")
@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser gives files to somebody else")
@pytest.mark.parametrize(
    ("number", "options"),
    [(0, []), (0, ["--extract"]), (1, ["--only", "clip.mov"])],  # the first of --only reads the index
    ids=["archive", "tree", "only"],
)
def test_what_another_users_killed_download_has_left_is_named_with_what_to_do(
    team, anna, bert, tmp_path, number, options
):
    """It is private to that user, and would stop everybody else for good."""
    shared = tmp_path / "shared"
    shared.mkdir()
    kill_at_range(team, bert, number, "download", "--to", str(shared), *options, "DCIM")
    left = {path for path in shared.rglob("*") if path.is_dir() or path.stat().st_mode & 0o077 == 0}
    assert left
    for path in left:
        os.lchown(path, 65534, 65534)
    command = [*WITHOUT_PRIVILEGE, sys.executable, "-m", "mgmt", "--json", "download", "--to", shared, *options, "DCIM"]
    done = subprocess.run(
        command, cwd=anna.work, env=anna.whole_environment(), capture_output=True, text=True, check=False, timeout=60
    )
    error = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, error["code"]) == (9, "left-by-other")
    assert any(f"'{path}' belongs to " in error["message"] for path in left)
    assert "run `mgmt resume` or `mgmt cancel`, or delete the file" in error["message"]
    assert left <= set(shared.rglob("*")), "nothing of it is touched"


@pytest.mark.parametrize("options", [[], ["--extract"]], ids=["archive", "tree"])
def test_what_a_killed_download_of_an_older_version_has_left_is_named_by_the_next_of_that_name(
    team, anna, bert, options
):
    """Its order ends with the newer one's arrival, so `mgmt resume` would never come to it."""
    download = ("download", *options, "clip.mov")
    (anna.work / "clip.mov").write_bytes(noise(LARGE_BYTES))
    assert anna.run("upload", "clip.mov").exit_code == 0
    kill_at_range(team, bert, 2, *download, "--jobs", "1")
    (anna.work / "clip.mov").write_bytes(noise(100))
    assert anna.run("upload", "--replace", "clip.mov").exit_code == 0
    run = bert.run("--json", *download)
    assert run.exit_code == 0, run.stderr
    [said] = [line for line in run.lines if line["type"] == "notice"]
    left = [name for name in names_in(bert.work) if is_temporary_name(name)]
    assert said["code"] == "left-over"
    assert any(f"'{bert.work / name}'" in said["message"] for name in left)
    assert f"`mgmt cancel {said['operation_id']}` removes it" in said["message"]
    assert "nothing left to resume" in bert.run("resume").stderr
    assert bert.run("cancel", "--yes", said["operation_id"]).exit_code == 0
    assert not [name for name in names_in(bert.work) if is_temporary_name(name)]
    again = bert.run("--json", *download, "--replace")
    assert (again.exit_code, [line for line in again.lines if line["type"] == "notice"]) == (0, [])


@pytest.mark.skipif(os.name == "nt", reason="no name has a backslash there")
@pytest.mark.parametrize("command", ["resume", "cancel"])
def test_a_download_whose_name_looks_like_a_spelled_byte_is_found_again(team, anna, bert, command):
    r"""Its record has the path with each backslash twice, as \xNN stands for a byte that is no text."""
    name = r"take\xe9.mov"
    (anna.work / name).write_bytes(noise(LARGE_BYTES))
    assert anna.run("upload", name).exit_code == 0
    kill_at_range(team, bert, 2, "download", name, "--jobs", "1")
    [download] = bert.run("--json", "history", "--type", "download").records
    assert download["target_path"] == r"take\\xe9.mov.tar.gz"
    run = bert.run("resume") if command == "resume" else bert.run("cancel", "--yes", download["operation_id"])
    assert run.exit_code == 0, run.stderr
    assert names_in(bert.work) == ([f"{name}.tar.gz"] if command == "resume" else [])


def test_what_another_command_goes_on_with_is_not_called_left(team, anna, bert):
    """One for the archive was killed; one for the tree has ended."""
    (anna.work / "clip.mov").write_bytes(noise(LARGE_BYTES))
    assert anna.run("upload", "clip.mov").exit_code == 0
    kill_at_range(team, bert, 2, "download", "clip.mov", "--jobs", "1")
    (anna.work / "clip.mov").write_bytes(noise(100))
    assert anna.run("upload", "--replace", "clip.mov").exit_code == 0
    run = bert.run("--json", "download", "--extract", "clip.mov")
    assert (run.exit_code, [line for line in run.lines if line["type"] == "notice"]) == (0, [])
    assert bert.run("resume").exit_code == 0
    assert names_in(bert.work) == ["clip.mov", "clip.mov.tar.gz"]


def test_a_report_that_is_lost_is_no_failure(team, bert, tree):
    lost = PATCHED.format(
        what="""
from mgmt.errors import UnavailableError
from mgmt.service import ServiceApi
def lose(*_):
    raise UnavailableError("gone")
ServiceApi.end_downloads = lose""",
        error=0,
    )
    run = bert.run("--json", "download", "DCIM", program=lost)
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.records[0]["status"] == "success"
    assert names_in(bert.work) == ["DCIM.tar.gz"]
    assert download_of(bert, "DCIM")["status"] == "pending"
    (bert.work / "again").mkdir()
    assert bert.run("download", "--extract", "--to", "again", "DCIM").exit_code == 0
    ended = bert.run("--json", "history", "--type", "download").records
    assert [(each["status"], each["received_bytes"] == each["size"]) for each in ended] == [("success", True)] * 2


def test_a_folder_to_put_it_in_must_exist(bert):
    run = bert.run("--json", "download", "--to", "nowhere", "x")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (2, "no-folder")
    (bert.work / "file").touch()
    run = bert.run("download", "--to", "file", "x")
    assert (run.exit_code, "'file' is a file; expected a folder" in run.stderr) == (2, True)


@pytest.mark.parametrize("command", [["download", "--to", "", "x"], ["upload", "--archive-dir", "", "x"]])
def test_a_folder_without_a_name_is_no_word_for_the_folder_here(bert, command):
    run = bert.run("--json", *command)
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (2, "empty-name")


WAYS = pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "clip.mov"]], ids=["archive", "tree", "only"])


@WAYS
def test_a_version_that_was_removed_past_the_service_is_named_and_nothing_is_made(team, bert, tree, options):
    [listed] = team.s3.list_object_versions(Bucket=team.bucket, Prefix="DCIM.tar.gz")["Versions"]
    team.s3.delete_object(Bucket=team.bucket, Key="DCIM.tar.gz", VersionId=listed["VersionId"])
    run = bert.run("--json", "download", *options, "DCIM")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (4, "object-gone")
    assert names_in(bert.work) == []


@WAYS
def test_a_disk_that_cannot_be_written_is_said_and_nothing_looks_finished(bert, tree, options):
    refusing = PATCHED.format(
        what="""
import builtins, mgmt.download.chosen
real_open = os.open
def open_read_only(path, flags, *more, **named):
    if flags & os.O_CREAT and ".mgmt-" in os.fsdecode(path):
        refuse()
    return real_open(path, flags, *more, **named)
os.open = open_read_only""",
        error=errno.EROFS,
    )
    run = bert.run("--json", "download", *options, "DCIM", program=refusing)
    said = json.loads(run.stderr)
    assert (run.exit_code, said["exit_code"], said["code"]) == (9, 9, "not-writable")
    assert "unpacked" not in said["message"], "an archive that is kept as it is is not unpacked"
    assert names_in(bert.work) == []


def store_instead(team, upload, archive, **changes):
    """Store another archive than an upload's, and let its record say that this is it."""
    stored = team.s3.put_object(
        Bucket=team.bucket, Key=upload["s3_object_key"], Body=archive, ChecksumAlgorithm="CRC64NVME"
    )
    upload_id = upload["operation_id"]
    operation = team.records.get_operations([upload_id])[upload_id]
    content = replace(operation.content, size=len(archive), crc64nvme=crc64nvme(archive))
    team.records.update_operation(replace(operation, content=content))
    s3_file = replace(operation.record.s3_file_record, size=len(archive))
    change_record(
        team,
        upload_id,
        version_id=stored["VersionId"],
        crc64nvme=crc64nvme(archive),
        s3_file_record=s3_file,
        **changes,
    )


@pytest.fixture
def clip(anna):
    (anna.work / "clip").write_bytes(b"footage")
    [upload] = anna.run("--json", "upload", "clip").records
    return upload


def test_an_archive_of_another_program_is_extracted_when_its_record_says_so(team, bert, clip):
    archive = archive_of(folder("clip"), file("clip/a", b"content"))
    store_instead(team, clip, archive, codec=None, content_digest=None, member_count=None, uncompressed_size=None)
    run = bert.run("download", "--extract", "clip")
    assert run.exit_code == 0, run.stderr
    assert (bert.work / "clip" / "a").read_bytes() == b"content"
    run = bert.run("--json", "download", "--only", "a", "clip")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (4, "other-format")


@pytest.mark.parametrize("options", [["--extract"], ["--only", "*"]], ids=["extracted", "only"])
def test_an_archive_over_the_limits_is_refused_with_what_lifts_them_and_then_comes_back(bert, tree, options):
    run = bert.run("--json", "download", *options, "DCIM", program=LOW_LIMITS)
    said = json.loads(run.stderr)
    assert (run.exit_code, said["code"]) == (8, "over-limit")
    assert "If it is meant to be that large, download it with --no-limits." in said["message"]
    assert names_in(bert.work) == []
    assert "nothing left to resume" in bert.run("resume").stderr, "another command is needed"
    run = bert.run("download", *options, "--no-limits", "DCIM", program=LOW_LIMITS)
    assert run.exit_code == 0, run.stderr
    assert describe(bert.work / "DCIM") == describe(tree)
    assert names_in(bert.work) == ["DCIM"]


def test_limits_are_looked_at_before_anything_is_fetched_and_not_where_nothing_is_unpacked(team, bert, tree):
    team.storage.gets.clear()
    assert bert.run("download", "--extract", "DCIM", program=LOW_LIMITS).exit_code == 8
    assert not team.storage.gets
    assert bert.run("download", "DCIM", program=LOW_LIMITS).exit_code == 0


def test_a_bomb_that_no_record_explains_is_refused_and_comes_without_limits(team, bert, clip):
    archive = gzip.compress(tar_of([file("clip", bytes(2**23))]), 9)
    store_instead(team, clip, archive, codec=None, content_digest=None, member_count=None, uncompressed_size=None)
    program = LOW_LIMITS.replace("size_max_bytes=1_000", "size_max_bytes=2**30")
    run = bert.run("download", "--extract", "clip", program=program)
    assert (run.exit_code, "250 times" in run.stderr, "with --no-limits" in run.stderr) == (8, True, True)
    assert names_in(bert.work) == []
    assert bert.run("download", "--extract", "--no-limits", "clip", program=program).exit_code == 0
    assert (bert.work / "clip").read_bytes() == bytes(2**23)


@pytest.mark.parametrize("options", [[], ["--extract"]], ids=["archive", "tree"])
def test_what_is_no_gzip_or_another_archive_than_the_records_is_refused(team, bert, clip, options):
    for archive in (b"no gzip at all", archive_of(file("clip", b"forgery"))):
        store_instead(team, clip, archive)
        run = bert.run("--json", "download", *options, "clip")
        assert (run.exit_code, json.loads(run.stderr)["exit_code"]) == (8, 8)
        assert names_in(bert.work) == []


@pytest.mark.timeout(900)
def test_an_extraction_that_is_killed_again_and_again_ends_with_the_tree_that_was_uploaded(bert, footage):
    chance = random.Random(7)  # noqa: S311  no secret
    expected = describe(footage)
    for _ in range(KILLS):
        process = bert.begin("download", "--extract", "DCIM", program=FREQUENT_STEPS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.3, 1.6))
        process.kill()
        process.communicate()
        found = [name for name in names_in(bert.work) if not is_temporary_name(name)]
        assert found in ([], ["DCIM"])
        if found:
            assert describe(bert.work / "DCIM") == expected
            assert bert.run("download", "--extract", "DCIM").exit_code in (0, 9), "9 where its end was reported"
            assert names_in(bert.work) == ["DCIM"]
            shutil.rmtree(bert.work / "DCIM")
    assert bert.run("download", "--extract", "DCIM").exit_code == 0
    assert (describe(bert.work / "DCIM"), names_in(bert.work)) == (expected, ["DCIM"])
