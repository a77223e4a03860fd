"""The worker killed: at each call of the records or the storage that it makes, and at any time; then a fresh one runs.

The worker runs in a process of its own, forked from one that has read its modules already, so that a kill is a kill.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import botocore.client

from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.calls.backends import Backends
from mgmt_api.domain.settings import Settings
from mgmt_api.domain.work import Work
from mgmt_api.upkeep.tasks import Worker
from mgmt_contract.messages.downloads import DownloadItem, OpenDownloadsRequest, OpenDownloadsResponse
from mgmt_contract.messages.history import RecordsResponse
from mgmt_contract.messages.uploads import FailItem, FailRequest, SignItem, SignRequest, SignResponse, StartResult
from mgmt_contract.names import index_key
from mgmt_contract.parts import PART_SIZE_MIN_BYTES
from mgmt_contract.routes import DELETE, FAIL, OPEN_DOWNLOADS, SIGN
from mgmt_contract.storage import EXPIRED_TAG
from mgmt_local.control import Endpoint
from mgmt_local.engine.seaweedfs import REGION
from mgmt_local.issuer.signing import SCOPE
from mgmt_local.process.state import open_state_folder
from mgmt_local.records import SQLiteRecordStore
from mgmt_local.worker import WORK_SECONDS, LocalQueue
from support.engine import versioned_bucket
from support.interposed import interpose_records
from support.local_backend import Person
from support.sign_in import make_token
from support.studio import content_of, index_of, item_for, parts_of
from support.team import Team, team_at_work
from support.trees import noise

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from support.breaking.world import World

LAPSED: Final = timedelta(minutes=11)
"""Longer than a lease lasts, and than a join is only looked at."""
RUNS_MAX: Final = 4
"""A join that was begun is only looked at for a while: so many rounds, each a lapse after the other, end everything."""
_FORKING: Final = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["mgmt_api.upkeep.tasks", "mgmt_api.adapters.s3", "mgmt_local.records", "boto3"])


class Station(NamedTuple):
    """What a worker needs to know."""

    records: Path
    endpoint_url: str
    access_key: str
    secret_key: str
    settings: Settings


# --- in the worker's process ---------------------------------------------------------------------------


def run_worker(
    station: Station, works: Sequence[Work], ahead: timedelta, kill_at: int, pipe: Connection | None
) -> None:
    """Do work and all that follows from it; die at a step, or tell how many there were."""
    steps = itertools.count(1)

    def step(_: str) -> None:
        if next(steps) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    client = make_s3_client(
        REGION, endpoint_url=station.endpoint_url, access_key=station.access_key, secret_key=station.secret_key
    )
    _watch_storage(step)
    queue = LocalQueue()
    backends = Backends(
        station.settings,
        interpose_records(SQLiteRecordStore(station.records), before=step, after=step),
        S3ObjectStore(client, station.settings.bucket),
        lambda: datetime.now(UTC) + ahead,
        remaining_seconds=lambda: WORK_SECONDS,
    )
    worker = Worker(backends, queue)
    if pipe is not None:
        pipe.send("ready")
    for work in works:
        queue.send(work)
    while (waiting := queue.take(queue.now())) is not None:
        worker.do(waiting.work)
    if pipe is not None:
        pipe.send(next(steps) - 1)


def _watch_storage(step: Callable[[str], None]) -> None:
    """Have each call of S3 be two steps: before it was made, and after its answer."""
    client: Any = botocore.client.BaseClient
    original = client._make_api_call

    def call(self: Any, name: str, parameters: Any) -> Any:
        step(name)
        answer = original(self, name, parameters)
        step(name)
        return answer

    client._make_api_call = call


# --- what the worker finds, and what must be so after it ------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What lies there for the worker, and how it must come out."""

    works: Sequence[Work]
    ahead: timedelta
    operation_id: str
    status: str
    body: bytes | None
    """The object's, if there must be one."""
    code: str | None = None
    index: bytes | None = None
    is_tagged: bool = False


@dataclass(frozen=True)
class WorkerScenario:
    """One kind of the worker's work."""

    name: str
    prepare: Callable[[WorkerKills, str], Found]


