"""A team at work: the real service behind the real gateway on a real engine, and people with laptops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.calls.backends import Backends
from mgmt_api.domain.settings import Settings
from mgmt_api.domain.work import Work
from mgmt_api.upkeep.tasks import Worker
from mgmt_api.wiring import build_app
from mgmt_contract.names import OWN_FOLDER
from mgmt_local.engine.room import Room
from mgmt_local.engine.seaweedfs import REGION, StorageEngine
from mgmt_local.gateway.authorizer import Authorizer
from mgmt_local.gateway.server import App, Gateway
from mgmt_local.issuer.signing import SCOPE
from mgmt_local.objects import LocalObjectStore
from mgmt_local.process.activity import Activity
from mgmt_local.process.state import open_state_folder
from mgmt_local.records import SQLiteRecordStore
from mgmt_local.worker import WORK_SECONDS, LocalQueue, WorkerThread
from support.engine import own_client
from support.faulty_storage import FaultyStorage
from support.sign_in import make_authorizer, make_token

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NEVER_SECONDS = 1e6
"""Rounds are made when a test asks for them."""


@dataclass
class Team:
    """A running service, what stands behind it, and its clock."""

    url: str
    bucket: str
    s3: S3Client
    records: SQLiteRecordStore
    store: S3ObjectStore
    """The service's own way to the storage."""
    storage: FaultyStorage
    folder: Path
    ahead: timedelta = field(default=timedelta())
    """How far the service's clock is ahead of the real one."""
    queue: LocalQueue = field(default_factory=LocalQueue)
    room: Room = field(default_factory=lambda: Room(Path("/"), 10**15, 10**15))
    """What the service finds when it looks at the disk of the storage."""
    own_faults: int = 0
    """How many answers of 500 and more the service has given."""

    def watched(self, app: App) -> App:
        """Count the faults that are the service's own."""

        def answer(event: dict[str, Any], context: object) -> Mapping[str, Any]:
            status = 500  # what the gateway says where nothing is answered
            try:
                answered = app(event, context)
                status = answered["statusCode"]
            finally:
                self.own_faults += status >= 500
            return answered

        return answer

    def go_round(self) -> None:
        """Have the worker go through what is pending, and wait until it has done all that it found."""
        self.queue.send(Work("pending"))
        assert self.queue.wait_until_done(60)

    def kill_stalled(self, process: subprocess.Popen[str]) -> None:
        """Kill a command once one of its requests hangs, as `storage.fault` says; then end its faults."""
        assert self.storage.stalled.wait(30)
        process.kill()
        process.communicate()
        self.storage.reset()

    def laptop(self, folder: Path, person: str = "anna", *, is_admin: bool = False) -> Laptop:
        """Give a person a laptop with a home and a work folder of its own."""
        token = make_token(open_state_folder(self.folder), person, admin=is_admin)
        work = folder / "work"
        work.mkdir(parents=True)
        environment = {
            "MGMT_API_URL": self.url,
            "MGMT_TOKEN": token,
            "MGMT_CONFIG": os.fspath(folder / "config"),
            "MGMT_STATE_DIR": os.fspath(folder / "state"),
            "XDG_CACHE_HOME": os.fspath(folder / "cache"),
        }
        return Laptop(folder, work, environment)

    def objects(self) -> dict[str, bytes]:
        """Return every archive in the bucket with its bytes."""
        return {key: data for key, data in self._everything().items() if not _is_index(key)}

    def indexes(self) -> dict[str, bytes]:
        """Return every index in the bucket with its bytes."""
        return {key: data for key, data in self._everything().items() if _is_index(key)}

    def _everything(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {each["Key"]: self.s3.get_object(Bucket=self.bucket, Key=each["Key"])["Body"].read() for each in listed}

    def versions(self, key: str) -> int:
        """Count the versions of an object."""
        listed = self.s3.list_object_versions(Bucket=self.bucket, Prefix=key)
        return len([each for each in listed.get("Versions", []) if each["Key"] == key])

    def version_id(self, key: str) -> str | None:
        """Name the current version of an object."""
        return self.s3.head_object(Bucket=self.bucket, Key=key).get("VersionId")

    def multipart_uploads(self) -> int:
        """Count the multipart uploads that are neither completed nor aborted."""
        return len(self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))


def _is_index(key: str) -> bool:
    return OWN_FOLDER in key.split("/")


@dataclass
class Run:
    """What a command came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of stdout."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records among them."""
        return [line for line in self.lines if line["type"] == "record"]


@dataclass
class Laptop:
    """One person's machine."""

    folder: Path
    work: Path
    environment: dict[str, str]

    def run(
        self,
        *arguments: str,
        timeout_seconds: float = 60,
        cwd: Path | None = None,
        program: str | None = None,
        **environment: str,
    ) -> Run:
        """Run `mgmt`, or a program that runs it, in a process of its own and wait for it."""
        process = self.begin(*arguments, cwd=cwd, program=program, **environment)
        stdout, stderr = process.communicate(timeout=timeout_seconds)
        return Run(process.returncode, stdout, stderr)

    def begin(
        self, *arguments: str, cwd: Path | None = None, program: str | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        """Begin `mgmt`, or a program that runs it, in a process of its own."""
        return subprocess.Popen(
            [sys.executable, *(("-m", "mgmt") if program is None else ("-c", program)), *arguments],
            cwd=cwd or self.work,
            env={**self.whole_environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )

    def whole_environment(self) -> dict[str, str]:
        """Return what a process on this laptop finds in its environment."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MGMT_")}
        return {**inherited, **self.environment}

    def left_overs(self) -> list[str]:
        """Name every archive of mgmt, whole or not, in the work folder."""
        return sorted(str(path.relative_to(self.work)) for path in self.work.rglob("*") if ".tar.gz" in path.name)


@contextmanager
def team_at_work(
    folder: Path,
    engine: StorageEngine,
    bucket: str,
    storage: FaultyStorage,
    *,
    authorizer: Authorizer | None = None,
    **deployed: Any,
) -> Iterator[Team]:
    """Run a service on a bucket, with what its admin has decided; clients reach the storage through the proxy.

    Without an authorizer of the test's own, tokens are the embedded backend's.
    """
    state = open_state_folder(folder)
    records = SQLiteRecordStore(state.records)
    s3 = own_client(engine)
    signer = make_s3_client(
        REGION, endpoint_url=storage.url, access_key=engine.access_key, secret_key=engine.secret_key
    )
    deployed = {"scopes": (SCOPE,), "restores_archived": False, **deployed}
    settings = Settings(bucket=bucket, table="", region=REGION, key_part_max_bytes=255, **deployed)
    store = LocalObjectStore(signer, bucket, lambda: team.room)
    team = Team("", bucket, s3, records, store, storage, folder)

    def clock() -> datetime:
        return datetime.now(UTC) + team.ahead

    app = build_app(settings, records, team.store, clock, worker=team.queue)
    backends = Backends(settings, records, team.store, clock, remaining_seconds=lambda: WORK_SECONDS)
    thread = WorkerThread(team.queue, Worker(backends, team.queue).do, round_seconds=NEVER_SECONDS)
    gateway = Gateway(team.watched(app), authorizer or make_authorizer(state), Activity(3600))
    team.url = gateway.url
    try:
        yield team
    finally:
        gateway.close()
        thread.close()
        records.close()
        signer.close()
