"""`mgmt download` is killed at points of time that a seed chooses, in each of its three ways, and run again.

No file has its final name before it is whole and right, and the same command again ends with what was uploaded and
nothing beside it. MGMT_DOWNLOAD_KILLS=100 is the long form, MGMT_KILL_SEED=2 chooses other points.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from mgmt.layout import is_temporary_name
from mgmt_contract.parts import MIB
from support.faulty_storage import Fault, Get
from support.team import Laptop, Team
from support.trees import describe, noise

KILLS: Final = int(os.environ.get("MGMT_DOWNLOAD_KILLS", "12"))
SEED: Final = int(os.environ.get("MGMT_KILL_SEED", "1"))
LATER_MAX_SECONDS: Final = 0.25
"""The kill comes so long after a request at most: what is done between two requests, and after the last, is hit too."""
EXIT_LOCAL: Final = 9

SMALL_STEPS: Final = """
import mgmt.download.extracted, mgmt.download.unfinished, mgmt.download.unfinished_tree
mgmt.download.extracted.STEP_BYTES = mgmt.download.unfinished_tree.STEP_BYTES = 2 * 2**20
from mgmt.__main__ import run
run()
"""
"""The command, which notes what it has more often, so that there is more to kill."""


@dataclass(frozen=True)
class Way:
    """A way to download, what it brings, and how often it asks the storage when nothing goes wrong."""

    options: tuple[str, ...]
    brings: str
    expected: object
    request_count: int
    rate: str
    """Makes the bytes take about a second."""


def facts_of(place: Path) -> object:
    """Say all that must come back: a tree's files, times, modes and links, or a file's digest."""
    return describe(place) if place.is_dir() else hashlib.sha256(place.read_bytes()).hexdigest()


@pytest.fixture
def ways(team: Team, anna: Laptop, tmp_path: Path) -> list[Way]:
    """Upload a card of several ranges, and see what each way brings and how often it asks when nothing kills it."""
    card = anna.work / "DCIM"
    (card / "sub").mkdir(parents=True)
    for number in range(30):
        (card / "sub" / f"still{number:02}").write_bytes(noise(40_000 + number, seed=number))
    for number in range(3):
        (card / f"clip{number}.mov").write_bytes(noise(9 * MIB + number, seed=100 + number))
    os.link(card / "clip0.mov", card / "twin.mov")
    (card / "link").symlink_to("sub/still01")
    assert anna.run("upload", "--keep-archive", "DCIM").exit_code == 0
    archive = facts_of(anna.work / "DCIM.tar.gz")
    chosen = {path: facts for path, facts in describe(card).items() if path in CHOSEN}
    made = []
    wanted: list[tuple[tuple[str, ...], str, object, str]] = [
        ((), "DCIM.tar.gz", archive, "28M"),
        (("--extract",), "DCIM", describe(card), "28M"),
        (ONLY, "DCIM", chosen, "10M"),
    ]
    for number, (options, brings, expected, rate) in enumerate(wanted):
        place = tmp_path / f"unkilled{number}"
        place.mkdir()
        team.storage.reset()
        run = anna.run("download", *options, "--to", str(place), "DCIM")
        assert (run.exit_code, facts_of(place / brings)) == (0, expected), run.stderr
        made.append(Way(options, brings, expected, len(team.storage.gets), rate))
    return made


ONLY: Final = ("--only", "clip1.mov", "--only", "sub/still0*")
CHOSEN: Final = frozenset({b"", b"/clip1.mov", b"/sub", *(b"/sub/still%02d" % number for number in range(10))})


def kill(team: Team, begin: Callable[[], subprocess.Popen[str]], at_request: int, later_seconds: float) -> int:
    """Kill a command so many seconds after it has asked the storage for the so-manieth time; say how it ended."""
    is_asked, numbers = threading.Event(), itertools.count(1)

    def note(_: Get) -> Fault:
        if next(numbers) == at_request:
            is_asked.set()
        return "none"

    team.storage.get_fault = note
    process = begin()
    while at_request and process.poll() is None and not is_asked.wait(0.02):
        pass
    try:
        process.communicate(timeout=later_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    team.storage.get_fault = lambda _: "none"
    return process.returncode


def final_names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if not is_temporary_name(path.name))


@pytest.mark.timeout(1800)
def test_no_wrong_file_has_a_final_name_after_a_kill_and_the_same_command_ends_the_download(team, bert, ways):
    chance = random.Random(SEED)  # noqa: S311  no secret
    killed = 0
    for number, way in zip(range(2 * KILLS), itertools.cycle(ways)):
        if killed == KILLS:
            break
        place = bert.work / f"to{number}"
        place.mkdir()
        arguments = ["--json", "download", *way.options, "--to", place.name, "--limit-rate", way.rate, "DCIM"]
        at_request, later_seconds = chance.randint(0, way.request_count), chance.uniform(0, LATER_MAX_SECONDS)
        if not at_request:
            later_seconds = chance.uniform(0.1, 0.6)  # while it starts, asks the service and looks at the place
        team.storage.reset()
        code = kill(team, partial(bert.begin, *arguments, program=SMALL_STEPS), at_request, later_seconds)
        point = f"{way.options}, {later_seconds:.3f} s after request {at_request}"
        killed += code < 0  # some were done before
        found = final_names(place)
        assert found in ([], [way.brings]), point
        if found:
            assert facts_of(place / way.brings) == way.expected, point
        again = bert.run(*arguments)
        if again.exit_code == EXIT_LOCAL:  # it was done, and its end reported, before the kill
            assert (json.loads(again.stderr)["code"], found) == ("target-exists", [way.brings]), point
        else:
            assert again.exit_code == 0, (point, again.stderr)
        assert facts_of(place / way.brings) == way.expected, point
        assert [path.name for path in place.iterdir()] == [way.brings], point
    assert killed == KILLS, "the others came too late"
