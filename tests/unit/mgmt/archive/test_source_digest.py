"""A source's digest without an archive is the one that packing it gives, and reading is all that is done."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mgmt.archive import pack
from mgmt.archive.headers import header
from mgmt.archive.packing import compute_content_digest
from mgmt.errors import CancelledError, SourceError
from mgmt.layout import Member
from mgmt.source import look
from mgmt_contract.parts import MIB
from support.trees import noise


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "P"
    (folder / "sub").mkdir(parents=True)
    (folder / "clip.mov").write_bytes(noise(5 * MIB))
    (folder / "sub" / "a.txt").write_bytes(b"text")
    return folder


def test_it_is_what_packing_gives_and_nothing_is_written(tmp_path, project):
    digest = compute_content_digest(look(project))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P"]
    assert digest == pack(look(project), tmp_path / "P.tar.gz").content.content_digest
    (project / "sub" / "a.txt").write_bytes(b"tex2")
    assert compute_content_digest(look(project)) != digest


def test_progress_grows_to_the_bytes_of_the_files(project):
    told: list[int] = []
    compute_content_digest(look(project), on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 5 * MIB + 4
    assert len(told) >= 3


def test_a_stop_ends_it(project):
    stop = threading.Event()
    compute_content_digest(look(project), stop=stop)
    stop.set()
    with pytest.raises(CancelledError):
        compute_content_digest(look(project), stop=stop)


def test_a_file_that_shrinks_meanwhile_is_named(project):
    os.truncate(project / "clip.mov", 64 * MIB)  # more than is read ahead of what progress is told of
    source = look(project)
    with pytest.raises(SourceError, match=r"P/clip\.mov") as caught:
        compute_content_digest(source, on_progress=lambda _: (project / "clip.mov").write_bytes(b""))
    assert caught.value.code == "source-changed"


@pytest.mark.parametrize(
    ("path", "size_bytes"),
    [(b"d" * 99, 512), (b"d" * 120, 1536), (b"p" * 60 + b"/" + b"d" * 99, 512), (b"p" * 60 + b"/" + b"d" * 100, 1536)],
    ids=["fits", "nothing to cut at", "cut between names", "the slash at its end is one too many"],
)
def test_a_folders_name_is_never_cut_at_the_slash_that_ends_it(path, size_bytes):
    folder = Member(path, "directory", 0o755, 0, 0, b"", None, None)  # type: ignore[arg-type]
    assert len(header(folder)) == size_bytes
