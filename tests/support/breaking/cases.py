"""Fault cases: each breaks one kind of request of one command, once, three times or always, in one way.

The table of cases is data: every fault of `network.FAULTS` at every request of `TARGETS`. A seed chooses some.
A command must end with a documented code; what passes must be got over in the same run, where it happens once.
Then the network is mended, and the same command must come to its end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from mgmt_contract import routes
from support.breaking.kills import SCENARIOS, Scenario, look
from support.breaking.network import ALWAYS, FAULTS, BreakingProxy, Fault, Plan, Side, breaking_proxy
from support.breaking.world import Case, World
from support.programs import QUICK_WAITS
from support.team import Run

TIMES: Final = (1, 3, ALWAYS)
ALLOWED: Final = frozenset({0, 3, 4, 5, 6, 7, 8, 9})
"""What a command may end with that a network or a server has failed."""

IMPATIENT: Final = """
from mgmt import storage
from mgmt.network import Bounds, make_timeout
from mgmt.service import calls
from mgmt.storage import receiving
seconds = 1.0
calls.ANSWER_MAX_SECONDS = storage.ANSWER_MAX_SECONDS = storage.READ_TIMEOUT_SECONDS = seconds
receiving.ANSWER_MAX_SECONDS = receiving.READ_TIMEOUT_SECONDS = seconds
calls.make_timeout = lambda tried: make_timeout(tried, seconds)
storage._ANSWER_BOUNDS = Bounds(seconds, 64 * 1024)
"""
"""A command for which an answer that takes a second takes too long."""
NO_NETWORK: Final = """
import errno, itertools, socket
tries = itertools.count()
def make_broken(original, error):
    def broken(*given, **named):
        if next(tries) < {times}:
            raise error
        return original(*given, **named)
    return broken
