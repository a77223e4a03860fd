"""The soak: many uploads of mixed sizes by several people, with some of all requests broken in ways that pass."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

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
FILES_PER_RUN: Final = 20
LARGE_EVERY: Final = 4
"""Each so many runs, one of the files goes in parts."""


class RandomlyBreaking(BreakingProxy):
    """A proxy that breaks a share of all requests."""

    def __init__(self, upstream_url: str, *, keeps_host: bool, share: float = 0.0, seed: int = 1) -> None:
        self.share = share
        self.requests = self.broken = 0
        self._rng = random.Random(seed)  # noqa: S311  it must come out about the same again
        super().__init__(upstream_url, keeps_host=keeps_host)

    def choose(self, method: str, path: str) -> Fault | None:
        """Break some of what comes."""
        side = "storage" if self.keeps_host else "service"
        if self.keeps_host and "X-Amz-Signature" not in path:
            return super().choose(method, path)
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
    requests: int = 0
    broken_requests: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    own_5xx: int = 0
    archive_bytes: int = 0
    resent_bytes: int = 0
    """What reached the storage a second time."""
    open_files_before: int = 0
    open_files_after: int = 0
    memory_mb_before: int = 0
    """Of the process with service and proxies, after the first tenth."""
    memory_mb_after: int = 0
    faults: list[str] = field(default_factory=list)


def soak(world: World, service: RandomlyBreaking, storage: RandomlyBreaking, count: int, *, seed: int) -> Outcome:
    """Upload until there were so many; run a command again where it did not come to its end."""
    outcome = Outcome()
    runs = -(-count // FILES_PER_RUN)
    warm = max(1, runs // 10)
    service.share = storage.share = 0.02
    before = service.own_faults
    process = psutil.Process()
    with ThreadPoolExecutor(2) as pool:
        results = [*pool.map(lambda number: _upload_some(world, service.url, number, seed), range(warm))]
        outcome.open_files_before = process.num_fds()
        outcome.memory_mb_before = process.memory_info().rss // 1_000_000
        results += pool.map(lambda number: _upload_some(world, service.url, number, seed), range(warm, runs))
    outcome.open_files_after = process.num_fds()
    outcome.memory_mb_after = process.memory_info().rss // 1_000_000
    service.share = storage.share = 0.0
    for case, faults in results:
        outcome.faults += faults
        _count(outcome, case)
    outcome.requests = service.requests + storage.requests
    outcome.broken_requests = service.broken + storage.broken
    outcome.own_5xx = service.own_faults - before
    outcome.resent_bytes = max(0, storage.put_bytes - outcome.archive_bytes)
    return outcome


def _upload_some(world: World, url: str, number: int, seed: int) -> tuple[Case, list[str]]:
    case = world.make_case("soak")
    case.laptop.environment["MGMT_API_URL"] = url
    rng = random.Random(f"{seed}-{number}")  # noqa: S311  it must come out the same again
    for file in range(FILES_PER_RUN):
        size = LARGE_BYTES if number % LARGE_EVERY == 0 and file == 0 else rng.choice(SMALL_SIZES)
        name = f"{case.name}-{file}"
        (case.laptop.work / name).write_bytes(noise(size, file))
        case.sources[name] = describe_source(case.laptop.work / name)
        case.expected.add(name)
    for _ in range(5):
        run = case.run(["upload", "all"], program=IMPATIENT + QUICK_WAITS)
        if run.exit_code == 0:
            return case, case.find_left_overs()
        if run.exit_code not in (3, 5, 6, 7, 8):
            return case, [f"{case.name}: ended with {run.exit_code}: {run.stderr}"]
    return case, [f"{case.name}: never came to its end: {run.stderr}"]


def _count(outcome: Outcome, case: Case) -> None:
    """Count what a laptop's uploads came to, as the records and the bucket have it."""
    team, client = case.team, case.team.s3
    stored = client.list_object_versions(Bucket=team.bucket, Prefix=f"{case.name}-").get("Versions", [])
    records = case.records_of_person()
    for name in case.sources:
        mine = [each for each in stored if each["Key"] == f"{name}.tar.gz"]
        good = [each for each in records if each["target_path"] == name and each["status"] == "success"]
        outcome.uploads += 1
        outcome.lost += not mine or not good
        outcome.doubled += len(mine) > 1 or len(good) > 1
        outcome.archive_bytes += sum(each["Size"] for each in mine)
    outcome.stuck += sum(each["status"] == "pending" for each in records)
