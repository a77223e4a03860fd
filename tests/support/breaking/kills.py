"""The kill matrix: commands and the worker are killed at every step that they make, and at any time, then run again.

A step changes the outer world or asks it: a request, a block of a body, a transaction of the journal, a rename, a
removal, a sync, a new folder. A command is killed just before one of them or just after it. Which steps there are is
learned from a run that nothing kills; so a new step in the code is a new point of the matrix by itself. Between steps
a command is killed after a random share of the time that it takes.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from support.breaking.worker_kills import WORKER_SCENARIOS, WorkerKills
from support.breaking.world import Case, World, describe_source
from support.team import Run
from support.trees import describe

_DONE_BEFORE: Final = ("target-exists", "nothing-left")
"""What the same command says where all was done and recorded before the kill: what is there is not replaced unasked,
and nothing is left to give up."""
PER_TIME: Final = 4
"""Kills at steps for each one at a random time; and for each one of the worker."""
JOBS_DEFAULT: Final = 4
_STEP_IN_THE_MIDDLE: Final = 60
"""Of an upload of four parts, one at a time."""

_STEPPING: Final = """
import itertools, os, signal, threading
kill_at, noted = {kill_at!r}, {noted!r}
numbers, lock = itertools.count(1), threading.Lock()
def step(name):
    with lock:
        number = next(numbers)
        if noted:
            with open(noted, "a") as file:
                file.write(name + "\\n")
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
def watch(owner, name):
    original = getattr(owner, name)
    label = f"{{getattr(owner, '__name__', owner)}}.{{name}}"
    def watched(*given, **named):
        step("before " + label)
        result = original(*given, **named)
        step("after " + label)
        return result
    setattr(owner, name, watched)
from mgmt.archive import extraction, publishing, unfinished
from mgmt.journal.file import JournalFile
from mgmt.network import Connections
from mgmt.storage import _Body
from mgmt.storage.receiving import Receiver
from mgmt.upload import originals
for name in ("rename", "replace", "link", "unlink", "remove", "rmdir", "mkdir", "fsync", "truncate", "ftruncate"):
    watch(os, name)