@dataclass
class WorkerKills:
    """A team of its own whose worker is killed: its clock runs ahead, and its rounds meet all that is pending."""

    world: World
    team: Team = field(init=False)
    person: Person = field(init=False)
    station: Station = field(init=False)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextmanager
    def at_work(self) -> Iterator[WorkerKills]:
        """Run the team; the messages to its own worker are lost, so that nobody else does the work."""
        world, folder = self.world, self.world.folder / "worker"
        with (
            versioned_bucket(world.engine) as bucket,
            team_at_work(folder, world.engine, bucket, world.storage) as team,
        ):
            team.queue.send = lambda *_, **__: False  # type: ignore[method-assign]
            state = open_state_folder(folder)
            engine = world.engine
            settings = Settings(
                bucket=bucket,
                table="",
                region=REGION,
                key_part_max_bytes=255,
                scopes=(SCOPE,),
                restores_archived=False,
            )
            self.team, self.person = team, Person(Endpoint(team.url, make_token(state, "anna", admin=False)))
            self.station = Station(state.records, engine.endpoint_url, engine.access_key, engine.secret_key, settings)
            yield self

    def count_steps(self, scenario: WorkerScenario) -> tuple[int, float, list[str]]:
        """Let a worker end its work; say how many steps that took, how many seconds, and what is wrong."""
        found = self._prepare(scenario)
        steps, seconds = self.run(found)
        return steps, seconds, self._look(found)

    def kill_at_step(self, scenario: WorkerScenario, step: int) -> list[str]:
        """Kill a worker at a step; say what is wrong after others have run."""
        found = self._prepare(scenario)
        process = self._begin(found, step, None)
        process.join()
        if process.exitcode not in (0, -signal.SIGKILL):  # 0: it had less to do this time
            return [f"the worker ended with {process.exitcode}"]
        return self._finish(found)

    def kill_after(self, scenario: WorkerScenario, seconds: float) -> list[str] | None:
        """Kill a worker after some time; say what is wrong after others have run. None where it was done by then."""
        found = self._prepare(scenario)
        receiver, sender = _FORKING.Pipe(duplex=False)
        with closing(receiver), closing(sender):
            process = self._begin(found, 0, sender)
            receiver.recv()
            process.join(seconds)
            process.kill()
            process.join()
        wrong = self._finish(found)
        return None if process.exitcode == 0 and not wrong else wrong

    def run(self, found: Found) -> tuple[int, float]:
        """Let a worker do its work to the end; say how many steps and seconds that took."""
        receiver, sender = _FORKING.Pipe(duplex=False)
        with closing(receiver), closing(sender):
            process = self._begin(found, 0, sender)
            receiver.recv()
            began = time.monotonic()
            process.join()
            assert process.exitcode == 0, f"a worker ended with {process.exitcode}"
            return receiver.recv(), time.monotonic() - began

    def _begin(self, found: Found, kill_at: int, sender: Connection | None) -> Any:
        given = (self.station, found.works, found.ahead, kill_at, sender)
        process = _FORKING.Process(target=run_worker, args=given, daemon=True)
        process.start()
        return process

    def _prepare(self, scenario: WorkerScenario) -> Found:
        return scenario.prepare(self, f"{scenario.name}-{next(self._numbers)}")

    def _finish(self, found: Found) -> list[str]:
        """Run fresh workers, each a while later, until all is as it must be."""
        for number in range(RUNS_MAX):
            self.run(replace(found, ahead=found.ahead + number * LAPSED))
            wrong = self._look(found)
            if not wrong:
                break
        return wrong

    def _look(self, found: Found) -> list[str]:
        team = self.team
        operation: Any = team.records.get_operations([found.operation_id])[found.operation_id]
        record, key = operation.record, operation.record.s3_object_key
        stored = {each["VersionId"] for each in self._versions(key)}
        body = team.s3.get_object(Bucket=team.bucket, Key=key)["Body"].read() if stored else None
        index = found.index and team.indexes().get(index_key("", record.operation_id))
        listed = team.s3.list_multipart_uploads(Bucket=team.bucket, Prefix=key).get("Uploads", [])
        wrong = {
            f"the record is {record.status} ({record.error_code})": (record.status, record.error_code)
            != (found.status, found.code),
            f"{len(stored)} versions of the object": len(stored) != (found.body is not None),
            "other bytes in the object": body != found.body,
            "an open multipart upload": bool(listed),
            "the index is not there": index != found.index,
            "the record says nothing of its index": bool(found.index) and record.index_size != len(found.index or b""),
            "the record's version is another": bool(stored)
            and found.status == "success"
            and record.version_id not in stored,
            "what was deleted is not tagged, or something else is": self._tagged(key, record.operation_id)
            != (1 + bool(found.index)) * found.is_tagged,
            "it is not given up in the record": found.is_tagged and record.removed_at is None,
        }
        return [what for what, is_so in wrong.items() if is_so]

    def _versions(self, key: str) -> list[Any]:
        listed = self.team.s3.list_object_versions(Bucket=self.team.bucket, Prefix=key)
        return [each for each in listed.get("Versions", []) if each["Key"] == key]

    def _tagged(self, key: str, operation_id: str) -> int:
        """Count the versions of an archive and of its index that bear the mark of what was given up."""
        team, count = self.team, 0
        for each in [*self._versions(key), *self._versions(index_key("", operation_id))]:
            tags = team.s3.get_object_tagging(Bucket=team.bucket, Key=each["Key"], VersionId=each["VersionId"])
            count += EXPIRED_TAG in [tag["Key"] for tag in tags["TagSet"]]
        return count


