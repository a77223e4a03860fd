"""A small team before the real service on fake stores: every call goes through the whole app as an event."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

from mgmt_api.calls.backends import CALL_MAX_SECONDS, Backends
from mgmt_api.domain.metrics import Metrics
from mgmt_api.domain.settings import Settings
from mgmt_api.domain.work import Work
from mgmt_api.ports import ObjectStore, RecordStore, WorkQueue
from mgmt_api.upkeep.tasks import Worker
from mgmt_api.wiring import App, build_app
from mgmt_contract import routes
from mgmt_contract.messages.downloads import (
    DownloadEnd,
    DownloadItem,
    DownloadResult,
    EndDownloadsRequest,
    OpenDownloadsRequest,
    OpenDownloadsResponse,
)
from mgmt_contract.messages.history import HistoryResponse, LookUpRequest, RecordResult, RecordsResponse
from mgmt_contract.messages.objects import (
    LookRequest,
    LookResponse,
    LookResult,
    RestoreItem,
    RestoreRequest,
    RestoreResponse,
    RestoreResult,
)
from mgmt_contract.messages.removal import RemovalItem, RemovalRequest, RemovalResponse, RemovalResult
from mgmt_contract.messages.uploads import (
    CleanUp,
    CleanUpRequest,
    CompleteItem,
    CompleteRequest,
    CompleteResponse,
    CompleteResult,
    Content,
    FailItem,
    FailRequest,
    IndexFile,
    Packing,
    Part,
    PreviewRequest,
    PreviewResponse,
    PreviewResult,
    SignedPart,
    SignItem,
    SignRequest,
    SignResponse,
    SignResult,
    StartItem,
    StartRequest,
    StartResponse,
    StartResult,
)
from mgmt_contract.parts import MIB, part_count, part_span
from mgmt_contract.problems import Problem
from mgmt_contract.records import FileRecord
from mgmt_contract.routes import Route
from mgmt_contract.wire import from_json
from support.events import make_claims, make_event
from support.fakes import (
    FakeMetrics,
    FakeObjectStore,
    FakeRecordStore,
    FakeWorkQueue,
    ManualClock,
    crc64nvme,
)
from support.sentences import check_answer

T = TypeVar("T")

SETTINGS = Settings(bucket="footage", table="records", region="eu-west-1", scopes=("mgmt/use",))


class RefusedError(Exception):
    """The service answered a problem instead of a message."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem
        self.code = problem.code


class _Socket:
    """Stands for a store or a clock that is plugged in later."""

    plugged: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plugged, name)

    def __call__(self) -> Any:
        return self.plugged()


class _Context:
    """What Lambda gives its handler beside the event, by a clock that moves when told to."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._ends_at = clock() + timedelta(seconds=CALL_MAX_SECONDS)

    def get_remaining_time_in_millis(self) -> int:
        """Say how long the call may still take."""
        return max(0, int((self._ends_at - self._clock()) / timedelta(milliseconds=1)))


@functools.cache
def _wire(settings: Settings, has_worker: bool) -> tuple[App, _Socket, _Socket, _Socket, _Socket, _Socket]:
    """Build the app once per settings: reading the messages' types takes longer than most tests."""
    records, objects, clock, metrics, queue = _Socket(), _Socket(), _Socket(), _Socket(), _Socket()
    app = build_app(
        settings,
        cast("RecordStore", records),
        cast("ObjectStore", objects),
        clock,
        cast("Metrics", metrics),
        worker=cast("WorkQueue", queue) if has_worker else None,
    )
    return app, records, objects, clock, metrics, queue


@dataclass
class Studio:
    """One deployment: its stores, its clock, and the app as Lambda would call it."""

    settings: Settings = SETTINGS
    clock: ManualClock = field(default_factory=ManualClock)
    records: FakeRecordStore = field(default_factory=FakeRecordStore)
    objects: FakeObjectStore = field(init=False)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    has_worker: bool = False
    """False: calls join parts themselves."""
    queue: FakeWorkQueue = field(init=False)

    def __post_init__(self) -> None:
        self.objects = FakeObjectStore(self.clock, tells_part_checksums=False)
        self.queue = FakeWorkQueue(self.clock)
        self.serve(self.records, self.objects)

    def serve(self, records: RecordStore, objects: ObjectStore) -> None:
        """Put the app on other stores, such as ones that fail."""
        self._served = records, objects

    def app(self, event: Mapping[str, Any], context: Any = None) -> dict[str, Any]:
        """Answer an event; what it tells of problems must be fit to be read."""
        app, *sockets = _wire(self.settings, self.has_worker)
        plugs = (*self._served, self.clock, self.metrics, self.queue)
        for socket, plug in zip(sockets, plugs, strict=True):
            socket.plugged = plug
        answer = app(event, context or _Context(self.clock))
        check_answer(answer["body"])
        return answer

    def worker(self, *, remaining_seconds: float = 900) -> Worker:
        """Make a worker on the stores."""
        backends = Backends(
            self.settings, *self._served, self.clock, self.metrics, remaining_seconds=lambda: remaining_seconds
        )
        return Worker(backends, self.queue)

    def work(self, *work: Work) -> None:
        """Have a worker do this, and everything that is due in the queue, until nothing is left."""
        worker = self.worker()
        for each in work:
            worker.do(each)
        while due := self.queue.take_due():
            for each in due:
                worker.do(each)

    def person(self, name: str = "ada", *, groups: tuple[str, ...] = ()) -> Machine:
        """Sit a person down at a machine of their own."""
        return Machine(self, make_claims(f"sub-{name}", name, groups), str(uuid.uuid4()))

    def operation(self, operation_id: str) -> Any:
        """Return an operation as it is stored: an upload's or another's."""
        return self.records.operations[operation_id]


