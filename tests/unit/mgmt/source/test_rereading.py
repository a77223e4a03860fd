"""Files are read again from their medium, each with its digest, and what cannot be read is found and passed."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import sys
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from blake3 import blake3

from mgmt.archive import compute_content_digest
from mgmt.archive.member_digests import DigestedMember, Digests, digest_members
from mgmt.errors import CancelledError
from mgmt.layout import NANOSECONDS, FileEnd, Finding, Member
from mgmt.machine.memory import ALIGNMENT_BYTES
from mgmt.source import look, medium, rereading
from mgmt.source.at_once import AtOnce, Piece
from mgmt.source.medium import count_pages, drop_pages, read_at
from mgmt.source.rereading import reread
from mgmt.source.walk import Excludes, Walk
from support.trees import awkward_tree, many_files, noise, open_descriptors

MIB = 1024 * 1024
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which pages of a file it has")


def walk(target: Path) -> Walk:
    return Walk(os.fspath(target), target.name, Excludes(()))


def read_all(target: Path, **options: object) -> tuple[Digests, list[DigestedMember], list[Finding]]:
    members: list[DigestedMember] = []
    findings: list[Finding] = []
    with closing(reread(walk(target))) as items:
        digests = digest_members(items, on_member=members.append, on_finding=findings.append, **options)
    return digests, members, findings


def pages_of(path: Path) -> int:
    with path.open("rb") as file:
        return count_pages(file.fileno(), path.stat().st_size)


def bytes_from_disks() -> int:
    """Count what this process had fetched from disks, which the cache answers nothing of."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def is_on_memory(path: Path) -> bool:
    with path.open("rb") as file:
        return medium.file_system_of(file.fileno()) not in medium.DIRECT


@pytest.fixture
def on_disk(tmp_path):
    (tmp_path / "probe").write_bytes(b"x")
    if sys.platform != "linux" or is_on_memory(tmp_path / "probe"):
        pytest.skip("needs temporary files on a disk")
    return tmp_path


