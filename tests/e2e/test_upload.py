import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from mgmt_api.ports import StorageUnavailableError
from support.fakes import content_md5
from support.trees import noise

MB = 1_000_000


def members(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() if member.isfile() else None for member in tar}


def test_a_small_file_is_stored_recorded_and_its_archive_deleted(team, anna):
    (anna.work / "clip.mp4").write_bytes(noise(100_000))
    run = anna.run("--json", "upload", "clip.mp4")
    assert (run.exit_code, run.stderr) == (0, "")
    [record] = run.records
    archive = team.objects()["clip.mp4.tar.gz"]
    assert members(archive) == {"clip.mp4": noise(100_000)}
    assert record["status"] == "success"
    assert record["actor"] == "anna"
    assert record["result_path"] == record["s3_object_key"] == "clip.mp4.tar.gz"
    assert record["s3_bucket"] == team.bucket
    statuses = [record[f"{stage}_file_record"]["status"] for stage in ("source", "compressed", "s3")]
    assert statuses == ["completed", "deleted", "completed"]
    assert record["source_file_record"]["size"] == 100_000
    assert record["s3_file_record"]["size"] == record["compressed_file_record"]["size"] == len(archive)
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 0}
    assert anna.left_overs() == []
    assert (anna.work / "clip.mp4").read_bytes() == noise(100_000)


def test_a_large_directory_goes_in_parts_and_comes_back_whole(team, anna):
    for number in range(3):
        path = anna.work / "card" / f"{number}" / "C0001.MP4"
        path.parent.mkdir(parents=True)
        path.write_bytes(noise(12 * MB, number))
    run = anna.run("--json", "upload", "card")
    assert (run.exit_code, run.stderr) == (0, "")
    [record] = run.records
    archive = team.objects()["card.tar.gz"]
    assert {name for name in members(archive) if name.endswith("MP4")} == {f"card/{n}/C0001.MP4" for n in range(3)}
    assert members(archive)["card/2/C0001.MP4"] == noise(12 * MB, 2)
    assert record["source_file_record"]["size"] == 0
    assert record["uncompressed_size"] == 36 * MB
    assert sorted(put.part_number for put in team.storage.puts) == [1, 2, 3]
    assert anna.left_overs() == []
    assert team.multipart_uploads() == 0