@dataclass
class Machine:
    """A signed-in person at one machine, speaking the protocol."""

    studio: Studio
    claims: Mapping[str, Any]
    machine_id: str
    run_id: str | None = None

    def elsewhere(self) -> Machine:
        """The same person at another machine."""
        return replace(self, machine_id=str(uuid.uuid4()))

    def call(self, route: Route, kind: type[T], body: Any = None, query: Mapping[str, str] | None = None) -> T:
        """Make one call; a problem is raised."""
        headers = {} if self.run_id is None else {routes.RUN_ID_HEADER: self.run_id}
        answer = self.studio.app(make_event(route, claims=self.claims, body=body, query=query, headers=headers))
        if answer["statusCode"] != 200:
            raise RefusedError(from_json(Problem, answer["body"]))
        return from_json(kind, answer["body"])

    def preview(self, *items: StartItem, **more: Any) -> list[PreviewResult]:
        """Ask what starting uploads would come to."""
        request = PreviewRequest(self.machine_id, list(items), **more)
        return self.call(routes.PREVIEW, PreviewResponse, request).results

    def start_all(self, items: list[StartItem], **more: Any) -> StartResponse:
        """Start uploads."""
        return self.call(routes.START, StartResponse, StartRequest(self.machine_id, items, **more))

    def start(self, item: StartItem, **more: Any) -> StartResult:
        """Start one upload."""
        return self.start_all([item], **more).results[0]

    def sign(
        self,
        started: StartResult,
        parts: list[Part],
        final: Content | None = None,
        *,
        index: IndexFile | None = None,
        epoch: int | None = None,
    ) -> SignResult:
        """Ask for the URLs of parts, and of the index."""
        item = SignItem(started.operation_id, epoch or _epoch_of(started), parts, final, index)
        request = SignRequest(self.machine_id, [item])
        return self.call(routes.SIGN, SignResponse, request).results[0]

    def complete(
        self, started: StartResult, content: Content, *, epoch: int | None = None, **more: Any
    ) -> CompleteResult:
        """Ask for one upload's completion."""
        item = CompleteItem(started.operation_id, epoch or _epoch_of(started), content)
        request = CompleteRequest(self.machine_id, [item], **more)
        return self.call(routes.COMPLETE, CompleteResponse, request).results[0]

    def open_downloads(self, *items: DownloadItem) -> list[DownloadResult]:
        """Open downloads."""
        request = OpenDownloadsRequest(list(items))
        return self.call(routes.OPEN_DOWNLOADS, OpenDownloadsResponse, request).results

    def open_download(self, upload_id: str, operation_id: str | None = None) -> DownloadResult:
        """Open one download, or open it again."""
        return self.open_downloads(download_of(upload_id, operation_id))[0]

    def end_download(self, opened: DownloadResult, received_bytes: int = 0, **more: Any) -> RecordResult:
        """Report how a download ended."""
        request = EndDownloadsRequest([DownloadEnd(opened.operation_id, received_bytes, **more)])
        return self.call(routes.END_DOWNLOADS, RecordsResponse, request).results[0]

    def restore(self, upload_id: str) -> RestoreResult:
        """Ask for the restore of an upload's object."""
        request = RestoreRequest([RestoreItem(str(uuid.uuid4()), upload_id)])
        return self.call(routes.RESTORE, RestoreResponse, request).results[0]

    def delete(self, upload_id: str, operation_id: str | None = None) -> RemovalResult:
        """Delete an upload."""
        return self._remove(routes.DELETE, upload_id, operation_id)

    def undelete(self, upload_id: str, operation_id: str | None = None) -> RemovalResult:
        """Bring a deleted upload back."""
        return self._remove(routes.UNDELETE, upload_id, operation_id)

    def _remove(self, route: Route, upload_id: str, operation_id: str | None) -> RemovalResult:
        request = RemovalRequest([RemovalItem(operation_id or str(uuid.uuid4()), upload_id)])
        return self.call(route, RemovalResponse, request).results[0]

    def look(self, *upload_ids: str, signs_indexes: bool = False) -> list[LookResult]:
        """Ask what the storage states of uploads' objects."""
        return self.call(routes.LOOK, LookResponse, LookRequest(list(upload_ids), signs_indexes)).results

    def fail(
        self,
        started: StartResult,
        message: str = "gave up",
        *,
        code: str = "unavailable",
        epoch: int | None = None,
    ) -> RecordResult:
        """Give an upload up."""
        item = FailItem(started.operation_id, epoch or _epoch_of(started), code, message)
        request = FailRequest(self.machine_id, [item])
        return self.call(routes.FAIL, RecordsResponse, request).results[0]

    def clean_up(self, *items: CleanUp) -> list[RecordResult]:
        """Report how local files ended."""
        return self.call(routes.CLEAN_UP, RecordsResponse, CleanUpRequest(list(items))).results

    def look_up(self, *operation_ids: str) -> list[RecordResult]:
        """Ask for records."""
        return self.call(routes.LOOK_UP, RecordsResponse, LookUpRequest(list(operation_ids))).results

    def history(self, **query: str) -> HistoryResponse:
        """Ask for a page of the team's operations."""
        return self.call(routes.HISTORY, HistoryResponse, query=query)

    def send(self, started: StartResult, body: bytes) -> int:
        """PUT a whole object to the URL of a start."""
        assert started.request is not None, started
        return self.studio.objects.put(started.request, body)

    def send_parts(self, signed: SignResult, body: bytes, part_size: int) -> list[int]:
        """PUT the signed parts of an archive."""
        assert signed.outcome == "signed", signed
        return [self._send_part(part, body, part_size) for part in signed.parts]

    def _send_part(self, part: SignedPart, body: bytes, part_size: int) -> int:
        offset = (part.number - 1) * part_size
        return self.studio.objects.put_part(part.request, body[offset : offset + part_size])

    def carry(self, started: StartResult, body: bytes) -> None:
        """Send all of an archive, whichever way the start says."""
        if started.request is not None:
            assert self.send(started, body) == 200
            return
        assert started.multipart is not None, started
        part_size = started.multipart.part_size
        signed = self.sign(started, parts_of(body, part_size), content_of(body))
        assert set(self.send_parts(signed, body, part_size)) == {200}

    def upload(self, item: StartItem, body: bytes) -> CompleteResult:
        """Upload an archive from start to completion."""
        started = self.start(item)
        self.carry(started, body)
        return self.complete(started, content_of(body))


