"""Archives elsewhere than beside their sources: in a configured folder, or in the user's cache folder."""

import os
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.trees import noise, small_disk

MB = 1_000_000


@contextmanager
def card(folder, content, *, size_mib=64, is_locked=False):
    """A disk of its own with a file called clip, as a card in a reader; write-protected or not."""
    with small_disk(folder, size_mib) as disk:
        if disk is None:
            pytest.skip("this system does not let us mount a disk")
        (disk / "clip").write_bytes(content)
        if is_locked:
            remount(disk, "ro")
        yield disk


def remount(disk, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", os.fspath(disk)], check=True)


def cached(laptop):
    """Name the files in the cache folder, and the folders made for them, which must be the user's alone."""
    top = laptop.folder / "cache" / "mgmt" / "archives"
    found = list(top.rglob("*")) if top.exists() else []
    for folder in [path for path in (top, *found) if path.is_dir()]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    return sorted(path.name for path in found if not path.is_dir()), [path for path in found if path.is_dir()]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def notices(run, code):
    return [line["message"] for line in run.lines if line.get("code") == code]


@pytest.mark.parametrize("is_large", [False, True])
def test_a_write_protected_card_has_its_archive_in_the_cache_folder_and_one_line_says_so(team, anna, is_large):
    content = noise(24 * MB if is_large else MB)
    with card(anna.work / "card", content, is_locked=True) as disk:
        dry, run = (anna.run("--json", "upload", "card/clip", *more) for more in (["--dry-run"], []))
        assert (run.exit_code, dry.exit_code) == (0, 0), (run.stderr, dry.stderr)
        [said] = notices(run, "archive-in-cache")
        assert notices(dry, "archive-in-cache") == [said]
        assert f"{disk} cannot be written to (Read-only file system)" in said
        assert os.fspath(anna.folder / "cache" / "mgmt" / "archives") in said
        assert names(disk) == ["clip"]
    [record] = run.records
    assert record["compressed_file_path"] == "clip.tar.gz", "no home folder in the team's records"
    assert record["compressed_file_record"]["status"] == "deleted"
    assert list(team.objects()) == ["clip.tar.gz"]
    assert cached(anna) == ([], [])


def test_everything_on_a_write_protected_card_is_uploaded_with_one_line_for_its_folder(team, anna):
    with card(anna.work / "card", b"x") as disk:
        (disk / "more").write_bytes(b"y")
        remount(disk, "ro")
        run = anna.run("--json", "upload", "all", cwd=disk)
    assert (run.exit_code, len(notices(run, "archive-in-cache"))) == (0, 1)
    assert sorted(team.objects()) == ["clip.tar.gz", "more.tar.gz"]
    assert cached(anna) == ([], [])


def test_a_dry_run_makes_no_cache_folder(team, anna):
    with card(anna.work / "card", b"x", is_locked=True):
        assert anna.run("upload", "--dry-run", "card/clip").exit_code == 0
    assert not (anna.folder / "cache").exists()


def test_a_card_that_is_too_full_has_its_archive_in_the_cache_folder(team, anna):
    with card(anna.work / "card", noise(5 * MB), size_mib=8) as disk:
        dry, run = (anna.run("--json", "upload", "card/clip", *more) for more in (["--dry-run"], []))
        assert (run.exit_code, dry.exit_code) == (0, 0), (run.stderr, dry.stderr)
        [said] = notices(run, "archive-in-cache")
        assert notices(dry, "archive-in-cache") == [said]
        assert "The archive of card/clip may need" in said
        assert notices(run, "disk-nearly-full") == []
        assert names(disk) == ["clip"]
    assert list(team.objects()) == ["clip.tar.gz"]


def test_a_card_that_has_room_and_can_be_written_keeps_its_archive_beside_the_source(team, anna):
    with card(anna.work / "card", noise(MB)) as disk:
        run = anna.run("--json", "upload", "card/clip", "--keep-archive")
        assert (run.exit_code, notices(run, "archive-in-cache")) == (0, [])
        assert names(disk) == ["clip", "clip.tar.gz"]
    assert not (anna.folder / "cache").exists()


@pytest.mark.parametrize("cache_is", ["full", "unwritable"])
def test_without_room_in_both_places_the_card_is_at_fault_as_without_a_cache_folder(team, anna, cache_is):
    with (
        card(anna.work / "card", noise(5 * MB), size_mib=8),
        card(anna.folder / "cache", b"", size_mib=4 if cache_is == "full" else 64, is_locked=cache_is == "unwritable"),
    ):
        dry, run = (anna.run("upload", "card/clip", *more) for more in (["--dry-run"], []))
        assert cached(anna) == ([], [])
    assert run.exit_code == dry.exit_code == 9
    assert f"The disk of '{anna.work / 'card'}' is full" in run.stderr
    assert run.stderr.splitlines()[-1].removeprefix("mgmt: ") in dry.stdout
    assert team.objects() == {}


def test_an_archive_is_never_made_in_a_cache_folder_that_would_be_packed_with_the_rest(team, anna):
    with card(anna.work / "homes", b"") as homes, card(homes / "anna", b"x") as home:
        remount(homes, "ro")
        run = anna.run("upload", "homes/anna", XDG_CACHE_HOME=os.fspath(home))
        assert run.exit_code == 9
        assert f"The archive cannot be written to '{homes}'" in run.stderr
        assert names(home) == ["clip"]


def test_two_cards_of_one_name_have_archives_of_their_own_there(team, anna):
    for number in (1, 2):
        with card(anna.work / "card", noise(MB, number), is_locked=True):
            run = anna.run("--json", "upload", "card/clip", "--keep-archive", "--prefix", f"card{number}")
            assert run.exit_code == 0, run.stderr
            [said] = notices(run, "archive-kept")
            [path] = [Path(word.rstrip(".")) for word in said.split() if word.startswith("/")]
            assert path.read_bytes() == team.objects()[f"card{number}/clip.tar.gz"]
            again = anna.run("--json", "upload", "card/clip", "--prefix", f"card{number}")
            assert (again.exit_code, again.lines[-1]["skipped"]) == (0, 1)
        (anna.work / "card").rmdir()
    assert cached(anna)[0] == ["clip.tar.gz", "clip.tar.gz"]


@pytest.mark.parametrize("then", ["is locked still", "can be written again"])
def test_a_killed_run_is_finished_by_the_same_command_out_of_the_cache_folder(team, anna, then):
    with card(anna.work / "card", noise(24 * MB), is_locked=True) as disk:
        team.storage.fault = lambda put: "stall" if put.part_number == 2 else "none"
        process = anna.begin("upload", "card/clip", "--jobs", "1")
        assert team.storage.stalled.wait(30)
        process.kill()
        process.communicate()
        assert len(cached(anna)[0]) == 1
        team.storage.reset()
        if then == "can be written again":
            remount(disk, "rw")
        run = anna.run("--json", "upload", "card/clip")
        assert run.exit_code == 0, run.stderr
        assert 1 not in [put.part_number for put in team.storage.puts], "the first part was there"
        assert names(disk) == ["clip"]
    assert len(team.objects()) == 1
    assert team.multipart_uploads() == 0
    assert cached(anna) == ([], [])


def test_what_a_killed_run_left_of_other_content_goes_from_the_cache_folder(team, anna):
    """Its room counts as free: the cache folder has room for one archive only."""
    with (
        card(anna.work / "card", noise(24 * MB), is_locked=True) as disk,
        small_disk(anna.folder / "cache", 30) as small,
    ):
        team.storage.fault = lambda put: "stall"
        team.kill_stalled(anna.begin("upload", "card/clip"))
        remount(disk, "rw")
        (disk / "clip").write_bytes(noise(24 * MB, 2))
        remount(disk, "ro")
        run = anna.run("upload", "card/clip")
        assert run.exit_code == 0, run.stderr
        assert cached(anna) == ([], [])
        assert small is not None


def test_a_whole_archive_in_the_cache_folder_is_used_though_the_card_can_be_written_again(team, anna):
    with card(anna.work / "card", noise(MB), is_locked=True) as disk:
        assert anna.run("upload", "card/clip", "--keep-archive").exit_code == 0
        remount(disk, "rw")
        run = anna.run("--json", "upload", "card/clip", "--prefix", "again")
        assert "that an earlier run made" in notices(run, "archive-in-cache")[0]
        assert names(disk) == ["clip"]
    assert len(team.objects()) == 2


def test_an_interrupted_upload_from_a_card_that_was_locked_since_goes_on_from_its_archive_there(team, anna):
    with card(anna.work / "card", noise(MB)) as disk:
        team.storage.fault = lambda put: "stall"
        team.kill_stalled(anna.begin("upload", "card/clip"))
        remount(disk, "ro")
        run = anna.run("--json", "upload", "card/clip")
        assert run.exit_code == 0, run.stderr
        assert notices(run, "archive-in-cache") == []
        assert len(notices(run, "archive-not-deleted")) == 1
    assert not (anna.folder / "cache").exists()


def test_the_folder_of_archives_may_be_configured_and_an_option_is_stronger(team, anna):
    (anna.work / "clip").write_bytes(noise(MB))
    for name in ("from file", "from environment", "from option"):
        (anna.folder / name).mkdir()
    assert anna.run("config", "set", "MGMT_ARCHIVE_DIR", os.fspath(anna.folder / "from file")).exit_code == 0
    environment = {"MGMT_ARCHIVE_DIR": os.fspath(anna.folder / "from environment")}
    option = ("--archive-dir", os.fspath(anna.folder / "from option"))
    assert anna.run("config", "get", "MGMT_ARCHIVE_DIR").stdout.strip().endswith("from file")
    for words, given, where in (((), {}, "file"), ((), environment, "environment"), (option, environment, "option")):
        assert anna.run("upload", "clip", "--keep-archive", "--prefix", where, *words, **given).exit_code == 0
        assert names(anna.folder / f"from {where}") == ["clip.tar.gz"]
    assert anna.left_overs() == []


def test_a_configured_folder_of_archives_that_is_not_there_is_said_and_not_made(team, anna):
    (anna.work / "clip").write_bytes(b"x")
    gone = anna.folder / "gone"
    run = anna.run("upload", "clip", MGMT_ARCHIVE_DIR=os.fspath(gone))
    assert run.exit_code == 2
    assert f"MGMT_ARCHIVE_DIR (from environment): there is no folder '{gone}'" in run.stderr
    assert not gone.exists()


@pytest.mark.parametrize("size", [1, 24 * MB], ids=["whole", "in parts"])
def test_a_configured_folder_that_cannot_be_written_is_not_replaced_by_the_cache_folder(team, anna, size):
    (anna.work / "clip").write_bytes(noise(size))
    with card(anna.folder / "disk", b"", is_locked=True) as disk:
        run = anna.run("upload", "clip", MGMT_ARCHIVE_DIR=os.fspath(disk))
    assert run.exit_code == 9
    assert "cannot be written to" in run.stderr
    assert "goes on without" not in run.stderr, "nothing goes on"


def test_all_leaves_the_configured_folder_of_archives_out(team, anna):
    (anna.work / "a").write_bytes(b"x")
    (anna.work / "archives").mkdir()
    run = anna.run("--json", "upload", "all", MGMT_ARCHIVE_DIR="archives")
    assert list(team.objects()) == ["a.tar.gz"]
    assert "archives is left out: archives are made in it (MGMT_ARCHIVE_DIR)." in notices(run, "skipped")


def test_all_in_the_cache_folder_leaves_the_archives_kept_there_alone(team, anna):
    with card(anna.work / "card", b"x", is_locked=True):
        assert anna.run("upload", "card/clip", "--keep-archive").exit_code == 0
    archives = anna.folder / "cache" / "mgmt" / "archives"
    assert anna.run("upload", "--prefix", "all", "all", cwd=next(archives.iterdir())).exit_code == 0
    assert list(team.objects()) == ["clip.tar.gz"]
