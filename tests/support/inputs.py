"""Inputs as a person hands them to the command, and everything that must hold whatever they are.

A test says in a `Case` what goes in and what must come out. `Desk.check` compares, and adds what holds for
every input: no traceback, no escape codes, the source as it was, nothing left beside it or in mgmt's own
folders, and in the storage exactly what was to be stored, as a real `tar` unpacks it.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from support.inputs_list import ENTRIES
from support.inputs_table import ROW, Row
from support.team import Laptop, Run, Team
from support.trees import describe

Arrange = Callable[[Path], object]
Seen = dict[bytes, tuple[int, ...]]
Compare = Callable[[Path, Path, Path, Sequence[str]], object]
"""Holds a fetched archive against its source, with a scratch folder and the paths that are left out."""

NOTHING: Final[Mapping[str, str]] = {}
WITHOUT_PRIVILEGE: Final = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""The superuser may read and write everything; without these two rights it is an ordinary owner of files."""
_STATE_NAMES: Final = {"journal.sqlite", "known-names", "machine-id", "locks", "log"}
_LOCKS_KEPT: Final = {"machine-id.lock", "uploads.lock"}
_WHAT_IT_DOES: Final = {
    2: "says what the command line lacks",
    3: "uploads the others",
    4: "refuses the source",
    5: "asks for a sign-in",
    6: "is refused by the service",
    7: "gives up; the same command resumes",
    9: "stops: the disk or the folder",
    10: "stops: not configured",
    130: "stops; the same command resumes",
}


