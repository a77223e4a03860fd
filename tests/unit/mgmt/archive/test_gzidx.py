"""Programs that mgmt has nothing to do with read every member of an archive by the index that mgmt writes for them."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import indexed_gzip
import pytest
import rapidgzip

from mgmt.archive import pack
from mgmt.archive.gzidx import write_gzidx
from mgmt.archive.index import Index, IndexWriter
from mgmt.layout import BLOCK_SIZE_BYTES
from mgmt.source import look
from support.trees import awkward_tree, noise, text

MIB = 1024 * 1024


def open_indexed_gzip(archive: Path, gzidx: Path) -> Any:
    """Open an archive with the index, and forbid to make another one: what it does not cover cannot be read."""
    return indexed_gzip.IndexedGzipFile(os.fspath(archive), index_file=os.fspath(gzidx), auto_build=False)


def open_rapidgzip(archive: Path, gzidx: Path) -> Any:
    opened = rapidgzip.open(os.fspath(archive), parallelization=2)
    opened.import_index(os.fspath(gzidx))
    assert opened.block_offsets_complete(), "the index was not taken, and the whole archive would be read"
    return opened


@pytest.fixture(params=[open_indexed_gzip, open_rapidgzip], ids=["indexed_gzip", "rapidgzip"])
def judge(request: pytest.FixtureRequest) -> Callable[[Path, Path], Any]:
    return request.param


def only_stored(folder: Path) -> None:
    (folder / "clip.mov").write_bytes(noise(7 * MIB + 13))


def only_text(folder: Path) -> None:
    (folder / "log.txt").write_bytes(text(9 * MIB + 1))


def mixed(folder: Path) -> None:
    for number in range(8):
        (folder / f"{number}.mov").write_bytes(noise(MIB + number, seed=number))
        (folder / f"{number}.txt").write_bytes(text(MIB + 7 * number, seed=number))


def exactly_one_block(folder: Path) -> None:
    """Header, content and end fill one block, with nothing to spare."""
    (folder / "clip.mov").write_bytes(noise(BLOCK_SIZE_BYTES - 4 * 512))


def one_small_file(folder: Path) -> None:
    (folder / "note.txt").write_bytes(b"note")


def many_small_files(folder: Path) -> None:
    for number in range(100):
        (folder / f"{number:02d}.txt").write_bytes(text(500 * number, seed=1))


def awkward(folder: Path) -> None:
    folder.rmdir()
    awkward_tree(folder)


TREES = [only_stored, only_text, mixed, exactly_one_block, one_small_file, many_small_files, awkward]


def make(folder: Path, plan: str) -> tuple[Path, Index, Path]:
    archive, path, gzidx = (folder.parent / name for name in ("x.tar.gz", "index.gz", "x.gzidx"))
    with IndexWriter(folder.parent) as writer:
        pack(look(folder), archive, index=writer, plan=plan)
        with path.open("wb") as file:
            writer.write(file)
    index = Index(path)
    with gzidx.open("wb") as file:
        write_gzidx(index.facts, file)
    return archive, index, gzidx


@pytest.mark.parametrize("plan", ["auto", "best"])
@pytest.mark.parametrize("fill", TREES)
def test_every_member_is_read_by_others_as_it_is_in_the_source(fill, plan, judge, tmp_path):
    (tmp_path / "P").mkdir()
    fill(tmp_path / "P")
    archive, index, gzidx = make(tmp_path / "P", plan)
    members = [member for member in index.members() if member.kind == "file"]
    random.Random(7).shuffle(members)  # noqa: S311  an order, not a secret
    with closing(judge(archive, gzidx)) as opened:
        for member in members:
            opened.seek(member.content_offset)
            wanted = (os.fsencode(tmp_path) + b"/" + member.path).decode("utf-8", "surrogateescape")
            assert opened.read(member.size_bytes) == Path(wanted).read_bytes(), member.path


def test_others_find_the_end_by_the_index(judge, tmp_path):
    """As a whole it is a tar archive to them, with its last block and nothing behind it."""
    (tmp_path / "P").mkdir()
    mixed(tmp_path / "P")
    archive, index, gzidx = make(tmp_path / "P", "auto")
    with closing(judge(archive, gzidx)) as opened:
        assert opened.seek(0, io.SEEK_END) == index.facts.tar_bytes
        assert opened.read(1) == b""
        opened.seek(0)
        with tarfile.open(fileobj=opened) as tar:
            assert [name.encode() for name in tar.getnames()] == [member.path for member in index.members()]


def test_a_point_costs_eighteen_bytes_and_carries_no_window(tmp_path):
    (tmp_path / "P").mkdir()
    only_text(tmp_path / "P")
    _, index, gzidx = make(tmp_path / "P", "auto")
    assert gzidx.stat().st_size == 35 + 18 * (len(index.facts.block_lengths) + 1)


def test_others_refuse_the_index_of_another_archive(tmp_path):
    """The size of the archive is in it."""
    for name, fill in (("a", only_text), ("b", only_stored)):
        (tmp_path / name / "P").mkdir(parents=True)
        fill(tmp_path / name / "P")
    archive, _, _ = make(tmp_path / "a" / "P", "auto")
    _, _, gzidx = make(tmp_path / "b" / "P", "auto")
    with pytest.raises(indexed_gzip.ZranError):
        open_indexed_gzip(archive, gzidx)
