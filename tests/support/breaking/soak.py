"""The soak: uploads, downloads and removals by several people, with some of all requests broken in ways that pass.

Each person works on one laptop, round after round. A round uploads some files, fetches one of them back, and deletes
one in every second round, which every fourth brings back. Memory and open files are noted round by round, of the
service and of the commands: in the last third they must be about what they were before.
"""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import psutil  # type: ignore[import-untyped]  # its types are a distribution of their own

from support.breaking.cases import IMPATIENT
from support.breaking.network import FAULTS, BreakingProxy, Fault
from support.breaking.world import Case, World, describe_source
from support.programs import QUICK_WAITS
from support.trees import noise

MIB: Final = 1024 * 1024
PASSING: Final = tuple(fault for fault in FAULTS if fault.passes and fault.how != "stall")
SMALL_SIZES: Final = (0, 1, 700, 40_000, 300_000)
LARGE_BYTES: Final = 17 * MIB
FILES_PER_ROUND: Final = 20
LARGE_EVERY: Final = 4
"""Each so many rounds, one of the files goes in parts."""
DELETE_EVERY: Final = 2
UNDELETE_EVERY: Final = 4
PEOPLE: Final = 4
SHARE_BROKEN: Final = 0.02
TRIES_MAX: Final = 5
RUN_AGAIN: Final = frozenset({3, 6, 7, 8})
"""Exit codes after which the same command is run again."""
ABANDONED: Final = timedelta(days=8)
"""So much later the worker has ended whatever no client goes on with."""
JUDGED_ROUNDS_MIN: Final = 20
MEMORY_GROWTH_MAX: Final = 0.05
"""Of the last third of the rounds over the second: what leaks goes on leaking. In the first, caches and the allocator's
arenas fill, and they depend on how many large bodies were under way at once."""
MEMORY_FILLING_MAX: Final = 0.25
"""Of the last third over the first."""
OPEN_FILES_GROWTH_MAX: Final = 10

_NOTING: Final = """
import os
end = os._exit
def note_and_end(code):
    try:
        with open("/proc/self/status") as file:
            [kilobytes] = [line.split()[1] for line in file if line.startswith("VmHWM:")]
        files = len(os.listdir("/proc/self/fd"))
        with open(os.environ["MGMT_SOAK_NOTES"], "a") as file:
            file.write(f'{{"kilobytes": {kilobytes}, "files": {files}}}\\n')
    finally:
        end(code)
os._exit = note_and_end
"""
"""A command that notes, when it ends, its largest memory and its open files."""


class RandomlyBreaking(BreakingProxy):
    """A proxy that breaks a share of all requests, beside what is planned."""

    def __init__(self, upstream_url: str, *, keeps_host: bool, share: float = 0.0, seed: int = 1) -> None:
        self.share = share
        self.requests = self.broken = 0
        self._rng = random.Random(seed)  # noqa: S311  it must come out about the same again
        super().__init__(upstream_url, keeps_host=keeps_host)

    def choose(self, method: str, path: str) -> Fault | None:
        """Break what is planned, and some of the rest; what the service itself asks of the storage is left alone."""
        planned = super().choose(method, path)
        if planned is not None or (self.keeps_host and "X-Amz-Signature" not in path):
            return planned
        side = "storage" if self.keeps_host else "service"
        with self._lock:
            self.requests += 1
            if self._rng.random() >= self.share:
                return None
            self.broken += 1
            return self._rng.choice([fault for fault in PASSING if side in fault.sides])


@dataclass
class Outcome:
    """What a soak came to."""

    uploads: int = 0
    downloads: int = 0
    deletions: int = 0
    undeletions: int = 0
    run_again: int = 0
    """Commands that did not come to their end at once."""
    requests: int = 0
    broken_requests: int = 0
    lost: int = 0
    """Names without an object or without a record of success, and files that came back otherwise."""
    doubled: int = 0
    stuck: int = 0
    """Records that are still pending after the worker has gone its round, days later."""
    own_5xx: int = 0
    archive_bytes: int = 0
    resent_bytes: int = 0
    """What reached the storage a second time."""
    series: dict[str, list[float]] = field(default_factory=dict)
    """Round by round: the service's and the commands' memory in MB, and their open files."""
    faults: list[str] = field(default_factory=list)