@dataclass(frozen=True)
class Case:
    """One input and what must come of it; the words are those of the table."""

    entry: str
    """Which entry of the list it belongs to."""
    given: str
    """The input in words, if the entry does not say it all."""
    arguments: Sequence[str]
    exit_code: int
    says: Sequence[str] = ()
    """What the sentence must hold: what happened, what was expected, what to do next."""
    arrange: Arrange = lambda _: None
    """Makes the input in the work folder."""
    stores: Mapping[str, str] = field(default_factory=dict)
    """Every object that must be there afterwards: its name below the case's prefix, and the source in it."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    is_ordinary_user: bool = False
    leaves_out: Sequence[str] = ()
    """Paths that are in the source and not in the archive."""


def each(*cases: Case) -> pytest.MarkDecorator:
    """Run a test for each case."""
    return pytest.mark.parametrize("case", [_as_parameter(case) for case in cases])


def _as_parameter(case: Case) -> Any:
    name = f"{case.entry}: {case.given}" if case.given else case.entry
    return pytest.param(case, marks=pytest.mark.entry(case.entry, case.given), id=name.replace(" ", "-"))


@dataclass
class Desk:
    """One person at a laptop, one input, and what was there before the command ran."""

    team: Team
    laptop: Laptop
    entry: str
    given: str
    note: Callable[[str, object], None]
    prefix: str
    is_ordinary_user: bool = False
    compare: Compare = field(default_factory=lambda: compare_archive)
    before: Seen = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Where the person stands."""
        return self.laptop.work

    @property
    def environment(self) -> dict[str, str]:
        """What the command finds set: nothing of the real home or of the real temporary folder."""
        folder = self.laptop.folder
        own = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "MGMT_OBJECT_PREFIX": self.prefix}
        return {**_inherited(), **self.laptop.environment, **own}

    def begin(
        self,
        *arguments: str,
        environment: Mapping[str, str | None] | None = None,
        program: str | None = None,
        **more: Any,
    ) -> Any:
        """Begin the real command, or a program that runs it, in a process of its own; remember what is there before."""
        self.before = see(self.work)
        command = [sys.executable, *(("-m", "mgmt") if program is None else ("-c", program)), *arguments]
        if self.is_ordinary_user and os.geteuid() == 0:
            command = [*WITHOUT_PRIVILEGE, *command]
        merged = {**self.environment, **(environment or {})}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        given = {name: value for name, value in merged.items() if value is not None}
        options = {"cwd": self.work, "text": True, "encoding": "utf-8", "errors": "surrogateescape"}
        return subprocess.Popen(command, env=given, **{**options, **streams, **more})

    def run(self, *arguments: str, timeout_seconds: float = 100, **more: Any) -> Run:
        """Run the command to its end."""
        return finish(self.begin(*arguments, **more), timeout_seconds)

    def try_case(self, case: Case) -> Run:
        """Do all that a case says."""
        case.arrange(self.work)
        self.is_ordinary_user = case.is_ordinary_user
        run = self.run(*case.arguments, environment=case.environment)
        self.check(run, case.exit_code, case.says, stores=case.stores, leaves_out=case.leaves_out)
        return run

    def check(
        self,
        run: Run,
        exit_code: int,
        says: Sequence[str] = (),
        *,
        stores: Mapping[str, str] | None = NOTHING,
        leaves_out: Sequence[str] = (),
        does: str | None = None,
        changed: Sequence[str] = (),
        is_resumable: bool = False,
    ) -> None:
        """Compare what the command came to with what it should, and look for anything left behind.

        Args:
            run: What the command came to.
            exit_code: The one expected.
            says: What its words must hold.
            stores: Every object that must be there: name below the prefix, and the source in it. None where
                the test looks for itself.
            leaves_out: Paths in the source that the archive has not.
            does: For the table, where the exit code does not tell.
            changed: Entries of the work folder that the test itself changed meanwhile, or that must be new.
            is_resumable: The journal may hold what the next run goes on with.
        """
        self.check_words(run, exit_code, says, does=does or _does(exit_code, stores))
        after = see(self.work)
        own_changes = {os.fsencode(name) for name in changed}
        changes = _without(after, own_changes).items() ^ _without(self.before, own_changes).items()
        assert not changes, f"the work folder was changed: {sorted(name for name, _ in changes)}"
        self._check_own_folders(is_resumable=is_resumable)
        if stores is not None:
            self._check_stored(stores, leaves_out)

    def check_words(self, run: Run, exit_code: int, says: Sequence[str], *, does: str) -> None:
        """Compare what the command came to and said; note the row for the table."""
        self.note(ROW, self._row(run, does))
        said = run.stdout + run.stderr
        assert run.exit_code == exit_code, said
        check_manners(run)
        for words in says:
            assert words in said, f"{words!r} is not in: {said}"

    def objects(self) -> dict[str, str]:
        """Return the keys of this input's objects by their names below its prefix."""
        listed = self.team.s3.list_objects_v2(Bucket=self.team.bucket, Prefix=f"{self.prefix}/")
        keys = [each["Key"] for each in listed.get("Contents", [])]
        return {key.removeprefix(f"{self.prefix}/"): key for key in keys}

    @contextmanager
    def fetched(self, key: str) -> Iterator[Path]:
        """Fetch an object for as long as the context lasts."""
        with tempfile.TemporaryDirectory(dir=self.laptop.folder) as folder:
            path = Path(folder) / "fetched.tar.gz"
            self.team.s3.download_file(self.team.bucket, key, str(path))
            yield path

    def _row(self, run: Run, does: str) -> str:
        said = "\n".join(filter(None, (run.stderr.strip(), run.stdout.strip())))
        found = re.search(r"(mgmt|note): .*|[✓=+] .*", said) or re.search(r".*", said)
        sentence = found[0] if found else ""
        sentence = sentence.replace(str(self.work), ".").replace(str(self.laptop.folder), "~")
        return Row(self.entry, self.given, does, run.exit_code, sentence.replace(f"{self.prefix}/", "")).to_json()

    def _check_own_folders(self, *, is_resumable: bool) -> None:
        state = Path(self.laptop.environment["MGMT_STATE_DIR"])
        found = {path.name for path in state.iterdir()} if state.exists() else set()
        assert found <= _STATE_NAMES, f"left in the state folder: {sorted(found - _STATE_NAMES)}"
        locks = {path.name for path in state.glob("locks/*")} - _LOCKS_KEPT
        assert not locks, f"left in the state folder: {len(locks)} locks"
        for name in ("home", "tmp"):
            left = sorted(path.name for path in (self.laptop.folder / name).iterdir())
            assert not left, f"left in {name}: {left}"
        cached = [path for path in (self.laptop.folder / "cache").rglob("*") if is_resumable or path.name != "archives"]
        assert {path.name for path in cached} <= {"mgmt"}, f"left in the cache folder: {cached}"
        if not is_resumable and "journal.sqlite" in found:
            assert journalled(state / "journal.sqlite") == (0, 0), "the journal remembers an upload that has ended"
        if not is_resumable:
            listed = self.team.s3.list_multipart_uploads(Bucket=self.team.bucket, Prefix=f"{self.prefix}/")
            assert not listed.get("Uploads"), "a multipart upload is left in the storage"

    def _check_stored(self, stores: Mapping[str, str], leaves_out: Sequence[str]) -> None:
        stored = self.objects()
        assert set(stored) == set(stores)
        for name, source in stores.items():
            with self.fetched(stored[name]) as archive:
                self.compare(archive, self.work / source, archive.parent, leaves_out)


