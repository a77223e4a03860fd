"""An interrupted extraction leaves nothing that looks finished, and the next run finishes it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mgmt.archive import pack
from mgmt.archive.extraction import Extraction
from mgmt.archive.index import IndexedMember
from mgmt.archive.rules import Rules
from mgmt.errors import CancelledError, IntegrityError
from mgmt.layout import placeholder
from mgmt.source import look
from support.extracting import TOKEN, bring, extract, members_of, without_special_bits
from support.hostile_archives import archive_of, file, folder
from support.trees import (
    describe,
    many_files,
    noise,
    open_descriptors,
)

KILLS = int(os.environ.get("MGMT_EXTRACTION_KILLS", "8"))


def test_stopping_ends_soon_and_leaves_nothing(to):
    stop = threading.Event()
    data = archive_of(folder("P"), file("P/x", noise(20 * 2**20)))
    seen = []

    def note(done_bytes: int) -> None:
        seen.append(done_bytes)
        stop.set()

    with pytest.raises(CancelledError):
        extract(data, to / "P", stop=stop, on_progress=note)
    assert seen[-1] < 4 * 2**20
    assert not list(to.iterdir())


def test_progress_counts_the_bytes_of_files(to):
    seen: list[int] = []
    size_bytes = 5 * 2**20
    extract(
        archive_of(folder("P"), file("P/x", bytes(size_bytes)), file("P/y", b"1234567")),
        to / "P",
        on_progress=seen.append,
    )
    assert seen == sorted(seen)
    assert 4 <= len(seen) <= 8
    assert seen[-1] == size_bytes + 7


def test_few_files_are_open_and_none_stays_open(tree, to):
    packed = pack(look(tree), to.parent / "P.tar.gz")
    before = open_descriptors()
    extract(packed.path, to / "P")
    extract(packed.path, to / "P", Rules(replaces=True))
    with pytest.raises(IntegrityError):
        extract(packed.path.read_bytes()[:-9], to / "Q")
    assert not open_descriptors() - before


def test_a_leftover_of_a_killed_run_is_cleared_and_a_strangers_is_not(to):
    (to / ".P.mgmt-0f12ab34.part" / "a" / "b").mkdir(parents=True)
    (to / ".P.mgmt-0f12ab34.part" / "a" / "b" / "x").write_bytes(b"half")
    (to / ".P.mgmt-0f12ab34.part" / "link").symlink_to(to)
    (to / ".P.mgmt-00000000.part").mkdir()
    extract(archive_of(folder("P"), file("P/x")), to / "P")
    assert sorted(path.name for path in to.iterdir()) == [".P.mgmt-00000000.part", "P"]
    assert [path.name for path in (to / "P").iterdir()] == ["x"]


@pytest.mark.parametrize("moment", ["placeholder", "both names"])
def test_a_file_that_was_being_named_when_the_run_was_killed_is_named_by_the_next(to, moment):
    part = to / ".P.mgmt-0f12ab34.part"
    part.write_bytes(b"good")
    if moment == "placeholder":
        (to / "P").write_bytes(placeholder(TOKEN))
    else:
        os.link(part, to / "P")
    extract(archive_of(file("P", b"good")), to / "P")
    assert (to / "P").read_bytes() == b"good"
    assert [path.name for path in to.iterdir()] == ["P"]


CHILD = """
import sys
from pathlib import Path
from mgmt.archive.extraction import Extraction
from mgmt.archive.index import IndexedMember
from mgmt.archive.rules import Rules
from mgmt.archive.unpacking import Unpacked, unpack
archive, place, replaces = sys.argv[1:]
print("ready", flush=True)
rules = Rules(replaces=replaces == "yes")
with open(archive, "rb") as file, Extraction(Path(place), token="0f12ab34", rules=rules) as extraction:
    unpack(file, extraction)
    extraction.publish()
