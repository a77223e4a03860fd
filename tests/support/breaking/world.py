"""Where things are broken: one team for many cases, each with a laptop and a name of its own."""

from __future__ import annotations

import hashlib
import io
import itertools
import sqlite3
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import urllib3

from mgmt_contract.names import OWN_FOLDER
from mgmt_contract.parts import PART_SIZE_MIN_BYTES
from mgmt_local.engine.seaweedfs import StorageEngine
from support.breaking.network import BreakingProxy
from support.engine import versioned_bucket
from support.faulty_storage import FaultyStorage
from support.team import Laptop, Run, Team, team_at_work
from support.trees import describe, noise

MB = 1_000_000
SIZES = {"small": 60_000, "large": 17 * MB, "huge": 36 * MB}
"""One whole PUT; four parts and an index; seven parts and an index."""


@dataclass
class World:
    """A team, and what all its cases share."""

    team: Team
    folder: Path
    engine: StorageEngine
    storage: Any
    """The proxy before the engine."""
    stored: tuple[str, object] | None = None
    """What downloads fetch: a folder that was uploaded in parts, by its name, and what `describe` said of it."""

    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self) -> tuple[str, object]:
        """Upload what downloads fetch, once."""
        with self._lock:
            if self.stored is None:
                case = self.make_case("stored")
                folder = case.laptop.work / case.add_folder()
                (folder / "big.mov").write_bytes(noise(SIZES["large"], 7))
                run = case.run(["upload", case.name])
                assert run.exit_code == 0, run.stderr
                self.stored = (case.name, describe(folder))
        return self.stored

    def make_case(self, kind: str) -> Case:
        """Give a case its laptop; its name is no other case's."""
        name = f"{kind}-{next(self._numbers)}"
        return Case(self, self.team, self.team.laptop(self.folder / name, f"person-{name}"), name)


