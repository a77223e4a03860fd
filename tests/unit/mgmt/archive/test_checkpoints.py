"""An archive is unpacked while it arrives; a run that was cut off is gone on with where it was, after a proof."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt.archive import PackedArchive, pack, read_archive
from mgmt.archive.checkpoints import Checkpoint, unpack_resumably
from mgmt.archive.extraction import Extraction, LeftDifferentError
from mgmt.archive.index import IndexedMember
from mgmt.archive.rules import Rules
from mgmt.archive.summed import Summed
from mgmt.archive.unpacking import Unpacked
from mgmt.errors import CancelledError, IntegrityError
from mgmt.source import look
from mgmt_contract.parts import MIB
from support.extracting import TOKEN
from support.trees import describe, many_files, noise

STEP_BYTES = 3 * MIB
CUTS = range(MIB, 22 * MIB, 3 * MIB)


class Noted:
    """A journal in memory."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint | None = None
        self._members: list[IndexedMember] = []
        self._saved_offset = 0
        self.syncs: list[Callable[[], None]] = []

    def members(self) -> Iterator[IndexedMember]:
        assert self.checkpoint is not None
        return iter(self._members[: self.checkpoint.member_count])

    def note(self, member: IndexedMember) -> None:
        self._members.append(member)

    def is_due(self, offset: int) -> bool:
        return offset - self._saved_offset >= STEP_BYTES

    def save(self, checkpoint: Checkpoint, sync: Callable[[], None]) -> None:
        self.syncs.append(sync)
        self.checkpoint = checkpoint
        self._saved_offset = checkpoint.mark.offset

    def forget_what_follows(self) -> None:
        """Be as after a crash."""
        del self._members[self.checkpoint.member_count if self.checkpoint is not None else 0 :]


class Cut:
    """Bytes that end by a stopped command."""

    def __init__(self, data: bytes, stop: int) -> None:
        self._file = io.BytesIO(data)
        self._left_bytes = stop

    def read(self, most_bytes: int, /) -> bytes:
        if not self._left_bytes:
            raise CancelledError("cut")
        data = self._file.read(min(most_bytes, self._left_bytes))
        self._left_bytes -= len(data)
        return data


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> tuple[Path, PackedArchive, bytes]:
    folder = tmp_path_factory.mktemp("source") / "P"
    many_files(folder, 120)
    (folder / "clip").write_bytes(noise(9 * MIB))
    (folder / "m" / "deep").mkdir(parents=True)
    (folder / "m" / "deep" / "long").write_bytes(noise(7 * MIB + 12_345))
    (folder / "n-text").write_bytes(b"some words of text\n" * 300_000)
    (folder / ("long name " * 20)).write_bytes(b"x")
    (folder / "z-link").symlink_to("clip")
    (folder / "z-twin").hardlink_to(folder / "clip")
    (folder / "z-last").write_bytes(noise(3 * MIB))
    packed = pack(look(folder), folder.parent / "P.tar.gz")
    return folder, packed, packed.path.read_bytes()


def go_on(data: bytes, place: Path, noted: Noted, *, cut: int | None = None) -> tuple[Unpacked, Summed]:
    """Unpack from the checkpoint on; up to `cut`, where the run dies."""
    mark = noted.checkpoint.mark if noted.checkpoint is not None else None
    offset, crc = mark or (0, 0)
    file = io.BytesIO(data[offset:]) if cut is None else Cut(data[offset:], cut - offset)
    archive = Summed(file, offset=offset, crc=crc)
    with Extraction(place, token=TOKEN, rules=Rules(resumes=True)) as extraction:
        found = unpack_resumably(archive, extraction, noted)
        while archive.read(MIB):
            pass
        extraction.publish()
    return found, archive


def be_cut_off(data: bytes, place: Path, noted: Noted, cut: int) -> None:
    with pytest.raises(CancelledError):
        go_on(data, place, noted, cut=cut)
    noted.forget_what_follows()


@pytest.mark.parametrize("cut", CUTS)
def test_a_run_that_was_cut_off_anywhere_is_gone_on_with_and_little_is_fetched_again(source, to, cut):
    folder, packed, data = source
    noted = Noted()
    be_cut_off(data, to / "P", noted, cut)
    begun_at = noted.checkpoint.mark.offset if noted.checkpoint is not None else 0
    assert cut - begun_at < STEP_BYTES + 6 * MIB, "a step, a block, and what was read ahead"
    found, archive = go_on(data, to / "P", noted)
    assert found.content_digest == packed.content.content_digest
    assert (archive.offset, archive.crc64nvme) == (len(data), read_archive(packed.path).crc64nvme)
    assert describe(to / "P") == describe(folder)
    assert [path.name for path in to.iterdir()] == ["P"]


def test_a_run_may_be_cut_off_again_and_again(source, to):
    folder, packed, data = source
    noted = Noted()
    for cut in range(2 * MIB, len(data), 4 * MIB):
        be_cut_off(data, to / "P", noted, cut)
    found, _ = go_on(data, to / "P", noted)
    assert found.content_digest == packed.content.content_digest
    assert describe(to / "P") == describe(folder)


def test_a_single_file_is_gone_on_with_in_its_middle(tmp_path, to):
    (tmp_path / "clip").write_bytes(noise(20 * MIB))
    packed = pack(look(tmp_path / "clip"), tmp_path / "x.tar.gz")
    data, noted = packed.path.read_bytes(), Noted()
    be_cut_off(data, to / "clip", noted, 14 * MIB)
    assert noted.checkpoint is not None
    assert (noted.checkpoint.member_count, noted.checkpoint.partial_bytes > 8 * MIB) == (0, True)
    go_on(data, to / "clip", noted)
    assert describe(to / "clip") == describe(tmp_path / "clip")


def change_whole(part: Path) -> None:
    with (part / "clip").open("r+b") as file:
        file.write(b"!")


def change_partial(part: Path) -> None:
    with (part / "m" / "deep" / "long").open("r+b") as file:
        file.seek(MIB)
        file.write(b"!!!!")


def cut_partial(part: Path) -> None:
    with (part / "m" / "deep" / "long").open("r+b") as file:
        file.truncate(1000)


CHANGES = [
    change_whole,
    change_partial,
    cut_partial,
    lambda part: (part / "clip").unlink(),
    lambda part: (part / "m" / "deep" / "long").unlink(),
    shutil.rmtree,
]


@pytest.mark.parametrize("change", CHANGES, ids=["whole", "partial", "cut", "no whole", "no partial", "nothing"])
def test_what_is_not_as_it_was_left_is_never_kept(source, to, change):
    _, _, data = source
    noted = Noted()
    be_cut_off(data, to / "P", noted, 15 * MIB)
    assert noted.checkpoint is not None
    assert noted.checkpoint.partial is not None
    assert noted.checkpoint.partial.path == b"P/m/deep/long"
    [part] = to.iterdir()
    change(part)
    with pytest.raises(LeftDifferentError):
        go_on(data, to / "P", noted)
    assert not list(to.iterdir())


def test_an_archive_whose_end_is_wrong_is_refused_also_where_it_is_gone_on_with(source, to):
    _, _, data = source
    noted = Noted()
    be_cut_off(data, to / "P", noted, 15 * MIB)
    with pytest.raises(IntegrityError):
        go_on(data[:-4] + b"\1\2\3\4", to / "P", noted)
    assert not list(to.iterdir())