watch(Connections, "ask")
watch(Receiver, "get")
watch(_Body, "read")
watch(JournalFile, "change")
from mgmt.__main__ import run
run()
"""


@dataclass(frozen=True)
class Scenario:
    """A command, what it needs, and what must be so after it was run to its end."""

    name: str
    prepare: Callable[[Case], Sequence[str]]
    find_faults: Callable[[Case], list[str]]
    jobs: int = JOBS_DEFAULT
    """How many parts it sends at a time at most: no more may be sent again."""


@dataclass
class Outcome:
    """What many kills came to."""

    points: int = 0
    """Runs that a kill ended; one that was done before is not counted."""
    steps: dict[str, int] = field(default_factory=dict)
    """How many steps each command makes."""
    killed_in: dict[str, int] = field(default_factory=dict)
    at_random_times: int = 0
    """How many of the kills were at no step of their own."""
    parts_sent_again: dict[str, float] = field(default_factory=dict)
    """The most parts that were sent again after a kill, by how many parts the command sends at a time."""
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, faults: Sequence[str], where: str) -> None:
        """Count one kill."""
        self.points += 1
        self.killed_in[name] = self.killed_in.get(name, 0) + 1
        self.faults += [f"{name}, killed {where}: {fault}" for fault in faults]


@dataclass(frozen=True)
class _Kill:
    """One run that is killed: at a step, or after some seconds."""

    scenario: Scenario
    case: Case
    step: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"at step {self.step}" if self.step else f"after {self.seconds:.2f} s"


def kill_everywhere(world: World, scenarios: Sequence[Scenario], *, points: int, seed: int, jobs: int = 2) -> Outcome:
    """Kill commands and the worker at steps that a seed chooses, and at random times."""
    outcome = kill_commands(world, scenarios, points=points, seed=seed, jobs=jobs)
    kill_workers(world, points // PER_TIME, seed=seed, outcome=outcome)
    return outcome


def kill_commands(world: World, scenarios: Sequence[Scenario], *, points: int, seed: int, jobs: int = 2) -> Outcome:
    """Kill commands, evenly over the scenarios and over each command's steps; beside them come random times."""
    outcome = Outcome()
    rng = random.Random(seed)  # noqa: S311  it must come out the same again
    plan = []
    in_time = _deal(points // PER_TIME, scenarios, rng)
    for scenario in scenarios:
        steps, seconds = count_steps(world, scenario, outcome)
        outcome.steps[scenario.name] = steps
        chosen = spread(rng, steps, -(-points // len(scenarios)))
        plan += [_Kill(scenario, world.make_case(scenario.name), step=step) for step in chosen]
        for _ in range(in_time[scenario.name]):
            plan.append(_Kill(scenario, world.make_case(scenario.name), seconds=rng.random() * seconds))
    with ThreadPoolExecutor(jobs) as pool:
        for kill, faults, again in pool.map(_kill_once, plan):
            if faults is not None:
                outcome.add(kill.scenario.name, faults, str(kill))
                outcome.at_random_times += not kill.step
                most = f"jobs {kill.scenario.jobs}"
                outcome.parts_sent_again[most] = max(again, outcome.parts_sent_again.get(most, 0.0))
    return outcome


def kill_workers(world: World, points: int, *, seed: int, outcome: Outcome) -> None:
    """Kill the worker over each kind of its work: each at least once at a step, and every fourth time at any time."""
    rng = random.Random(seed)  # noqa: S311  it must come out the same again
    with WorkerKills(world).at_work() as killing:
        of_each = _deal(max(points, len(WORKER_SCENARIOS)), WORKER_SCENARIOS, rng)
        for scenario in WORKER_SCENARIOS:
            name = scenario.name
            steps, seconds, faults = killing.count_steps(scenario)
            outcome.steps[name] = steps
            outcome.faults += [f"{name}, not killed: {fault}" for fault in faults]
            count = of_each[name]
            chosen = [*spread(rng, steps, count - count // PER_TIME)]
            for step in chosen:
                outcome.add(name, killing.kill_at_step(scenario, step), f"at step {step}")
            for _ in range(count - len(chosen)):
                moment = rng.random() * seconds
                found = killing.kill_after(scenario, moment)
                if found is not None:
                    outcome.add(name, found, f"after {moment:.3f} s")
                    outcome.at_random_times += 1


def _deal(count: int, scenarios: Sequence[Any], rng: random.Random) -> dict[str, int]:
    """Say how often each has its turn; what is left over goes to some that a seed chooses."""
    names = [scenario.name for scenario in scenarios]
    lucky = rng.sample(names, count % len(names))
    return {name: count // len(names) + (name in lucky) for name in names}


def spread(rng: random.Random, steps: int, count: int) -> Iterator[int]:
    """Choose one step of each of as many stretches of the same length; every one, if there are enough."""
    if count >= steps:
        yield from range(1, steps + 1)
        return
    for number in range(count):
        yield rng.randint(number * steps // count + 1, max((number + 1) * steps // count, number * steps // count + 1))


def count_steps(world: World, scenario: Scenario, outcome: Outcome) -> tuple[int, float]:
    """Run a command to its end; count its steps, and say how many seconds it took."""
    case = world.make_case(scenario.name)
    arguments = scenario.prepare(case)
    noted = case.laptop.folder / "steps"
    began = time.monotonic()
    run = case.run(arguments, program=_STEPPING.format(kill_at=0, noted=str(noted)))
    seconds = time.monotonic() - began
    if run.exit_code != 0:
        outcome.faults.append(f"{scenario.name}, not killed: exit code {run.exit_code}: {run.stderr}")
    outcome.faults += [f"{scenario.name}, not killed: {fault}" for fault in look(scenario, case)]
    return len(noted.read_text().splitlines()), seconds


def _kill_once(kill: _Kill) -> tuple[_Kill, list[str] | None, float]:
    """Kill a run and run the same command again; say what is wrong then, and how many parts were sent again."""
    scenario, case = kill.scenario, kill.case
    arguments = scenario.prepare(case)
    before = _count_parts_sent_again(case)
    if kill.step:
        killed = case.run(arguments, program=_STEPPING.format(kill_at=kill.step, noted=""))
    else:
        killed = _kill_after(case, arguments, kill.seconds)
    if killed.exit_code == 0:
        return kill, None, 0.0
    if killed.exit_code != -signal.SIGKILL:
        return kill, [f"ended with {killed.exit_code} instead: {killed.stderr}"], 0.0
    wrong = run_again(scenario, case, arguments)
    parts = _count_parts_sent_again(case) - before if not wrong else 0.0
    if parts > scenario.jobs:
        wrong.append(f"{parts:.2f} parts were sent again, {scenario.jobs} at a time")
    if not wrong:
        shutil.rmtree(case.laptop.folder)  # hundreds of them would fill a disk
    return kill, wrong, parts


def run_again(scenario: Scenario, case: Case, arguments: Sequence[str]) -> list[str]:
    """Run a command that did not come to its end once more; say all that is wrong after that."""
    again = case.run(arguments)
    wrong = look(scenario, case)
    if again.exit_code != 0 and (wrong or not any(f'"{code}"' in again.stderr for code in _DONE_BEFORE)):
        wrong.append(f"the same command again ended with {again.exit_code}: {again.stderr}")
    return wrong


def _kill_after(case: Case, arguments: Sequence[str], seconds: float) -> Run:
    process = case.laptop.begin("--json", *arguments)
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
    return Run(process.returncode, stdout, stderr)


def _count_parts_sent_again(case: Case) -> float:
    return max((case.count_parts_sent_again(name) for name in case.sources), default=0.0)


def look(scenario: Scenario, case: Case) -> list[str]:
    """Say all that is not as it must be after a command came to its end."""
    return [*scenario.find_faults(case), *case.find_left_overs()]


# --- the commands --------------------------------------------------------------------------------------------


def _upload(size: str, *options: str, jobs: int = JOBS_DEFAULT) -> Scenario:
    def prepare(case: Case) -> Sequence[str]:
        return ["upload", case.add_file(size), "--jobs", str(jobs), *options]

    return Scenario(f"upload-{size}", prepare, lambda case: case.find_faults_of_upload(case.name), jobs)


def _prepare_batch(case: Case) -> Sequence[str]:
    for number in range(3):
        case.add_file(name=f"{case.name}-{number}", seed=number)
    case.add_folder(name=f"{case.name}-card")
    return ["upload", "all"]


def _prepare_moved(case: Case) -> Sequence[str]:
    name = case.add_folder()
    case.expected = {"done"}
    return ["upload", name, "--move-completed", "--completed-dir=done"]


def _prepare_replacing(case: Case) -> Sequence[str]:
    name = case.add_file("large", seed=1)
    (case.laptop.work / name).write_bytes(b"first")
    _must(case, "upload", name)
    case.add_file("large", seed=2)
    return ["upload", name, "--replace"]


def _prepare_elsewhere(case: Case) -> Sequence[str]:
    (case.laptop.folder / "archives").mkdir()
    return ["upload", case.add_file("large"), "--archive-dir", str(case.laptop.folder / "archives")]


def _find_faults_elsewhere(case: Case) -> list[str]:
    stray = [f"stray: {path.name}" for path in (case.laptop.folder / "archives").iterdir()]
    return [*case.find_faults_of_upload(case.name), *stray]


def _must(case: Case, *arguments: str) -> None:
    run = case.run(arguments)
    if run.exit_code != 0:
        raise AssertionError(run.stderr)


def _download(kind: str, *options: str, brings: Callable[[str, object], dict[str, object]]) -> Scenario:
    def prepare(case: Case) -> Sequence[str]:
        name, described = case.world.store()
        case.expected = set(brings(name, described))
        return ["download", name, *options]

    # Single files are fetched under an operation of their own each time; one that was killed is ended by the worker.
    allowed = {"success", "failed"} | ({"pending"} if kind == "only" else set())

    def find_faults(case: Case) -> list[str]:
        name, described = case.world.store()
        wrong = [
            place
            for place, said in brings(name, described).items()
            if not (case.laptop.work / place).exists() or said not in (None, describe(case.laptop.work / place))
        ]
        mine = [each for each in case.records(name) if each["actor"] == case.person]
        return [
            *(f"{place} came back otherwise" for place in wrong),
            *(f"a record is {each['status']}" for each in mine if each["status"] not in allowed),
            *([] if any(each["status"] == "success" for each in mine) else ["no record of success"]),
        ]

    return Scenario(f"download-{kind}", prepare, find_faults)


def _prepare_delete(case: Case) -> Sequence[str]:
    _must(case, "upload", case.add_file())
    return ["delete", "--yes", case.name]


def _prepare_undelete(case: Case) -> Sequence[str]:
    _must(case, *_prepare_delete(case))
    return ["undelete", "--yes", case.name]


def _find_faults_of_removal(kind: str) -> Callable[[Case], list[str]]:
    def find_faults(case: Case) -> list[str]:
        upload, removals = None, []
        for each in case.records(case.name):
            if each["operation_type"] == "upload":
                upload = each
            elif each["operation_type"] == kind and each["status"] == "success":
                removals.append(each)
        is_deleted = upload is not None and bool(upload.get("deleted_by"))
        found = {
            f"{len(removals)} records of success": len(removals) != 1,
            "the upload's record is not so": is_deleted != (kind == "delete"),
            "the object is gone": case.team.versions(f"{case.name}.tar.gz") != 1,
        }
        return [what for what, is_so in found.items() if is_so]

    return find_faults


def _interrupt(case: Case) -> str:
    """Begin an upload in parts, and kill it in the middle of them."""
    name = case.add_file("large")
    killed = case.run(["upload", name, "--jobs", "1"], program=_STEPPING.format(kill_at=_STEP_IN_THE_MIDDLE, noted=""))
    records = case.records(name)
    if killed.exit_code != -signal.SIGKILL or [each["status"] for each in records] != ["pending"]:
        raise AssertionError(f"it was not interrupted in the middle: {killed.exit_code}, {records}")
    return name


def _prepare_resume(case: Case) -> Sequence[str]:
    _interrupt(case)
    return ["resume", "--jobs", "1"]


def _prepare_cancel(case: Case) -> Sequence[str]:
    return ["cancel", "--yes", _interrupt(case)]


def _find_faults_of_cancel(case: Case) -> list[str]:
    records = [(each["status"], each["error_code"]) for each in case.records(case.name)]
    found = {
        f"the records say {records}": records != [("failed", "cancelled")],
        "there is an object": case.team.versions(f"{case.name}.tar.gz") > 0,
        "an open multipart upload": case.open_multipart_uploads(f"{case.name}.tar.gz") > 0,
        "its source is not as it was": describe_source(case.laptop.work / case.name) != case.sources[case.name],
    }
    return [what for what, is_so in found.items() if is_so]


SCENARIOS: Final = (
    _upload("small"),
    Scenario(
        "upload-batch",
        _prepare_batch,
        lambda case: [fault for name in case.sources for fault in case.find_faults_of_upload(name)],
    ),
    _upload("large", jobs=1),
    _upload("huge", "--limit-rate", "40M", jobs=3),  # or hardly ever are three parts under way
    Scenario("upload-moved", _prepare_moved, lambda case: case.find_faults_of_upload(case.name, moved_to="done")),
    Scenario("upload-replacing", _prepare_replacing, lambda case: case.find_faults_of_upload(case.name, versions=2)),
    Scenario("upload-elsewhere", _prepare_elsewhere, _find_faults_elsewhere),
    _download("archive", brings=lambda name, _: {f"{name}.tar.gz": None}),
    _download("extracted", "--extract", brings=lambda name, described: {name: described}),
    _download("only", "--only", "*clip.mov", brings=lambda name, _: {name: None}),
    Scenario("delete", _prepare_delete, _find_faults_of_removal("delete")),
    Scenario("undelete", _prepare_undelete, _find_faults_of_removal("undelete")),
    Scenario("resume", _prepare_resume, lambda case: case.find_faults_of_upload(case.name)),
    Scenario("cancel", _prepare_cancel, _find_faults_of_cancel),
)
