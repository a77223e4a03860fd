"""`mgmt download` of what lies in an archived storage class: the real client and service, a storage that restores."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mgmt_contract.parts import MIB
from support.engine import versioned_bucket
from support.person import Person
from support.programs import QUICK_WAITS
from support.team import Team, team_at_work
from support.trees import noise


class Archive:
    """What a storage does with archived objects, around an engine that only labels them."""

    def __init__(self, team: Team) -> None:
        self.asked: list[tuple[str, str, int | None]] = []
        self.looks = 0
        """Looks at an object that is being restored."""
        self.ready_after_looks = 3
        self.tier: str | None = None
        """Of INTELLIGENT_TIERING."""
        self.goes_after_looks: dict[str, int] = {}
        """Objects that are gone once there were so many looks, by key."""
        self._head = team.store.head_object
        team.store.head_object = self.head_object  # type: ignore[method-assign]
        team.store.restore_object = self.restore_object  # type: ignore[method-assign]

    def head_object(self, key: str, version_id: str | None = None) -> object:
        stored = self._head(key, version_id)
        if stored is None or self.looks >= self.goes_after_looks.get(key, self.looks + 1):
            return None
        stored = replace(stored, archive_tier=self.tier)
        if not self.asked or stored.reading == "readable":
            return stored
        self.looks += 1
        is_ready = self.looks > self.ready_after_looks
        until = datetime.now(UTC) + timedelta(days=7) if is_ready else None
        return replace(stored, is_restoring=not is_ready, restored_until=until)

    def restore_object(self, key: str, version_id: str | None, tier: str, days: int | None) -> None:
        self.asked.append((key, tier, days))


@pytest.fixture
def team(tmp_path, engine, storage) -> Iterator[Team]:
    storage.reset()
    with (
        versioned_bucket(engine) as bucket,
        team_at_work(tmp_path / "service", engine, bucket, storage, restores_archived=True) as team,
    ):
        yield team


@pytest.fixture
def archive(team) -> Archive:
    return Archive(team)


@pytest.fixture
def clip(anna, archive):
    (anna.work / "clip").write_bytes(noise(MIB))
    assert anna.run("upload", "--storage-class", "GLACIER", "clip").exit_code == 0
    return (anna.work / "clip").read_bytes()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nobody_spends_money_unasked_and_the_price_is_said(team, bert, archive, clip):
    run = bert.run("--json", "download", "--tier", "expedited", "clip")
    error = json.loads(run.stderr)
    assert (run.exit_code, error["code"], archive.asked) == (2, "nobody-to-ask", [])
    assert "about $0.01 at the tier Expedited (prices of us-east-1, May 2026, without the transfer)" in error["message"]
    assert "--yes" in error["message"]
    assert run.lines[-1]["type"] == "summary"
    assert (names_in(bert.work), team.storage.gets) == ([], [])


def test_a_restore_is_asked_for_once_and_the_same_command_downloads_when_it_is_over(team, anna, bert, archive, clip):
    run = bert.run("--json", "download", "--extract", "--yes", "--tier", "Bulk", "--days", "3", "clip")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (7, "restoring")
    assert archive.asked == [("clip.tar.gz", "Bulk", 3)]
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["restore-price"]
    assert "asked by bert" in json.loads(run.stderr)["message"]
    again = anna.run("--json", "download", "--extract", "--to", "..", "clip")
    assert (again.exit_code, len(archive.asked)) == (7, 1), "and nobody is asked for money"
    assert "asked by bert" in json.loads(again.stderr)["message"]
    archive.ready_after_looks = 0
    assert bert.run("download", "--extract", "clip").exit_code == 0
    assert (bert.work / "clip").read_bytes() == clip
    [restore] = anna.run("--json", "history", "--type", "restore").records
    assert (restore["actor"], restore["tier"], restore["days"]) == ("bert", "Bulk", 3)
    shown = anna.run("show", restore["operation_id"]).stdout
    assert "Bulk, readable for 3 days" in shown
    assert "restore: clip.tar.gz" in anna.run("history", "--type", "restore").stdout


@pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "clip"]], ids=["archive", "extracted", "only"])
def test_with_wait_the_command_comes_back_and_downloads(bert, archive, clip, options):
    archive.ready_after_looks = 6
    run = bert.run("--json", "download", "--wait", "--yes", *options, "clip", program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert archive.asked == [("clip.tar.gz", "Standard", 7)]
    assert archive.looks > 6
    assert names_in(bert.work) == (["clip"] if options else ["clip.tar.gz"])
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 0}
    [restore] = bert.run("--json", "history", "--type", "restore").records
    assert restore["status"] == "success"


def test_one_that_is_gone_meanwhile_keeps_nobody_waiting(anna, bert, archive, clip):
    (anna.work / "other").write_bytes(b"other")
    assert anna.run("upload", "--storage-class", "GLACIER", "other").exit_code == 0
    archive.ready_after_looks, archive.goes_after_looks = 12, {"other.tar.gz": 6}
    run = bert.run("--json", "download", "--wait", "--yes", "clip", "other", program=QUICK_WAITS)
    assert (run.exit_code, run.lines[-1]["succeeded"], run.lines[-1]["failed"]) == (3, 1, 1), run.stderr
    assert json.loads(run.stderr)["code"] == "object-gone"
    assert names_in(bert.work) == ["clip.tar.gz"]


def test_what_needs_no_restore_comes_back_beside_what_does(anna, bert, archive, clip):
    (anna.work / "other").write_bytes(b"instant")
    assert anna.run("upload", "--storage-class", "GLACIER_IR", "other").exit_code == 0
    run = bert.run("--json", "download", "--extract", "--yes", "clip", "other")
    assert (run.exit_code, run.lines[-1]["succeeded"], run.lines[-1]["failed"]) == (3, 1, 1)
    assert (bert.work / "other").read_bytes() == b"instant"


def test_a_service_that_contradicts_itself_is_not_asked_for_ever(team, bert, archive, clip):
    archive.asked.append(("clip.tar.gz", "Standard", 7))
    archive.ready_after_looks = 1
    head = team.store.head_object

    def be_ready_every_second_time(*given: object) -> object:
        archive.looks %= 2
        return head(*given)

    team.store.head_object = be_ready_every_second_time
    run = bert.run("--json", "download", "clip")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (6, "restoring")


def test_a_tier_that_a_class_does_not_have_is_named_before_anything_is_asked_for(bert, archive, clip):
    archive.tier = "DEEP_ARCHIVE_ACCESS"
    run = bert.run("--json", "download", "--yes", "--tier", "Expedited", "clip")
    error = json.loads(run.stderr)
    assert (run.exit_code, error["code"], archive.asked) == (2, "no-tier", [])
    assert "Standard, Bulk" in error["message"]


def test_a_person_is_asked_and_may_say_no(bert, archive, clip):
    with closing(Person("download", "clip", environment=bert.whole_environment(), cwd=bert.work)) as person:
        person.answer("Restore? [y/N]", "n\n")
        assert person.end() == 130
        assert "less than $0.01 at the tier" in person.seen
    assert (archive.asked, names_in(bert.work)) == ([], [])
    with closing(Person("download", "clip", environment=bert.whole_environment(), cwd=bert.work)) as person:
        person.answer("Restore? [y/N]", "y\n")
        assert person.end() == 7
    assert len(archive.asked) == 1