AS_ON_WINDOWS = """
import os, sys
import mgmt.archive.unfinished as unfinished, mgmt.upload.large as large
large.RENAMES_OPEN_FILES = False
def rename(source, target, placeholder=None):
    for each in os.listdir("/proc/self/fd"):
        if os.path.realpath(f"/proc/self/fd/{each}") == os.fspath(source):
            raise PermissionError(13, "The process cannot access the file because it is being used")
    os.rename(source, target)
unfinished.rename_without_replacing = rename
from mgmt.cli.main import main
sys.exit(main(["-q", "upload", "card.mov"]))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells which files a process has open")
def test_a_large_file_goes_where_the_system_renames_no_file_that_is_open(team, anna):
    (anna.work / "card.mov").write_bytes(noise(60 * MB))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MGMT_")}
    done = subprocess.run(
        [sys.executable, "-c", AS_ON_WINDOWS],
        cwd=anna.work,
        env={**inherited, **anna.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert members(team.objects()["card.mov.tar.gz"]) == {"card.mov": noise(60 * MB)}
    assert anna.left_overs() == []


def test_the_same_again_is_already_there_and_sends_nothing(team, anna, bert):
    for laptop in (anna, bert):
        (laptop.work / "clip.mp4").write_bytes(noise(50_000))
    assert anna.run("upload", "clip.mp4").exit_code == 0
    sent = len(team.storage.puts)
    for laptop in (anna, bert):
        run = laptop.run("--json", "upload", "clip.mp4")
        assert run.exit_code == 0
        assert run.lines[0]["type"] == "already_there"
        assert run.lines[0]["actor"] == "anna"
        assert run.lines[-1] == {"type": "summary", "succeeded": 0, "failed": 0, "skipped": 1}
        assert laptop.left_overs() == []
    assert len(team.storage.puts) == sent
    assert team.versions("clip.mp4.tar.gz") == 1


def test_a_large_one_again_is_already_there_and_sends_nothing(team, anna):
    (anna.work / "big.mov").write_bytes(noise(20 * MB))
    assert anna.run("upload", "big.mov").exit_code == 0
    sent = len(team.storage.puts)
    run = anna.run("upload", "big.mov")
    assert run.exit_code == 0
    assert "already there as big.mov.tar.gz, uploaded by anna" in run.stdout
    assert len(team.storage.puts) == sent
    assert anna.left_overs() == []


def test_other_content_under_the_name_is_refused_and_replaced_only_on_demand(team, anna, bert):
    (anna.work / "clip.mp4").write_bytes(b"first")
    (bert.work / "clip.mp4").write_bytes(b"second")
    assert anna.run("upload", "clip.mp4").exit_code == 0
    first = team.objects()
    refused = bert.run("upload", "clip.mp4")
    assert refused.exit_code == 6
    assert "anna" in refused.stderr
    assert "--replace" in refused.stderr
    assert team.objects() == first
    assert bert.left_overs() == []
    assert bert.run("upload", "--replace", "clip.mp4").exit_code == 0
    assert members(team.objects()["clip.mp4.tar.gz"]) == {"clip.mp4": b"second"}
    assert team.versions("clip.mp4.tar.gz") == 2


@pytest.mark.parametrize("size", [50_000, 24 * MB])
def test_what_somebody_only_reported_as_the_same_is_refused_and_replaced_on_demand(team, anna, bert, size):
    """The same files packed in another way look the same as junk under another person's digest."""
    for laptop in (anna, bert):
        (laptop.work / "clip.mov").write_bytes(noise(size // 2) + bytes(range(100)) * (size // 200))
    assert anna.run("upload", "clip.mov", "--compression", "store").exit_code == 0
    first = team.objects()
    refused = bert.run("--json", "upload", "clip.mov")
    [error] = [json.loads(line) for line in refused.stderr.splitlines()]
    assert (refused.exit_code, error["exit_code"], error["code"]) == (6, 6, "claimed-same")
    assert "anna" in error["message"]
    assert "--replace" in error["message"]
    assert refused.lines[-1] == {"type": "summary", "succeeded": 0, "failed": 1, "skipped": 0}
    assert (team.objects(), bert.left_overs()) == (first, [])
    own = anna.run("--json", "upload", "clip.mov")
    assert (own.exit_code, own.lines[0]["type"]) == (0, "already_there"), "one's own earlier upload is believed"
    assert bert.run("upload", "--replace", "clip.mov").exit_code == 0
    assert members(team.objects()["clip.mov.tar.gz"]) == {"clip.mov": (bert.work / "clip.mov").read_bytes()}
    assert team.versions("clip.mov.tar.gz") == 2


def test_a_large_one_is_refused_and_replaced_likewise(team, anna):
    (anna.work / "big.mov").write_bytes(noise(17 * MB, 1))
    assert anna.run("upload", "big.mov").exit_code == 0
    (anna.work / "big.mov").write_bytes(noise(17 * MB, 2))
    assert anna.run("upload", "big.mov").exit_code == 6
    assert anna.left_overs() == []
    assert anna.run("upload", "--replace", "big.mov").exit_code == 0
    assert members(team.objects()["big.mov.tar.gz"]) == {"big.mov": noise(17 * MB, 2)}
    assert team.versions("big.mov.tar.gz") == 2


def calls_in(run):
    """Count the calls about uploads that a run has told of, each once: a busy machine's may have to be repeated."""
    answered = Counter(re.findall(r"POST /v1/uploads/([a-z-]+): 200 in ", run.stderr))
    return answered - Counter(re.findall(r"/v1/uploads/([a-z-]+): \d+ of \d+ items: .*; trying again", run.stderr))


def test_all_takes_every_entry_in_batches_of_few_calls(team, anna):
    for number in range(120):
        (anna.work / f"{number:03}.jpg").write_bytes(noise(1000, number))
    (anna.work / ".DS_Store").write_bytes(b"litter")
    run = anna.run("-v", "--json", "upload", "all")
    assert run.exit_code == 0
    assert run.lines[-1] == {"type": "summary", "succeeded": 120, "failed": 0, "skipped": 0}
    calls = calls_in(run)
    assert (calls["start"], calls["complete"]) == (2, 2), run.stderr
    assert 1 <= calls["clean-up"] <= 2, "for the batches that were in flight together at the end"
    assert calls.total() == 4 + calls["clean-up"], run.stderr
    assert len(team.objects()) == 120
    assert anna.left_overs() == []
    again = anna.run("--json", "upload", "all")
    assert again.lines[-1] == {"type": "summary", "succeeded": 0, "failed": 0, "skipped": 120}


def test_a_storage_that_does_not_answer_in_time_is_asked_once_more_and_only_for_what_it_left_open(
    team, anna, monkeypatch
):
    """As on a machine with too much to do: the call for the others is not repeated."""
    head, silent = team.store.head_object, ["b.tar.gz"]

    def time_out(key, *given, **named):
        if key in silent and key in team.objects():
            silent.remove(key)
            raise StorageUnavailableError("no answer in 8 s")
        return head(key, *given, **named)

    monkeypatch.setattr(team.store, "head_object", time_out)
    for name in ("a", "b", "c"):
        (anna.work / name).write_bytes(noise(1000, ord(name)))
    run = anna.run("-v", "--json", "upload", "a", "b", "c")
    assert run.exit_code == 0
    assert "/v1/uploads/complete: 1 of 3 items: The storage does not answer just now" in run.stderr
    assert run.stderr.count("POST /v1/uploads/complete: 200 in ") == 2
    assert calls_in(run) == {"start": 1, "complete": 1, "clean-up": 1}
    assert [each["status"] for each in run.records] == ["success"] * 3


@pytest.fixture
def md5s_signed(team, monkeypatch):
    """The MD5 that each whole object's URL signs, by key."""
    sign, signed = team.store.presign_put, {}

    def note(new_object, *, content_md5=None, **named):
        signed[new_object.key] = content_md5
        return sign(new_object, content_md5=content_md5, **named)

    monkeypatch.setattr(team.store, "presign_put", note)
    return signed


def test_small_archives_that_go_together_have_their_md5_signed(team, anna, md5s_signed):
    for name in ("a", "b"):
        (anna.work / name).write_bytes(noise(100_000, ord(name)))
    assert anna.run("upload", "a", "b").exit_code == 0
    assert md5s_signed == {key: content_md5(body) for key, body in team.objects().items()}


def test_a_small_archive_alone_has_its_md5_signed_from_the_second_command_on(team, anna, md5s_signed):
    for name in ("a", "b"):
        (anna.work / name).write_bytes(noise(100_000, ord(name)))
        assert anna.run("upload", name).exit_code == 0
    assert md5s_signed == {"a.tar.gz": None, "b.tar.gz": content_md5(team.objects()["b.tar.gz"])}


def test_one_that_fails_does_not_stop_the_others(team, anna):
    for name in ("a", "c"):
        (anna.work / name).write_bytes(b"x")
    run = anna.run("--json", "upload", "a", "missing", "c")
    assert run.exit_code == 3
    assert run.lines[-1] == {"type": "summary", "succeeded": 2, "failed": 1, "skipped": 0}
    assert '"exit_code":4' in run.stderr
    assert set(team.objects()) == {"a.tar.gz", "c.tar.gz"}


def test_prefix_name_tags_and_kept_archive(team, anna):
    (anna.work / "DCIM").mkdir()
    (anna.work / "DCIM" / "a.jpg").write_bytes(b"x")
    (anna.work / "DCIM" / "a.xml").write_bytes(b"x")
    run = anna.run(
        "--json", "upload", "DCIM", "--prefix", "shoots/day1", "--as", "cam-a", "--exclude", "*.xml",
        "--tag", "project=x", "--keep-archive", "--compression", "store",
    )  # fmt: skip
    assert (run.exit_code, run.stderr) == (0, "")
    key = "shoots/day1/cam-a.tar.gz"
    assert set(members(team.objects()[key])) == {"cam-a", "cam-a/a.jpg"}
    assert anna.left_overs() == ["cam-a.tar.gz"]
    assert (anna.work / "cam-a.tar.gz").read_bytes() == team.objects()[key]
    assert run.records[0]["compressed_file_record"]["status"] == "completed"
    tags = team.s3.get_object_tagging(Bucket=team.bucket, Key=key)["TagSet"]
    assert tags == [{"Key": "project", "Value": "x"}]
    without_keeping = ("--prefix", "shoots/day1", "--as", "cam-a", "--exclude", "*.xml", "--compression", "store")
    again = anna.run("upload", "DCIM", *without_keeping, "--keep-archive")
    assert again.exit_code == 0
    assert "already there" in again.stdout
    assert anna.left_overs() == ["cam-a.tar.gz"]
    assert anna.run("upload", "DCIM", *without_keeping).exit_code == 0
    assert anna.left_overs() == ["cam-a.tar.gz"]


def test_an_archive_that_is_not_ours_is_left_alone(team, anna):
    (anna.work / "clip.mp4").write_bytes(b"x")
    (anna.work / "clip.mp4.tar.gz").write_bytes(b"somebody's")
    run = anna.run("upload", "clip.mp4")
    assert run.exit_code == 4
    assert "--archive-dir" in run.stderr
    assert (anna.work / "clip.mp4.tar.gz").read_bytes() == b"somebody's"
    assert team.objects() == {}
    elsewhere = anna.folder / "archives"
    elsewhere.mkdir()
    assert anna.run("upload", "clip.mp4", "--archive-dir", str(elsewhere)).exit_code == 0
    assert list(elsewhere.iterdir()) == []


def test_the_archives_bytes_are_the_same_from_a_copy_elsewhere(team, anna, bert):
    """Two laptops, two folders, the same tree and times: one archive, byte for byte."""
    digests = []
    for laptop in (anna, bert):
        tree = laptop.work / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "sub" / "a.txt").write_text("text\n" * 10_000)
        for path in (tree / "sub" / "a.txt", tree / "sub", tree):
            os.utime(path, (1_700_000_000, 1_700_000_000))
        assert laptop.run("upload", "tree", "--prefix", laptop.folder.name).exit_code == 0
    digests = {hashlib.sha256(archive).hexdigest() for archive in team.objects().values()}
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["Café - día.mov", "-dash", "🎬", "it's; $HOME"])
def test_awkward_names_arrive(team, anna, name):
    (anna.work / name).write_bytes(b"x")
    assert anna.run("upload", "--", name).exit_code == 0
    [archive] = team.objects().values()
    assert set(members(archive)) == {name}


