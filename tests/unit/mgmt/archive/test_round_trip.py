from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from mgmt.archive import pack
from mgmt.archive.codec import PLANS
from mgmt.layout import BLOCK_SIZE_BYTES
from mgmt.source import look
from support.trees import (
    awkward_tree,
    copy_tree,
    deep_file,
    describe,
    litter,
    noise,
    run_tool,
    text,
    unpack,
)

TOOLS = ("tar", "bsdtar")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return awkward_tree(tmp_path / "P")


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("tool", TOOLS)
def test_real_tools_bring_back_everything(tmp_path, tree, tool, plan):
    packed = pack(look(tree), tmp_path / "P.tar.gz", plan=plan)
    restored = unpack(tool, packed.path, tmp_path / "restored") / "P"
    run_tool("diff", "-r", "--no-dereference", os.fspath(tree), os.fspath(restored))
    assert describe(restored) == describe(tree)


def test_pythons_tarfile_brings_back_everything(tmp_path, tree):
    packed = pack(look(tree), tmp_path / "P.tar.gz")
    with tarfile.open(packed.path) as archive:
        archive.extractall(tmp_path / "restored", filter="fully_trusted")  # noqa: S202  made a line above
    restored = describe(tmp_path / "restored" / "P")
    for path, facts in describe(tree).items():
        is_link = isinstance(facts[3], bytes)  # tarfile does not restore a link's time
        assert (is_link and restored[path][3] == facts[3]) or restored[path] == facts, path


def test_gzip_finds_one_sound_member_of_the_right_size(tmp_path, tree):
    packed = pack(look(tree), tmp_path / "P.tar.gz")
    run_tool("gzip", "-t", os.fspath(packed.path))
    listed = run_tool("gzip", "-l", os.fspath(packed.path)).stdout.split()
    with gzip.open(packed.path) as file:
        content = file.read()
    assert [int(number) for number in listed[4:6]] == [packed.size, len(content)]


def test_7z_finds_one_sound_member_of_the_right_size(tmp_path, tree):
    packed = pack(look(tree), tmp_path / "P.tar.gz")
    with gzip.open(packed.path) as file:
        content = file.read()
    run_tool("7zz", "t", os.fspath(packed.path))
    assert run_tool("7zz", "e", "-so", os.fspath(packed.path)).stdout == content
    listed = run_tool("7zz", "l", "-slt", os.fspath(packed.path)).stdout
    assert b"\nSize = %d\n" % len(content) in listed
    assert b"\nPacked Size = %d\n" % packed.size in listed


def test_7z_brings_back_every_file(tmp_path, tree):
    """And every link but those that lead out of the folder: it refuses to make them."""
    for name in ("absolute", "out"):
        (tree / "links" / name).unlink()
    packed = pack(look(tree), tmp_path / "P.tar.gz")
    run_tool("7zz", "x", f"-o{tmp_path}", os.fspath(packed.path))
    run_tool("7zz", "x", "-snld", f"-o{tmp_path / 'restored'}", os.fspath(tmp_path / "P.tar"))
    run_tool("diff", "-r", "--no-dereference", os.fspath(tree), os.fspath(tmp_path / "restored" / "P"))


def test_the_tar_stream_ends_with_two_zero_records_and_no_more(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 512)
    packed = pack(look(tmp_path / "a"), tmp_path / "a.tar.gz")
    with gzip.open(packed.path) as file:
        content = file.read()
    assert len(content) == 512 + 512 + 1024
    assert content[-1024:] == bytes(1024)


def test_owners_and_fractions_of_seconds_are_left_out(tmp_path, tree):
    packed = pack(look(tree), tmp_path / "P.tar.gz")
    with tarfile.open(packed.path) as archive:
        for info in archive:
            assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")
            assert info.mtime == int(info.mtime)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_path_longer_than_the_system_takes_is_packed_whole(tmp_path, tool):
    """No tool can extract it in one go; all can list it, and the content is there."""
    (tmp_path / "P").mkdir()
    path = b"P/" + deep_file(tmp_path / "P", b"bottom")
    packed = pack(look(tmp_path / "P"), tmp_path / "P.tar.gz")
    assert path in run_tool(tool, "-tf", os.fspath(packed.path)).stdout.splitlines()
    with tarfile.open(packed.path) as archive:
        member = archive.extractfile(path.decode())
        assert member is not None
        assert member.read() == b"bottom"


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    "content", [b"", b"x", noise(BLOCK_SIZE_BYTES - 1536), text(5 * 2**20)], ids=["0", "1", "one block", "5 MiB"]
)
def test_a_single_file_comes_back(tmp_path, tool, content):
    """The second but last fills one block to the last byte, the tar stream's end included."""
    (tmp_path / "clip.mov").write_bytes(content)
    packed = pack(look(tmp_path / "clip.mov"), tmp_path / "out.tar.gz")
    assert (unpack(tool, packed.path, tmp_path / "o") / "clip.mov").read_bytes() == content


def test_an_empty_folder_comes_back(tmp_path):
    (tmp_path / "P").mkdir()
    packed = pack(look(tmp_path / "P"), tmp_path / "P.tar.gz")
    assert (packed.content.member_count, packed.content.uncompressed_size) == (1, 0)
    assert describe(unpack("tar", packed.path, tmp_path / "o") / "P") == describe(tmp_path / "P")


def test_the_chosen_root_name_is_the_archives(tmp_path):
    (tmp_path / "DCIM").mkdir()
    (tmp_path / "DCIM" / "1.mov").write_bytes(b"x")
    packed = pack(look(tmp_path / "DCIM", name="card A"), tmp_path / "A.tar.gz")
    assert (unpack("tar", packed.path, tmp_path / "o") / "card A" / "1.mov").read_bytes() == b"x"


def test_litter_and_what_is_excluded_stay_out(tmp_path):
    (tmp_path / "P").mkdir()
    (tmp_path / "P" / "clip.mov").touch()
    (tmp_path / "P" / "draft.tmp").touch()
    litter(tmp_path / "P")
    packed = pack(look(tmp_path / "P", excludes=["*.tmp"]), tmp_path / "P.tar.gz")
    assert run_tool("tar", "-tf", os.fspath(packed.path)).stdout == b"P/\nP/clip.mov\n"


def test_the_source_is_left_as_it_was(tmp_path, tree):
    before = describe(tree)
    pack(look(tree), tmp_path / "P.tar.gz")
    assert describe(tree) == before


def test_a_copy_elsewhere_and_any_number_of_workers_give_the_same_bytes(tmp_path, tree):
    (tmp_path / "there").mkdir()
    copy = copy_tree(tree, tmp_path / "there" / "P")
    archives = [
        pack(look(source), tmp_path / f"{index}.tar.gz", workers=workers)
        for index, (source, workers) in enumerate([(tree, 1), (tree, 2), (tree, 5), (copy, 3)])
    ]
    contents = {archive.path.read_bytes() for archive in archives}
    assert len(contents) == 1
    assert (
        len({(archive.content.crc64nvme, archive.content.content_digest, archive.packing) for archive in archives}) == 1
    )
