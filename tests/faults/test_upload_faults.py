"""What networks, storages and people do to an upload; each time one object, one true record, nothing stray."""

import contextlib
import os
import signal
import sqlite3
import threading
from datetime import timedelta

import pytest

from mgmt_api.ports import RecordsUnavailableError
from support.interrupts import INTERRUPTS
from support.programs import QUICK_WAITS
from support.trees import noise

MB = 1_000_000


@pytest.fixture
def small(anna):
    (anna.work / "clip.mp4").write_bytes(noise(200_000))
    return "clip.mp4"


@pytest.fixture
def large(anna):
    """Three parts."""
    (anna.work / "big.mov").write_bytes(noise(40 * MB))
    return "big.mov"


def assert_one_good_upload(team, laptop, name):
    [record] = [each for each in laptop.run("--json", "history", name).records if each["status"] == "success"]
    [(key, archive)] = team.objects().items()
    assert record["s3_object_key"] == key == f"{name}.tar.gz"
    assert record["s3_file_record"]["size"] == len(archive)
    assert record["compressed_file_record"]["status"] == "deleted"
    assert laptop.left_overs() == []
    assert team.multipart_uploads() == 0
    assert team.versions(key) == 1


@pytest.mark.parametrize("fault", ["flip", "cut", "lose-answer", "refuse"])
def test_a_part_that_goes_wrong_once_is_sent_again_and_only_that_part(team, anna, large, fault):
    team.storage.fault = lambda put: fault if put.part_number == 2 and put.attempt == 0 else "none"
    run = anna.run("--json", "upload", large, program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert sorted(put.part_number for put in team.storage.puts) == [1, 2, 2, 3]
    assert_one_good_upload(team, anna, large)


@pytest.mark.parametrize("fault", ["flip", "cut", "lose-answer", "refuse"])
def test_a_small_archive_that_goes_wrong_once_is_sent_again(team, anna, small, fault):
    team.storage.fault = lambda put: fault if put.attempt == 0 else "none"
    run = anna.run("--json", "upload", small, program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert len(team.storage.puts) == 2
    assert_one_good_upload(team, anna, small)


@pytest.mark.parametrize("name", ["clip.mp4", "big.mov"])
def test_corruption_of_every_attempt_ends_with_8_the_archive_kept_and_the_record_failed(team, anna, small, large, name):
    """And when the network is mended, the same command finishes with the archive that was kept."""
    team.storage.fault = lambda put: "flip" if put.part_number in (None, 2) else "none"
    run = anna.run("--json", "upload", name, program=QUICK_WAITS)
    assert run.exit_code == 8
    assert "archive is kept" in run.stderr
    assert team.objects() == {}
    assert team.multipart_uploads() == 0
    [record] = anna.run("--json", "history", name).records
    assert (record["status"], record["error_code"]) == ("failed", "corrupted")
    assert run.records == [record]
    assert anna.left_overs() == [f"{name}.tar.gz"]
    team.storage.reset()
    assert anna.run("upload", name).exit_code == 0
    assert_one_good_upload(team, anna, name)


def test_kill_9_in_the_middle_then_the_same_command_sends_only_what_is_missing(team, anna, large):
    team.storage.fault = lambda put: "stall" if put.part_number == 3 else "none"
    process = anna.begin("upload", large, "--jobs", "1")
    assert team.storage.stalled.wait(30)
    process.kill()
    process.communicate()
    [pending] = anna.run("--json", "history").records
    assert pending["status"] == "pending"
    team.storage.reset()
    run = anna.run("--json", "upload", large)
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.records[0]["operation_id"] == pending["operation_id"]
    assert [put.part_number for put in team.storage.puts] == [3]
    assert_one_good_upload(team, anna, large)
    assert len(anna.run("--json", "history").records) == 1


@pytest.mark.parametrize("name", ["clip.mp4", "big.mov"])
def test_kill_9_after_the_last_byte_then_the_same_command_confirms(team, anna, small, large, name):
    """The storage has everything, the client never learned of it."""
    last = {"clip.mp4": None, "big.mov": 3}[name]

    def lose_the_answer_then_stall(put):
        if put.part_number != last:
            return "none"
        return "lose-answer" if put.attempt == 0 else "stall"

    team.storage.fault = lose_the_answer_then_stall
    team.kill_stalled(anna.begin("upload", name, "--jobs", "1"))
    run = anna.run("--json", "upload", name)
    assert (run.exit_code, run.stderr) == (0, "")
    assert_one_good_upload(team, anna, name)


@pytest.mark.parametrize("how", INTERRUPTS)
def test_an_interrupt_ends_soon_with_130_and_is_resumable(team, anna, large, how):
    team.storage.fault = lambda put: "stall" if put.part_number == 2 else "none"
    process = anna.begin("--json", "upload", large, "--jobs", "1")  # so the first part is there by then
    assert team.storage.stalled.wait(30)
    process.send_signal(how)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert '"exit_code":130' in stderr
    assert "Traceback" not in stderr
    assert all(name in stdout for name in anna.left_overs())  # on the disk lies what was named, and no more
    team.storage.reset()
    assert anna.run("upload", large).exit_code == 0
    assert 1 not in [put.part_number for put in team.storage.puts]
    assert_one_good_upload(team, anna, large)


def test_two_people_uploading_one_name_at_once(team, anna, bert):
    """One wins; the other is told at the start, by whom, and nothing of theirs is sent or left."""
    for laptop, seed in ((anna, 1), (bert, 2)):
        (laptop.work / "big.mov").write_bytes(noise(20 * MB, seed))
    team.storage.fault = lambda put: "stall" if put.attempt == 0 else "none"
    process = anna.begin("upload", "big.mov", "--jobs", "1")
    assert team.storage.stalled.wait(30)
    sent = len(team.storage.puts)
    refused = bert.run("upload", "big.mov")
    assert refused.exit_code == 6
    assert "anna is uploading" in refused.stderr
    assert bert.left_overs() == []
    assert len(team.storage.puts) == sent
    process.kill()
    process.communicate()
    team.storage.reset()
    team.ahead = timedelta(hours=1)  # anna never came back: her lease has lapsed
    assert bert.run("upload", "big.mov").exit_code == 0
    assert team.multipart_uploads() == 0
    statuses = {(each["actor"], each["status"], each["error_code"]) for each in bert.run("--json", "history").records}
    assert statuses == {("anna", "failed", "superseded"), ("bert", "success", None)}
    late = anna.run("upload", "big.mov")
    assert late.exit_code == 6
    assert "bert" in late.stderr


def test_two_people_and_two_names_at_once(team, anna, bert):
    """Uploaded, fetched from one another, and deleted at the same time: nobody's work hinders the other's."""

    def run_both(*commands):
        processes = [laptop.begin(*words) for laptop, words in zip((anna, bert), commands, strict=True)]
        ended = [process.communicate(timeout=60) for process in processes]
        return [process.returncode for process in processes], ended

    for seed, (laptop, name) in enumerate([(anna, "a.mov"), (bert, "b.mov")]):
        (laptop.work / name).write_bytes(noise(17 * MB, seed))
    codes, said = run_both(("upload", "a.mov"), ("upload", "b.mov"))
    assert codes == [0, 0], said
    codes, said = run_both(("download", "b.mov", "--extract"), ("download", "a.mov", "--extract"))
    assert codes == [0, 0], said
    for name in ("a.mov", "b.mov"):
        assert (anna.work / name).read_bytes() == (bert.work / name).read_bytes()
    admin = team.laptop(anna.folder.parent / "boss", "boss", is_admin=True)
    deleting = [laptop.begin("delete", "--yes", "a.mov") for laptop in (anna, admin)]
    assert [process.wait(60) for process in deleting].count(0) >= 1
    for process in deleting:
        process.communicate()
    records = anna.run("--json", "history", "--all").records
    deleted = [each for each in records if each["operation_type"] == "delete" and each["status"] == "success"]
    assert len(deleted) == 1
    assert team.versions("a.mov.tar.gz") == team.versions("b.mov.tar.gz") == 1


def test_the_same_machine_does_not_upload_the_same_thing_twice_at_once(team, anna, large):
    team.storage.fault = lambda put: "stall"
    process = anna.begin("upload", large, "--jobs", "1")
    assert team.storage.stalled.wait(30)
    run = anna.run("upload", large)
    assert run.exit_code == 6
    assert "Another mgmt on this machine" in run.stderr
    process.kill()
    process.communicate()
    team.storage.reset()
    assert anna.run("upload", large).exit_code == 0
    assert_one_good_upload(team, anna, large)


def test_a_source_that_changed_after_a_crash_is_a_new_upload(team, anna, large):
    team.storage.fault = lambda put: "stall" if put.part_number == 2 else "none"
    team.kill_stalled(anna.begin("upload", large, "--jobs", "1"))
    (anna.work / large).write_bytes(noise(40 * MB, seed=2))
    assert anna.run("upload", large).exit_code == 0
    statuses = sorted(each["status"] for each in anna.run("--json", "history").records)
    assert statuses == ["failed", "success"]
    assert_one_good_upload(team, anna, large)


def test_a_service_that_goes_away_for_a_moment_is_waited_for(team, anna, small):
    """The records throw for a while: the client asks again, and everything is done once."""
    failures = threading.Semaphore(3)
    original = team.records.put_name

    def put_name(name):
        if failures.acquire(blocking=False):
            raise RecordsUnavailableError("busy")
        return original(name)

    team.records.put_name = put_name
    run = anna.run("--json", "upload", small, program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert_one_good_upload(team, anna, small)


def test_no_secret_is_in_any_output_or_file(team, anna, large):
    """Neither token nor signature: not in verbose output, not in the journal, not in the records."""
    team.storage.fault = lambda put: "cut" if put.attempt == 0 else "none"
    run = anna.run("-v", "upload", large)
    assert run.exit_code == 0
    token = anna.environment["MGMT_TOKEN"]
    written = run.stdout + run.stderr + anna.run("--json", "history").stdout
    for path in [*anna.folder.rglob("*"), *team.folder.glob("*.sqlite*")]:
        if path.is_file() and path.name != "big.mov":
            written += path.read_bytes().decode("latin-1")
    assert "Signature" not in written
    assert token not in written


def test_an_archive_that_vanishes_while_it_is_sent_is_packed_anew_by_the_same_command(team, anna, large):
    def remove_the_archive(put):
        if put.part_number == 1 and put.attempt == 0:
            gone = False
            while not gone:  # once it is whole it gets its name, perhaps at this very moment
                for path in anna.work.glob("*.tar.gz*"):
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()
                        gone = True
            return "cut"
        return "none"

    team.storage.fault = remove_the_archive
    run = anna.run("upload", large, "--jobs", "1")
    assert run.exit_code == 9
    assert "same command again" in run.stderr or "--archive-dir" in run.stderr
    team.storage.reset()
    assert anna.run("upload", large).exit_code == 0
    assert_one_good_upload(team, anna, large)


def test_a_resume_that_is_stopped_early_keeps_what_was_sent(team, anna, large):
    """Killed while sending, then without a valid token, then right: nothing that arrived is sent again."""
    team.storage.fault = lambda put: "stall" if put.part_number == 3 else "none"
    process = anna.begin("upload", large, "--jobs", "1")
    assert team.storage.stalled.wait(30)
    process.kill()
    process.communicate()
    for path in anna.work.glob("*.tar.gz"):
        path.unlink()  # as if it had been killed while packing
    assert anna.run("upload", large, MGMT_TOKEN="wrong").exit_code == 5
    team.storage.reset()
    assert anna.run("upload", large).exit_code == 0
    assert {1, 2}.isdisjoint(put.part_number for put in team.storage.puts)
    assert_one_good_upload(team, anna, large)


def test_another_source_of_the_same_name_does_not_end_the_one_under_way(team, anna):
    for card, seed in (("a", 1), ("b", 2)):
        (anna.work / card).mkdir()
        (anna.work / card / "DCIM").write_bytes(noise(20 * MB, seed))
    team.storage.fault = lambda put: "stall"
    process = anna.begin("upload", "a/DCIM", "--jobs", "1")
    assert team.storage.stalled.wait(30)
    run = anna.run("upload", "b/DCIM")
    assert run.exit_code == 6
    assert "--as" in run.stderr
    process.kill()
    process.communicate()
    [record] = anna.run("--json", "history").records
    assert record["status"] == "pending"


def test_a_file_that_somebody_put_in_the_archives_place_is_not_deleted(team, anna, small):
    def replace_the_small_archive(put):
        (anna.work / "clip.mp4.tar.gz").unlink()
        (anna.work / "clip.mp4.tar.gz").write_text("somebody's")
        return "none"

    team.storage.fault = replace_the_small_archive
    run = anna.run("--json", "upload", "clip.mp4")
    assert (anna.work / "clip.mp4.tar.gz").read_text() == "somebody's"
    assert run.exit_code == 0
    assert len(run.records) == 1


def test_a_kept_archive_survives_later_uploads_of_the_same_source(team, anna, small):
    assert anna.run("upload", small, "--keep-archive").exit_code == 0
    kept = (anna.work / f"{small}.tar.gz").read_bytes()
    assert anna.run("upload", small, "--prefix", "elsewhere").exit_code == 0
    assert (anna.work / f"{small}.tar.gz").read_bytes() == kept
    (anna.work / small).write_bytes(noise(1000, seed=9))
    run = anna.run("upload", small, "--replace")
    assert run.exit_code == 4
    assert "kept on request" in run.stderr
    assert (anna.work / f"{small}.tar.gz").read_bytes() == kept


def test_a_kept_archive_survives_an_upload_of_the_same_source_that_fails(team, anna, bert, large):
    """The failed one used it as well, and is the last that the journal knows of."""
    (bert.work / "big.mov").write_bytes(noise(1000))
    assert bert.run("upload", "big.mov", "--prefix", "taken").exit_code == 0
    assert anna.run("upload", large, "--keep-archive").exit_code == 0
    assert anna.run("upload", large, "--prefix", "taken").exit_code == 6
    assert anna.run("upload", large, "--prefix", "elsewhere").exit_code == 0
    assert anna.left_overs() == [f"{large}.tar.gz"]


def test_already_there_with_a_kept_archive_stays_so(team, anna, bert, small):
    (bert.work / small).write_bytes((anna.work / small).read_bytes())
    assert anna.run("upload", small).exit_code == 0
    for _ in range(2):
        run = bert.run("upload", small, "--keep-archive")
        assert run.exit_code == 0
        assert "already there" in run.stdout
        assert bert.left_overs() == [f"{small}.tar.gz"]


@pytest.mark.parametrize("stalled_part", [1, 2, 3])
def test_an_archive_that_comes_out_with_other_bytes_is_begun_anew_by_itself(team, anna, stalled_part):
    """The same content, but the folder was touched after the kill: no part that was sent or signed fits any more."""
    (anna.work / "card").mkdir()
    (anna.work / "card" / "big.mov").write_bytes(noise(40 * MB))
    team.storage.fault = lambda put: "stall" if put.part_number == stalled_part else "none"
    process = anna.begin("upload", "card", "--jobs", "1")
    assert team.storage.stalled.wait(30)
    process.kill()
    process.communicate()
    for path in anna.work.glob("*.tar.gz"):
        path.unlink()
    os.utime(anna.work / "card", (1_000_000_000, 1_000_000_000))
    team.storage.reset()
    run = anna.run("--json", "upload", "card")
    assert (run.exit_code, run.stderr) == (0, "")
    assert sorted(put.part_number for put in team.storage.puts) == [1, 2, 3], "none is sent that could not stay"
    assert_one_good_upload(team, anna, "card")
    statuses = sorted(each["status"] for each in anna.run("--json", "history").records)
    assert statuses == ["failed", "success"]


def test_small_archives_do_not_wait_for_one_another(team, anna):
    """Sixteen are on their way before the first is answered: a far storage costs its distance once for all."""
    for number in range(16):
        (anna.work / f"{number}.txt").write_bytes(noise(1000))
    together = threading.Barrier(16)

    def wait_for_the_others(_: object) -> str:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(30)
        return "none"

    team.storage.fault = wait_for_the_others
    assert anna.run("upload", "all").exit_code == 0
    assert not together.broken


@pytest.mark.parametrize("options", [(), ("--keep-archive",)])
@pytest.mark.parametrize("name", ["clip.mp4", "big.mov"])
def test_an_interrupt_while_the_service_records_the_start_loses_no_operation(team, anna, small, large, name, options):
    """The client was interrupted before the answer; the next run continues the recorded operation."""
    recorded, interrupted = threading.Event(), threading.Event()
    original = team.records.create_operation

    def create_operation(operation):
        created = original(operation)
        recorded.set()
        assert interrupted.wait(30)
        return created

    team.records.create_operation = create_operation
    process = anna.begin("upload", name, *options)
    assert recorded.wait(30)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    interrupted.set()
    [pending] = anna.run("--json", "history").records
    run = anna.run("--json", "upload", name, *options)
    assert (run.exit_code, run.stderr) == (0, "")
    [record] = anna.run("--json", "history").records
    assert (record["operation_id"], record["status"]) == (pending["operation_id"], "success")
    assert anna.left_overs() == ([f"{name}.tar.gz"] if options else [])


def test_a_refused_sign_in_leaves_nothing_in_the_journal(anna, small):
    assert anna.run("upload", small, MGMT_TOKEN="wrong").exit_code == 5
    with contextlib.closing(sqlite3.connect(anna.folder / "state" / "journal.sqlite")) as journal:
        assert journal.execute("SELECT count(*) FROM uploads").fetchone() == (0,)
    assert anna.left_overs() == []