def test_history_and_show_tell_the_team(team, anna, bert):
    for laptop, name in ((anna, "a"), (bert, "b")):
        (laptop.work / name).write_bytes(b"x" * 1000)
        assert laptop.run("upload", name, "--prefix", "p").exit_code == 0
    newest_first = [record["s3_object_key"] for record in anna.run("--json", "history").records]
    assert newest_first == ["p/b.tar.gz", "p/a.tar.gz"]
    assert [record["actor"] for record in anna.run("--json", "history", "--mine").records] == ["anna"]
    assert [record["actor"] for record in anna.run("--json", "history", "--by", "bert").records] == ["bert"]
    for name in ("a", "a.tar.gz", "p/a.tar.gz"):
        assert len(anna.run("--json", "history", name).records) == 1
    assert anna.run("--json", "history", "--status", "failed").records == []
    table = anna.run("history")
    assert table.stdout.splitlines()[0].split() == ["ID", "WHEN", "WHO", "STATUS", "SIZE", "RATIO", "KEY"]
    [record] = anna.run("--json", "show", "b").records
    assert record["status"] == "success"
    assert anna.run("--json", "show", record["operation_id"]).records == [record]
    assert "crc64nvme" in anna.run("show", "b").stdout
    assert anna.run("show", "nothing").exit_code == 4


