"""`mgmt safe`, whole: the real client, the real service, the real engine."""

import json
import re
import shutil

import pytest

from mgmt_contract.parts import MIB
from support.forger import forge
from support.person import people as seated_people
from support.programs import QUICK_WAITS
from support.trees import noise


@pytest.fixture
def people():
    with seated_people() as sit_down:
        yield sit_down


@pytest.fixture
def card(anna):
    folder = anna.work / "CARD_A"
    for name in ("100CANON/a.mp4", "100CANON/b.mp4", "101CANON/c.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(300_000, seed=ord(name[-5])))
    return folder


def change_one_byte(path):
    with path.open("r+b") as file:
        file.seek(150_000)
        byte = file.read(1)[0]
        file.seek(150_000)
        file.write(bytes([byte ^ 1]))


def types(run):
    return [line["type"] for line in run.lines if line["type"] != "progress"]


def test_a_card_is_safe_once_it_is_stored_and_no_more_when_one_byte_of_it_is_another(anna, card):
    never = anna.run("safe", "CARD_A")
    assert never.exit_code == 11
    assert "SAFE TO ERASE: CARD_A" in never.stdout.replace("NOT ", "")
    assert anna.run("upload", "CARD_A").exit_code == 0
    run = anna.run("safe", "CARD_A")
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1] == "SAFE TO ERASE: CARD_A"
    assert "3 files, 900 kB read again, all stored in CARD_A.tar.gz (ID " in run.stdout
    change_one_byte(card / "100CANON" / "b.mp4")
    run = anna.run("safe", "CARD_A")
    assert run.exit_code == 11
    assert "CARD_A/100CANON/b.mp4: stored with other content, in CARD_A.tar.gz" in run.stdout
    assert run.stdout.splitlines()[-1] == "NOT SAFE TO ERASE: CARD_A"
    assert "\nSAFE TO ERASE" not in run.stdout


def test_a_program_gets_each_finding_each_folder_and_the_verdict(anna, bert, card):
    [record] = anna.run("--json", "upload", "CARD_A").records
    shutil.copytree(card, bert.work / "CARD_A")
    run = bert.run("--json", "safe", "CARD_A")
    assert (run.exit_code, types(run)) == (0, ["folder", "folder", "verdict", "summary"])
    verdict = run.lines[-2]
    assert (verdict["is_safe"], verdict["files"], verdict["size"], verdict["not_safe"]) == (True, 3, 900_000, 0)
    assert verdict["uploads"] == [
        {
            "operation_id": record["operation_id"],
            "s3_object_key": "CARD_A.tar.gz",
            "actor": "anna",
            "is_own": False,
            "how": "content digest",
            "size": record["s3_file_record"]["size"],
        }
    ]
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 0}
    (bert.work / "CARD_A" / "101CANON" / "new.mp4").write_bytes(b"new")
    run = bert.run("--json", "safe", "CARD_A")
    assert (run.exit_code, types(run)) == (11, ["finding", "folder", "folder", "verdict", "summary"])
    [finding] = [line for line in run.lines if line["type"] == "finding"]
    assert (finding["path"], finding["code"]) == ("CARD_A/101CANON/new.mp4", "not-stored")
    folders = {line["path"]: line["is_safe"] for line in run.lines if line["type"] == "folder"}
    assert folders == {"CARD_A/100CANON": True, "CARD_A/101CANON": False}


def test_what_somebody_else_has_stored_rests_on_their_claim_until_it_is_read_back(anna, bert, card):
    assert anna.run("upload", "CARD_A").exit_code == 0
    shutil.copytree(card, bert.work / "CARD_A")
    run = bert.run("safe", "CARD_A")
    assert run.exit_code == 0
    assert "It rests on what anna's mgmt has reported" in run.stdout
    run = bert.run("safe", "CARD_A", "--read-back")
    assert run.exit_code == 0
    assert "note: CARD_A.tar.gz is read back whole: 902 kB." in run.stderr
    assert "rests on" not in run.stdout
    [download] = bert.run("--json", "history", "--type", "download").records
    assert (download["actor"], download["status"]) == ("bert", "success")