ROUND: Final = (Work("pending"),)
BODY: Final = noise(PART_SIZE_MIN_BYTES + 1000, seed=3)
INDEX: Final = b"the index"


def _send_parts(killing: WorkerKills, name: str, *, count: int = 2) -> StartResult:
    """Send an upload in parts, with its index, or only the first of its parts."""
    person = killing.person
    started = person.start(item_for(name, None, upper_bound=len(BODY)))
    assert started.lease is not None
    parts = parts_of(BODY, PART_SIZE_MIN_BYTES)[:count]
    whole = count == 2
    item = SignItem(
        started.operation_id,
        started.lease.epoch,
        parts,
        content_of(BODY) if whole else None,
        index_of(INDEX) if whole else None,
    )
    [signed] = person.call(SIGN, SignResponse, SignRequest(person.machine_id, [item])).results
    assert signed.problem is None, signed.problem
    for part in signed.parts:
        first = (part.number - 1) * PART_SIZE_MIN_BYTES
        assert person.send(part.request, BODY[first : first + PART_SIZE_MIN_BYTES]) == 200
    if signed.index_request is not None:
        assert person.send(signed.index_request, INDEX) == 200
    return started


def _prepare_parts(killing: WorkerKills, name: str) -> Found:
    started = _send_parts(killing, name)
    return Found(ROUND, LAPSED, started.operation_id, "success", BODY, index=INDEX)


def _prepare_asked(killing: WorkerKills, name: str) -> Found:
    """The client has asked for the join, and has its answer from the worker."""
    started = _send_parts(killing, name)
    assert killing.person.complete(started, content_of(BODY)).outcome == "completing"
    return Found(
        [Work("settle", started.operation_id)], timedelta(), started.operation_id, "success", BODY, index=INDEX
    )


def _prepare_whole(killing: WorkerKills, name: str) -> Found:
    person, body = killing.person, name.encode()
    started = person.start(item_for(name, body))
    assert started.request is not None
    assert person.send(started.request, body) == 200
    return Found(ROUND, LAPSED, started.operation_id, "success", body)


def _prepare_abandoned(killing: WorkerKills, name: str) -> Found:
    started = _send_parts(killing, name, count=1)
    return Found(ROUND, LAPSED + timedelta(days=7), started.operation_id, "failed", None, "abandoned")


def _prepare_late(killing: WorkerKills, name: str) -> Found:
    """Its client gave it up, and then it arrived after all."""
    person, body = killing.person, name.encode()
    started = person.start(item_for(name, body))
    assert started.request is not None
    assert started.lease is not None
    item = FailItem(started.operation_id, started.lease.epoch, "unavailable", "It went away.")
    [failed] = person.call(FAIL, RecordsResponse, FailRequest(person.machine_id, [item])).results
    assert failed.problem is None, failed.problem
    assert person.send(started.request, body) == 200
    works = [Work("arrival", key=f"{name}.tar.gz", version_id=killing.team.version_id(f"{name}.tar.gz"))]
    return Found(works, LAPSED, started.operation_id, "success", body)


def _prepare_deleted(killing: WorkerKills, name: str) -> Found:
    found = _prepare_asked(killing, name)
    killing.run(found)
    assert killing.person.remove(DELETE, found.operation_id).problem is None
    return replace(found, works=[Work("deleted")], ahead=timedelta(days=31), is_tagged=True)


def _prepare_download(killing: WorkerKills, name: str) -> Found:
    """A download whose client never came back."""
    person, body = killing.person, name.encode()
    upload = person.upload(name, body)
    item = DownloadItem(str(uuid.uuid4()), upload.operation_id, name)
    request = OpenDownloadsRequest([item])
    [opened] = person.call(OPEN_DOWNLOADS, OpenDownloadsResponse, request).results
    assert opened.problem is None, opened.problem
    return Found(ROUND, LAPSED + timedelta(days=7), opened.operation_id, "failed", body, "abandoned")


WORKER_SCENARIOS: Final = (
    WorkerScenario("worker-joins", _prepare_parts),
    WorkerScenario("worker-joins-when-asked", _prepare_asked),
    WorkerScenario("worker-confirms", _prepare_whole),
    WorkerScenario("worker-ends-an-upload", _prepare_abandoned),
    WorkerScenario("worker-adopts", _prepare_late),
    WorkerScenario("worker-gives-up", _prepare_deleted),
    WorkerScenario("worker-ends-a-download", _prepare_download),
)