@dataclass
class Case:
    """One thing that is broken: sources on a laptop, what becomes of them, and what must be so in the end."""

    world: World
    team: Team
    laptop: Laptop
    name: str
    sources: dict[str, object] = field(default_factory=dict)
    """What `describe_source` says of each source, by its name."""
    expected: set[str] = field(default_factory=set)
    """All that may be in the work folder in the end."""

    @property
    def person(self) -> str:
        """The name of who works on this laptop."""
        return f"person-{self.name}"

    def add_file(self, size: str = "small", *, name: str | None = None, seed: int = 1) -> str:
        """Put a source into the work folder."""
        name = name or self.name
        (self.laptop.work / name).write_bytes(noise(SIZES[size], seed))
        return self._note(name)

    def add_folder(self, *, name: str | None = None) -> str:
        """Put a folder of two files into the work folder."""
        folder = self.laptop.work / (name or self.name)
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "clip.mov").write_bytes(noise(SIZES["small"], 5))
        (folder / "notes.txt").write_text("of the day\n")
        return self._note(folder.name)

    def _note(self, name: str) -> str:
        self.sources[name] = describe_source(self.laptop.work / name)
        self.expected.add(name)
        return name

    def run(self, arguments: Sequence[str], program: str | None = None, **environment: str) -> Run:
        """Run the command of this case."""
        return self.laptop.run("--json", *arguments, program=program, timeout_seconds=120, **environment)  # type: ignore[arg-type]  # texts only

    def find_faults_of_upload(self, name: str, *, versions: int = 1, moved_to: str | None = None) -> list[str]:
        """Say what is wrong with an upload: its source, its object, its records, its left-overs."""
        key = f"{name}.tar.gz"
        place = self.laptop.work / (f"{moved_to}/{name}" if moved_to else name)
        records = [each for each in self.records(name) if each["operation_type"] == "upload"]
        good = [each for each in records if each["status"] == "success"]
        found = {
            "its source is not as it was": not place.exists() or describe_source(place) != self.sources[name],
            f"{self.team.versions(key)} versions of the object": self.team.versions(key) != versions,
            f"{len(good)} records of success": len(good) != versions,
            "a record is pending": any(each["status"] == "pending" for each in records),
            "an open multipart upload": self.open_multipart_uploads(key) > 0,
            "other bytes in the object": not self._is_packed(key, place),
        }
        if good and self.team.versions(key) == versions:
            head = self.team.s3.head_object(Bucket=self.team.bucket, Key=key)
            found["the record's size is not the object's"] = good[0]["s3_file_record"]["size"] != head[
                "ContentLength"
            ] or good[0]["version_id"] != head.get("VersionId")
        return [f"{name}: {what}" for what, is_so in found.items() if is_so]

    def count_parts_sent_again(self, name: str) -> float:
        """Say how many parts' bytes of an upload came to the storage beyond those of its archive; 0 of a whole PUT."""
        came_bytes: int = self.world.storage.part_bytes[f"/{self.team.bucket}/{name}.tar.gz"]
        if not came_bytes or not self.team.versions(f"{name}.tar.gz"):
            return 0.0
        stored = self.team.s3.head_object(Bucket=self.team.bucket, Key=f"{name}.tar.gz")
        return float(max(0, came_bytes - stored["ContentLength"])) / PART_SIZE_MIN_BYTES

    def find_left_overs(self) -> list[str]:
        """Say what lies about on the laptop that should not."""
        work = self.laptop.work
        stray = {path.name for path in work.iterdir()} - self.expected
        stray |= {path.name for path in work.rglob("*") if path.name.endswith(".part")}
        return [f"stray: {name}" for name in sorted(stray)] + self._unfinished_entries()

    def _unfinished_entries(self) -> list[str]:
        path = self.laptop.folder / "state" / "journal.sqlite"
        if not path.exists():
            return []
        found = []
        with closing(sqlite3.connect(path)) as database:
            for table in ("uploads", "orders", "download_orders"):
                [count] = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  our own text
                found += [f"{count} {table} left in the journal"] if count else []
        return found

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return all records of a name, newest first."""
        return self._history(name=name)

    def _history(self, **query: str) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = self.ask_history(**query)["records"]
        return records

    def ask_history(self, **query: str) -> dict[str, Any]:
        """Return a page of the history as who works on this laptop."""
        headers = {"authorization": f"Bearer {self.laptop.environment['MGMT_TOKEN']}"}
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            answer = pool.request("GET", f"{self.team.url}/v1/history", fields=query, headers=headers)
        assert answer.status == 200, answer.data
        page: dict[str, Any] = answer.json()
        return page

    def open_multipart_uploads(self, key: str) -> int:
        """Count the multipart uploads to a key that are neither completed nor aborted."""
        listed = self.team.s3.list_multipart_uploads(Bucket=self.team.bucket, Prefix=key).get("Uploads", [])
        return len([each for each in listed if each["Key"] == key])

    def _is_packed(self, key: str, source: Path) -> bool:
        """Tell whether an object is the archive of a source, byte for byte."""
        if not source.exists():
            return False
        body = self.team.s3.get_object(Bucket=self.team.bucket, Key=key)["Body"].read()
        if not body:
            return False
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
            for member in archive:
                path = source.parent / member.name
                if member.isfile() and (file := archive.extractfile(member)) is not None:
                    if file.read() != path.read_bytes():
                        return False
                elif not path.is_dir():
                    return False
        return True


def describe_source(path: Path) -> object:
    """Say all of a file or folder that an upload must leave as it is."""
    if path.is_dir():
        return describe(path)
    stated = path.stat()
    return hashlib.blake2b(path.read_bytes()).digest(), stated.st_mode, stated.st_mtime_ns


def find_orphans(team: Team) -> list[str]:
    """Say which indexes belong to no upload that was recorded as done: each is called by its upload."""
    listing = team.s3.get_paginator("list_objects_v2").paginate(Bucket=team.bucket, Prefix=f"{OWN_FOLDER}/")
    keys = [each["Key"] for page in listing for each in page.get("Contents", [])]
    indexes = {key.rpartition("/")[2].partition(".")[0] for key in keys}
    known = team.records.get_operations(sorted(indexes))
    return [f"{OWN_FOLDER}: {each}" for each in sorted(indexes) if each not in known]


@contextmanager
def world_at(folder: Path, engine: StorageEngine, storage: FaultyStorage | BreakingProxy) -> Iterator[World]:
    """Run a team whose storage is reached through a proxy, and whose parts are as small as S3 takes them."""
    storage.reset()
    as_any: Any = storage  # a team asks only for its address
    with (
        patch("mgmt_api.uploads.drafts.part_size_for", lambda _: PART_SIZE_MIN_BYTES),
        versioned_bucket(engine) as bucket,
        team_at_work(folder / "service", engine, bucket, as_any) as team,
    ):
        yield World(team, folder, engine, storage)
