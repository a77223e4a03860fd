"""What was packed comes back as it was, whoever packed it, and is durable before it gets its name."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from mgmt.archive import pack, tree_sync
from mgmt.archive.extraction import Extraction
from mgmt.archive.publishing import prepare
from mgmt.archive.rules import Rules
from mgmt.archive.unpacking import unpack
from mgmt.errors import IntegrityError, LocalStateError
from mgmt.layout import placeholder, temporary_name
from mgmt.machine.filling import remove_tree
from mgmt.machine.folders import files_below
from mgmt.source import look
from support.extracting import TOKEN, extract, without_special_bits
from support.hostile_archives import archive_of, file, folder, hardlink, symlink
from support.trees import (
    deep_file,
    describe,
    run_tool,
    text,
)
from support.trees import unpack as unpack_with


@pytest.mark.usefixtures("either_way")
def test_everything_comes_back_but_special_bits(tree, to):
    packed = pack(look(tree), to.parent / "P.tar.gz")
    found = extract(packed.path, to / "P", Rules(makes_links_out=True))
    assert describe(to / "P") == without_special_bits(describe(tree))
    assert (found.content_digest, found.member_count, found.uncompressed_size) == (
        packed.content.content_digest,
        packed.content.member_count,
        packed.content.uncompressed_size,
    )
    assert [path.name for path in to.iterdir()] == ["P"]


@pytest.mark.usefixtures("either_way")
def test_it_comes_back_as_gnu_tar_brings_it(tree, to):
    packed = pack(look(tree), to.parent / "P.tar.gz")
    extract(packed.path, to / "P", Rules(makes_links_out=True))
    assert describe(to / "P") == without_special_bits(describe(unpack_with("tar", packed.path, to / "tar") / "P"))


def test_links_that_lead_out_are_all_that_is_left_out_by_default(tree, to):
    packed = pack(look(tree), to.parent / "P.tar.gz")
    extract(packed.path, to / "P")
    expected = without_special_bits(describe(tree))
    for name in ("absolute", "out"):
        del expected[b"/links/" + name.encode()]
    assert describe(to / "P") == expected


def test_an_ordinary_user_gets_everything_back_from_folders_closed_to_him(somebody):
    source = somebody / "P"
    for mode in (0o500, 0o300, 0o000, 0o555):
        inner = source / f"{mode:o}" / "inner"
        inner.mkdir(parents=True)
        (inner / "x").write_bytes(b"content")
        (inner / "x").chmod(0o400)
    os.link(source / "0" / "inner" / "x", source / "twin")
    os.utime(source / "0" / "inner", ns=(0, 10**18))
    archive = somebody / "P.tar"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in [source, *sorted(source.rglob("*"))]:
            info = tar.gettarinfo(path, os.fspath(path.relative_to(somebody)))
            if path.parent == source and path.is_dir():
                info.mode = int(path.name, 8)
            if info.isreg():
                with path.open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)
    extract(gzip.compress(archive.read_bytes()), somebody / "out")
    for mode in (0o500, 0o300, 0o000, 0o555):
        closed = somebody / "out" / f"{mode:o}"
        assert stat.S_IMODE(closed.stat().st_mode) == mode
        closed.chmod(0o700)
        assert (closed / "inner" / "x").read_bytes() == b"content"
    assert (somebody / "out" / "0" / "inner").stat().st_mtime_ns == 10**18
    assert (somebody / "out" / "twin").samefile(somebody / "out" / "0" / "inner" / "x")


def test_a_closed_root_gets_its_name_too(somebody):
    extract(archive_of(folder("P", mode=0o555, mtime=10**9), file("P/x")), somebody / "out")
    status = (somebody / "out").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o555, 10**9)


def test_a_path_longer_than_the_system_takes_is_unpacked(tmp_path, to):
    (tmp_path / "P").mkdir()
    path = deep_file(tmp_path / "P", b"bottom")
    packed = pack(look(tmp_path / "P"), tmp_path / "P.tar.gz")
    found = extract(packed.path, to / "Q")
    assert found.content_digest == packed.content.content_digest
    (to / "Q").rename(to / "P")
    assert [member.path for member in look(to / "P").members()][-1] == b"P/" + path
    assert pack(look(to / "P"), to / "P.tar.gz").content.content_digest == packed.content.content_digest


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("content", [b"", b"x", text(5 * 2**20)], ids=["0", "1", "5 MiB"])
def test_a_single_file_comes_back_under_the_name_that_was_asked_for(tmp_path, to, content):
    (tmp_path / "clip.mov").write_bytes(content)
    os.utime(tmp_path / "clip.mov", ns=(0, 10**18))
    (tmp_path / "clip.mov").chmod(0o640)
    extract(pack(look(tmp_path / "clip.mov"), tmp_path / "x.tar.gz").path, to / "again.mov")
    status = (to / "again.mov").stat()
    assert (to / "again.mov").read_bytes() == content
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_nlink) == (0o640, 10**18, 1)
    assert [path.name for path in to.iterdir()] == ["again.mov"]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_in_any_order_come_back(to, form):
    """Folders after what is in them, or nowhere; a path with a point before; fractions of seconds."""
    entries = [
        file("./P/late/deep/x", b"x", mtime=5.5),
        folder("./P/late", mode=0o500, mtime=7),
        file("P/late/y", b"y"),
        hardlink("P/other/twin", "P/late/deep/x"),
        symlink("P/other/up", "../late/y"),
        folder("P", mtime=9),
        folder("P/late/deep", mode=0o711, mtime=11),
        file("P/late/deep/z", b"", mtime=-5),
    ]
    extract(archive_of(*entries, form=form), to / "P")
    late, deep = to / "P" / "late", to / "P" / "late" / "deep"
    assert ((deep / "x").read_bytes(), (late / "y").read_bytes()) == (b"x", b"y")
    assert (stat.S_IMODE(late.stat().st_mode), late.stat().st_mtime) == (0o500, 7)
    assert (stat.S_IMODE(deep.stat().st_mode), deep.stat().st_mtime) == (0o711, 11)
    assert (to / "P").stat().st_mtime == 9
    assert (to / "P" / "other" / "up").read_bytes() == b"y"
    assert (to / "P" / "other" / "twin").samefile(deep / "x")


@pytest.mark.parametrize("tool", ["tar", "bsdtar"])
def test_what_tar_and_bsdtar_pack_comes_back(tree, to, tool):
    for path in (tree / "times").glob("time-*"):
        path.unlink()  # fractions of seconds before 1970 are another number for each program
    archive = to.parent / "x.tgz"
    plain = ["--no-read-sparse"] if tool == "bsdtar" else []
    run_tool(tool, *plain, "-czf", os.fspath(archive), "-C", os.fspath(tree.parent), "P")
    extract(archive, to / "P", Rules(makes_links_out=True))
    assert describe(to / "P") == without_special_bits(describe(tree))


def test_a_folder_that_no_member_names_is_made_as_anybody_makes_one(to):
    before = os.umask(0o027)
    try:
        extract(archive_of(file("P/a/x")), to / "P")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((to / name).stat().st_mode) for name in ("P", "P/a")] == [0o750, 0o750]


def test_only_we_may_enter_until_it_is_published(to):
    with Extraction(to / "P", token=TOKEN) as extraction:
        unpack(io.BytesIO(archive_of(folder("P", mode=0o777), file("P/x"))), extraction)
        [part] = [path for path in to.iterdir() if path.is_dir()]
        assert part.name == ".P.mgmt-0f12ab34.part"
        assert stat.S_IMODE(part.stat().st_mode) == 0o700
        extraction.publish()
    assert stat.S_IMODE((to / "P").stat().st_mode) == 0o777


def test_a_time_that_the_disk_does_not_know_costs_nothing_else(to):
    extract(archive_of(folder("P", mtime=10**15), file("P/x", mtime=10**15), form=tarfile.PAX_FORMAT), to / "P")
    assert (to / "P" / "x").read_bytes() == b"evil"


@pytest.mark.parametrize("has_syncfs", [True, False])
def test_content_is_durable_before_its_name(to, monkeypatch, has_syncfs):
    order: list[str] = []
    synced: set[int] = set()
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        order.append("fsync")
        real_fsync(descriptor)

    def sync_disk(_: int) -> None:
        order.append("syncfs")

    def rename(self: Path, target: Path) -> Path:
        order.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(tree_sync, "_find_syncfs", lambda: sync_disk if has_syncfs else None)
    extract(archive_of(folder("P"), file("P/x"), file("P/y")), to / "P")
    renamed = order.index("rename")
    if has_syncfs:
        assert "syncfs" in order[:renamed]
    else:
        assert order[:renamed].count("fsync") == 2
        assert {(to / "P" / name).stat().st_ino for name in "xy"} <= synced
    assert len(order) > renamed + 1, "the name is made durable too"


def test_a_disk_that_fails_to_sync_publishes_nothing(to, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(tree_sync, "_find_syncfs", lambda: fail)
    with pytest.raises(LocalStateError):
        extract(archive_of(folder("P"), file("P/x")), to / "P")
    assert not list(to.iterdir())


def test_a_tree_of_more_folders_inside_one_another_than_any_path_of_the_system_comes_back(to):
    """The walk finds such trees, and they are packed: what is packed has to come back."""
    depth = 17_000
    path = "/".join(["P", *["d"] * depth, "bottom"])
    try:
        extract(archive_of(file(path, b"footage")), to / "P")
        descriptor = os.open(to / "P", os.O_RDONLY)
        for _ in range(depth):
            following = os.open("d", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        found = os.open("bottom", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        assert os.read(found, 100) == b"footage"
        os.close(found)
    finally:
        remove_tree(to, b"P")


def test_a_path_longer_than_is_packed_now_comes_back_without_limits(to):
    """An older mgmt has packed such paths, and whoever uploaded one must be able to get it back."""
    data = archive_of(file("/".join(["P", *["d" * 200] * 5_300, "bottom"]), b"footage"))
    with pytest.raises(IntegrityError, match=r"`mgmt download` brings the archive as it is.*--no-limits") as refused:
        extract(data, to / "P")
    assert refused.value.code == "over-limit"
    assert list(to.iterdir()) == []
    assert extract(data, to / "P", Rules(lifts_limits=True)).uncompressed_size == len(b"footage")
    remove_tree(to, b"P")


def test_room_is_counted_in_a_tree_deeper_than_python_calls_itself(to):
    """What an interrupted run has left needs no more room, however deep it lies."""
    part = temporary_name("P", TOKEN)
    (to / part).mkdir()
    deep_file(to / part, b"footage", "d", 3_000)
    try:
        prepare(to / "P", part.encode(), placeholder(TOKEN), Rules(recorded_bytes=7, resumes=True))
        assert sum(status.st_size for _, status in files_below(to / part)) == len(b"footage")
    finally:
        remove_tree(to, part.encode())
