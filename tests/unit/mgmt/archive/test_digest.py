from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from mgmt.archive import pack
from mgmt.archive.checksums import ContentDigest, Placed
from mgmt.source import look
from support.trees import awkward_tree, noise, text

CLIP = Path(__file__)
"""Any file will do."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "P"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"content")
    (folder / "b").write_bytes(noise(3 * 2**20))
    (folder / "c").write_bytes(text(2 * 2**20))
    (folder / "link").symlink_to("a")
    return folder


def digest(folder: Path, **options: object) -> str:
    archive = folder.parent / "x.tar.gz"
    archive.unlink(missing_ok=True)
    return pack(look(folder), archive, **options).content.content_digest


def test_it_is_what_the_description_says(tmp_path):
    tree = awkward_tree(tmp_path / "P")
    expected = blake3(b"mgmt content 2\0")
    for member in look(tree).members():
        letter = {"file": b"f", "directory": b"d", "symlink": b"s", "hardlink": b"h"}[member.kind]
        expected.update(member.path + b"\0" + letter + f"{member.mode:o} {member.size_bytes}".encode() + b"\0")
        expected.update(member.target + b"\0")
        if member.kind == "file":
            expected.update(blake3((tmp_path / os.fsdecode(member.path)).read_bytes()).digest())
    assert digest(tree) == "blake3:" + expected.hexdigest()


def test_times_plans_and_workers_do_not_count(project):
    before = digest(project)
    for path in (project, project / "a", project / "sub"):
        os.utime(path, ns=(0, 5))
    assert digest(project, plan="store", workers=1) == before
    assert digest(project, plan="best", workers=3) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a").write_bytes(b"CONTENT"),
        lambda root: (root / "a").rename(root / "A"),
        lambda root: (root / "a").chmod(0o600),
        lambda root: (root / "new").mkdir(),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("b")),
        lambda root: ((root / "a").unlink(), os.link(root / "b", root / "a")),
        lambda root: os.truncate(root / "b", 3 * 2**20 - 1),
    ],
    ids=["content", "name", "mode", "added", "link", "hard link", "size"],
)
def test_everything_else_counts(project, change):
    before = digest(project)
    change(project)
    assert digest(project) != before


def test_many_pieces_and_few_give_the_same():
    [clip] = look(CLIP).members()
    pieces = [Placed(clip, b"frame", 512), *(memoryview(noise(100, seed=seed)) for seed in range(20))]
    at_once, one_by_one = ContentDigest(), ContentDigest()
    at_once.add(pieces)
    for piece in pieces:
        one_by_one.add([piece])
    assert at_once.text() == one_by_one.text()
