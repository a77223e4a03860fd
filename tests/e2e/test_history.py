"""`history` and `show` before the real service: what the options promise, on records of real uploads."""

import csv
import io
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mgmt.cli.main import main
from mgmt.known_names import KnownNames


@pytest.fixture
def told(team, anna, bert, monkeypatch, capsys, tmp_path):
    """A team's history: anna's a, b and c, one after the other, bert's failed attempt, anna's pending one."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")  # a local time that cannot be mistaken for UTC
    time.tzset()
    for name in [name for name in os.environ if name.startswith("MGMT_")]:
        monkeypatch.delenv(name)
    asked = Asked(monkeypatch, capsys)
    for name in ("a.mov", "b.mov", "映画.mov"):
        (anna.work / name).write_bytes(name.encode())
        assert asked.by(anna, "upload", "--prefix", "day1", name).exit_code == 0
    for person in (bert, anna):
        (person.work / "a.mov").write_bytes(b"other content")
    assert asked.by(bert, "upload", "--prefix", "day1", "a.mov").exit_code == 6
    assert asked.by(anna, "upload", "--prefix", "day1", "--replace", "a.mov").exit_code == 0
    assert asked.by(anna, "upload", "--prefix", "day2", "a.mov").exit_code == 0
    yield asked
    monkeypatch.undo()
    time.tzset()


class Ran:
    def __init__(self, exit_code, out, err):
        self.exit_code, self.out, self.err = exit_code, out, err


class Asked:
    """Runs commands in this process: many questions are asked, and each would cost a start of Python."""

    def __init__(self, monkeypatch, capsys):
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.person = None

    def by(self, person, *arguments):
        self.person = person
        for name, value in person.environment.items():
            self._monkeypatch.setenv(name, value)
        self._monkeypatch.chdir(person.work)
        self._capsys.readouterr()
        exit_code = main(list(arguments))
        said = self._capsys.readouterr()
        return Ran(exit_code, said.out, said.err)

    def keys(self, *arguments):
        """The keys that `history` lists, newest first."""
        return [record["s3_object_key"].removesuffix(".tar.gz") for record in self.records(*arguments)]

    def days(self):
        """The first and the last day, by the local calendar, on which something began: two around midnight."""
        began = [datetime.fromisoformat(record["started_at"]).astimezone().date() for record in self.records("--all")]
        return min(began), max(began)

    def records(self, *arguments):
        """What `history` lists, newest first."""
        ran = self.by(self.person, "--json", "history", *arguments)
        assert (ran.exit_code, ran.err) == (0, "")
        return [json.loads(line) for line in ran.out.splitlines()]


def test_every_filter_of_history_does_what_it_says(told, anna, bert):
    everything = ["day2/a.mov", "day1/a.mov", "day1/映画.mov", "day1/b.mov", "day1/a.mov"]
    assert told.keys("--by", "anna") == everything
    assert told.keys("--by", "nobody") == []
    assert told.keys("--mine") == everything
    assert told.keys("--status", "success") == everything
    assert told.keys("--status", "pending") == []
    assert told.keys("--type", "upload", "--by", "anna") == everything
    assert told.keys("b.mov") == ["day1/b.mov"]
    assert told.keys("映画.mov.tar.gz") == ["day1/映画.mov"]
    assert told.keys("day1/a.mov", "--by", "anna") == ["day1/a.mov", "day1/a.mov"]
    assert told.keys("--limit", "2", "--by", "anna") == everything[:2]
    assert told.keys("--all", "--by", "anna") == everything
    told.by(bert, "history")
    assert "day1/b.mov" not in told.keys("--mine")


def test_times_are_local_where_no_zone_is_given(told):
    everything = told.keys("--all")
    here = datetime.now().astimezone()
    assert here.utcoffset() == timedelta(hours=9)
    naive = here.replace(tzinfo=None)
    earlier, later = (naive - timedelta(hours=1)).isoformat(), (naive + timedelta(hours=1)).isoformat()
    assert told.keys("--since", earlier, "--until", later) == everything
    assert told.keys("--since", later) == [], "a time to come is no error"
    assert told.keys("--until", earlier) == []
    first_day, last_day = told.days()
    assert told.keys("--since", "1h", "--until", last_day.isoformat()) == everything, "that whole day is meant"
    assert told.keys("--until", (first_day - timedelta(days=1)).isoformat()) == []
    assert told.keys("--until", datetime.now(UTC).isoformat()) == everything
    assert told.keys("--until", "1h") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", "1h", "--until", "2h"],
        ["--since", "2026-11-03", "--until", "2026-11-01"],
        ["--since", "soon"],
        ["--until", "99999999999d"],
        ["--all", "--limit", "5"],
        ["--limit", "0"],
        ["--status", "lost"],
        ["--by", ""],
    ],
)
def test_questions_without_a_meaning_are_usage_errors(arguments, anna, monkeypatch, capsys):
    ran = Asked(monkeypatch, capsys).by(anna, "history", *arguments)
    assert (ran.exit_code, ran.out) == (2, "")
    assert ran.err.startswith("mgmt: ")


def test_csv_holds_every_record_and_nothing_that_computes(told, anna):
    (anna.work / "=1+1.txt").write_bytes(b"x")
    told.by(anna, "upload", "=1+1.txt")
    ran = told.by(anna, "history", "--all", "--csv")
    assert (ran.exit_code, ran.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(ran.out, newline="")))
    assert len(rows) == len(told.keys("--all"))
    assert rows[0]["target_path"] == "'=1+1.txt"
    assert rows[0]["s3_object_key"].startswith("'=")
    assert rows[0]["size"].isdecimal()
    assert datetime.fromisoformat(rows[0]["started_at"]).tzinfo == UTC
    assert rows[0]["started_at"].endswith("Z")
    assert told.by(anna, "--json", "history", "--csv").exit_code == 2


def test_the_table_says_when_there_may_be_more(told, anna):
    cut = told.by(anna, "history", "--by", "anna", "--limit", "2")
    assert len(cut.out.splitlines()) == 3
    assert cut.err == "2 operations; there may be more: --limit N or --all\n"
    assert told.by(anna, "history", "--by", "anna", "--limit", "5").err == "", "exactly as many as there are"
    assert told.by(anna, "history", "nothing-of-this-name").err == "Nothing found.\n"


def test_show_tells_versions_newest_first_and_what_replaced_one(told, anna):
    lines = [json.loads(line) for line in told.by(anna, "--json", "show", "day1/a.mov").out.splitlines()]
    assert [line["type"] for line in lines] == ["record", "version"]
    record, version = lines
    assert record["s3_object_key"] == version["s3_object_key"] == "day1/a.mov.tar.gz"
    assert record["started_at"] > version["started_at"]
    assert version["version_id"] != record["version_id"]
    shown = told.by(anna, "show", "day1/a.mov").out
    assert f"operation {version['operation_id']}" in shown.splitlines()[-1]
    older = told.by(anna, "show", version["operation_id"]).out
    assert f"operation {record['operation_id']}" in older.splitlines()[-1]
    assert older.splitlines()[-1].startswith("replaced")


def test_show_of_a_name_that_fits_several_keys_lists_them_with_ids_that_show_takes(told, anna):
    ran = told.by(anna, "show", "a.mov")
    assert (ran.exit_code, ran.out) == (2, "")
    first, header, *rows = ran.err.splitlines()
    assert first == "mgmt: 'a.mov' fits 2 uploads. Name one by its ID or its whole key:"
    assert header.startswith("ID ")
    assert [row.split()[-1] for row in rows] == ["day2/a.mov.tar.gz", "day1/a.mov.tar.gz"]  # newest first
    for row in rows:
        shown = json.loads(told.by(anna, "--json", "show", row.split()[0]).out.splitlines()[0])
        assert shown["s3_object_key"] == row.split()[-1]
    error = json.loads(told.by(anna, "--json", "show", "a.mov").err)
    assert (error["exit_code"], error["code"]) == (2, "several-keys")
    for row in rows:
        assert f"{row.split()[-1]} (ID {row.split()[0]})" in error["message"]


def test_a_key_that_is_named_whole_is_shown_whatever_else_bears_that_name(told, team, anna):
    assert told.by(anna, "upload", "b.mov").exit_code == 0
    assert told.by(anna, "show", "b.mov").exit_code == 2
    for name in (
        "b.mov.tar.gz",
        f"s3://{team.bucket}/b.mov.tar.gz",
        "/b.mov.tar.gz",
        "/b.mov",
        f"s3://{team.bucket}/b.mov",
    ):
        ran = told.by(anna, "--json", "show", name)
        assert ran.exit_code == 0, (name, ran.err)
        assert json.loads(ran.out.splitlines()[0])["s3_object_key"] == "b.mov.tar.gz", name
    assert told.by(anna, "show", "s3://another-bucket/b.mov.tar.gz").exit_code == 4
    assert told.keys("/b.mov") == ["b.mov"]
    assert told.keys("s3://another-bucket/b.mov.tar.gz") == []


def test_an_archive_of_ones_own_is_found_by_its_name(told, anna):
    (anna.work / "old.tar.gz").write_bytes(b"x")
    told.by(anna, "upload", "old.tar.gz")
    assert told.keys("old.tar.gz") == ["old.tar.gz"]
    shown = told.by(anna, "--json", "show", "old.tar.gz").out
    assert json.loads(shown.splitlines()[0])["s3_object_key"] == "old.tar.gz.tar.gz"


def test_history_shows_ids_that_show_takes(told, anna):
    header, *rows = told.by(anna, "history", "--all").out.splitlines()
    assert header.split()[0] == "ID"
    operations = [record["operation_id"] for record in told.records("--all")]
    for row, operation_id in zip(rows, operations, strict=True):
        for typed in (row.split()[0], row.split()[0].upper()):
            shown = json.loads(told.by(anna, "--json", "show", typed).out.splitlines()[0])
            assert shown["operation_id"] == operation_id


def test_a_folder_of_the_bucket_is_listed_and_one_on_the_disk_is_found(told, anna):
    assert told.keys("day2/") == ["day2/a.mov"]
    assert told.keys("/day2/") == ["day2/a.mov"]
    assert told.keys("day1/") == ["day1/a.mov", "day1/映画.mov", "day1/b.mov", "day1/a.mov"]
    assert told.keys("day1/", "--limit", "2") == ["day1/a.mov", "day1/映画.mov"]
    assert told.keys("day/") == []
    (anna.work / "day1").mkdir()
    (anna.work / "day1" / "x").write_bytes(b"x")
    told.by(anna, "upload", "--prefix", "day1", "day1")
    assert told.keys("day1/")[:2] == ["day1/day1", "day1/a.mov"], "as a shell completes it, each once"
    told.by(anna, "upload", "--prefix", "cards", "day1")
    assert told.keys("day1/")[:3] == ["cards/day1", "day1/day1", "day1/a.mov"]
    assert told.by(anna, "show", "cards/day1/").exit_code == 0


def test_a_person_is_found_in_any_case(told):
    assert told.keys("--by", "ANNA") == told.keys("--by", "anna") != []


def test_what_was_replaced_says_so(told, anna):
    table = told.by(anna, "history", "day1/a.mov").out.splitlines()
    assert [row.split()[4] for row in table[1:]] == ["success", "replaced"]
    newer, older = told.records("day1/a.mov")
    assert older["replaced"] is True
    assert "replaced" not in newer
    rows = list(csv.DictReader(io.StringIO(told.by(anna, "history", "day1/a.mov", "--csv").out, newline="")))
    assert [row["replaced"] for row in rows] == ["", "yes"]
    shown = told.by(anna, "show", older["operation_id"]).out
    assert "status        success, replaced since" in shown
    assert f"operation {newer['operation_id']}" in shown.splitlines()[-1]
    line = json.loads(told.by(anna, "--json", "show", older["operation_id"]).out.splitlines()[0])
    assert (line["replaced"], line["replaced_by"]) == (True, newer["operation_id"])
    line = json.loads(told.by(anna, "--json", "show", "day1/a.mov").out.splitlines()[0])
    assert not {"replaced", "replaced_by"} & line.keys()


def test_an_empty_store_says_how_to_begin(anna, monkeypatch, capsys):
    asked = Asked(monkeypatch, capsys)
    assert asked.by(anna, "history").err == "No uploads yet. Start with `mgmt upload FOLDER`.\n"
    assert asked.by(anna, "history", "--mine").err == "Nothing found.\n"


def test_show_of_what_is_not_there_is_4(told, anna):
    ran = told.by(anna, "show", "nothing.mov")
    assert ran.exit_code == 4
    assert "mgmt history" in ran.err


def test_show_of_a_failed_upload_says_why(team, anna, monkeypatch, capsys):
    asked = Asked(monkeypatch, capsys)
    (anna.work / "clip.mov").write_bytes(b"x" * 100_000)
    team.storage.fault = lambda _: "flip"
    ran = asked.by(anna, "upload", "clip.mov")
    assert ran.exit_code == 8
    shown = asked.by(anna, "show", "clip.mov").out
    assert "failed: clip.mov: part 1 was sent 5 times and arrived corrupted each time" in shown
    assert "(corrupted)" in shown


def test_what_was_uploaded_listed_or_shown_can_be_completed(told, anna, bert):
    def known_to(person):
        return KnownNames(Path(person.environment["MGMT_STATE_DIR"])).complete("")

    assert known_to(anna) == ["a.mov", "b.mov", "映画.mov"]
    assert known_to(bert) == [], "a refused upload stored nothing"
    told.by(bert, "show", "day1/b.mov")
    assert known_to(bert) == ["b.mov"]
    told.by(bert, "history")
    assert known_to(bert) == known_to(anna)