print("done", flush=True)
"""


def run_and_kill(archive: Path, place: Path, delay_seconds: float, *, replaces: bool = False) -> bool:
    """Run an extraction and kill it after a time; tell whether it was done before."""
    command = [sys.executable, "-c", CHILD, os.fspath(archive), os.fspath(place), "yes" if replaces else "no"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(delay_seconds)
        child.send_signal(signal.SIGKILL)
        return b"done" in child.stdout.read()


@pytest.mark.timeout(900)
def test_a_run_killed_at_any_moment_leaves_no_wrong_file_under_its_name_and_the_next_finishes(tmp_path, to):
    source = tmp_path / "P"
    many_files(source, 300)
    (source / "clip").write_bytes(noise(20 * 2**20))
    packed = pack(look(source), tmp_path / "P.tar.gz")
    expected = describe(source)
    began = time.monotonic()
    extract(packed.path, tmp_path / "measured")
    whole_seconds = time.monotonic() - began
    done = False
    for number in range(KILLS):
        done = run_and_kill(packed.path, to / "P", 1.3 * whole_seconds * number / KILLS)
        if done or (to / "P").exists():
            assert describe(to / "P") == expected
            filling_folder = to / "P"
            filling_folder.rename(tmp_path / f"done-{number}")
    if not (to / "P").exists():
        extract(packed.path, to / "P")
    assert describe(to / "P") == expected
    assert [path.name for path in to.iterdir()] == ["P"]


@pytest.mark.timeout(900)
def test_a_merge_killed_at_any_moment_leaves_old_files_and_new_ones_and_no_others(tmp_path, to):
    source = tmp_path / "P"
    many_files(source, 300)
    packed = pack(look(source), tmp_path / "P.tar.gz")
    new = {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    mine = to / "P"
    began = time.monotonic()
    extract(packed.path, tmp_path / "measured")
    whole_seconds = time.monotonic() - began
    for number in range(KILLS):
        for path in new:
            (mine / path).parent.mkdir(parents=True, exist_ok=True)
            (mine / path).write_bytes(b"old")
        (mine / "mine").write_bytes(b"mine")
        run_and_kill(packed.path, mine, 1.6 * whole_seconds * number / KILLS, replaces=True)
        for path, content in new.items():
            assert (mine / path).read_bytes() in (b"old", content)
    extract(packed.path, mine, Rules(replaces=True))
    assert {path.relative_to(mine): path.read_bytes() for path in mine.rglob("*") if path.is_file()} == new | {
        Path("mine"): b"mine"
    }
    assert [path.name for path in to.iterdir()] == ["P"]


def bring_all(
    place: Path,
    source: Path,
    members: list[IndexedMember],
    *,
    links_out: bool = False,
    stop_after: int | None = None,
) -> list[bytes]:
    """Extract members one by one, as a download by ranges does; return the paths of those that were fetched."""
    fetched: list[bytes] = []
    rules = Rules(resumes=True, makes_links_out=links_out)
    with Extraction(place, token=TOKEN, rules=rules) as extraction:
        for count, member in enumerate(members, 1):
            bring(extraction, source, member, fetched)
            if count == stop_after:
                raise CancelledError("Interrupted.")
        extraction.publish()
    return fetched


@pytest.mark.usefixtures("either_way")
def test_members_that_were_brought_one_by_one_are_checked_and_published(tree, tmp_path, to):
    _, members = members_of(tree, tmp_path)
    bring_all(to / "P", tree, members, links_out=True)
    assert describe(to / "P") == without_special_bits(describe(tree))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("stop_after", [1, 5, 12, 30, 60])
def test_an_interrupted_run_is_gone_on_with_and_whole_files_are_not_brought_again(tree, tmp_path, to, stop_after):
    _, members = members_of(tree, tmp_path)
    with pytest.raises(CancelledError):
        bring_all(to / "P", tree, members, links_out=True, stop_after=stop_after)
    assert [path.name for path in to.iterdir()] == [".P.mgmt-0f12ab34.part"]
    fetched = bring_all(to / "P", tree, members, links_out=True)
    assert describe(to / "P") == without_special_bits(describe(tree))
    there = {member.path for member in members[:stop_after] if member.size_bytes}
    assert not there & set(fetched)


def test_a_file_that_was_cut_off_is_gone_on_with(tmp_path, to):
    content = noise(5 * 2**20)
    (tmp_path / "clip").write_bytes(content)
    _, [member] = members_of(tmp_path / "clip", tmp_path)
    (to / ".clip.mgmt-0f12ab34.part").write_bytes(content[: 2**20])
    seen: list[int] = []
    with Extraction(to / "clip", token=TOKEN, rules=Rules(resumes=True), on_progress=seen.append) as extraction:
        with extraction.begin_file(member) as target:
            assert target.done_bytes == 2**20
            target.write(content[2**20 :])
            assert target.finish() == member.digest
        extraction.publish()
    assert (to / "clip").read_bytes() == content
    assert (seen[0], seen[-1]) == (2**20, len(content))


@pytest.mark.parametrize("left", ["half", "whole", "longer", "link"])
def test_what_was_left_wrong_is_brought_again_from_its_beginning(tmp_path, to, left):
    """As after a power cut."""
    (tmp_path / "P").mkdir()
    (tmp_path / "P" / "clip").write_bytes(b"right content")
    _, members = members_of(tmp_path / "P", tmp_path)
    place = to / ".P.mgmt-0f12ab34.part" / "clip"
    place.parent.mkdir()
    if left == "link":
        place.symlink_to(tmp_path / "P" / "clip")
    else:
        place.write_bytes({"half": b"wrong", "whole": b"wrong content"}.get(left, b"right content, longer"))
    fetched = bring_all(to / "P", tmp_path / "P", members)
    assert (to / "P" / "clip").read_bytes() == b"right content"
    assert not (to / "P" / "clip").is_symlink()
    assert fetched == [b"P/clip"] * (2 if left == "half" else 1)


@pytest.mark.parametrize("content", [b"wrong content", b"right conten", b"right content and more"])
def test_content_that_differs_is_refused_and_nothing_stays(tmp_path, to, content):
    (tmp_path / "clip").write_bytes(b"right content")
    _, members = members_of(tmp_path / "clip", tmp_path)
    (tmp_path / "clip").write_bytes(content)
    with pytest.raises(IntegrityError, match="does not have the content"):
        bring_all(to / "clip", tmp_path / "clip", members)
    assert not list(to.iterdir())


@pytest.mark.parametrize("order", [[0, 2, 1], [0, 1, 1]])
def test_a_list_that_is_not_in_an_indexs_order_is_refused(tmp_path, to, order):
    many_files(tmp_path / "P", 1)
    _, members = members_of(tmp_path / "P", tmp_path)
    with pytest.raises(IntegrityError, match="out of order"):
        bring_all(to / "P", tmp_path / "P", [members[number] for number in order])
    assert not list(to.iterdir())
