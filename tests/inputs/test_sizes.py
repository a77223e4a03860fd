"""Very large and very many."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.paper_service import paper_service

GIB = 1 << 30
MANY = 10_000
PATIENCE_SECONDS = 250
"""Seconds on a quiet machine; one that is busy with other things takes its time."""
pytestmark = pytest.mark.timeout(PATIENCE_SECONDS + 50)
_MEMORY_DISK = Path("/dev/shm")
_UNPACK = f"{sys.executable} -m isal.igzip"
"""Ten times as fast as gzip on zeros; that gzip itself reads our archives is shown elsewhere."""


@pytest.fixture
def desk_of_holes(desk):
    """Work where holes in files cost no room and no time: in memory, where the system offers that."""
    place = _MEMORY_DISK if _MEMORY_DISK.is_dir() else desk.laptop.folder
    with tempfile.TemporaryDirectory(dir=place, prefix="mgmt-test-") as folder:
        desk.laptop.work = Path(folder)
        yield desk


def sparse(path, size, ends=b"the last bytes"):
    """Make a file that is large and takes no room; what is at its end shows that it is whole."""
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size - len(ends))
        file.write(ends)


def compare_every_byte(archive, source, *_):
    """Have tar itself hold the archive against the source: there is no room to unpack it."""
    command = ["tar", "-I", _UNPACK, "--diff", "-f", archive, "-C", source.parent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    differences = [line for line in done.stdout.splitlines() if not line.endswith(("Uid differs", "Gid differs"))]
    assert (differences, done.stderr) == ([], "")


def compare_header(archive, source, *_):
    """Read the size that tar finds in the header; the content's checksum was compared by storage and service."""
    command = ["tar", "-I", _UNPACK, "-tv", "--occurrence=1", "-f", archive, source.name]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert listed.split()[2:] == [str(source.stat().st_size), *listed.split()[3:5], source.name]


@pytest.mark.entry("5 GiB sparse file")
def test_a_file_of_5_gib_that_takes_no_room(desk_of_holes):
    desk = desk_of_holes
    sparse(desk.work / "huge.mov", 5 * GIB)
    run = desk.run("upload", "huge.mov", timeout_seconds=PATIENCE_SECONDS)
    desk.compare = compare_every_byte
    desk.check(run, 0, ["✓ huge.mov"], stores={"huge.mov.tar.gz": "huge.mov"})


@pytest.mark.entry("file over 8 GiB in its header")
def test_a_file_whose_size_needs_more_than_eleven_octal_digits(desk_of_holes):
    desk = desk_of_holes
    sparse(desk.work / "huge.mov", 8 * GIB + 1)
    run = desk.run("upload", "huge.mov", timeout_seconds=PATIENCE_SECONDS)
    desk.compare = compare_header
    desk.check(run, 0, ["✓ huge.mov"], stores={"huge.mov.tar.gz": "huge.mov"})


def many_clips(folder, count):
    """Make many small files and name them all."""
    names = [f"take-{number:05}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(b"%d" % number)
    return names


@pytest.mark.entry("10,000 targets", "named one by one, as a dry run")
def test_ten_thousand_targets_in_one_command(desk):
    """All but the transfer: each is looked at, and the service, which answers at once here, is asked about each."""
    names = many_clips(desk.work, MANY)
    with paper_service() as service:
        given = {"MGMT_API_URL": service.url}
        run = desk.run("--json", "upload", "--dry-run", *names, environment=given, timeout_seconds=PATIENCE_SECONDS)
        asked = [item["name"] for what, body in service.asked if what == "preview" for item in body["items"]]
        assert (asked, service.count("preview")) == (names, MANY / 100)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert {line.get("target_path") for line in lines} >= set(names)
    desk.check(run, 0, ['"type":"summary"'], does="says what would go where")


@pytest.mark.entry("10,000 targets", "the first 250, for real")
def test_many_targets_in_one_command(desk):
    """Three batches: what holds from one to the next holds for a hundred of them."""
    names = many_clips(desk.work, 250)
    run = desk.run("upload", *names, timeout_seconds=PATIENCE_SECONDS)
    desk.check(run, 0, ["250 uploaded"], stores=None, does="uploads all of them")
    assert set(desk.objects()) == {f"{name}.tar.gz" for name in names}
    for name in (names[0], names[100], names[-1]):
        with desk.fetched(desk.objects()[f"{name}.tar.gz"]) as archive:
            desk.compare(archive, desk.work / name, archive.parent, ())