def finish(process: subprocess.Popen[str], timeout_seconds: float = 100) -> Run:
    """Wait for a command; one that does not end is killed and fails the test."""
    try:
        stdout, stderr = process.communicate(timeout=timeout_seconds)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Run(process.returncode, stdout or "", stderr or "")


def check_manners(run: Run) -> None:
    """Hold a command that has no terminal to plain lines, and any command to sentences."""
    said = run.stdout + run.stderr
    assert "Traceback" not in said, said
    assert "This is a bug" not in said, said
    assert "\x1b" not in said, said
    assert "\r" not in said, said


def see(folder: Path) -> Seen:
    """Look at everything in a folder, without reading it: an inode's change time shows every write.

    Times and sizes of folders are left out: archives come and go in some, and what is in them is looked at.
    """
    found: Seen = {}
    for name, status in _walk(os.fsencode(folder)):
        times = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        found[name] = (status.st_ino, status.st_mode, *times)
    return found


def _walk(top: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    for path, folders, files, descriptor in os.fwalk(top):
        for name in [*folders, *files]:
            below = os.path.relpath(os.path.join(path, name), top)  # noqa: PTH118  bytes
            yield below, os.stat(name, dir_fd=descriptor, follow_symlinks=False)


def journalled(path: Path) -> tuple[int, int]:
    """Count what a journal remembers: uploads, and clean-ups that the service has not been told."""
    with closing(sqlite3.connect(path)) as database:
        counts = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("uploads", "clean_ups")]  # noqa: S608  two constants
    return counts[0], counts[1]


def compare_archive(archive: Path, source: Path, scratch: Path, leaves_out: Sequence[str] = ()) -> None:
    """Unpack with GNU tar and compare with the source: names, kinds, modes, times, content, links."""
    folder = scratch / "unpacked"
    folder.mkdir()
    done = subprocess.run(
        ["tar", "--warning=no-timestamp", "-xpf", archive, "-C", folder], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    [root] = folder.iterdir()
    kept = describe_all(source)
    for name in leaves_out:
        del kept[os.fsencode("/" + name)]
    assert describe_all(root) == kept
    shutil.rmtree(folder)


def describe_all(path: Path) -> dict[bytes, tuple[object, ...]]:
    """Say all that an archive should keep of a file, of what a link leads to, or of a tree."""
    if path.is_dir():
        return describe(path.resolve())
    status = path.stat()
    return {b"": (stat.S_IMODE(status.st_mode), status.st_mtime_ns // 10**9, path.read_bytes())}


def _without(seen: Seen, names: set[bytes]) -> Seen:
    return {name: value for name, value in seen.items() if name.partition(b"/")[0] not in names}


def _does(exit_code: int, stores: Mapping[str, str] | None) -> str:
    if exit_code == 0:
        return "uploads; unpacks to the same" if stores else "has nothing to do"
    return _WHAT_IT_DOES[exit_code]


def _inherited() -> dict[str, str]:
    """Take the surroundings over but for what would change the answers: settings, proxies, authorities, manners."""
    dropped = ("MGMT_", "LC_", "SSL_", "REQUESTS_", "NO_COLOR", "COLUMNS", "TERM")
    own = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {name: value for name, value in own.items() if not name.lower().endswith("_proxy")}


def check_entry(entry: str) -> str:
    """Return the entry's name, if it is on the list."""
    assert entry in ENTRIES, f"{entry!r} is not on the list"
    return entry