@only_linux
def test_a_file_that_is_in_the_cache_is_read_from_the_disk_all_the_same(on_disk):
    (on_disk / "P").mkdir()
    clip = on_disk / "P" / "clip.mov"
    clip.write_bytes(noise(5 * MIB + 77))
    with clip.open("rb") as file:
        os.fsync(file.fileno())
    before_plain = bytes_from_disks()
    content = clip.read_bytes()
    assert pages_of(clip) == -(-clip.stat().st_size // mmap.PAGESIZE)
    assert bytes_from_disks() == before_plain, "a plain read is answered by the cache"
    digests, members, _ = read_all(on_disk / "P")
    assert bytes_from_disks() - before_plain >= clip.stat().st_size
    assert members[-1].digest == blake3(content).digest()
    assert members[-1].is_from_medium
    assert digests.cached_count == 0
    assert pages_of(clip) == 0


@only_linux
def test_small_files_are_read_from_the_disk_too_several_at_once(on_disk, monkeypatch):
    sizes = [1, 4095, 4096, 4097, 9_000, 70_000] * 5
    (on_disk / "P").mkdir()
    for number, size_bytes in enumerate(sizes):
        (on_disk / "P" / f"{number:02}").write_bytes(noise(size_bytes, seed=number))
    os.sync()
    at_once: list[int | None] = []
    read = AtOnce.read
    monkeypatch.setattr(AtOnce, "read", lambda *arguments: at_once.extend(found := read(*arguments)) or found)
    before = bytes_from_disks()
    digests, members, _ = read_all(on_disk / "P")
    assert bytes_from_disks() - before >= sum(sizes)
    assert (digests.file_count, digests.cached_count) == (len(sizes), 0)
    for number, found in enumerate(members[1:]):
        assert found.digest == blake3(noise(sizes[number], seed=number)).digest()
        assert pages_of(on_disk / "P" / f"{number:02}") == 0
    if at_once:  # a machine may forbid it
        assert sorted(filter(None, at_once)) == sorted(sizes)


@only_linux
@pytest.mark.parametrize(
    ("result", "finding"),
    [
        (None, None),
        (4096, None),
        (-errno.EINVAL, None),
        (0, "source-changed"),
        (4095, "source-changed"),
        (-errno.EIO, "source-unreadable"),
    ],
    ids=["not taken", "whole sectors", "not this way", "nothing", "less than whole sectors", "a bad sector"],
)
def test_what_the_system_says_of_several_pieces_is_what_it_says_of_one(tmp_path, monkeypatch, result, finding):
    content = noise(9_000)
    for name in "abc":
        (tmp_path / name).write_bytes(content)

    class Odd:
        """Reads the second piece oddly."""

        def __init__(self, _most: int) -> None: ...

        def read(self, pieces: list[Piece]) -> list[int | None]:
            got = [read_at(*piece) for piece in pieces]
            pieces[1].view[max(result or 0, 0) :] = bytes(len(pieces[1].view) - max(result or 0, 0))
            return [got[0], result, *got[2:]]

        def close(self) -> None: ...

    monkeypatch.setattr(rereading, "AtOnce", Odd)
    _, members, findings = read_all(tmp_path)
    assert [found.code for found in findings] == [finding] * (finding is not None)
    digests = [member.digest for member in members[1:]]
    assert digests == [blake3(content).digest()] * (3 - len(findings))


@pytest.mark.parametrize("allowed", [0, 1])
def test_where_the_system_reads_only_one_piece_at_a_time_the_same_is_found(tmp_path, monkeypatch, allowed):
    tree = many_files(tmp_path / "P", 200)
    before = read_all(tree)[0]
    made: list[Unused] = []

    class Unused:
        """For fewer threads than there are."""

        def __init__(self, _most: int) -> None:
            if len(made) == allowed:
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
            made.append(self)

    monkeypatch.setattr(rereading, "AtOnce", Unused)
    assert read_all(tree)[0] == before


@only_linux
def test_where_the_file_system_reads_only_through_the_cache_its_pages_are_dropped_first(on_disk, monkeypatch):
    (on_disk / "P").mkdir()
    clip = on_disk / "P" / "clip.mov"
    clip.write_bytes(noise(3 * MIB + 5))  # and not yet written to the disk
    monkeypatch.setattr(medium, "_set_direct", lambda _: False)
    assert pages_of(clip)
    before = bytes_from_disks()
    digests, members, _ = read_all(on_disk / "P")
    assert bytes_from_disks() - before >= clip.stat().st_size
    assert members[-1].digest == blake3(clip.read_bytes()).digest()
    assert digests.cached_count == 0


@only_linux
def test_a_file_system_that_takes_the_flag_and_refuses_to_read_is_read_as_usual_and_not_trusted(on_disk, monkeypatch):
    (on_disk / "P").mkdir()
    clip = on_disk / "P" / "clip.mov"
    clip.write_bytes(noise(3 * MIB + 5))
    monkeypatch.setattr(rereading, "read_at", refusing_direct(medium.read_at))
    digests, members, _ = read_all(on_disk / "P")
    assert members[-1].digest == blake3(clip.read_bytes()).digest()
    assert digests.cached_count == 1


def refusing_direct(read_at):
    def read(descriptor, view, offset):
        import fcntl

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return read_at(descriptor, view, offset)

    return read


@only_linux
def test_dropping_leaves_no_page_of_a_file_and_says_where_it_cannot(on_disk):
    path = on_disk / "file"
    path.write_bytes(noise(MIB))
    with path.open("rb") as file:
        assert count_pages(file.fileno(), MIB) == MIB // mmap.PAGESIZE
        assert drop_pages(file.fileno(), MIB)
        assert count_pages(file.fileno(), MIB) == 0
        with mmap.mmap(file.fileno(), MIB, access=mmap.ACCESS_READ) as mapped:
            assert len(mapped[:]) == MIB
            assert not drop_pages(file.fileno(), MIB), "pages that somebody has mapped stay"


@only_linux
def test_of_files_in_memory_it_is_said_that_the_cache_may_have_answered(tmp_path):
    folder = Path("/dev/shm") / f"mgmt-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "clip.mov").write_bytes(noise(3 * MIB))
        (folder / "empty").write_bytes(b"")
        digests, members, _ = read_all(folder)
    finally:
        shutil.rmtree(folder)
    assert (digests.file_count, digests.cached_count) == (2, 1)
    assert [member.is_from_medium for member in members] == [True, False, True]


def test_digests_of_files_and_of_all_are_those_of_packing(tmp_path):
    tree = awkward_tree(tmp_path / "P")
    seen: list[int] = []
    digests, members, findings = read_all(tree, on_progress=seen.append)
    source = look(tree)
    assert digests.content_digest == compute_content_digest(source)
    assert [m.member.path for m in members] == [m.path for m in source.members()]
    assert not findings
    assert seen == sorted(seen)
    assert seen[-1] == digests.read_bytes == source.uncompressed_size
    for found in members:
        path = os.fsencode(tmp_path) + b"/" + found.member.path
        assert (found.digest is None) == (found.member.kind != "file")
        if found.digest is not None:
            assert found.digest == blake3(Path(os.fsdecode(path)).read_bytes()).digest()


def test_a_single_file_is_a_target(tmp_path):
    (tmp_path / "clip.mov").write_bytes(noise(2 * MIB))
    digests, members, _ = read_all(tmp_path / "clip.mov")
    assert digests.content_digest == compute_content_digest(look(tmp_path / "clip.mov"))
    assert len(members) == 1


@pytest.mark.parametrize("what", ["truncated", "appended to", "rewritten", "replaced"])
def test_a_file_that_changes_while_it_is_read_is_a_finding_and_the_others_are_read(what, tmp_path):
    root = tmp_path / "P"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_bytes(noise(30 * MIB if name == "b" else MIB))
    items = reread(walk(root))
    members, findings = [], []

    def change(read_bytes: int) -> None:
        if read_bytes == MIB:  # all of a, nothing of b
            content = (root / "b").read_bytes()
            if what == "truncated":
                os.truncate(root / "b", 20 * MIB + 3)
            elif what == "appended to":
                (root / "b").write_bytes(content + b"x")
            elif what == "rewritten":
                (root / "b").write_bytes(content)
            else:
                (root / "b").rename(tmp_path / "old")
                (root / "b").write_bytes(content)

    digests = digest_members(items, on_member=members.append, on_finding=findings.append, on_progress=change)
    assert [(f.path, f.code, f.reason) for f in findings] == [
        (b"P/b", "source-changed", "it changed while it was read")
    ]
    assert [m.member.path for m in members] == [b"P", b"P/a", b"P/c"]
    assert (digests.content_digest, digests.file_count, digests.finding_count) == (None, 2, 1)


def test_a_folder_that_can_be_listed_and_not_entered_is_a_finding_and_the_others_are_read(somebody):
    root = somebody / "P"
    for name in ("a", "locked/inside", "z"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).touch()
    (root / "locked").chmod(0o444)
    try:
        _, members, [finding] = read_all(root)
    finally:
        (root / "locked").chmod(0o700)
    assert [each.member.path for each in members] == [b"P", b"P/a", b"P/locked", b"P/z"]
    assert (finding.path, finding.code) == (b"P/locked", "source-unreadable")


@only_linux
@pytest.mark.parametrize(
    ("mtime_age_seconds", "has_ctime", "is_found"),
    [
        pytest.param(1, False, True, id="on FAT, just now"),
        pytest.param(10, False, False, id="on FAT, before"),
        pytest.param(1, True, False, id="just now, on a disk that keeps the time of each change"),
    ],
)
def test_a_file_that_fat_could_change_without_a_trace_is_a_finding(
    tmp_path, monkeypatch, mtime_age_seconds, has_ctime, is_found
):
    """A second write within the same two seconds leaves all times as they are."""
    (tmp_path / "clip").write_bytes(b"footage")
    plain, now_ns = os.fstat, 1_700_000_001 * NANOSECONDS

    def fstat(descriptor: int) -> SimpleNamespace:
        found = {name: getattr(plain(descriptor), name) for name in ("st_mode", "st_ino", "st_dev", "st_size")}
        mtime_ns = (now_ns - mtime_age_seconds * NANOSECONDS) // (2 * NANOSECONDS) * 2 * NANOSECONDS
        return SimpleNamespace(**found, st_mtime_ns=mtime_ns, st_ctime_ns=mtime_ns + 7 * has_ctime)

    monkeypatch.setattr(rereading, "has_changed", lambda *_: False)
    monkeypatch.setattr(rereading, "bypass_cache", lambda *_: True)
    monkeypatch.setattr(rereading.time, "time_ns", lambda: now_ns)
    monkeypatch.setattr(rereading.os, "fstat", fstat)
    _, _, findings = read_all(tmp_path / "clip")
    assert [found.code for found in findings] == ["source-changed"] * is_found


def test_a_file_whose_size_is_said_to_be_nothing_but_that_gives_bytes_is_a_finding():
    _, members, [finding] = read_all(Path("/proc/version"))
    assert (members, finding.code) == ([], "source-changed")


@pytest.mark.parametrize("size_bytes", [1, ALIGNMENT_BYTES - 1, rereading._BLOCK_SIZE_BYTES + 1])
def test_a_file_that_gives_more_than_its_size_is_a_finding(size_bytes, tmp_path, monkeypatch):
    (tmp_path / "clip.mov").write_bytes(noise(size_bytes))

    def read_more(descriptor, view, offset):
        got_bytes = read_at(descriptor, view, offset)
        return got_bytes if got_bytes == len(view) else got_bytes + 1

    monkeypatch.setattr(rereading, "read_at", read_more)
    _, members, [finding] = read_all(tmp_path / "clip.mov")
    assert (members, finding.code) == ([], "source-changed")


def test_what_cannot_be_read_is_a_finding_and_the_others_are_read(tmp_path):
    root = tmp_path / "P"
    for name in ("a", "b/inside", "c", "d", "e"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(name.encode())

    class Broken(Walk):
        """Finds a card with bad sectors: one file cannot be opened, and one fails in its middle."""

        def members(self, **options):
            for member in super().members(**options):
                if member.path == b"P/b":
                    shutil.rmtree(root / "b")
                if member.path == b"P/c":
                    yield member._replace(open=lambda: os.open(root / "none" / "c", os.O_RDONLY))
                elif member.path == b"P/d":
                    yield member._replace(open=lambda: os.open(root, os.O_RDONLY))
                else:
                    yield member

    members, findings = [], []
    items = reread(Broken(os.fspath(root), "P", Excludes(())))
    digests = digest_members(items, on_member=members.append, on_finding=findings.append)
    assert [(f.path, f.code) for f in findings] == [
        (b"P/b", "source-changed"),
        (b"P/c", "source-changed"),
        (b"P/d", "source-changed"),
    ]
    assert [m.member.path for m in members] == [b"P", b"P/a", b"P/b", b"P/e"]
    assert digests.content_digest is None


def test_a_bad_sector_is_named_as_the_system_names_it(tmp_path, monkeypatch):
    (tmp_path / "P").mkdir()
    (tmp_path / "P" / "clip.mov").write_bytes(noise(9 * MIB))

    def fail(descriptor, view, offset):
        if offset >= 3 * MIB:
            raise OSError(5, "Input/output error")
        return medium.read_at(descriptor, view, offset)

    monkeypatch.setattr(rereading, "read_at", fail)
    digests, _, findings = read_all(tmp_path / "P")
    assert findings == [Finding(b"P/clip.mov", "source-unreadable", "Input/output error")]
    assert digests.file_count == 0


def test_stopping_ends_it_and_leaves_nothing_open(tmp_path):
    tree = many_files(tmp_path / "P", 500)
    before = open_descriptors()
    stop = threading.Event()
    taken = 0

    def take(_: object) -> None:
        nonlocal taken
        taken += 1
        if taken == 50:
            stop.set()

    with pytest.raises(CancelledError):
        digest_members(reread(walk(tree), stop=stop), on_member=take, on_finding=take)
    assert taken == 50
    assert not open_descriptors() - before


def test_memory_and_open_files_stay_the_same_for_many_members(tmp_path):
    tree = many_files(tmp_path / "P", 40)

    class Many(Walk):
        def members(self, **options):
            for member in super().members(**options):
                yield from [member] * 250

    peaks = []
    for kind in (Walk, Many):
        tracemalloc.start()
        items = reread(kind(os.fspath(tree), "P", Excludes(())))
        open_before = most_open = len(open_descriptors())
        for index, _ in enumerate(items):
            if index % 500 == 0:
                most_open = max(most_open, len(open_descriptors()))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert most_open - open_before < 100
    assert peaks[1] - peaks[0] < 400_000


def test_items_come_in_the_order_of_the_members(tmp_path):
    tree = many_files(tmp_path / "P", 300)
    (tree / "00001" / "big").write_bytes(noise(5 * MIB))
    content: dict[bytes, bytes] = {}
    current = b""
    for item in reread(walk(tree)):
        if isinstance(item, Member):
            current = item.path
            content[current] = b""
        elif isinstance(item, memoryview):
            content[current] += item
        else:
            assert isinstance(item, FileEnd)
    for path, data in content.items():
        file = tmp_path / os.fsdecode(path)
        assert file.is_dir() or file.read_bytes() == data


def test_of_many_small_files_progress_is_told_once_in_a_while_and_in_the_end(tmp_path):
    told: list[int] = []
    digests, _, _ = read_all(many_files(tmp_path / "P", 300), on_progress=told.append)
    assert told == [digests.read_bytes]
    (tmp_path / "P" / "clip.mov").write_bytes(noise(5 * MIB))
    told.clear()
    digests, _, _ = read_all(tmp_path / "P", on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == digests.read_bytes
    assert 2 < len(told) < 8


@only_linux
def test_the_kind_of_a_file_system_is_asked_once_and_not_for_each_file(tmp_path, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(medium, "file_system_of", lambda _: asked.append(1) or 0)  # one of no known kind
    digests, _, _ = read_all(many_files(tmp_path / "P", 30))
    assert len(asked) == 1
    assert digests.cached_count == digests.file_count