@dataclass
class Attempt:
    """One upload as its client knows it."""

    machine: Machine
    item: StartItem
    body: bytes
    started: StartResult | None = None


def download_of(upload_id: str, operation_id: str | None = None) -> DownloadItem:
    """A request for one download, under an id of its own unless one is given."""
    return DownloadItem(operation_id or str(uuid.uuid4()), upload_id, "restored/clip.tar.gz")


def _epoch_of(started: StartResult) -> int:
    return started.lease.epoch if started.lease is not None else 1


def content_of(body: bytes, digest_of: bytes | None = None) -> Content:
    """What a client computes over an archive; `digest_of` stands for the source where it differs."""
    source = body if digest_of is None else digest_of
    return Content(
        size=len(body),
        crc64nvme=crc64nvme(body),
        content_digest=f"blake3:{crc64nvme(source).encode().hex().ljust(64, '0')}",
        uncompressed_size=2 * len(body),
        member_count=1,
    )


def part_of(number: int, body: bytes) -> Part:
    """What a client asks to have signed for some bytes."""
    return Part(number, len(body), crc64nvme(body))


def index_of(index: bytes) -> IndexFile:
    """What a client announces of an archive's index."""
    return IndexFile(len(index), crc64nvme(index))


def parts_of(body: bytes, part_size: int) -> list[Part]:
    """All parts of an archive."""
    spans = (part_span(n + 1, len(body), part_size) for n in range(part_count(len(body), part_size)))
    return [part_of(span.number, body[span.offset : span.offset + span.length]) for span in spans]


BODY: Final = b"bytes"
"""An archive that is sent whole."""
CONTENT: Final = content_of(BODY)
PART_SIZE: Final = 16 * MIB
"""Bytes of each part but the last, as the service wants them of an archive of no great size."""
LARGE: Final = bytes(PART_SIZE) + b"tail"
"""An archive of two parts."""


def item_for(name: str = "clip.mp4", body: bytes | None = BODY, **changes: Any) -> StartItem:
    """A start request; with `upper_bound` among the changes, of an archive still being packed."""
    known = body is not None and "upper_bound" not in changes
    item = StartItem(
        operation_id=str(uuid.uuid4()),
        name=name,
        target_path=name,
        source_file_record=FileRecord(name, name, "local", 10, is_directory=False, status="pending"),
        compressed_file_path=f"{name}.tar.gz",
        packing=Packing("isal 1.8.0", "auto"),
        content=content_of(body) if known and body is not None else None,
    )
    return replace(item, **changes)
