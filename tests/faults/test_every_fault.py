"""Every fault of a network and its servers, at every request of every command: once, and for ever.

What passes is got over in the same run. What stays ends the run with its own exit code, and once it is mended the same
command comes to its end: one object, right to the byte, one record of success, and nothing stray. The client is the
real one, and so is the service; `support.breaking` does some of it with real processes and sockets, where a part of a
request and a slow answer are what they are.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from urllib3.exceptions import NameResolutionError, NewConnectionError, ReadTimeoutError

from mgmt.network import Answer
from support.one_clock import BrokenError, FlippedError, OneClock, Request, one_clock
from support.trees import noise

MEMORY_DISK = Path("/dev/shm")
FOR_EVER = 10**6
RETRY_AFTER_SECONDS = 7
REPORTS = ("/uploads/clean-up", "/downloads/end")
"""What they tell of is done: one that is lost fails nothing, and a worker looks after the record."""


@dataclass(frozen=True)
class Fault:
    """One way to go wrong."""

    name: str
    happen: Callable[[], Answer | None]
    """Raises, or returns an answer that comes in place of the server's."""
    passes: bool = True
    """Whether a command gets over it where it happens once."""
    ends_with: int = 7
    """How a command ends where it happens for ever."""

    def expect(self, place: str, times: int) -> int:
        """Say how a command ends."""
        if place in REPORTS:
            return 0
        return 0 if times == 1 and self.passes else self.ends_with


def broken(**how) -> Callable[[], None]:
    def happen():
        raise BrokenError(**how)

    return happen


def flipped() -> None:
    raise FlippedError