def test_a_name_under_several_keys_is_listed(team, anna):
    (anna.work / "a").write_bytes(b"x")
    for prefix in ("p", "q"):
        assert anna.run("upload", "a", "--prefix", prefix).exit_code == 0
    run = anna.run("show", "a")
    assert run.exit_code == 2
    assert "p/a.tar.gz" in run.stderr
    assert "q/a.tar.gz" in run.stderr
    assert anna.run("show", "p/a.tar.gz").exit_code == 0


def test_no_token_and_a_wrong_one_need_a_sign_in(anna):
    (anna.work / "a").write_bytes(b"x")
    assert anna.run("upload", "a", MGMT_TOKEN="").exit_code == 5
    run = anna.run("upload", "a", MGMT_TOKEN="wrong")
    assert run.exit_code == 5
    assert "wrong" not in run.stderr
    assert anna.left_overs() == []


def test_a_bucket_that_is_not_the_pinned_one_is_refused(team, anna):
    (anna.work / "a").write_bytes(b"x")
    assert anna.run("upload", "a", MGMT_BUCKET="other").exit_code == 10
    assert team.objects() == {}
    assert anna.run("upload", "a", MGMT_BUCKET=team.bucket).exit_code == 0


def test_a_twin_by_case_is_told(team, anna):
    (anna.work / "Clip").write_bytes(b"x")
    (anna.work / "clip").write_bytes(b"y")
    assert anna.run("upload", "Clip").exit_code == 0
    run = anna.run("upload", "clip")
    assert run.exit_code == 6
    assert "Clip.tar.gz" in run.stderr