"""
LOCAL_FAULTS: Final = {
    "DNS fails": "socket.getaddrinfo = make_broken(socket.getaddrinfo, socket.gaierror(-3, 'said by a test'))\n",
    "connection refused": "from urllib3.util import connection\n"
    "connection.create_connection = make_broken(connection.create_connection, ConnectionRefusedError(111, 'said'))\n",
    "no route": "from urllib3.util import connection\n"
    "connection.create_connection = make_broken(connection.create_connection, OSError(113, 'said'))\n",
}


@dataclass(frozen=True)
class Target:
    """One kind of request of one command."""

    scenario: str
    side: Side
    method: str
    words: str
    """What the path has in it."""

    def fits(self, method: str, path: str) -> bool:
        """Tell whether a request is of this kind."""
        return method == self.method and self.words in path

    @property
    def is_shared(self) -> bool:
        """Whether the path does not name the case."""
        return self.side == "storage" and (self.scenario.startswith("download") or "/.mgmt/" in self.words)


def _uploads(scenario: str, *routes: str) -> Iterator[Target]:
    for route in routes:
        yield Target(scenario, "service", "POST", f"/v1/uploads/{route}")


TARGETS: Final = (
    *_uploads("upload-small", "start", "complete", "clean-up"),
    *_uploads("upload-batch", "start", "complete"),
    *_uploads("upload-large", "start", "sign", "complete", "clean-up"),
    *_uploads("upload-replacing", "start", "complete"),
    *_uploads("delete", "delete"),
    *_uploads("undelete", "undelete"),
    Target("download-archive", "service", "POST", "/v1/downloads/open"),
    Target("download-extracted", "service", "POST", "/v1/downloads/end"),
    Target("download-only", "service", "POST", "/v1/objects/look"),
    Target("delete", "service", "GET", "/v1/history"),
    Target("upload-small", "storage", "PUT", ""),
    Target("upload-batch", "storage", "PUT", "-1.tar.gz"),
    Target("upload-large", "storage", "PUT", "partNumber=1"),
    Target("upload-large", "storage", "PUT", "partNumber=2"),
    Target("upload-large", "storage", "PUT", "/.mgmt/"),
    Target("download-archive", "storage", "GET", ""),
    Target("download-extracted", "storage", "GET", ""),
    Target("download-only", "storage", "GET", ""),
)
_BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}


@dataclass(frozen=True)
class FaultCase:
    """One case of the table."""

    target: Target
    fault: Fault | str
    """One of `LOCAL_FAULTS` by its name."""
    times: int

    def __str__(self) -> str:
        fault = self.fault if isinstance(self.fault, str) else self.fault.name
        often = {1: "once", 3: "three times", ALWAYS: "always"}[self.times]
        return f"{self.target.scenario}, {self.target.method} {self.target.words or 'object'}: {fault}, {often}"

    @property
    def must_get_over(self) -> bool:
        """Whether the run must come to its end though this happens."""
        return self.times == 1 and not isinstance(self.fault, str) and self.fault.passes


@dataclass
class Outcome:
    """What many cases came to."""

    cases: int = 0
    """Those in which something did go wrong."""
    broken_requests: int = 0
    uploads: int = 0
    """How many of the cases are uploads."""
    got_over: int = 0
    exit_codes: Counter[int] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    """Requests that a command did not make, so nothing went wrong."""
    by_fault: Counter[str] = field(default_factory=Counter)
    own_5xx: int = 0
    faults: list[str] = field(default_factory=list)


def all_cases() -> list[FaultCase]:
    """Make the whole table."""
    of_network = [
        FaultCase(target, fault, times)
        for target in TARGETS
        for fault in FAULTS
        if target.side in fault.sides
        for times in TIMES
        if not (times == ALWAYS and fault.how in ("stall", "endless", "slow"))  # a minute each, for the same answer
    ]
    of_machine = [
        FaultCase(replace(TARGETS[0], scenario=scenario.name, words=""), name, times)
        for scenario in SCENARIOS
        for name in LOCAL_FAULTS
        for times in TIMES
    ]
    return of_network + of_machine


def choose_cases(count: int, seed: int) -> list[FaultCase]:
    """Choose some, of each fault about as many."""
    rng = random.Random(seed)  # noqa: S311  it must come out the same again
    stacks: dict[str, list[FaultCase]] = {}
    for case in all_cases():
        stacks.setdefault(case.fault if isinstance(case.fault, str) else case.fault.name, []).append(case)
    for stack in stacks.values():
        rng.shuffle(stack)
    chosen: list[FaultCase] = []
    while len(chosen) < count and any(stacks.values()):
        chosen += [stack.pop() for stack in stacks.values() if stack]
    return chosen[:count]


def break_all(
    world: World, service: BreakingProxy, storage: BreakingProxy, cases: Sequence[FaultCase], *, jobs: int = 2
) -> Outcome:
    """Try cases; those whose path does not name them, one by one."""
    outcome = Outcome()
    before = service.own_faults
    work = [(each, world.make_case(each.target.scenario)) for each in cases]

    def run(pair: tuple[FaultCase, Case]) -> tuple[FaultCase, int, int, list[str]]:
        return pair[0], *_break_once(*pair, service=service, storage=storage)

    alone = [pair for pair in work if pair[0].target.is_shared]
    others = [pair for pair in work if not pair[0].target.is_shared]
    with ThreadPoolExecutor(jobs) as pool:
        results = [*pool.map(run, others)]
    results += map(run, alone)
    for case, hits, exit_code, faults in results:
        outcome.faults += [f"{case}: {fault}" for fault in faults]
        if not hits:
            outcome.missed[f"{case.target.scenario} {case.target.words}"] += 1
        else:
            outcome.cases += 1
            outcome.broken_requests += hits
            outcome.got_over += exit_code == 0
            outcome.uploads += case.target.scenario.startswith("upload")
            outcome.exit_codes[exit_code] += 1
            outcome.by_fault[case.fault if isinstance(case.fault, str) else case.fault.name] += 1
    outcome.own_5xx = service.own_faults - before
    return outcome


def _break_once(
    fault_case: FaultCase, case: Case, *, service: BreakingProxy, storage: BreakingProxy
) -> tuple[int, int, list[str]]:
    """Try one case: say how many requests went wrong, how the command ended, and what is not as it must be."""
    scenario, fault = _BY_NAME[fault_case.target.scenario], fault_case.fault
    arguments = scenario.prepare(case)
    if isinstance(fault, str):
        broken = NO_NETWORK.format(times=fault_case.times) + LOCAL_FAULTS[fault]
        run = case.run(arguments, program=broken + QUICK_WAITS)
        return 1, run.exit_code, _judge(fault_case, scenario, case, arguments, run)
    plan = Plan(fault, fault_case.target.fits, fault_case.times)
    with breaking_proxy(service.url, keeps_host=False) as own:
        case.laptop.environment["MGMT_API_URL"] = own.url  # also for what comes after: a journal keeps services apart
        target = fault_case.target
        word = "" if target.side == "service" or target.is_shared else f"/{case.name}"
        plans = own.plans if target.side == "service" else storage.plans
        plans[word] = plan
        try:
            run = case.run(arguments, program=IMPATIENT + QUICK_WAITS)
        finally:
            del plans[word]
        return plan.hits, run.exit_code, _judge(fault_case, scenario, case, arguments, run)


def _judge(fault_case: FaultCase, scenario: Scenario, case: Case, arguments: Sequence[str], run: Run) -> list[str]:
    """Say what is wrong with how a command ended, and with what is there once it has come to its end."""
    if run.exit_code not in ALLOWED or "Traceback" in run.stderr:
        return [f"ended with {run.exit_code}: {run.stderr}"]
    if fault_case.must_get_over and run.exit_code != 0:
        return [f"was not got over, but ended with {run.exit_code}: {run.stderr}"]
    if run.exit_code != 0:
        again = case.run(arguments)
        if again.exit_code != 0:
            return [f"the same command again ended with {again.exit_code}: {again.stderr}"]
    found = look(scenario, case)
    if fault_case.target.words == routes.END_DOWNLOADS.path:  # a report that never arrived: the worker ends the record
        found = [fault for fault in found if "record" not in fault]
    return found