def test_bytes_forged_under_the_same_checksum_are_found_by_reading_them_back(team, anna, card):
    """The storage states the recorded size and checksum, so that nothing but the bytes tells."""
    [record] = anna.run("--json", "upload", "CARD_A").records
    key = record["s3_object_key"]
    body = team.s3.get_object(Bucket=team.bucket, Key=key)["Body"].read()
    forged = forge(bytes([*body[:2000], body[2000] ^ 1, *body[2001:]]), record["crc64nvme"])
    placed = team.s3.put_object(Bucket=team.bucket, Key=key, Body=forged, ChecksumAlgorithm="CRC64NVME")
    rewrite_version(team, record["operation_id"], placed["VersionId"])
    assert anna.run("safe", "CARD_A").exit_code == 0
    run = anna.run("safe", "CARD_A", "--read-back")
    assert run.exit_code == 11
    assert "whose archive cannot be read, or is not what was recorded" in run.stdout


def rewrite_version(team, operation_id, version_id):
    """Have the records say that another version is the one that was stored."""
    operation = team.records.get_operations([operation_id])[operation_id]
    operation.record.version_id = version_id
    team.records.update_operation(operation)


def test_an_upload_under_another_name_is_found_with_against(anna, card):
    assert anna.run("upload", "--as", "camera-a", "--prefix", "shoots/day1", "CARD_A").exit_code == 0
    run = anna.run("safe", "CARD_A")
    assert run.exit_code == 11
    assert "--against NAME" in run.stdout
    for against in ("camera-a", "shoots/day1/"):
        assert anna.run("safe", "CARD_A", "--against", against).exit_code == 0
    run = anna.run("--json", "safe", "CARD_A", "--against", "nowhere")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (4, "not-found")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["CARD_A"], "`mgmt safe CARD_A` tells"),
        (["--as", "day 1", "--prefix", "shoots", "CARD_A"], "`mgmt safe CARD_A --against 'day 1'` tells"),
        (["all"], "`mgmt safe ./*` tells"),
        (["--move-completed", "--completed-dir", "done", "CARD_A"], None),
        (["-q", "CARD_A"], None),
        (["--json", "CARD_A"], None),
    ],
)
def test_after_an_upload_one_line_says_how_to_ask(anna, card, people, arguments, hint):
    person = people("upload", *arguments, environment=anna.whole_environment(), cwd=anna.work)
    assert person.end() == 0
    assert hint is None or person.seen.count(hint) == 1
    assert person.seen.count("mgmt safe") == (hint is not None)


def test_what_was_left_out_at_the_upload_is_said_to_be_and_show_tells_it(anna, card):
    assert anna.run("upload", "--exclude", "b.*", "CARD_A").exit_code == 0
    run = anna.run("safe", "CARD_A")
    assert run.exit_code == 11
    assert "CARD_A/100CANON/b.mp4: left out by --exclude, in CARD_A.tar.gz" in run.stdout
    assert "b.*" in anna.run("show", "CARD_A").stdout


def test_a_deleted_upload_is_no_proof_and_one_that_is_taken_back_is(anna, card):
    assert anna.run("upload", "CARD_A").exit_code == 0
    assert anna.run("delete", "--yes", "CARD_A").exit_code == 0
    run = anna.run("safe", "CARD_A")
    assert (run.exit_code, "stored only in" in run.stdout) == (11, False), "nothing was read: who knows what it holds"
    assert re.search(r"nothing to compare with but CARD_A.tar.gz \(ID \w+, by anna\), which was deleted", run.stdout)
    assert anna.run("undelete", "--yes", "CARD_A").exit_code == 0
    assert anna.run("safe", "CARD_A").exit_code == 0


def test_an_object_that_is_removed_past_the_service_is_no_proof(team, anna, card):
    [record] = anna.run("--json", "upload", "CARD_A").records
    team.s3.delete_object(Bucket=team.bucket, Key=record["s3_object_key"])
    run = anna.run("safe", "CARD_A")
    assert (run.exit_code, "under a later version or a delete marker" in run.stdout) == (11, True)
    team.s3.delete_object(Bucket=team.bucket, Key=record["s3_object_key"], VersionId=record["version_id"])
    run = anna.run("safe", "CARD_A")
    assert (run.exit_code, "gone from the bucket" in run.stdout) == (11, True)


def test_several_paths_are_safe_only_together(anna, card):
    second = anna.work / "CARD_B"
    second.mkdir()
    (second / "clip.mp4").write_bytes(b"clip")
    assert anna.run("upload", "CARD_A", "CARD_B").exit_code == 0
    run = anna.run("safe", "CARD_A", "CARD_B")
    assert (run.exit_code, run.stdout.splitlines()[-1]) == (0, "SAFE TO ERASE: CARD_A, CARD_B")
    (second / "clip.mp4").write_bytes(b"clap")
    run = anna.run("safe", "CARD_A", "CARD_B")
    assert (run.exit_code, run.stdout.splitlines()[-1]) == (11, "NOT SAFE TO ERASE: CARD_B")
    run = anna.run("safe", "CARD_A", "nowhere")
    assert (run.exit_code, run.stdout.splitlines()[-1]) == (3, "NOT SAFE TO ERASE: nowhere")
    assert anna.run("safe", "nowhere").exit_code == 4


