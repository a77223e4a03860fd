"""`--local`: the whole thing on one machine, through the command a person types."""

import json
import os
import shlex

import pytest

from mgmt_local import control
from mgmt_local.process.alive import list_holders
from support.local_backend import make_laptop, wait_until


@pytest.fixture
def laptop(tmp_path):
    """A machine with nothing configured; what it started in the background is stopped."""
    laptop = make_laptop(tmp_path)
    yield laptop
    assert laptop.run("local", "stop").exit_code == 0


def test_a_newcomer_uploads_looks_and_stops(laptop):
    (laptop.work / "clip.mp4").write_bytes(os.urandom(100_000))
    (laptop.work / "card").mkdir()
    (laptop.work / "card" / "a.jpg").write_bytes(os.urandom(10_000))
    assert laptop.run("local", "status").stdout == "Not running.\n"
    run = laptop.run("--local", "upload", "clip.mp4", "card")
    assert run.exit_code == 0, run.stderr
    assert "clip.mp4 → s3://" in run.stdout
    assert "2 uploaded" in run.stderr
    everything = laptop.run("--local", "--json", "upload", "all")
    assert everything.lines[-1] == {"type": "summary", "succeeded": 0, "failed": 0, "skipped": 2}
    assert len(laptop.run("--local", "--json", "history").records) == 2
    [shown] = laptop.run("--local", "--json", "show", "clip.mp4").records
    assert shown["status"] == "success"
    assert "Running at http://127.0.0.1:" in laptop.run("local", "status").stdout
    assert laptop.run("local", "stop").stdout == "Stopped.\n"
    assert laptop.run("local", "stop").stdout == "It was not running.\n"
    assert len(laptop.run("--local", "--json", "history").records) == 2, "what is stored stays"


def test_stopping_it_under_an_upload_names_the_upload_and_needs_force(laptop):
    """The upload notices nothing of the first try, and goes on by the same command after the second."""
    (laptop.work / "clip.mp4").write_bytes(os.urandom(40_000_000))
    upload = ("--local", "upload", "--limit-rate", "500k", "clip.mp4")
    endpoint = control.start(laptop.folder / "backend")
    process = laptop.begin(*upload)
    try:
        wait_until(lambda: list_holders(endpoint.url, endpoint.token, 5))
        refused = laptop.run("--json", "local", "stop")
        error = json.loads(refused.stderr)
        assert (refused.exit_code, error["code"]) == (9, "local-in-use")
        assert f"`mgmt {shlex.join(upload)}` (process {process.pid})" in error["message"]
        assert laptop.run("local", "stop", "--force").stdout == "Stopped.\n"
    finally:
        process.kill()
        process.communicate()
    assert laptop.run("--local", "upload", "clip.mp4").exit_code == 0


def test_one_machine_can_play_a_team(laptop):
    (laptop.work / "clip.mp4").write_bytes(b"x")
    anna, bert = (laptop.run("local", "token", name).stdout.strip() for name in ("anna", "bert"))
    assert laptop.run("--local", "upload", "clip.mp4", MGMT_TOKEN=anna).exit_code == 0
    (laptop.work / "clip.mp4").write_bytes(b"y")
    refused = laptop.run("--local", "upload", "clip.mp4", MGMT_TOKEN=bert)
    assert refused.exit_code == 6
    assert "anna" in refused.stderr
    [record] = laptop.run("--local", "--json", "history").records
    assert record["actor"] == "anna"


def test_it_records_no_storage_class_that_it_does_not_have(laptop):
    """Also of a client that does not know that it talks to an embedded backend."""
    (laptop.work / "clip.mp4").write_bytes(b"x")
    assert laptop.run("--local", "upload", "--storage-class", "GLACIER", "clip.mp4").exit_code == 2
    token = laptop.run("local", "token", "anna").stdout.strip()
    url = control.start(laptop.folder / "backend").url
    upload = ("upload", "--storage-class", "GLACIER", "clip.mp4")
    refused = laptop.run(*upload, MGMT_API_URL=url, MGMT_TOKEN=token)
    assert (refused.exit_code, "storage_class" in refused.stderr) == (6, True)
    assert laptop.run("--local", "--json", "history").records == []


def test_two_commands_at_once_share_one_backend(laptop):
    for name in ("a", "b"):
        (laptop.work / name).write_text(name)
    processes = [laptop.begin("--local", "upload", name) for name in ("a", "b")]
    for process in processes:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    assert {record["target_path"] for record in laptop.run("--local", "--json", "history").records} == {"a", "b"}