def said_by_s3(status, code, **headers) -> Callable[[], Answer]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said by a test</Message></Error>".encode()
    told = {"content-type": "application/xml", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda: Answer(status, body, told, is_whole=True)


def said_by_gateway(status, body=b'{"message":"said by a test"}', *, is_whole=True, kind="application/json", **headers):
    told = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda: Answer(status, body, told, is_whole=is_whole)


OF_A_NETWORK = [
    Fault("refused", broken(error=NewConnectionError)),
    Fault("DNS fails", broken(error=NameResolutionError)),
    Fault("reset before the body", broken()),
    Fault("reset in the middle of the body", broken(after_share=0.5)),
    Fault("reset after the body", broken(after_share=1.0)),
    Fault("answer lost", broken(arrives=True)),
    Fault("stalled", broken(error=ReadTimeoutError, after_share=1.0)),
]
OF_A_STORAGE = [
    *OF_A_NETWORK,
    Fault("a bit flipped", flipped, ends_with=8),
    Fault("400 RequestTimeout", said_by_s3(400, "RequestTimeout")),
    Fault("400 ExpiredToken", said_by_s3(400, "ExpiredToken")),
    Fault("403 expired", said_by_s3(403, "AccessDenied")),
    Fault("403 skewed", said_by_s3(403, "RequestTimeTooSkewed")),
    Fault("404", said_by_s3(404, "NoSuchKey")),
    Fault("404 of the upload", said_by_s3(404, "NoSuchUpload")),
    Fault("409", said_by_s3(409, "ConditionalRequestConflict")),
    Fault("412", said_by_s3(412, "PreconditionFailed")),
    Fault("429", said_by_s3(429, "SlowDown")),
    Fault("429 with Retry-After", said_by_s3(429, "SlowDown", retry_after=str(RETRY_AFTER_SECONDS))),
    Fault("503", said_by_s3(503, "SlowDown")),
    Fault("503 with Retry-After", said_by_s3(503, "SlowDown", retry_after=str(RETRY_AFTER_SECONDS))),
    Fault("500", said_by_s3(500, "InternalError")),
    Fault("307 to another host", said_by_s3(307, "TemporaryRedirect", location="https://elsewhere.example/")),
    Fault("200 with an error body", said_by_s3(200, "InternalError")),
    Fault("HTML", said_by_gateway(200, b"<html>Please sign in</html>", kind="text/html")),
    Fault("endless body", said_by_gateway(200, b" " * 70_000, kind="text/html", is_whole=False)),
]
OF_A_SERVICE = [
    *OF_A_NETWORK,
    Fault("400", said_by_gateway(400), passes=False),
    Fault("401", said_by_gateway(401), passes=False, ends_with=5),
    Fault("403", said_by_gateway(403), passes=False, ends_with=6),
    Fault("404", said_by_gateway(404), passes=False),
    Fault("409", said_by_gateway(409), passes=False),
    Fault("412", said_by_gateway(412), passes=False),
    Fault("413", said_by_gateway(413), passes=False, ends_with=6),
    Fault("429", said_by_gateway(429)),
    Fault("429 with Retry-After", said_by_gateway(429, retry_after=str(RETRY_AFTER_SECONDS))),
    Fault("500", said_by_gateway(500)),
    Fault("502", said_by_gateway(502)),
    Fault("503", said_by_gateway(503)),
    Fault("503 with Retry-After", said_by_gateway(503, retry_after=str(RETRY_AFTER_SECONDS))),
    Fault("504", said_by_gateway(504)),
    Fault("HTML", said_by_gateway(200, b"<html>Please sign in</html>", kind="text/html"), passes=False),
    Fault("truncated JSON", said_by_gateway(200, b'{"results":[{"operation_id":"01'), passes=False),
    Fault("200 with an error body", said_by_gateway(200, b"<Error/>", kind="application/xml"), passes=False),
    Fault("endless body", said_by_gateway(200, b" " * 7_000_001, is_whole=False), passes=False),
]


@dataclass
class Case:
    """One command with sources of its own, in a world that others use too."""

    at: OneClock
    name: str

    def upload(self, size_bytes):
        Path(self.name).write_bytes(noise(size_bytes))
        return ["upload", self.name, "--jobs", "1"]

    def store(self):
        assert self.at.run(*self.upload(20_000)) == 0

    def find_faults_of_upload(self):
        versions = self.at.studio.objects.versions.get(f"{self.name}.tar.gz", [])
        if len(versions) != 1:
            return [f"{len(versions)} versions"]
        with tarfile.open(fileobj=io.BytesIO(versions[0][1]), mode="r:gz") as archive:
            file = archive.extractfile(self.name)
            is_right = file is not None and file.read() == Path(self.name).read_bytes()
        statuses = [each.record.status for each in self.operations("upload")]
        found = {
            "other bytes": not is_right,
            f"records: {statuses}": statuses.count("success") != 1 or "pending" in statuses,
            "an open multipart upload": bool(self.at.studio.objects.uploads),
            "stray files": bool(list(Path.cwd().glob("*.tar.gz*"))),
        }
        return [what for what, is_so in found.items() if is_so]

    def operations(self, kind):
        every = self.at.studio.records.operations.values()
        key = f"{self.name}.tar.gz"
        return [each for each in every if (each.record.s3_object_key, each.record.operation_type) == (key, kind)]


def prepare_small(case):
    return case.upload(20_000)


def prepare_large(case):
    return case.upload(300_000)


def prepare_download(case):
    case.store()
    Path(f"to-{case.name}").mkdir()
    return ["download", case.name, "--to", f"to-{case.name}"]


def find_faults_of_archive(case):
    [path] = Path(f"to-{case.name}").iterdir()
    is_right = path.read_bytes() == case.at.studio.objects.read(f"{case.name}.tar.gz")
    return [*([] if is_right else ["other bytes"]), *find_faults_of_record(case, "download")]


def find_faults_of_tree(case):
    [path] = Path(f"to-{case.name}").iterdir()
    is_right = path.read_bytes() == Path(case.name).read_bytes()
    return [*([] if is_right else ["other bytes"]), *find_faults_of_record(case, "download")]


def find_faults_of_record(case, kind):
    statuses = [each.record.status for each in case.operations(kind)]
    return [] if statuses.count("success") == 1 else [f"records: {statuses}"]


def prepare_delete(case):
    case.store()
    return ["delete", "--yes", case.name]


COMMANDS = {
    "upload, whole": (prepare_small, Case.find_faults_of_upload),
    "upload, in parts": (prepare_large, Case.find_faults_of_upload),
    "download": (prepare_download, find_faults_of_archive),
    "download --extract": (lambda case: [*prepare_download(case), "--extract"], find_faults_of_tree),
    "delete": (prepare_delete, lambda case: find_faults_of_record(case, "delete")),
}
REQUESTS = [
    ("upload, whole", "POST", "/uploads/start"),
    ("upload, whole", "PUT", "object"),
    ("upload, whole", "POST", "/uploads/complete"),
    ("upload, whole", "POST", "/uploads/clean-up"),
    ("upload, in parts", "POST", "/uploads/start"),
    ("upload, in parts", "POST", "/uploads/sign"),
    ("upload, in parts", "PUT", "part"),
    ("upload, in parts", "PUT", "index"),
    ("upload, in parts", "POST", "/uploads/complete"),
    ("download", "GET", "/history"),
    ("download", "POST", "/downloads/open"),
    ("download", "GET", "object"),
    ("download", "POST", "/downloads/end"),
    ("download --extract", "POST", "/downloads/open"),
    ("download --extract", "GET", "object"),
    ("download --extract", "POST", "/downloads/end"),
    ("delete", "GET", "/history"),
    ("delete", "POST", "/uploads/delete"),
]


FOR_EVER_TOO = {
    ("upload, whole", "POST", "/uploads/start"),
    ("upload, whole", "PUT", "object"),
    ("upload, in parts", "POST", "/uploads/sign"),
    ("upload, in parts", "PUT", "part"),
    ("download", "POST", "/downloads/open"),
    ("download", "GET", "object"),
    ("delete", "POST", "/uploads/delete"),
}
"""Where a fault is also tried for ever: the others are called in the same way as one of these."""


def fits(request: Request, method: str, place: str) -> bool:
    if request.method != method:
        return False
    if place.startswith("/"):
        return not request.is_to_storage and request.path.endswith(place)
    kind = "part" if request.part_number else "index" if "/.mgmt/" in request.path else "object"
    return request.is_to_storage and kind == place


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A client of little patience, so that what stays ends soon; in memory, where nothing waits for a disk."""
    place = MEMORY_DISK if MEMORY_DISK.is_dir() else tmp_path
    with (
        tempfile.TemporaryDirectory(dir=place, prefix="mgmt-test-") as folder,
        one_clock(Path(folder), monkeypatch, budget_seconds=60) as world,
    ):
        yield world


def run_with(at: OneClock, fault: Fault, times: int, arguments: list[str], method: str, place: str) -> tuple[int, int]:
    """Run a command that meets a fault so many times; return its exit code and how often it met it."""
    hits = 0

    def meet(request):
        nonlocal hits
        if hits < times and fits(request, method, place):
            hits += 1
            return fault.happen()
        return None

    at.on = meet
    exit_code = at.run(*arguments)
    at.on = lambda _: None
    return exit_code, hits


@pytest.mark.parametrize(("command", "method", "place"), REQUESTS)
def test_it_is_got_over_or_told_and_the_same_command_comes_to_its_end(at, command, method, place, capsys, monkeypatch):
    prepare, find_faults = COMMANDS[command]
    if place == "/downloads/end":
        monkeypatch.setattr(sys.modules[__name__], "find_faults_of_record", lambda *_: [])
    wrong = []
    for number, fault in enumerate(OF_A_SERVICE if place.startswith("/") else OF_A_STORAGE):
        for times in (1, FOR_EVER) if (command, method, place) in FOR_EVER_TOO else (1,):
            case = Case(at, f"source-{number}-{times}")
            arguments = prepare(case)
            capsys.readouterr()
            at.paused_seconds.clear()
            exit_code, hits = run_with(at, fault, times, arguments, method, place)
            said = capsys.readouterr().err
            again = at.run(*arguments) if exit_code != 0 else 0
            expected = fault.expect(place, times)
            waits_long = "with Retry-After" in fault.name and place not in REPORTS
            if exit_code == 0 and waits_long != (sum(at.paused_seconds) >= RETRY_AFTER_SECONDS):
                wrong.append(f"{fault.name}, {times} times: waited {sum(at.paused_seconds)} s")
            wrong += [f"{fault.name}, {times} times: {each}" for each in find_faults(case)]
            if (exit_code, again) != (expected, 0) or not hits or "Traceback" in said:
                wrong.append(
                    f"{fault.name}, {times} times ({hits}): {exit_code} (expected {expected}), then {again}: {said}"
                )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "fault", [each for each in OF_A_STORAGE if each.name[:3] in ("404", "412")], ids=lambda each: each.name
)
@pytest.mark.parametrize(("prepare", "place"), [(prepare_small, "object"), (prepare_large, "part")])
def test_a_storage_that_contradicts_the_service_is_said_to_and_nothing_is_given_up(at, fault, prepare, place, capsys):
    """It never said that it has the bytes: so it has lost none, and the upload stays as it is."""
    case = Case(at, "source")
    arguments = prepare(case)
    exit_code, _ = run_with(at, fault, FOR_EVER, arguments, "PUT", place)
    said = capsys.readouterr().err
    assert (exit_code, [each.record.status for each in case.operations("upload")]) == (7, ["pending"])
    answer = fault.happen()
    assert f"the storage answers {answer.status}" in said
    assert "still to be sent" in said
    assert "the same command goes on from here" in said
    assert "stored the bytes" not in said
    assert sum(at.paused_seconds) > 0, "it is not asked five times in a row at once"


def prepare_undelete(case):
    assert case.at.run(*prepare_delete(case)) == 0
    return ["undelete", "--yes", case.name]


def prepare_cancel(case):
    def interrupt(request):
        if request.method == "PUT":
            raise KeyboardInterrupt

    arguments = prepare_small(case)
    case.at.on = interrupt
    assert case.at.run(*arguments) == 130
    return ["cancel", "--yes", case.name]


def prepare_dry_run(case):
    return [*prepare_small(case), "--dry-run"]


def prepare_safe(case):
    case.store()
    return ["safe", case.name]


def prepare_show(case):
    case.store()
    [operation] = case.operations("upload")
    return ["show", operation.id]


def prepare_restore(case):
    assert case.at.run(*prepare_small(case), "--storage-class", "GLACIER") == 0
    return ["download", "--yes", case.name]


def test_a_restore_whose_answer_is_lost_is_asked_of_the_storage_once(at):
    """It costs money each time."""
    for number, fault in enumerate([each for each in OF_A_SERVICE if each.passes]):
        arguments = prepare_restore(Case(at, f"source-{number}"))
        assert run_with(at, fault, 1, arguments, "POST", "/downloads/restore") == (7, 1), "it takes hours"
        assert len(at.studio.objects.restores) == number + 1


OTHER_ROUTES = [
    ("/uploads/look-up", prepare_show),
    ("/service", prepare_delete),
    ("/uploads/undelete", prepare_undelete),
    ("/uploads/fail", prepare_cancel),
    ("/uploads/preview", prepare_dry_run),
    ("/objects/look", prepare_safe),
    ("/me", lambda _: ["whoami"]),
]


@pytest.mark.parametrize(("route", "prepare"), OTHER_ROUTES)
@pytest.mark.parametrize("fault", [each for each in OF_A_SERVICE if each.passes], ids=lambda each: each.name)
def test_calls_of_other_commands_are_repeated_too(at, route, prepare, fault):
    arguments = prepare(Case(at, "source"))
    at.asked.clear()
    exit_code, hits = run_with(at, fault, 1, arguments, "GET" if route in ("/service", "/me") else "POST", route)
    assert (exit_code, hits) == (0, 1)
    assert at.count(route) >= 2
