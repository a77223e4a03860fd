"""The pieces of `make faults`: each has a service of its own, or is a suite in a process of its own."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from support.breaking import cases, hostile, kills, soak, suites
from support.breaking.kills import Scenario
from support.breaking.world import World, find_orphans, world_at
from support.engine import storage_engine

CASES_PER_PIECE: Final = 30
REQUESTS_PER_PIECE: Final = 5000
KILLS_AT_STEPS_SHARE: Final = 0.7
"""The rest are at random times, where some come too late and are not counted, and of the worker."""
KINDS: Final = ("kills", "cases", "soak", "requests", "suites")

_MOST: Final = frozenset({"parts_sent_again"})
"""What is not added up: the most of all pieces counts."""


@dataclass(frozen=True)
class Amounts:
    """How much of everything a run tries."""

    seed: int = 1
    kills: int = 500
    cases: int = 300
    uploads: int = 2000
    requests: int = 20_000
    """Fuzzed ones."""
    walks: int = 2000
    """Orders in which the service's calls are made."""
    safe_faults: int = 1000
    """Faults under `mgmt safe`."""


@dataclass(frozen=True)
class Piece:
    """A part of a run that is done as a whole, and kept."""

    kind: str
    name: str
    do: Callable[[], dict[str, Any]]


def plan_pieces(amounts: Amounts) -> tuple[list[Piece], list[Piece]]:
    """Return all pieces: those that run commands at work, and those that can be done beside them."""
    chosen = cases.choose_cases(amounts.cases, amounts.seed)
    batches = [chosen[at : at + CASES_PER_PIECE] for at in range(0, len(chosen), CASES_PER_PIECE)]
    at_steps = round(amounts.kills * KILLS_AT_STEPS_SHARE)
    at_work = [
        *(
            Piece("kills", scenario.name, partial(_kill, scenario, points, amounts.seed))
            for scenario, points in _deal(at_steps, kills.SCENARIOS)
        ),
        Piece("kills", "worker", partial(_kill_workers, at_steps // kills.PER_TIME, amounts.seed)),
        *(Piece("cases", str(number), partial(_break, batch)) for number, batch in enumerate(batches, 1)),
        Piece("soak", "all", partial(_soak, amounts.uploads, amounts.seed)),
    ]
    planned = suites.plan_suites(seed=amounts.seed, walks=amounts.walks, faults=amounts.safe_faults)
    fuzzed = [
        Piece("requests", str(at // REQUESTS_PER_PIECE + 1), partial(_fuzz, count, amounts.seed * 1000 + at))
        for at in range(0, amounts.requests, REQUESTS_PER_PIECE)
        if (count := min(REQUESTS_PER_PIECE, amounts.requests - at))
    ]
    beside = [*fuzzed, *(Piece("suites", suite.name, partial(suites.run_suite, suite)) for suite in planned)]
    return [piece for piece in at_work if piece.kind != "soak" or amounts.uploads], beside


def _deal(count: int, scenarios: Sequence[Scenario]) -> Iterator[tuple[Scenario, int]]:
    for number, scenario in enumerate(scenarios):
        if points := count // len(scenarios) + (number < count % len(scenarios)):
            yield scenario, points


def _kill(scenario: Scenario, points: int, seed: int) -> dict[str, Any]:
    with _at_work(seed) as (world, _, _):
        return _finish(world, kills.kill_commands(world, [scenario], points=points, seed=seed))


def _kill_workers(points: int, seed: int) -> dict[str, Any]:
    with _at_work(seed) as (world, _, _):
        outcome = kills.Outcome()
        kills.kill_workers(world, points, seed=seed, outcome=outcome)
        return _finish(world, outcome)


def _break(chosen: Sequence[cases.FaultCase]) -> dict[str, Any]:
    with _at_work() as (world, service, storage):
        outcome = cases.break_all(world, service, storage, chosen)
        return _finish(world, outcome)


def _soak(count: int, seed: int) -> dict[str, Any]:
    with _at_work(seed) as (world, service, storage):
        return _finish(world, soak.soak(world, service, storage, count, seed=seed))


def _fuzz(count: int, seed: int) -> dict[str, Any]:
    """Fuzz in a process of its own, so that it is no part of the memory of what is soaked meanwhile."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        outcome = pool.submit(hostile.fuzz, count, seed).result()
    return {name: _with_texts(value) for name, value in vars(outcome).items()}


def _finish(world: World, outcome: Any) -> dict[str, Any]:
    """Add what concerns the whole service; texts as keys, as JSON has them."""
    found: dict[str, Any] = {**vars(outcome), "own_5xx": world.team.own_faults}
    found["faults"] = [*found["faults"], *find_orphans(world.team)]
    if found["own_5xx"]:
        found["faults"].append(f"{found['own_5xx']} answers of 500 and more")
    return {name: _with_texts(value) for name, value in found.items()}


def _with_texts(value: Any) -> Any:
    return {str(key): each for key, each in value.items()} if isinstance(value, Mapping) else value


@contextmanager
def _at_work(seed: int = 1) -> Iterator[tuple[World, soak.RandomlyBreaking, soak.RandomlyBreaking]]:
    """Run a storage engine and a service, with a proxy before each."""
    with tempfile.TemporaryDirectory(prefix="mgmt-faults-") as named, ExitStack() as stack:
        folder = Path(named)
        engine = stack.enter_context(storage_engine(folder / "engine"))
        storage = stack.enter_context(closing(soak.RandomlyBreaking(engine.endpoint_url, keeps_host=True, seed=seed)))
        world = stack.enter_context(world_at(folder / "world", engine, storage))
        service = closing(soak.RandomlyBreaking(world.team.url, keeps_host=False, seed=seed))
        yield world, stack.enter_context(service), storage


def join(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the results of the pieces of one kind: numbers are added up, lists put one behind the other."""
    joined: dict[str, Any] = {}
    for result in results:
        for name, value in result.items():
            joined[name] = _join_values(name, joined[name], value) if name in joined else value
    return joined


def _join_values(name: str, before: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        keys = sorted({*before, *value})
        return {key: _join_values(name, before.get(key, 0), value.get(key, 0)) for key in keys}
    if name in _MOST:
        return max(before, value)
    if name == "codes":
        return sorted({*before, *value})
    return before + value
