"""Real commands, in this process, against a service and a storage whose answers are made wrong in one place or more.

`python -m support.fuzzed_answers --count 20000 --seed 1` prints what it came to as a line of JSON. What must hold:
no answer ends as a bug (exit code 1), none holds a command for longer than its deadline, none takes much memory, and
the sources stay as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import gzip
import io
import itertools
import json
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mgmt import session, storage
from mgmt.cli.main import main as run_mgmt
from mgmt.network import Bounds, make_timeout
from mgmt.network.retry import Patience
from mgmt.service import calls
from mgmt.storage import receiving
from mgmt_contract.parts import MIB
from support.paper_service import PaperService

ANSWER_SECONDS: Final = 0.5
"""Instead of the product's two minutes: for a whole answer, and for a silence."""
RUN_SECONDS: Final = 20.0
"""For a whole command, in which one answer is slow: far more than it needs, on a machine that does other things too."""
SOURCE: Final = bytes(range(256)) * 80
SOURCES: Final = ("clip", "other", "card/a", "card/b")
COMMANDS: Final = (
    *[("upload", "clip")] * 4,
    *[("upload", "clip", "card", "other")] * 2,
    ("upload", "--dry-run", "clip", "card"),
    ("--json", "upload", "clip"),
    ("history",),
    ("--json", "history", "--all"),
    ("history", "--csv"),
    ("show", "stored"),
    ("show", "01a2041b-befb-730e-9a3c-9ad5ec9c722f"),
    *[("download", "stored", "--to", "out")] * 2,
    *[("download", "stored-in-parts", "--extract", "--to", "out")] * 2,
    *[("download", "stored-in-parts", "--only", "a", "--to", "out")] * 2,
    ("--json", "download", "stored", "--extract", "--to", "out"),
    *[("contents", "stored-in-parts")] * 2,
    ("--json", "contents", "stored"),
    *[("safe", "card")] * 2,
    ("--json", "safe", "card", "--read-back"),
    *[("delete", "stored", "--yes")] * 2,
    ("undelete", "stored", "--yes"),
    ("whoami",),
)
MODERN: Final = {"recoverable_days": 30, "optional_fields": ["sign.index"]}
IN_PARTS: Final = {"single_put_max_bytes": 100}
"""Every archive goes in parts."""
STORED: Final = ("stored", "stored-in-parts", "card")
"""Uploads that were made before: one whole, the others in parts, with an index."""
UNSEEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What moves a cursor, colours a terminal, turns the writing direction or ends a line where no line ends."""
OUTCOMES: Final = (
    "put", "multipart", "already_there", "claimed_same", "name_taken", "done", "problem", "signed", "incomplete",
    "completing", "record", "free", "taken", "of-tomorrow", "opened", "archived", "restoring", "gone", "differs",
    "there", "already",
)  # fmt: skip
CODES: Final = (
    "name-taken",
    "operation-failed",
    "part-differs",
    "changed-meanwhile",
    "too-many-requests",
    "of-tomorrow",
)
NUMBER_OF_5000_DIGITS: Final = "<5000 digits>"
DEEP: Final = "<100000 lists>"
TOO_LARGE: Final = "<1e999>"
NASTY: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**53, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf"),
    NUMBER_OF_5000_DIGITS, DEEP, TOO_LARGE, "", " ", "x", "\0", "\x1b[2J", "\ud800", "é" * 50, "x" * 100_000,
    [], {}, [[]], [None], {"a": {}}, [1, "2", None],
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "now",
    "http://storage.example/k", "https://[::1", "//x", "file:///etc/passwd", "https://127.0.0.1:9/k", "http://127.0.0.1:0/",
    "a\r\nb: c", "../../x", "nan", "\x9b2J", "\u202egpj.exe", "a\u2028b\x85c", "/etc/passwd", "=cmd()", "C:\\x",
    '{"type":"error"}', "-rf", "%s%n", "<b>",
)  # fmt: skip
STATUSES: Final = (
    0, 100, 101, 199, 200, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 405, 407, 408, 409, 412, 413, 418, 425,
    429, 500, 501, 502, 503, 504, 511, 599, 999,
)  # fmt: skip
HEADERS: Final = (
    b"content-type: text/html", b"content-type: application/problem+json", b"content-type:",
    b"content-length: -1", b"content-length: 7", b"content-length: 99999999999999999999", b"content-length: x",
    b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked",
    b"content-encoding: gzip", b"content-encoding: br, gzip",
    b"retry-after: -5", b"retry-after: 99999999999999999999999999", b"retry-after: \xb2",
    b"location: /", b"connection: close", b"apigw-requestid: \x1b[2J",
    b"x" * 70_000, b"no colon", b": no name", b"\xff\xfe: \x00", b"\r\n".join([b"x-%d: y" % n for n in range(300)]),
)  # fmt: skip
BOMB: Final = b"".join(gzip.compress(b" " * MIB) for _ in range(200))
_NEVER: Final = threading.Event()


class Fuzzer:
    """Makes one answer of a run, or all from one on, into something else."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.changed = 0

    def begin(self, service: PaperService) -> None:
        """Choose what this run's service answers."""
        rng, self._calls, self._is_changed = self._rng, 0, False
        self._first = rng.choice((0, 0, 0, 0, 1, 1, 2, 3))
        self._goes_on = rng.random() < 0.1
        service.limits |= MODERN
        if rng.random() < 0.5:
            service.limits |= IN_PARTS
        service.change = self._change
        service.mangle = self._mangle

    def _is_turn(self) -> bool:
        return self._calls == self._first or (self._goes_on and self._calls > self._first)

    def _change(self, what: str, answer: Any) -> Any:
        self._is_changed = self._is_turn() and self._rng.random() < 0.7
        if not self._is_changed:
            return answer
        answer = copy.deepcopy(answer)
        for _ in range(self._rng.choice((1, 1, 1, 2, 4))):
            answer = self._change_once(answer)
        return answer

    def _change_once(self, answer: Any) -> Any:
        rng, places = self._rng, list(_places(answer))
        if not places or rng.random() < 0.02:
            return rng.choice(NASTY)
        holder, key = rng.choice(places)
        match rng.randrange(8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(holder[key]))
            case 2 if isinstance(holder, dict):
                holder[rng.choice(("problem", "record", "existing", "of-tomorrow"))] = copy.deepcopy(rng.choice(NASTY))
            case 3:
                for each, name in places:
                    if name == "outcome":
                        each[name] = rng.choice(OUTCOMES)
                    elif name == "results" and rng.random() < 0.3:
                        each[name] = each[name] * 2 if rng.random() < 0.5 else []
            case 4 if isinstance(holder, dict):
                code = rng.choice(CODES)
                problem = {
                    "type": "t",
                    "title": "t",
                    "status": 409,
                    "code": code,
                    "detail": "d",
                    "retry_after_seconds": 9,
                }
                holder["problem"] = problem
            case _:
                holder[key] = copy.deepcopy(rng.choice(NASTY))
        return answer

    def _mangle(self, what: str, whole: bytes) -> Iterable[bytes] | None:
        is_turn = self._is_turn()
        self._calls += 1
        if not is_turn:
            return None
        self.changed += 1
        whole = whole.replace(json.dumps(NUMBER_OF_5000_DIGITS).encode(), b"9" * 5000)
        whole = whole.replace(json.dumps(DEEP).encode(), b"[" * 100_000 + b"]" * 100_000)
        whole = whole.replace(json.dumps(TOO_LARGE).encode(), b"1e999")
        head, _, body = whole.partition(b"\r\n\r\n")
        if (
            what not in ("put", "get") and self._is_changed and self._rng.random() < 0.8
        ):  # in what it says, and not in how
            return [_with_length(head, body)]
        return self._mangle_bytes(head, body)

    def _mangle_bytes(self, head: bytes, body: bytes) -> Iterable[bytes]:
        rng = self._rng
        slow = 0.0 if self._goes_on else 0.01
        ways: list[tuple[float, Callable[[], Iterable[bytes]]]] = [
            (1.0, lambda: [self._scramble(head + b"\r\n\r\n" + body)]),
            (1.0, lambda: [head + b"\r\n\r\n" + self._scramble(body)]),
            (1.0, lambda: [_with_status(head, rng.choice(STATUSES)) + b"\r\n\r\n" + body]),
            (0.5, lambda: [_with_status(head, rng.choice(STATUSES)) + b"\r\n\r\n" + _error_of_s3(rng)]),
            (1.0, lambda: [head + b"\r\n" + rng.choice(HEADERS) + b"\r\n\r\n" + body]),
            (0.5, lambda: [b"HTTP/1.1 200 OK\r\n" + rng.choice(HEADERS) + b"\r\n\r\n" + body]),
            (0.3, lambda: [_chunked(rng, body)]),
            (0.3, lambda: [rng.randbytes(rng.randrange(200))]),
            (0.2, list),
            (0.1, lambda: [b"HTTP/1.1 100 Continue\r\n\r\n"] * 500 + [head + b"\r\n\r\n" + body]),
            (
                slow,
                lambda: itertools.chain(
                    [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"], [b" " * MIB] * 40
                ),
            ),
            (
                slow,
                lambda: [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\r\n" + BOMB],
            ),
            (
                slow,
                lambda: [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[" + b"[]," * 2_300_000 + b"1]"],
            ),
            (slow, lambda: _drip(head + b"\r\n\r\n" + body, rng.randrange(1, 200))),
            (slow, lambda: _drip(itertools.chain([head + b"\r\n\r\n"], itertools.repeat(b" ")), 1)),
        ]
        [(_, way)] = rng.choices(ways, [weight for weight, _ in ways])
        return way()

    def _scramble(self, text: bytes) -> bytes:
        rng, data = self._rng, bytearray(text)
        if not data:
            return rng.randbytes(5)
        for _ in range(rng.choice((1, 1, 2, 10))):
            at = rng.randrange(len(data) + 1)
            upto = min(len(data), at + rng.choice((0, 1, 1, 5, 50, 1000)))
            data[at:upto] = rng.choice(
                (b"", b"\0", b'"', b"[", b"\xff", b"\r\n", bytes(data[at:upto]) * 2, rng.randbytes(3))
            )
        return bytes(data)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _with_length(head: bytes, body: bytes) -> bytes:
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


def _with_status(head: bytes, status: int) -> bytes:
    _, _, rest = head.partition(b"\r\n")
    return b"HTTP/1.1 %03d Whatever\r\n" % status + rest


def _error_of_s3(rng: random.Random) -> bytes:
    code = rng.choice(
        ("BadDigest", "NoSuchUpload", "SlowDown", "RequestTimeout", "AccessDenied", "PreconditionFailed", "")
    )
    return f"<Error><Code>{code}</Code></Error>".encode()


def _chunked(rng: random.Random, body: bytes) -> bytes:
    size = rng.choice((b"%x" % len(body), b"-1", b"-5", b"ffffffffffffffff", b"zz", b"0", b"", b"1" * 70_000))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + size + b"\r\n" + body + b"\r\n0\r\n\r\n"


def _drip(pieces: bytes | Iterable[bytes], size: int) -> Iterator[bytes]:
    if isinstance(pieces, bytes):
        pieces = [pieces[at : at + size] for at in range(0, len(pieces), size)]
    for piece in pieces:
        yield piece
        _NEVER.wait(0.02)


class _SkippingPatience(Patience):
    """Waits without waiting: only its clock goes on."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._skipped_seconds = 0.0
        super().__init__(*arguments, monotonic=lambda: time.monotonic() + self._skipped_seconds, **named)

    def _pause(self, seconds: float) -> None:
        self._skipped_seconds += seconds


@contextlib.contextmanager
def _patched() -> Iterator[None]:
    """Shorten the product's times, so that thousands of runs end today."""
    replaced = [
        (calls, "ANSWER_MAX_SECONDS", ANSWER_SECONDS),
        (calls, "make_timeout", lambda seconds: make_timeout(seconds, ANSWER_SECONDS)),
        (storage, "READ_TIMEOUT_SECONDS", ANSWER_SECONDS),
        (storage, "ANSWER_MAX_SECONDS", ANSWER_SECONDS),
        (storage, "_ANSWER_BOUNDS", Bounds(ANSWER_SECONDS, 64 * 1024)),
        (receiving, "READ_TIMEOUT_SECONDS", ANSWER_SECONDS),
        (receiving, "ANSWER_MAX_SECONDS", ANSWER_SECONDS),
        (session, "Patience", _SkippingPatience),
        (gc, "freeze", lambda: None),  # each run would keep what the one before has left
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    for module, name, value in replaced:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@dataclass
class Report:
    """What many runs came to."""

    seed: int
    runs: int = 0
    changed_answers: int = 0
    exit_codes: Counter[int] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    peak_mb: float = 0.0
    faults: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Write it as one line."""
        plain = {**vars(self), "exit_codes": dict(sorted(self.exit_codes.items()))}
        return json.dumps(plain)


class _Laptop:
    """A work folder and a state folder, made anew now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.work = folder / "work"

    def tidy(self) -> None:
        """Make everything as it was; what the last run has left stays, some of the time, for the next one to meet."""
        self._count += 1
        shutil.rmtree(self.work / "out", ignore_errors=True)
        (self.work / "out").mkdir(parents=True)
        if self._count % 5 == 1:
            shutil.rmtree(self._folder / "state", ignore_errors=True)
            shutil.rmtree(self.work, ignore_errors=True)
            for name in ("card", "out"):
                (self.work / name).mkdir(parents=True)
            for name in SOURCES:
                (self.work / name).write_bytes(SOURCE)

    def strays(self) -> list[str]:
        """Name what lies outside of where a command may write."""
        known = {"state", "work", "config"}
        return [path.name for path in self._folder.iterdir() if path.name not in known]

    def is_whole(self) -> bool:
        """Tell whether every source is what it was."""
        return all((self.work / name).read_bytes() == SOURCE for name in SOURCES)


def fuzz(count: int, seed: int, folder: Path, only: int | None = None) -> Report:
    """Change answers until there were so many; each run's changes follow from its number, so one can be had again."""
    report = Report(seed)
    laptop = _Laptop(folder)
    service = PaperService()
    os.environ.update(
        MGMT_CONFIG=str(folder / "config"), MGMT_STATE_DIR=str(folder / "state"), MGMT_TOKEN="sesame",
        MGMT_API_URL=service.url, HOME=str(folder),
    )  # fmt: skip
    laptop.tidy()
    os.chdir(laptop.work)
    try:
        with _patched():
            stored = _store(service)
            for number in itertools.count() if only is None else [only]:
                if only is None and report.changed_answers >= count:
                    break
                service.reset()
                service.records.update(copy.deepcopy(stored))
                _run_once(report, random.Random(f"{seed}-{number}"), number, laptop, service)  # noqa: S311
    finally:
        os.chdir("/")
        service.close()
    report.peak_mb = _read_peak_mb()
    return report


def _store(service: PaperService) -> dict[str, Any]:
    """Upload what is fetched and deleted later; return its records."""
    service.keeps = True
    for name in STORED:
        service.limits |= MODERN | ({} if name == "stored" else IN_PARTS)
        source, more = ("clip", ("--as", name)) if name == "stored" else ("card", ("--as", name))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert run_mgmt(["upload", source, *more]) == 0
    service.keeps = False
    return copy.deepcopy(service.records)


def _read_peak_mb() -> float:
    """Read the most memory that this program has taken; what `getrusage` tells begins with its parent's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000_000  # macOS counts bytes
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1000


def _run_once(report: Report, rng: random.Random, number: int, laptop: _Laptop, service: PaperService) -> None:
    laptop.tidy()
    os.chdir(laptop.work)
    fuzzer = Fuzzer(rng)
    service.records["01a2041b-befb-730e-9a3c-9ad5ec9c722f"] = service._record(
        "01a2041b-befb-730e-9a3c-9ad5ec9c722f", "success", None
    )
    command = rng.choice(COMMANDS)
    fuzzer.begin(service)
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            exit_code = run_mgmt(list(command))
        except Exception:  # noqa: BLE001  the outermost edge let it through
            traceback.print_exc()
            exit_code = 1
    seconds = time.monotonic() - began
    report.runs += 1
    report.changed_answers += fuzzer.changed
    report.exit_codes[exit_code] += 1
    report.slowest_seconds = round(max(report.slowest_seconds, seconds), 2)
    faults = {
        "a bug": exit_code == 1,
        "too slow": seconds > RUN_SECONDS,
        "a traceback": "Traceback" in err.getvalue(),
        "a source was touched": not laptop.is_whole(),
        "a sign that a terminal obeys": UNSEEN.search(out.getvalue() + err.getvalue()) is not None,
        f"strays {laptop.strays()}": bool(laptop.strays()),
    }
    report.faults += [
        f"run {number}: {fault}: {command}: {err.getvalue()[:500]}" for fault, is_so in faults.items() if is_so
    ]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many answers to change")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="RUN", help="do one run of that number again")
    options = parser.parse_args()
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="mgmt-fuzz-", dir=in_memory if in_memory.is_dir() else None) as folder:
        report = fuzz(options.count, options.seed, Path(folder), options.only)
    sys.stdout.write(report.to_json() + "\n")


if __name__ == "__main__":
    main()