def test_two_targets_of_one_name_are_not_made_one_object(team, anna):
    for folder in ("a", "b"):
        (anna.work / folder).mkdir()
        (anna.work / folder / "clip").write_text(folder)
    run = anna.run("upload", "a/clip", "b/clip")
    assert run.exit_code == 3
    assert "--as NAME" in run.stderr
    [archive] = team.objects().values()
    assert members(archive) == {"clip": b"a"}


def test_one_target_named_twice_is_uploaded_once(team, anna):
    (anna.work / "clip").write_text("x")
    run = anna.run("--json", "upload", "clip", "clip")
    assert run.exit_code == 0
    assert run.lines[-1]["succeeded"] == 1


def test_a_name_the_storage_cannot_keep_is_refused_by_name_and_the_others_go_on(team, anna):
    for name in ("a", "n" * 250):
        (anna.work / name).write_text("x")
    run = anna.run("--json", "upload", "all")
    assert run.exit_code == 3
    assert '"code":"invalid-name"' in run.stderr
    assert "shorter name with --as" in run.stderr
    assert set(team.objects()) == {"a.tar.gz"}
    assert anna.left_overs() == []


@pytest.mark.parametrize("arguments", [["show", "bad\udcff"], ["history", "bad\udcff"], ["history", "--by", "k\udcff"]])
def test_bytes_that_are_no_text_are_just_not_found(anna, arguments):
    assert anna.run(*arguments).exit_code in (0, 4)


def test_a_source_whose_name_is_no_text_is_uploaded_under_another(team, anna):
    (anna.work / os.fsdecode(b"\xff")).write_bytes(b"x")
    run = anna.run("--json", "upload", os.fsdecode(b"\xff"), "--as", "good")
    assert (run.exit_code, run.stderr) == (0, "")
    assert set(team.objects()) == {"good.tar.gz"}


def test_a_directory_that_is_gone_is_said(anna):
    gone = anna.folder / "gone"
    gone.mkdir()
    with contextlib.chdir(gone):
        gone.rmdir()
        process = anna.begin("upload", "x", cwd=Path())
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 9
    assert "current directory cannot be used" in stderr


def test_too_little_room_is_said_before_it_ends(team, anna, tmp_path):
    """A sparse terabyte on a disk that has not as much: a warning first, and a way out."""
    disk = os.statvfs(anna.work)
    with (anna.work / "huge").open("wb") as file:
        file.truncate(disk.f_bavail * disk.f_frsize + (1 << 30))
    process = anna.begin("upload", "huge")
    warning = process.stderr.readline()
    process.kill()
    process.communicate()
    assert "--archive-dir" in warning
    assert "free" in warning