class _Person:
    """One laptop and its rounds."""

    def __init__(self, world: World, url: str, seed: int) -> None:
        self.case = world.make_case("soak")
        self.case.laptop.environment["MGMT_API_URL"] = url
        self.notes = self.case.laptop.folder / "notes"
        self.case.laptop.environment["MGMT_SOAK_NOTES"] = str(self.notes)
        self.names: list[str] = []
        self.deleted: list[str] = []
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._rng = random.Random(f"{seed}-{self.case.name}")  # noqa: S311  it must come out the same again

    def do_round(self, number: int, files: int) -> None:
        """Upload some files, fetch one, and delete one or bring it back."""
        folder = self.case.laptop.work / f"round-{number}"
        folder.mkdir()
        sources = dict(self._make_source(folder, number, file) for file in range(files))
        if not self._run(folder, "upload", "all"):
            return
        self.names += sources
        self.done["uploads"] += files
        changed = [name for name, said in sources.items() if describe_source(folder / name) != said]
        stray = sorted({path.name for path in folder.iterdir()} - set(sources))
        self.faults += [f"{name}: its source is not as it was" for name in changed]
        self.faults += [f"stray: {name}" for name in stray]
        self._fetch(self._rng.choice([*sources]), folder)
        if number % DELETE_EVERY == 1:
            self._delete(folder, self._rng.choice([*sources]), is_brought_back=number % UNDELETE_EVERY == 3)
        shutil.rmtree(folder)

    def _make_source(self, folder: Path, number: int, file: int) -> tuple[str, object]:
        size = LARGE_BYTES if number % LARGE_EVERY == 0 and file == 0 else self._rng.choice(SMALL_SIZES)
        path = folder / f"{self.case.name}-{number}-{file}"
        path.write_bytes(noise(size, file))
        return path.name, describe_source(path)

    def _fetch(self, name: str, sources: Path) -> None:
        """Fetch a file back and compare it."""
        back = sources / "back"
        back.mkdir()
        if self._run(back, "download", name, "--extract"):
            self.done["downloads"] += 1
            if (back / name).read_bytes() != (sources / name).read_bytes():
                self.faults.append(f"{name} came back otherwise")
            self.faults += [f"stray: {path.name}" for path in back.iterdir() if path.name != name]
        shutil.rmtree(back)

    def _delete(self, folder: Path, name: str, *, is_brought_back: bool) -> None:
        if not self._run(folder, "delete", "--yes", name):
            return
        self.done["deletions"] += 1
        if is_brought_back and self._run(folder, "undelete", "--yes", name):
            self.done["undeletions"] += 1
            return
        self.deleted.append(name)

    def _run(self, cwd: Path, *arguments: str) -> bool:
        """Run a command until it comes to its end."""
        for tried in range(TRIES_MAX):
            run = self.case.laptop.run(
                "--json", *arguments, cwd=cwd, program=_NOTING + IMPATIENT + QUICK_WAITS, timeout_seconds=120
            )
            self.done["run again"] += tried > 0
            if run.exit_code == 0:
                return True
            if run.exit_code not in RUN_AGAIN:
                break
        self.faults.append(f"{' '.join(arguments)} of {self.case.name} ended with {run.exit_code}: {run.stderr}")
        return False

    def notes_of_commands(self) -> tuple[float, int]:
        """Return the largest memory in MB and the most open files of the commands since this was last asked."""
        if not self.notes.exists():
            return 0.0, 0
        lines = [json.loads(line) for line in self.notes.read_text().splitlines()]
        self.notes.unlink()
        return max(each["kilobytes"] for each in lines) / 1000, max(each["files"] for each in lines)


class _Series:
    """Memory and open files, round by round."""

    def __init__(self, rounds: int) -> None:
        self._process = psutil.Process()
        self._lock = threading.Lock()
        self._service: list[tuple[float, int]] = []
        self._commands: list[list[tuple[float, int]]] = [[] for _ in range(rounds)]

    def note(self, number: int, person: _Person) -> None:
        """Note what a round came to."""
        commands = person.notes_of_commands()
        with self._lock:
            self._service.append((self._process.memory_info().rss / 1_000_000, self._process.num_fds()))
            self._commands[number].append(commands)

    def as_lists(self) -> dict[str, list[float]]:
        """Return all series."""
        commands = [(max(each[0] for each in rounds), max(each[1] for each in rounds)) for rounds in self._commands]
        pairs = {"service": self._service, "commands": commands}
        return {
            f"{who}_{what}": [round(pair[which], 1) for pair in listed]
            for who, listed in pairs.items()
            for which, what in enumerate(("memory_mb", "open_files"))
        }