AT_THE_FIRST_READ = """
import os, pathlib, signal
from mgmt.source import rereading
read_batch, times = rereading._Batch.read, iter(range(1_000_000))
def read(*arguments):
    if next(times) == 0:
        {what}
    return read_batch(*arguments)
rereading._Batch.read = read
from mgmt.__main__ import run
run()
"""


@pytest.mark.parametrize("command", ["safe", "--json safe"])
def test_a_card_that_is_pulled_out_while_it_is_read_is_not_safe_and_the_sentence_says_why(anna, card, command):
    assert anna.run("upload", "CARD_A").exit_code == 0
    pulled = AT_THE_FIRST_READ.format(what="pathlib.Path('CARD_A').rename('pulled')")
    run = anna.run(*command.split(), "CARD_A", program=pulled)
    assert run.exit_code == 11
    if "--json" in command:
        assert (run.lines[-2]["is_safe"], bool(run.lines[-2]["failure"])) == (False, True)
        assert not any(line["is_safe"] for line in run.lines if line["type"] == "folder")
    else:
        assert "could not be read to the end" in run.stdout
        assert run.stdout.splitlines()[-1] == "NOT SAFE TO ERASE: CARD_A"


def test_an_interrupted_check_gives_no_verdict(anna, card):
    assert anna.run("upload", "CARD_A").exit_code == 0
    run = anna.run("safe", "CARD_A", program=AT_THE_FIRST_READ.format(what="os.kill(os.getpid(), signal.SIGINT)"))
    assert (run.exit_code, "SAFE" in run.stdout) == (130, False)
    assert "Interrupted. Nothing was changed; run the same command again." in run.stderr
    assert "resume" not in run.stderr


def test_a_large_archive_is_compared_by_its_index_or_by_itself(anna, card):
    """It goes in parts; whether it has an index beside it makes no difference to the answer."""
    (card / "100CANON" / "long.mov").write_bytes(noise(20 * MIB))
    assert anna.run("upload", "CARD_A").exit_code == 0
    change_one_byte(card / "101CANON" / "c.mp4")
    run = anna.run("--json", "safe", "CARD_A")
    assert run.exit_code == 11
    assert [(line["path"], line["code"]) for line in run.lines if line["type"] == "finding"] == [
        ("CARD_A/101CANON/c.mp4", "differs")
    ]
    change_one_byte(card / "101CANON" / "c.mp4")
    (card / "100CANON" / "a.mp4").unlink()
    assert anna.run("safe", "CARD_A").exit_code == 0


def test_nothing_is_ever_erased_or_written_to_the_card(anna, card):
    assert anna.run("upload", "CARD_A").exit_code == 0
    before = {path: path.lstat().st_ctime_ns for path in [card, *card.rglob("*")]}
    assert anna.run("safe", "CARD_A", "--read-back").exit_code == 0
    assert {path: path.lstat().st_ctime_ns for path in [card, *card.rglob("*")]} == before


def test_quiet_says_it_by_the_exit_code_alone(anna, card):
    assert anna.run("upload", "CARD_A").exit_code == 0
    run = anna.run("-q", "safe", "CARD_A")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "", "")


def test_a_service_that_is_out_of_reach_gives_no_verdict(anna, card):
    run = anna.run("safe", "CARD_A", program=QUICK_WAITS, MGMT_API_URL="http://127.0.0.1:9")
    assert (run.exit_code, "SAFE" in run.stdout) == (7, False)


def test_a_part_of_what_was_uploaded_is_not_called_missing_without_a_hint(anna, card):
    assert anna.run("upload", "CARD_A").exit_code == 0
    run = anna.run("safe", "CARD_A/100CANON", "--against", "CARD_A")
    assert run.exit_code == 11
    assert "Paths are compared from what was uploaded on." in " ".join(run.stdout.split())
    run = anna.run("safe", "CARD_A/100CANON/a.mp4", "--against", "CARD_A")
    assert (run.exit_code, "a.mp4: not stored" in run.stdout, "other content" in run.stdout) == (11, True, False)
    assert "Paths are compared from what was uploaded on." in " ".join(run.stdout.split())
    (card / "new.mp4").write_bytes(b"new")
    assert "Paths are compared" not in anna.run("safe", "CARD_A").stdout, "as some of it is there"
