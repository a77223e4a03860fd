"""The embedded backend's processes killed under an upload: it goes on when they are back, or the same command does.

`MGMT_KILLED_JOINS=1` also kills them while parts are joined, after which the worker waits for a while.
"""

from __future__ import annotations

import os

import pytest

from mgmt_local import control
from support.local_backend import engine_process, gateway_process, make_laptop, processes_in
from support.programs import PASS_PAUSES
from support.trees import noise

MB = 1_000_000
SIZE = 20 * MB
"""Two parts."""
JOINS = [(("engine",), "join"), (("gateway",), "join")] if os.environ.get("MGMT_KILLED_JOINS") else []

_KILLING = """
import os, signal
from mgmt.service import ServiceApi
from mgmt.storage import _Body
pids, when = {pids!r}, {when!r}
def kill():
    while pids:
        os.kill(pids.pop(), signal.SIGKILL)
read, sent = _Body.read, [0]
def read_and_kill(self, size=-1):
    data = read(self, size)
    sent[0] += len(data)
    if when == "part" and sent[0] > 10_000_000:
        kill()
    return data
complete = ServiceApi.complete
def complete_and_kill(self, request):
    answer = complete(self, request)
    if when == "join":
        kill()
    return answer
_Body.read, ServiceApi.complete = read_and_kill, complete_and_kill
from mgmt.__main__ import run
run()
"""


@pytest.fixture
def laptop(tmp_path):
    """A machine with an embedded backend that runs, and a file to upload."""
    laptop = make_laptop(tmp_path)
    (laptop.work / "big.mov").write_bytes(noise(SIZE))
    control.start(tmp_path / "backend")
    yield laptop
    control.stop(tmp_path / "backend")
    assert processes_in(tmp_path / "backend") == []


@pytest.mark.parametrize(
    ("victims", "when"),
    [(("engine",), "part"), (("gateway",), "part"), *JOINS],
)
def test_what_is_killed_in_the_middle_of_a_part_or_a_join_costs_no_upload(laptop, victims, when):
    """The gateway's process is the service, its records and its worker."""
    state_dir = laptop.folder / "backend"
    running = {"engine": engine_process(state_dir), "gateway": gateway_process(state_dir)}
    killing = _KILLING.format(pids=[running[name].pid for name in victims], when=when)
    program = PASS_PAUSES + killing if "gateway" in victims else killing
    upload = ("--local", "--json", "upload", "--jobs", "2", "big.mov")
    run = laptop.run(*upload, program=program, timeout_seconds=120)
    assert run.exit_code in ((0,) if victims == ("engine",) else (0, 7, 9)), run.stderr
    assert "Traceback" not in run.stderr
    if run.exit_code != 0:
        assert (laptop.work / "big.mov").read_bytes() == noise(SIZE)
        run = laptop.run(*upload, timeout_seconds=120)
        assert run.exit_code == 0, run.stderr
    assert laptop.left_overs() == []
    [record] = laptop.run("--local", "--json", "history").records
    assert record["status"] == "success", "the only one: the same upload went on"
    assert laptop.run("--local", "download", "--to", "..", "big.mov").exit_code == 0
    assert laptop.run("--local", "--json", "safe", "big.mov").exit_code == 0


def test_records_that_are_gone_in_the_middle_of_an_upload_cost_no_source_and_no_second_object(laptop):
    """The backend begins with empty records, the journal of the laptop knows an upload that nobody else does."""
    state_dir = laptop.folder / "backend"
    program = PASS_PAUSES + _KILLING.format(pids=[gateway_process(state_dir).pid], when="part")
    run = laptop.run("--local", "--json", "upload", "--jobs", "1", "big.mov", program=program, timeout_seconds=120)
    assert run.exit_code in (7, 9), run.stderr
    for path in state_dir.glob("records.sqlite*"):
        path.unlink()
    run = laptop.run("--local", "--json", "upload", "big.mov", timeout_seconds=120)
    assert run.exit_code == 0, run.stderr
    assert laptop.left_overs() == []
    assert [each["status"] for each in laptop.run("--local", "--json", "history").records] == ["success"]
    assert laptop.run("--local", "--json", "safe", "big.mov").exit_code == 0