def soak(world: World, service: RandomlyBreaking, storage: RandomlyBreaking, count: int, *, seed: int) -> Outcome:
    """Upload until there were so many, with all else beside; run a command again where it did not come to its end."""
    outcome = Outcome()
    rounds = -(-count // FILES_PER_ROUND)
    people = [_Person(world, service.url, seed) for _ in range(min(PEOPLE, rounds))]
    series = _Series(-(-rounds // len(people)))
    before = service.own_faults
    service.requests = service.broken = storage.requests = storage.broken = storage.put_bytes = 0

    def work(number: int) -> None:
        person = people[number]
        for turn, _ in enumerate(range(number, rounds, len(people))):
            person.do_round(turn, min(FILES_PER_ROUND, count))
            series.note(turn, person)

    service.share = storage.share = SHARE_BROKEN
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(len(people))))
    service.share = storage.share = 0.0
    outcome.requests = service.requests + storage.requests
    outcome.broken_requests = service.broken + storage.broken
    outcome.own_5xx = service.own_faults - before
    outcome.series = series.as_lists()
    _end_what_is_left(world)
    for person in people:
        _count(outcome, person)
    outcome.resent_bytes = max(0, storage.put_bytes - outcome.archive_bytes)
    return outcome


def find_growth(series: Mapping[str, Sequence[float]]) -> list[str]:
    """Say what is larger in the last third of the rounds than before, by more than it may be."""
    found = []
    for name, values in series.items():
        if len(values) < JUDGED_ROUNDS_MIN:  # still filling its caches
            continue
        first, second, last = thirds(values)
        if name.endswith("_mb"):
            has_grown = last > second * (1 + MEMORY_GROWTH_MAX) or last > first * (1 + MEMORY_FILLING_MAX)
        else:
            has_grown = last > second + OPEN_FILES_GROWTH_MAX
        if has_grown:
            found.append(f"{name} grew from {first:.0f} by {second:.0f} to {last:.0f}")
    return found


def thirds(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of each third."""
    third = max(1, len(values) // 3)
    return fmean(values[:third]), fmean(values[third:-third] or values), fmean(values[-third:])


def _end_what_is_left(world: World) -> None:
    """Have the worker end the downloads whose report did not arrive."""
    world.team.ahead += ABANDONED
    try:
        world.team.go_round()
    finally:
        world.team.ahead -= ABANDONED


def _count(outcome: Outcome, person: _Person) -> None:
    """Count what a person's work came to, as the records and the bucket have it."""
    team = person.case.team
    records = _records_of(person.case)
    uploads = [each for each in records if each["operation_type"] == "upload" and each["status"] == "success"]
    good = Counter(each["target_path"] for each in uploads)
    gone = {each["target_path"] for each in uploads if each.get("deleted_by")}
    versions: Counter[str] = Counter()
    listing = team.s3.get_paginator("list_object_versions").paginate(Bucket=team.bucket, Prefix=f"{person.case.name}-")
    for page in listing:
        for each in page.get("Versions", []):
            versions[each["Key"].removesuffix(".tar.gz")] += 1
            outcome.archive_bytes += each["Size"]
    outcome.uploads += len(person.names)
    outcome.downloads += person.done["downloads"]
    outcome.deletions += person.done["deletions"]
    outcome.undeletions += person.done["undeletions"]
    outcome.run_again += person.done["run again"]
    lost = [name for name in person.names if not versions[name] or not good[name]]
    doubled = [name for name in person.names if versions[name] > 1 or good[name] > 1]
    stuck = [each["operation_id"] for each in records if each["status"] == "pending"]
    wrongly = gone.symmetric_difference(person.deleted)
    outcome.lost += len(lost) + sum("came back otherwise" in fault for fault in person.faults)
    outcome.doubled += len(doubled)
    outcome.stuck += len(stuck)
    outcome.faults += person.faults
    for what, names in {"lost": lost, "doubled": doubled, "stuck": stuck, "deleted or not": wrongly}.items():
        outcome.faults += [f"{name}: {what}" for name in sorted(names)]


def _records_of(case: Case) -> list[dict[str, Any]]:
    """Return all records of who works on this laptop."""
    records: list[dict[str, Any]] = []
    query: dict[str, str] = {"mine": "true", "limit": "100"}
    while True:
        page = case.ask_history(**query)
        records += page["records"]
        if page["cursor"] is None:
            return records
        query["cursor"] = page["cursor"]
