"""Runs commands and says what they cost: wall time, processor time of the whole family, peak memory.

A child's peak memory counts from its parent's size on (Linux carries it over an exec), so the process that
measures stays small: it imports little, and makes no data itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

TESTS: Final = Path(__file__).resolve().parents[1]
"""Where the package `bench` is imported from."""
COMMAND_SECONDS_MAX: Final = 900.0
_RSS_UNIT_BYTES: Final = 1 if sys.platform == "darwin" else 1024
_SAID_MAX_BYTES: Final = 4_000
_SHOWN_WORDS: Final = 400
_STOP_SECONDS: Final = 20.0


class BenchError(Exception):
    """A command of the benchmark did not do what it is measured at; the sentence says what it said."""


@dataclass(frozen=True)
class Command:
    """Something to measure."""

    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    output: Path | None = None
    """What it makes: its size is noted, then it is removed."""
    after: Callable[[], None] = lambda: None
    """Puts things back; not measured."""
    before: Callable[[], None] = lambda: None
    """Prepares things, when all that was made before is on the disk; not measured."""


@dataclass(frozen=True)
class Cost:
    """What one run of a command took."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Of the largest process of the family."""
    output_bytes: int | None = None


@dataclass(frozen=True)
class Costs:
    """Several runs of the same."""

    runs: tuple[Cost, ...]

    @property
    def wall_seconds(self) -> float:
        """Median wall time."""
        return statistics.median(run.wall_seconds for run in self.runs)

    @property
    def cpu_seconds(self) -> float:
        """Median processor time."""
        return statistics.median(run.cpu_seconds for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """The most memory of any run."""
        return max(run.peak_bytes for run in self.runs)

    @property
    def output_bytes(self) -> int:
        """Size of what was made."""
        return self.runs[0].output_bytes or 0

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        medians = {"wall_seconds": self.wall_seconds, "cpu_seconds": self.cpu_seconds, "peak_bytes": self.peak_bytes}
        return {**medians, "runs": [asdict(run) for run in self.runs]}


def interleave(contenders: Mapping[str, tuple[int, Callable[[], Command]]]) -> dict[str, Costs]:
    """Measure contenders in turns (a b c, a b, a), so that a busy minute hurts all of them alike.

    Who runs more than twice runs once before that, uncounted: reading data again, and memory that the machine has
    given out before, cost less than the first time. The short form has no time for it.

    Args:
        contenders: By name, how often each runs and what makes its next command.
    """
    for count, make in contenders.values():
        if count > 2:
            measure(make())
    runs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for turn in range(max(count for count, _ in contenders.values())):
        for name, (count, make) in contenders.items():
            if turn < count:
                runs[name].append(measure(make()))
    return {name: Costs(tuple(costs)) for name, costs in runs.items()}


def measure(command: Command) -> Cost:
    """Run a command to its end and say what it took.

    A process begins as a copy of the one that starts it, so no peak of memory shows below that of this process.

    Raises:
        BenchError: If it fails or takes too long.
    """
    os.sync()  # so that no run pays for writing out what was made before
    command.before()
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = _start(command, said)
        status, usage = _wait(process)
        wall_seconds = time.perf_counter() - began
        if status:
            words = " ".join(command.words)[:_SHOWN_WORDS]
            raise BenchError(f"{words}\nended with {status} and said:\n{_read_end(said)}")
    output_bytes = _take_output(command.output)
    command.after()
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Cost(wall_seconds, cpu_seconds, usage.ru_maxrss * _RSS_UNIT_BYTES, output_bytes)


def _start(command: Command, said: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.words,
        env={**bare_environment(), **command.environment},
        cwd=command.folder,
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, Any]:
    """Wait for the family's end; on time-out or interruption all of it is killed."""

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(COMMAND_SECONDS_MAX, kill)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        kill()
        raise
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def _take_output(path: Path | None) -> int | None:
    if path is None:
        return None
    size_bytes = path.stat().st_size
    path.unlink()
    return size_bytes


def bare_environment() -> dict[str, str]:
    """Make an environment without any of the user's own settings of Python, mgmt, AWS or rclone."""
    theirs = ("AWS_", "BOTO", "MGMT_", "PYTHON", "RCLONE_")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(theirs)}
    return {
        **kept,
        "PYTHONPATH": str(TESTS),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def ask(module: str, *words: str, environment: Mapping[str, str] | None = None) -> Any:
    """Run a module of the benchmark and return the JSON it prints as its last line.

    Raises:
        BenchError: If it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        env={**bare_environment(), **(environment or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise BenchError(f"{module} {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return json.loads(lines[-1])  # whatever is said before is a log's


class Server:
    """A module of the benchmark that serves in a process of its own until its input ends."""

    def __init__(self, process: subprocess.Popen[str], log: IO[bytes]) -> None:
        self._process = process
        self._log = log

    def tell(self, **words: Any) -> Any:
        """Say something to it and return its answer; both are JSON lines.

        Raises:
            BenchError: If it has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self._process.args!r} has ended and said:\n{_read_end(self._log)}")
        return json.loads(line)


@contextlib.contextmanager
def serving(module: str, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run a serving module for as long as the block lasts."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            env={**bare_environment(), **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield Server(process, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _read_end(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _SAID_MAX_BYTES))
    return file.read().decode(errors="replace")


def answer_lines(answer: Callable[[dict[str, Any]], Any]) -> None:
    """Be such a server: answer each line of the input until it ends."""
    # An interrupt on the terminal reaches everybody; the measuring process says when it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # a library that logs to the output is not to be taken for an answer
        for line in sys.stdin:
            answers.write(json.dumps(answer(json.loads(line))) + "\n")
            answers.flush()
