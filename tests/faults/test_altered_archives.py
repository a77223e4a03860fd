"""An archive that does not stay as it was packed while it is sent: nothing else is stored, and nothing foreign goes."""

from __future__ import annotations

import io
import os
import re
import tarfile

import pytest

from support.programs import QUICK_WAITS
from support.trees import noise

MB = 1_000_000
FOREIGN = b"somebody's own"


def flip(path):
    """Change one byte, and nothing that is looked at: a medium that goes bad."""
    known = path.stat()
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


def lengthen(path):
    with path.open("ab") as file:
        file.write(FOREIGN)


def overwrite(path):
    with path.open("r+b") as file:
        file.write(FOREIGN)


def put_another_file(path):
    (path.parent.parent / "foreign").write_bytes(FOREIGN)
    (path.parent.parent / "foreign").rename(path)


def put_a_symlink(path):
    (path.parent.parent / "foreign").write_bytes(FOREIGN)
    path.unlink()
    path.symlink_to(path.parent.parent / "foreign")


ALTERATIONS = {
    "deleted": lambda path: path.unlink(),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "longer": lengthen,
    "overwritten": overwrite,
    "flipped": flip,
    "another file": put_another_file,
    "a symlink": put_a_symlink,
}


@pytest.mark.parametrize(
    ("how", "size", "last"),
    [
        *(pytest.param(how, 20 * MB, 2, id=f"{how}, parts") for how in ALTERATIONS),
        *(pytest.param(how, 300_000, None, id=f"{how}, whole") for how in ("truncated", "flipped", "another file")),
    ],
)
def test_an_archive_that_is_altered_while_it_is_sent_is_never_stored_so(team, anna, how, size, last):
    source = anna.work / "clip.mov"
    source.write_bytes(noise(size))
    archive = anna.work / "clip.mov.tar.gz"

    def alter(put):
        if put.part_number != last or put.attempt:
            return "none"
        ALTERATIONS[how](archive)
        return "cut"

    team.storage.fault = alter
    run = anna.run("--json", "upload", "clip.mov", "--jobs", "1", program=QUICK_WAITS)
    assert run.exit_code in (0, 8, 9), run.stderr
    assert "Traceback" not in run.stderr
    assert source.read_bytes() == noise(size)
    team.storage.reset()
    if how in ("another file", "a symlink"):
        assert archive.read_bytes() == FOREIGN
        assert (anna.folder / "foreign").exists() == (how == "a symlink")
    if run.exit_code != 0:
        run = anna.run("--json", "upload", "clip.mov", program=QUICK_WAITS)
    if run.exit_code == 4:  # what is not as it was packed may be somebody's: it is left alone, and said
        assert re.search("so it is left alone.*move it away", run.stderr, re.IGNORECASE | re.DOTALL)
        assert how in ("truncated", "longer", "overwritten", "another file", "a symlink")
        archive.unlink()
        run = anna.run("--json", "upload", "clip.mov", program=QUICK_WAITS)
    assert run.exit_code == 0, run.stderr
    [(key, stored)] = team.objects().items()
    with tarfile.open(fileobj=io.BytesIO(stored), mode="r:gz") as packed:
        assert packed.extractfile("clip.mov").read() == noise(size)
    assert (team.versions(key), team.multipart_uploads()) == (1, 0)
    statuses = [each["status"] for each in anna.run("--json", "history").records]
    assert (statuses.count("success"), statuses.count("pending")) == (1, 0)
    if how not in ("longer", "overwritten"):  # sent to the end, it is not as it was packed: it stays
        assert [name for name in anna.left_overs() if (anna.work / name).read_bytes() != FOREIGN] == []
