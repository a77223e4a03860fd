"""Disks that fail under a command: from one of its calls on they are full, read-only, broken or gone.

The calls are those of the module `os` and of SQLite on files below a folder; what a disk says is said in their place,
in the command's own process. Afterwards the disk is well again, and the same command must come to its end.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.breaking.kills import SCENARIOS, Scenario, look, run_again
from support.breaking.world import Case, World

ENDS: Final = frozenset({0, 3, 4, 7, 9})
"""What a command may end with whose disk has failed; 7 where an answer was got, and could not be kept."""

_FAILING: Final = """
import builtins, errno, functools, io, itertools, os, sqlite3, threading
root, fault, fail_from, noted = os.fsencode({root!r}), {fault!r}, {fail_from!r}, {noted!r}
numbers = itertools.count(1)
quiet = threading.local()
readlink, normal, O_WRITING = os.readlink, os.path.normpath, os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
MAKING = {{"mkdir", "symlink", "link"}}
WRITING = {{"write", "writev", "pwrite", "pwritev", "fsync", "fdatasync", "ftruncate", "truncate"}}
CHANGING = {{"rename", "replace", "unlink", "remove", "rmdir", "utime", "chmod"}}
LOOKING = {{"read", "readv", "pread", "stat", "lstat", "scandir", "listdir", "readlink", "statvfs", "access"}}
NUMBER = getattr(errno, fault)

def place_of(path, folder):
    if isinstance(path, int):
        return readlink(b"/proc/self/fd/%d" % path)
    path = os.fsencode(path)
    if path.startswith(b"/"):
        return normal(path)
    base = readlink(b"/proc/self/fd/%d" % folder) if isinstance(folder, int) else os.getcwdb()
    return normal(base + b"/" + path)

def concerns(name, given, named):
    try:
        folder = named.get("dir_fd", named.get("src_dir_fd"))
        place = place_of(given[0] if given else named.get("path", "."), folder)
    except (OSError, TypeError):
        return False
    return place == root or place.startswith(root + b"/")

def is_refused(name, given, named):
    if name == "open":
        flags = given[1] if len(given) > 1 else named.get("flags", 0)
        if fault == "ENOSPC":
            return bool(flags & os.O_CREAT)
        return fault != "EROFS" or bool(flags & O_WRITING)
    if fault == "ENOSPC":
        return name in MAKING | WRITING
    if fault == "EROFS":
        return name in MAKING | WRITING | CHANGING
    return True

def meet(name, given, named):
    if getattr(quiet, "on", False) or not is_refused(name, given, named) or not concerns(name, given, named):
        return False
    quiet.on = True
    try:
        if noted:
            with real_open(noted, "a") as file:
                file.write(name + "\\n")
        return bool(fail_from) and next(numbers) >= fail_from
    finally:
        quiet.on = False

def watch(name):
    original = getattr(os, name, None)
    if original is None:
        return
    @functools.wraps(original)
    def call(*given, **named):
        if meet(name, given, named):
            if name == "access":
                return False
            raise OSError(NUMBER, os.strerror(NUMBER))
        return original(*given, **named)
    for capable in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks, os.supports_effective_ids):
        if original in capable:
            capable.add(call)
    setattr(os, name, call)

real_open = io.open
def open_file(file, mode="r", *given, **named):
    flags = O_WRITING if set(mode) & set("wxa+") else 0
    if meet("open", (file, flags), {{}}):
        raise OSError(NUMBER, os.strerror(NUMBER))
    return real_open(file, mode, *given, **named)

