"""What no network does: a storage slow to join parts, that forgets, or refuses good URLs; a client that dies late."""

import threading
from datetime import timedelta
from functools import wraps

import pytest

from mgmt_api.ports import OperationInProgressError
from mgmt_contract.names import OWN_FOLDER
from support.programs import QUICK_WAITS
from support.trees import noise

MB = 1_000_000


@pytest.fixture
def small(anna):
    (anna.work / "clip.mp4").write_bytes(noise(50_000))
    return "clip.mp4"


@pytest.fixture
def large(anna):
    """Two parts."""
    (anna.work / "big.mov").write_bytes(noise(20 * MB))
    return "big.mov"


def test_a_storage_that_is_still_joining_parts_is_looked_at_and_not_asked_again(team, anna, large, monkeypatch):
    """The completion goes on without us; a moment later its outcome is there, and it counts once."""
    complete, head = team.store.complete_multipart_upload, team.store.head_object
    calls, looks = [], []

    @wraps(complete)
    def be_slow(*arguments, **named):
        calls.append((arguments, named))
        raise OperationInProgressError("still at it")

    @wraps(head)
    def look(key):
        if key.startswith(OWN_FOLDER):
            return head(key)
        if calls:
            looks.append(key)
        if len(looks) == 2:
            [(arguments, named)] = calls
            complete(*arguments, **named)
        return head(key)

    monkeypatch.setattr(team.store, "complete_multipart_upload", be_slow)
    monkeypatch.setattr(team.store, "head_object", look)
    run = anna.run("--json", "upload", large, program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert (len(calls), len(looks)) == (1, 2)
    assert len(run.records) == 1
    assert anna.left_overs() == []
    assert team.versions("big.mov.tar.gz") == 1


def test_a_client_that_is_killed_during_a_join_of_ten_minutes_finds_it_done_and_it_is_asked_for_once(
    team, anna, bert, large, monkeypatch
):
    """Nobody else can take the name meanwhile, and nobody joins the parts a second time."""
    complete, calls, asked = team.store.complete_multipart_upload, [], threading.Semaphore(0)
    find = team.records.get_operations

    @wraps(complete)
    def be_slow(*arguments, **named):
        calls.append((arguments, named))
        raise OperationInProgressError("still at it")

    def note(operation_ids):
        if calls:
            asked.release()
        return find(operation_ids)

    monkeypatch.setattr(team.store, "complete_multipart_upload", be_slow)
    monkeypatch.setattr(team.records, "get_operations", note)
    process = anna.begin("upload", large)
    for _ in range(2):
        assert asked.acquire(timeout=30), "the client asks on"
    process.kill()
    process.communicate()
    team.ahead = timedelta(minutes=9)
    (bert.work / large).write_bytes(noise(1000))
    assert bert.run("upload", large).exit_code == 6
    [(arguments, named)] = calls
    complete(*arguments, **named)
    run = anna.run("--json", "upload", large)
    assert (run.exit_code, run.stderr) == (0, "")
    assert len(calls) == 1
    assert [record["status"] for record in run.records] == ["success"]
    assert team.versions("big.mov.tar.gz") == 1
    assert anna.left_overs() == []


@pytest.mark.parametrize(("name", "part"), [("clip.mp4", None), ("big.mov", 2)])
def test_what_the_storage_forgets_once_is_sent_again(team, anna, small, large, name, part):
    """It acknowledges bytes and does not have them: the service finds out, and only they go again."""
    team.storage.fault = lambda put: "swallow" if put.attempt == 0 and put.part_number == part else "none"
    run = anna.run("--json", "upload", name, program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert [put.part_number for put in team.storage.puts].count(part) == 2
    assert len(team.storage.puts) == (2 if part is None else 3)
    assert anna.left_overs() == []


def test_a_storage_that_always_forgets_ends_with_8_and_deletes_nothing(team, anna, small):
    team.storage.fault = lambda put: "swallow"
    run = anna.run("--json", "upload", small, program=QUICK_WAITS)
    assert run.exit_code == 8
    assert '"code":"parts-lost"' in run.stderr
    assert [record["status"] for record in run.records] == ["failed"]
    assert anna.left_overs() == ["clip.mp4.tar.gz"]
    team.storage.reset()
    assert anna.run("upload", small).exit_code == 0
    assert anna.left_overs() == []


def test_a_storage_that_refuses_every_url_ends_with_7_after_the_others_are_done(team, anna):
    """Asking for more URLs would go on for ever; what had arrived by then is confirmed and recorded."""
    for name in ("a", "b", "c"):
        (anna.work / name).write_bytes(noise(1000))
    team.storage.fault = lambda put: "refuse" if "/b.tar.gz" in put.path else "none"
    run = anna.run("--json", "upload", "a", "b", "c", program=QUICK_WAITS)
    assert run.exit_code == 7
    assert "fresh URLs" in run.stderr
    assert {record["target_path"] for record in run.records if record["status"] == "success"} == {"a", "c"}
    assert run.lines[-1]["succeeded"] == 2
    assert set(team.objects()) == {"a.tar.gz", "c.tar.gz"}
    assert anna.left_overs() == ["b.tar.gz"]
    team.storage.reset()
    again = anna.run("--json", "upload", "b")
    assert (again.exit_code, again.stderr) == (0, "")
    assert anna.left_overs() == []


@pytest.mark.parametrize("name", ["clip.mp4", "big.mov"])
def test_kill_9_between_success_and_its_answer_then_the_same_command_is_done(team, anna, small, large, name):
    """The service has recorded the success; nothing is sent again, and the archive goes as it would have gone."""
    update = team.records.update_operation
    process = None

    def kill_when_done(operation):
        updated = update(operation)
        if updated.phase == "done" and process.poll() is None:
            process.kill()
            process.wait()
        return updated

    team.records.update_operation = kill_when_done
    process = anna.begin("upload", name)
    process.communicate(timeout=60)
    assert process.returncode == -9
    assert anna.left_overs() == [f"{name}.tar.gz"]
    sent = len(team.storage.puts)
    run = anna.run("--json", "upload", name)
    assert (run.exit_code, run.stderr) == (0, "")
    assert len(team.storage.puts) == sent
    assert anna.left_overs() == []
    [record] = anna.run("--json", "history", name).records
    assert record["status"] == "success"
    assert record["compressed_file_record"]["status"] == "deleted"
