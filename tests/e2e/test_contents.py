"""`mgmt contents`, whole: what is in an upload, from its index or its archive, for people, spreadsheets, programs."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from blake3 import blake3

from mgmt.archive.gzidx import write_gzidx
from mgmt.archive.index import Index
from mgmt_contract.parts import MIB
from support.programs import QUICK_WAITS
from support.stored import change_record, give_index, make_index
from support.trees import noise

HOSTILE = ["=1+1", "\x1b[2Jgone", "a\nb", "\u202egnp.exe"]


@pytest.fixture
def card(anna):
    folder = anna.work / "card"
    (folder / "DCIM" / "100").mkdir(parents=True)
    (folder / "DCIM" / "100" / "clip.mov").write_bytes(noise(3 * MIB))
    (folder / "notes.txt").write_bytes(b"notes")
    (folder / "twin.txt").hardlink_to(folder / "notes.txt")
    (folder / "link").symlink_to("notes.txt")
    (folder / "notes.txt").chmod(0o640)
    os.utime(folder / "notes.txt", (1e9, 1e9))
    return folder


@pytest.fixture
def stored(anna, card):
    """The record of its upload."""
    [record] = anna.run("--json", "upload", "--keep-archive", "card").records
    return record


@pytest.fixture
def large(anna):
    """The record of an upload that is larger than what has no index."""
    folder = anna.work / "large"
    folder.mkdir()
    (folder / "a.mov").write_bytes(noise(17 * MIB))
    (folder / "b.txt").write_bytes(b"b")
    [record] = anna.run("--json", "upload", "--keep-archive", "large").records
    return record


@pytest.fixture
def unlisted(team, large):
    """The same upload, as of a client that sends no index."""
    change_record(team, large["operation_id"], index_size=None, index_crc64nvme=None, index_version_id=None)
    return large


def listed(run):
    assert run.exit_code == 0, run.stderr
    return [line for line in run.lines if line["type"] == "member"]


def downloads(laptop):
    return [each["status"] for each in laptop.run("--json", "history", "--type", "download").records]


def test_a_program_gets_every_member_as_it_is_and_one_line_about_all(bert, card, stored):
    run = bert.run("--json", "contents", "card")
    members = listed(run)
    assert [each["path"] for each in members] == [
        "card", "card/DCIM", "card/DCIM/100", "card/DCIM/100/clip.mov", "card/link", "card/notes.txt", "card/twin.txt",
    ]  # fmt: skip
    for each in members:
        path = card.parent / each["path"]
        status = path.lstat()
        assert each["modified_at"] == f"{datetime.fromtimestamp(int(status.st_mtime), UTC):%Y-%m-%dT%H:%M:%S}.000Z"
        if each["kind"] == "file":
            assert (each["size"], each["mode"]) == (status.st_size, f"{status.st_mode & 0o7777:04o}")
            assert each["digest"] == f"blake3:{blake3(path.read_bytes()).hexdigest()}"
        else:
            assert (each["size"], each["digest"]) == (0, None)
    kinds = {each["path"]: (each["kind"], each["target"]) for each in members}
    assert kinds["card/link"] == ("symlink", "notes.txt")
    assert kinds["card/twin.txt"] == ("hardlink", "card/notes.txt")
    assert run.lines[-1] == {
        "type": "contents",
        "operation_id": stored["operation_id"],
        "s3_object_key": "card.tar.gz",
        "members": 7,
        "files": 2,
        "size": 3 * MIB + 5,
        "content_digest": stored["content_digest"],
    }
    assert run.stderr == "", "nothing is said of a small archive that is read"
    assert downloads(bert) == ["success"]


def test_a_person_gets_a_table_and_what_it_comes_to(bert, stored):
    run = bert.run("contents", stored["operation_id"], TZ="UTC")
    assert run.exit_code == 0
    header, *rows = run.stdout.splitlines()
    assert header.split() == ["MODE", "SIZE", "MODIFIED", "DIGEST", "PATH"]
    [notes] = [row for row in rows if row.endswith("  card/notes.txt")]
    assert notes.split() == [
        "-rw-r-----", "5", "B", "2001-09-09", "01:46", blake3(b"notes").hexdigest(), "card/notes.txt",
    ]  # fmt: skip
    assert [row[:10] for row in rows if "→" in row] == ["lrwxrwxrwx", "hrw-r-----"]
    assert run.stderr == "2 files, 3 folders, 1 symlink, 1 hard link: 3.15 MB\n"


def test_a_glob_lists_what_it_chooses_and_one_that_chooses_nothing_is_4(bert, stored):
    run = bert.run("--json", "contents", "card", "DCIM/100")
    assert [each["path"] for each in listed(run)] == ["card/DCIM/100", "card/DCIM/100/clip.mov"]
    assert (run.lines[-1]["members"], run.lines[-1]["size"]) == (2, 3 * MIB)
    run = bert.run("--json", "contents", "card", "*.TXT")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (4, "nothing-chosen")


def test_names_can_neither_move_a_cursor_nor_be_a_formula(anna, bert):
    folder = anna.work / "odd"
    folder.mkdir()
    for name in HOSTILE:
        (folder / name).touch()
    (folder / os.fsdecode(b"caf\xe9")).touch()
    assert anna.run("upload", "odd").exit_code == 0
    table = bert.run("contents", "odd").stdout
    assert not {"\x1b", "\u202e"}.intersection(table)
    assert len(table.splitlines()) == 1 + 1 + len(HOSTILE) + 1
    assert "odd/caf\\xe9" in table
    assert {"odd/=1+1", "odd/caf\\xe9"} < {each["path"] for each in listed(bert.run("--json", "contents", "odd"))}
    (anna.work / "=cmd()").touch()
    assert anna.run("upload", "=cmd()").exit_code == 0
    comma = bert.run("contents", "--csv", "=cmd()").stdout
    assert [row["path"] for row in csv.DictReader(io.StringIO(comma))] == ["'=cmd()"]


def test_a_spreadsheet_gets_a_header_and_one_row_for_each(bert, card, stored):
    rows = list(csv.DictReader(io.StringIO(bert.run("contents", "--csv", "card", "notes.txt").stdout)))
    assert rows == [
        {
            "path": "card/notes.txt",
            "kind": "file",
            "size": "5",
            "mode": "0640",
            "modified_at": "2001-09-09T01:46:40.000Z",
            "digest": f"blake3:{blake3(b'notes').hexdigest()}",
            "target": "",
        }
    ]


def test_of_a_large_archive_its_index_is_read_and_nothing_else(team, bert, large):
    team.storage.gets.clear()
    run = bert.run("--json", "contents", "large")
    assert [each["path"] for each in listed(run)] == ["large", "large/a.mov", "large/b.txt"]
    assert run.stderr == ""
    assert len(team.storage.gets) == 1
    assert downloads(bert) == [], "reading a list is not recorded"


def test_a_large_archive_without_a_true_index_is_read_and_that_is_said_first(team, bert, unlisted):
    run = bert.run("contents", "large")
    assert (run.exit_code, len(run.stdout.splitlines())) == (0, 4)
    assert "has no index, so the whole archive is read: 17.8 MB" in run.stderr
    give_index(team, unlisted["operation_id"], b"junk")
    run = bert.run("--json", "contents", "large")
    assert [each["path"] for each in listed(run)] == ["large", "large/a.mov", "large/b.txt"]
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["index-damaged", "archive-read"]
    assert downloads(bert) == ["success", "success"]


def test_an_archive_comes_through_a_network_that_breaks_and_expired_urls(team, bert, unlisted):
    team.storage.get_fault = lambda get: (
        {0: "refuse", 4 * MIB: "cut"}.get(get.first, "none") if not get.attempt else "none"
    )
    assert len(listed(bert.run("--json", "contents", "large", program=QUICK_WAITS))) == 3


def test_an_interrupt_while_an_archive_is_read_is_130(team, bert, unlisted):
    team.storage.get_fault = lambda get: "stall" if get.first == 8 * MIB else "none"
    process = bert.begin("contents", "large")
    assert team.storage.stalled.wait(60)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "Interrupted" in stderr


def test_an_altered_archive_is_not_listed(team, bert, stored):
    change_record(team, stored["operation_id"], content_digest="blake3:" + 64 * "0")
    run = bert.run("--json", "contents", "card")
    assert (run.exit_code, json.loads(run.stderr)["code"], listed_types(run)) == (8, "content-differs", [])
    assert downloads(bert) == ["failed"]


def listed_types(run):
    return [line["type"] for line in run.lines]


def test_what_cannot_be_listed_says_why(team, anna, bert, stored):
    assert json.loads(bert.run("--json", "contents", "nowhere").stderr)["code"] == "not-found"
    [reading] = [bert.run("--json", "contents", "card")]
    assert reading.exit_code == 0
    [download] = bert.run("--json", "history", "--type", "download").records
    run = bert.run("--json", "contents", download["operation_id"])
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (4, "no-upload")
    change_record(team, stored["operation_id"], codec="mgmt 2, isal 1.9.1, x86_64")
    run = bert.run("--json", "contents", "card")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (4, "other-format")
    assert anna.run("upload", "--prefix", "day1", "card").exit_code == 0
    run = bert.run("contents", "card")
    assert run.exit_code == 2
    assert "fits 2 uploads" in run.stderr


def test_gzidx_is_written_whole_and_replaces_nothing_unasked(team, anna, bert, stored, tmp_path):
    (tmp_path / "index.gz").write_bytes(make_index((anna.work / "card.tar.gz").read_bytes(), tmp_path))
    expected = io.BytesIO()
    write_gzidx(Index(tmp_path / "index.gz").facts, expected)
    run = bert.run("--json", "contents", "card", "--gzidx", "card.gzidx")
    assert run.lines == [{"type": "gzidx", "path": "card.gzidx", "s3_object_key": "card.tar.gz"}]
    place = bert.work / "card.gzidx"
    assert (place.read_bytes(), place.stat().st_mode & 0o777) == (expected.getvalue(), 0o600)
    place.write_bytes(b"theirs")
    team.storage.gets.clear()
    run = bert.run("--json", "contents", "card", "--gzidx", "card.gzidx")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (9, "target-exists")
    assert (place.read_bytes(), team.storage.gets) == (b"theirs", []), "nothing was fetched for it"
    assert "indexed_gzip" in bert.run("contents", "card", "--gzidx", "card.gzidx", "--replace").stdout
    assert place.read_bytes() == expected.getvalue()
    assert [path.name for path in bert.work.iterdir()] == ["card.gzidx"]


def test_a_reader_who_has_read_enough_may_leave(bert, stored):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m mgmt contents card | head -n 1"],
        cwd=bert.work,
        env=bert.whole_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert "Traceback" not in done.stderr
