"""The steps of the smoke test: each asks one thing of a deployed service, or of the storage of the other tests."""

from __future__ import annotations

import os
import random
from pathlib import Path

from support.team import Laptop, Run
from support.trees import describe

LARGE_BYTES = 20_000_000
"""Goes in parts."""
_LONGEST_SECONDS = 900


def run(laptop: Laptop, *arguments: str, expected: int = 0) -> Run:
    """Run a command that ends with the expected exit code."""
    done = laptop.run("--json", *arguments, timeout_seconds=_LONGEST_SECONDS)
    assert done.exit_code == expected, (arguments, done.exit_code, done.stdout, done.stderr)
    return done


def make_card(laptop: Laptop, name: str) -> Path:
    """Make a folder of footage that goes in parts, so that its archive has an index."""
    card = laptop.work / name
    (card / "DCIM").mkdir(parents=True)
    (card / "DCIM" / "clip.mov").write_bytes(random.Random(1).randbytes(LARGE_BYTES))  # noqa: S311  noise stands for it
    (card / "DCIM" / "notes.txt").write_bytes(b"one small file beside it")
    return card


def store(laptop: Laptop, prefix: str) -> None:
    """Upload small objects and one in parts, twice; find them in the history; do not replace one."""
    for number in range(3):
        (laptop.work / f"{number}.jpg").write_bytes(os.urandom(10_000))
    make_card(laptop, "big")
    arguments = ("upload", "all", "--prefix", prefix)
    assert run(laptop, *arguments).lines[-1] == {"type": "summary", "succeeded": 4, "failed": 0, "skipped": 0}
    assert run(laptop, *arguments).lines[-1] == {"type": "summary", "succeeded": 0, "failed": 0, "skipped": 4}
    [record] = run(laptop, "history", f"{prefix}/big").records
    assert (record["status"], record["index_size"] > 0) == ("success", True)
    (laptop.work / "0.jpg").write_bytes(b"other")
    run(laptop, "upload", "0.jpg", "--prefix", prefix, expected=6)


def get_back(laptop: Laptop, prefix: str) -> None:
    """List an archive, download all of it, and one file of it: by ranges of one version."""
    card = make_card(laptop, "card")
    run(laptop, "upload", "card", "--prefix", prefix)
    key = f"{prefix}/card.tar.gz"
    assert "card/DCIM/notes.txt" in run(laptop, "contents", key).stdout
    for folder, options in (("whole", ()), ("part", ("--only", "*.txt"))):
        (laptop.work / folder).mkdir()
        run(laptop, "download", "--extract", "--to", folder, *options, key)
    assert describe(laptop.work / "whole" / "card") == describe(card)
    [only] = [path for path in (laptop.work / "part").rglob("*") if path.is_file()]
    assert (only.name, only.read_bytes()) == ("notes.txt", (card / "DCIM" / "notes.txt").read_bytes())


def ask_whether_it_is_safe(laptop: Laptop, prefix: str, name: str) -> None:
    """Have a card compared with what is stored, before and after one byte of it changes."""
    card = make_card(laptop, name)
    run(laptop, "safe", name, expected=11)
    run(laptop, "upload", name, "--prefix", prefix)
    run(laptop, "safe", name)
    run(laptop, "safe", "--read-back", name)
    notes = card / "DCIM" / "notes.txt"
    notes.write_bytes(notes.read_bytes().upper())
    run(laptop, "safe", name, expected=11)


def delete_and_bring_back(laptop: Laptop, prefix: str) -> None:
    """Delete an upload, replace it under its name that is free, and bring it back."""
    (laptop.work / "gone.mov").write_bytes(b"first")
    [first] = run(laptop, "upload", "gone.mov", "--prefix", prefix).records
    key = f"{prefix}/gone.mov.tar.gz"
    run(laptop, "delete", "--yes", key)
    run(laptop, "download", "--extract", "--replace", key, expected=4)
    (laptop.work / "gone.mov").write_bytes(b"second")
    run(laptop, "upload", "gone.mov", "--prefix", prefix)
    run(laptop, "undelete", "--yes", first["operation_id"])
    (laptop.work / "back").mkdir()
    run(laptop, "download", "--extract", "--to", "back", first["operation_id"])
    assert (laptop.work / "back" / "gone.mov").read_bytes() == b"first"


def meet_an_archived_class(laptop: Laptop, prefix: str) -> None:
    """Upload into DEEP_ARCHIVE: it is safe there, and cannot be downloaded before a restore, which is not asked for."""
    (laptop.work / "cold.mov").write_bytes(os.urandom(1000))
    run(laptop, "upload", "cold.mov", "--prefix", prefix, "--storage-class", "DEEP_ARCHIVE")
    run(laptop, "safe", "--against", f"{prefix}/cold.mov.tar.gz", "cold.mov")
    refused = laptop.run("download", f"{prefix}/cold.mov.tar.gz")
    assert refused.exit_code != 0
    assert "must be restored by S3 from DEEP_ARCHIVE" in refused.stderr