class Connection(sqlite3.Connection):
    place = None
    def execute(self, statement, *given):
        writes = not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "ROLLBACK"))
        if self.place and (writes or fault not in ("ENOSPC", "EROFS")) and meet("write", (self.place,), {{}}):
            code, words = {{
                "ENOSPC": (sqlite3.SQLITE_FULL, "database or disk is full"),
                "EROFS": (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
            }}.get(fault, (sqlite3.SQLITE_IOERR, "disk I/O error"))
            error = sqlite3.OperationalError(words)
            error.sqlite_errorcode = code
            raise error
        return super().execute(statement, *given)

connect = sqlite3.connect
def connect_watched(path, *given, **named):
    connection = connect(path, *given, factory=Connection, **named)
    connection.place = os.fspath(path)
    return connection

import mgmt.__main__
from mgmt.cli import download, contents, upload, removal
from mgmt import archive, download, journal, machine, source, storage, stored, upload
from mgmt.archive import extraction, checkpoints, index, packing, publishing, tree_sync, unfinished
from mgmt.download import checking, chosen, extracted, fetching, unfinished, unfinished_tree, whole
from mgmt.machine import files, filling, folders
from mgmt.upload import ending, index_file, large, originals, ours, small
for name in ["open", *MAKING, *WRITING, *CHANGING, *LOOKING]:
    watch(name)
builtins.open = io.open = open_file
sqlite3.connect = connect_watched
mgmt.__main__.run()
"""


def _prepare_points(case: Case) -> Sequence[str]:
    name, _ = case.world.store()
    case.expected = {"card.gzidx"}
    return ["contents", name, "--gzidx", "card.gzidx"]


def _find_faults_of_points(case: Case) -> list[str]:
    place = case.laptop.work / "card.gzidx"
    return [] if place.exists() and place.read_bytes().startswith(b"GZIDX") else ["no list of points was written"]


DISK_SCENARIOS: Final = (
    *(each for each in SCENARIOS if each.name != "upload-huge"),
    Scenario("contents-gzidx", _prepare_points, _find_faults_of_points),
)
"""The commands that write; a larger upload meets the same calls, and takes longer."""
FAULTS: Final = ("ENOSPC", "EROFS", "EIO", "ESTALE")
"""Full; turned read-only; the medium or the cable fails; the mount is gone."""
PLACES: Final = ("work", "state")
"""Sources, archives and targets; journal, machine id and log."""


@dataclass(frozen=True)
class DiskCase:
    """One disk of one command that fails from one call on."""

    scenario: Scenario
    fault: str
    place: str

    def program(self, case: Case, *, fail_from: int = 0, noted: Path | None = None) -> str:
        """Make the command's program."""
        root = case.laptop.folder / self.place
        return _FAILING.format(root=str(root), fault=self.fault, fail_from=fail_from, noted=str(noted or ""))

    def __str__(self) -> str:
        return f"{self.scenario.name}, {self.fault} in {self.place}"


@dataclass
class Outcome:
    """What many failures came to."""

    cases: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    """How many calls could fail, by scenario, fault and place."""
    exit_codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def break_disks(world: World, scenarios: Sequence[Scenario], *, cases: int, seed: int, jobs: int = 2) -> Outcome:
    """Have disks fail from calls on that a seed chooses, evenly over commands, faults and places."""
    outcome = Outcome()
    rng = random.Random(seed)  # noqa: S311  it must come out the same again
    kinds = [DiskCase(*each) for each in itertools.product(scenarios, FAULTS, PLACES)]
    rng.shuffle(kinds)
    kinds = kinds[:cases]
    with ThreadPoolExecutor(jobs) as pool:
        calls = list(pool.map(lambda kind: count_calls(world, kind), kinds))
        outcome.calls = dict(zip(map(str, kinds), calls, strict=True))
        each_once = [pair for pair in zip(kinds, calls, strict=True) if pair[1]]
        plan = [(kind, rng.randint(1, count)) for kind, count in itertools.islice(itertools.cycle(each_once), cases)]
        for kind, at, code, faults in pool.map(lambda each: break_once(world, *each), plan):
            outcome.cases += 1
            outcome.exit_codes[code] += 1
            outcome.faults += [f"{kind} from call {at} on: {fault}" for fault in faults]
    return outcome


def count_calls(world: World, kind: DiskCase) -> int:
    case = world.make_case(kind.scenario.name)
    arguments = kind.scenario.prepare(case)
    noted = case.laptop.folder / "calls"
    noted.touch()
    run = case.run(arguments, program=kind.program(case, noted=noted))
    assert run.exit_code == 0, run.stderr
    return len(noted.read_text().splitlines())


def break_once(world: World, kind: DiskCase, fail_from: int) -> tuple[DiskCase, int, int, list[str]]:
    """Let a disk fail under a command; say how that ended, and what is wrong after it was run again."""
    scenario, case = kind.scenario, world.make_case(kind.scenario.name)
    arguments = scenario.prepare(case)
    run = case.run(arguments, program=kind.program(case, fail_from=fail_from))
    wrong = []
    if run.exit_code not in ENDS or "Traceback" in run.stderr:
        wrong = [f"ended with {run.exit_code}: {run.stderr}"]
    elif run.exit_code != 0 or look(scenario, case):
        found = run_again(scenario, case, arguments)
        wrong = [f"{each} (first ended with {run.exit_code}: {run.stderr})" for each in found]
    if not wrong:
        shutil.rmtree(case.laptop.folder)
    return kind, fail_from, run.exit_code, wrong
