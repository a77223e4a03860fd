"""An archive, whatever it holds, changes nothing outside the folder that it is unpacked to."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import tarfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.archive.extraction import Extraction
from mgmt.archive.rules import Counted, Rules
from mgmt.archive.unpacking import unpack
from mgmt.errors import IntegrityError
from mgmt.machine import filling
from support.hostile_archives import LED_OUT, REFUSED, archive_of, file, folder, hardlink, header, pax, symlink, tar_of
from support.trees import describe

TOKEN = "0f12ab34"


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"], autouse=True)
def either_way(request, monkeypatch):
    """Run the test with both ways to make a tree."""
    monkeypatch.setattr(filling, "HAS_DESCRIPTORS", request.param)


@pytest.fixture
def around(tmp_path: Path) -> Path:
    """Make a folder with a canary in it, one beside, and a folder to unpack to."""
    (tmp_path / "canary").write_bytes(b"alive")
    (tmp_path / "outside").mkdir(mode=0o700)
    (tmp_path / "outside" / "canary").write_bytes(b"alive too")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "canary").write_bytes(b"alive as well")
    return tmp_path


def surroundings(around: Path) -> dict[bytes, tuple[object, ...]]:
    """Describe everything but the time of the folder that is unpacked to, in which names come and go."""
    found = describe(around)
    found.pop(b"/to")
    found = {path: (*facts, os.lstat(os.fsencode(around) + path).st_nlink) for path, facts in found.items()}
    return found | {b"elsewhere": (Path("/tmp/mgmt-escape").exists(),)}


def extract(data: bytes, place: Path, rules: Rules | None = None) -> Extraction:
    with Extraction(place, token=TOKEN, rules=rules) as extraction:
        unpack(io.BytesIO(data), extraction)
        extraction.publish()
    return extraction


def oracle_refuses(data: bytes, scratch: Path) -> bool:
    scratch.mkdir()
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(scratch, filter="data")
    except tarfile.FilterError:
        return True
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError, EOFError, KeyError):
        return False
    return False


def test_there_are_enough_of_them():
    assert len(REFUSED) + len(LED_OUT) >= 40


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_archive_is_refused_and_nothing_outside_changes(around, name):
    before = surroundings(around)
    with pytest.raises(IntegrityError) as refused:
        extract(REFUSED[name](), around / "to" / "P")
    assert (refused.value.code, refused.value.exit_code) == ("hostile-archive", 8)
    assert surroundings(around) == before


@pytest.mark.parametrize("name", LED_OUT)
def test_a_link_that_leads_out_is_named_and_not_made(around, name):
    make, expected = LED_OUT[name]
    before = surroundings(around)
    extraction = extract(make(), around / "to" / "P")
    assert [link.path for link in extraction.left_out.kept] == expected
    assert extraction.left_out.count == len(expected)
    root = around / "to" / "P"
    for path in root.rglob("*"):
        assert path.resolve().is_relative_to(root)
    assert not any(os.path.lexists(around / "to" / path) for path in expected)
    now = surroundings(around)
    assert {path: facts for path, facts in now.items() if not path.startswith(b"/to/P")} == before


@pytest.mark.parametrize("name", [*REFUSED, *LED_OUT])
def test_whatever_pythons_filter_refuses_is_refused_or_left_out(around, name, tmp_path_factory):
    data = REFUSED[name]() if name in REFUSED else LED_OUT[name][0]()
    if name in ("absolute file", "absolute folder", "headers without end"):
        pytest.skip("the filter takes the slash off, or takes a minute")
    if not oracle_refuses(data, tmp_path_factory.mktemp("oracle") / "to"):
        return
    try:
        assert extract(data, around / "to" / "P").left_out.count
    except IntegrityError:
        assert not (around / "to" / "P").exists()


def test_links_that_lead_out_are_made_where_the_caller_allows_them(around):
    data = archive_of(folder("P"), symlink("P/l", "../canary"), symlink("P/m", "/nowhere"))
    extraction = extract(data, around / "to" / "P", Rules(makes_links_out=True))
    assert extraction.left_out.count == 0
    assert (around / "to" / "P" / "l").readlink() == Path("../canary")
    assert (around / "to" / "P" / "m").readlink() == Path("/nowhere")


def test_made_links_are_not_followed_even_where_they_are_allowed(around):
    data = archive_of(folder("P"), symlink("P/l", "../../outside"), file("P/l/canary"))
    before = surroundings(around)
    with pytest.raises(IntegrityError, match="used as a folder"):
        extract(data, around / "to" / "P", Rules(makes_links_out=True))
    assert surroundings(around) == before


def test_a_thousand_links_that_lead_out_are_kept_and_all_are_counted(around):
    links = [symlink(f"P/{number}", f"/outside/{number}") for number in range(1_100)]
    extraction = extract(archive_of(folder("P"), *links), around / "to" / "P")
    assert extraction.left_out.count == 1_100
    assert len(extraction.left_out.kept) == 1_000
    assert extraction.left_out.kept[7] == ("P/7", "/outside/7")
    assert not list((around / "to" / "P").iterdir())


def test_memory_does_not_grow_with_the_number_of_members_nor_of_links_left_out(around):
    """A tar stream of 3,000 files and 3,000 links, all in one folder."""
    stream = io.BytesIO(tar_of([folder("P")])[:512])
    stream.seek(512)
    for number in range(3_000):
        stream.write(file(f"P/{number}", b"")[0].tobuf(tarfile.USTAR_FORMAT))
        stream.write(symlink(f"P/l{number}", f"/outside/{number}")[0].tobuf(tarfile.USTAR_FORMAT))
    stream.write(bytes(1024))
    data = gzip.compress(stream.getvalue(), 1)
    del stream
    tracemalloc.start()
    extraction = extract(data, around / "to" / "P")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert extraction.left_out.count == 3_000
    assert len(os.listdir(around / "to" / "P")) == 3_000  # noqa: PTH208  a count
    assert peak_bytes < 3_500_000


def test_special_bits_are_dropped_and_owners_ignored(around):
    data = archive_of(
        folder("P", mode=0o3755),
        file("P/x", mode=0o6755, uid=12_345, gid=54_321, uname="games"),
        file("P/y", mode=0o7777),
    )
    extract(data, around / "to" / "P")
    for name, mode in (("", 0o755), ("x", 0o755), ("y", 0o777)):
        status = (around / "to" / "P" / name).stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (mode, os.geteuid(), os.getegid())


BOMBS = {
    "count": (
        lambda: archive_of(folder("P"), *(file(f"P/{n}") for n in range(9))),
        Rules(members_max=9),
        "more than 9 f",
    ),
    "folders": (lambda: archive_of(file("P/" * 30 + "x")), Rules(members_max=20), "more than 20 folders"),
    "size": (lambda: archive_of(file("P", bytes(2_000))), Rules(size_max_bytes=1_999), "more than 1,999 bytes"),
    "count of the record": (
        lambda: archive_of(folder("P"), file("P/x")),
        Rules(recorded_members=1),
        "than the 1 of its rec",
    ),
    "size of the record": (
        lambda: archive_of(file("P", bytes(9))),
        Rules(recorded_bytes=8),
        "than the 8 of its record",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_more_than_the_rules_allow_is_refused_before_it_is_made(around, name):
    make, rules, match = BOMBS[name]
    before = surroundings(around)
    with pytest.raises(IntegrityError, match=match):
        extract(make(), around / "to" / "P", rules)
    assert surroundings(around) == before


@pytest.mark.parametrize("name", ["count", "folders", "size"])
def test_a_limit_is_named_with_what_lifts_it_and_is_lifted(around, name):
    make, rules, _ = BOMBS[name]
    with pytest.raises(IntegrityError, match=r"the most that is allowed\. .*--no-limits\. Nothing of it") as refused:
        extract(make(), around / "to" / "P", rules)
    assert (refused.value.code, refused.value.exit_code) == ("over-limit", 8)
    extract(make(), around / "to" / "P", replace(rules, lifts_limits=True))
    assert (around / "to" / "P").exists()


@pytest.mark.parametrize("name", ["count of the record", "size of the record"])
def test_what_the_record_states_holds_without_limits_too(around, name):
    make, rules, match = BOMBS[name]
    with pytest.raises(IntegrityError, match=match) as refused:
        extract(make(), around / "to" / "P", replace(rules, lifts_limits=True))
    assert (refused.value.code, "--no-limits" in refused.value.message) == ("hostile-archive", False)


@pytest.mark.parametrize("name", REFUSED)
def test_paths_and_links_are_checked_without_limits_too(around, name):
    before = surroundings(around)
    with pytest.raises(IntegrityError) as refused:
        extract(REFUSED[name](), around / "to" / "P", Rules(lifts_limits=True))
    assert refused.value.code == "hostile-archive"
    assert surroundings(around) == before


@pytest.mark.parametrize(
    ("rules", "is_refused"),
    [
        (Rules(recorded_members=10_000_000, recorded_bytes=16 * 2**40), False),
        (Rules(recorded_members=10_000_001), True),
        (Rules(recorded_bytes=16 * 2**40 + 1), True),
        (Rules(recorded_members=10_000_001, recorded_bytes=2**60, lifts_limits=True), False),
        (Rules(), False),
    ],
)
def test_a_record_of_more_than_the_limits_is_refused_before_the_archive_is_read(rules, is_refused):
    with pytest.raises(IntegrityError, match="--no-limits") if is_refused else contextlib.nullcontext():
        Counted(rules).refuse_recorded()


def test_a_bomb_of_zeros_is_refused_before_it_fills_the_disk(around, monkeypatch):
    monkeypatch.setattr("mgmt.archive.inflating._RATIO_FROM_BYTES", 2**20)
    data = gzip.compress(tar_of([file("P", bytes(2**25))]), 9)
    before = surroundings(around)
    with pytest.raises(IntegrityError, match="more than 250 times its size"):
        extract(data, around / "to" / "P")
    assert surroundings(around) == before
    extract(data, around / "to" / "P", Rules(lifts_limits=True))
    assert (around / "to" / "P").stat().st_size == 2**25
    (around / "to" / "P").unlink()
    extract(data, around / "to" / "P", Rules(ratio_max=2_000))
    assert (around / "to" / "P").stat().st_size == 2**25


def test_zeros_that_the_record_states_are_no_bomb(around, monkeypatch):
    """A disk image, or a file that a camera has made ahead: what mgmt packed has to be unpacked by it too."""
    monkeypatch.setattr("mgmt.archive.inflating._RATIO_FROM_BYTES", 2**20)
    data = gzip.compress(tar_of([file("P", bytes(2**25))]), 9)
    extract(data, around / "to" / "P", Rules(recorded_bytes=2**25))
    assert (around / "to" / "P").stat().st_size == 2**25
    more = gzip.compress(tar_of([file("Q", bytes(2**20))]) + bytes(2**25), 9)
    with pytest.raises(IntegrityError, match="more than 250 times its size"):
        extract(more, around / "to" / "Q", Rules(recorded_bytes=2**20))


def test_a_header_that_claims_more_than_there_is_takes_no_memory_and_no_disk(around):
    before = surroundings(around)
    with pytest.raises(IntegrityError, match="cut off"):
        extract(gzip.compress(header(b"P", b"0", b"77777777777", b"x" * 512)), around / "to" / "P")
    assert surroundings(around) == before


DAMAGED = {
    "no gzip": lambda data: b"x" + data,
    "empty": lambda _: b"",
    "cut in the header": lambda data: data[:5],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut in the trailer": lambda data: data[:-3],
    "checksum": lambda data: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:],
    "length": lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:],
    "garbage behind": lambda data: data + b"garbage",
    "second member cut off": lambda data: data + data[:20],
    "second member has content": lambda data: data + gzip.compress(b"more"),
    "a header that is none": lambda data: gzip.compress(
        gzip.decompress(data).rstrip(b"\0") + b"z" * 480 + b"no header " * 512 + bytes(1024)
    ),
    "no end": lambda data: gzip.compress(gzip.decompress(data).rstrip(b"\0")),
    "something behind the end": lambda data: gzip.compress(gzip.decompress(data) + b"more"),
    "sparse number": lambda _: gzip.compress(
        pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "x", "GNU.sparse.name": "P"})
        + header(b"P", b"0", b"%011o" % 512, b"x".ljust(512))
        + bytes(1024)
    ),
    "sparse file": lambda _: gzip.compress(
        pax({"GNU.sparse.map": "0,4", "GNU.sparse.size": "9"}) + header(b"P", b"0", b"4", b"evil") + bytes(1024)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_or_foreign_archive_leaves_nothing(around, name):
    data = DAMAGED[name](archive_of(folder("P"), file("P/x"), file("P/y", b"z" * 20_000)))
    before = surroundings(around)
    with pytest.raises(IntegrityError) as refused:
        extract(data, around / "to" / "P")
    assert refused.value.code in ("archive-damaged", "other-format")
    assert surroundings(around) == before


def test_padding_behind_a_gzip_member_and_several_members_are_taken(around):
    stream = tar_of([folder("P"), file("P/x", b"good" * 3_000)])
    data = gzip.compress(stream[:5_000]) + gzip.compress(stream[5_000:]) + bytes(700_000)
    extract(data, around / "to" / "P")
    assert (around / "to" / "P" / "x").read_bytes() == b"good" * 3_000


@pytest.mark.parametrize("seed", range(int(os.environ.get("MGMT_HOSTILE_SEEDS", "60"))))
def test_random_archives_never_touch_what_is_outside(around, seed):
    """Members, links and paths at random, of few names, so that they meet; what comes out lies inside."""
    chooser = random.Random(seed)  # noqa: S311  members, not a secret
    data = archive_of(folder("P"), *_random_entries(chooser, chooser.randrange(1, 12)))
    before = surroundings(around)
    with contextlib.suppress(IntegrityError):
        extract(data, around / "to" / "P")
    root = around / "to" / "P"
    now = surroundings(around)
    assert {path: facts for path, facts in now.items() if not path.startswith(b"/to/P")} == before
    for path in root.rglob("*"):
        assert _resolves_inside(path, root)


def _random_entries(chooser: random.Random, count: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Make members of which about half the archives are refused; most links lead to what is there."""
    names = ["a", "b", "c", "d", "canary", "outside"]
    paths = ["P", "P/a"]
    for _ in range(count):
        parts = [*chooser.choices(names, k=chooser.randrange(1, 4))]
        if chooser.random() < 0.02:
            parts.insert(0, chooser.choice(["..", ".", "", "P"]))
        path = "P/" + "/".join(parts)
        ups = [".."] * chooser.randrange(4)
        target = "/".join([*ups, *chooser.choices([*names, ".."], k=chooser.randrange(1, 3))])
        kind = chooser.choice([folder, folder, file, file, "symlink", "symlink", "hardlink"])
        if kind == "symlink":
            yield symlink(path, target)
        elif kind == "hardlink":
            yield hardlink(path, chooser.choice([target, *paths, *paths]))
        else:
            paths.append(path)
            yield kind(path)


def _resolves_inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (FileNotFoundError, NotADirectoryError, RuntimeError, OSError):
        return True  # it leads nowhere
