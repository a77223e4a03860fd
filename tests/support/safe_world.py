"""A card, a team's service on fake stores, and `mgmt safe` asked in this process, quick enough for a thousand times.

All but HTTP is real: the reading, the comparing and the indexes of the client, and the service's routes and rules.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mgmt.archive import pack
from mgmt.archive.index import IndexWriter
from mgmt.events import Event, Finished
from mgmt.network.retry import Patience
from mgmt.safe import Proof, SafeOptions, Summary, check_targets
from mgmt.service import _query_of
from mgmt.service.replies import Limits
from mgmt.session import Session
from mgmt.source import look
from mgmt.storage.receiving import GetOutcome, GetResult, Sink
from mgmt.team.history import UploadFinder
from mgmt_api.domain.entities import Operation
from mgmt_contract import routes
from mgmt_contract.messages.downloads import EndDownloadsRequest, OpenDownloadsRequest, OpenDownloadsResponse
from mgmt_contract.messages.history import HistoryRequest, HistoryResponse, LookUpRequest, RecordsResponse
from mgmt_contract.messages.objects import LookRequest, LookResponse, SignedRequest
from mgmt_contract.messages.service import Me
from mgmt_contract.messages.uploads import Content, Packing
from mgmt_contract.names import index_key
from mgmt_contract.records import OperationRecord, UploadRecord
from support.fakes import FakeObjectStore, crc64nvme
from support.studio import Machine, Studio, item_for

CODEC = "mgmt 3, isal"


@dataclass(frozen=True)
class Packed:
    """A source as it was packed."""

    name: str
    body: bytes
    index: bytes
    content: Content


@dataclass
class Said:
    """A verdict, copied while it was good."""

    is_safe: bool
    unsafe: list[tuple[bytes, str]] = field(default_factory=list)
    folders: dict[bytes, int] = field(default_factory=dict)
    """How much is not safe in each."""
    proofs: tuple[Proof, ...] = ()
    system_count: int = 0
    cached_count: int = 0
    failure: str | None = None
    trashes: tuple[bytes, ...] = ()


@dataclass
class World:
    """A team's service, and the answers it gives to one person."""

    folder: Path
    studio: Studio = field(default_factory=Studio)
    before_check: Callable[[int], object] = lambda _: None
    """Called before the service looks at objects (0), and after the comparing before it tells the records (1) and looks
    again (2)."""
    events: list[Event] = field(default_factory=list)

    @property
    def objects(self) -> FakeObjectStore:
        """The storage."""
        return self.studio.objects

    def upload(
        self, packed: Packed, *, prefix: str = "", person: str = "ada", has_index: bool = False, **changes: Any
    ) -> UploadRecord:
        """Upload what was packed; its index is put beside it as of a large archive."""
        machine = self.studio.person(person)
        packing = Packing(CODEC, "auto")
        item = item_for(packed.name, None, content=packed.content, packing=packing, prefix=prefix, **changes)
        started = machine.start(item)
        assert machine.send(started, packed.body) == 200, started
        record = machine.complete(started, packed.content).record
        assert record is not None
        if has_index:
            record = self.put_index(record, packed.index)
        return record

    def put_index(self, record: UploadRecord, index: bytes) -> UploadRecord:
        """Store an index for an upload, and have its record say so."""
        stored = self.objects.place(index_key("", record.operation_id), index)
        return self.rewrite(
            record,
            index_size=len(index),
            index_crc64nvme=crc64nvme(index),
            index_version_id=stored.version_id,
        )

    def rewrite(self, record: UploadRecord, **changes: Any) -> UploadRecord:
        """Change a record past the service."""
        operations = self.studio.records.operations
        operation = operations[record.operation_id]
        assert isinstance(operation, Operation)
        rewritten = replace(operation, record=replace(operation.record, **changes))
        operations[record.operation_id] = rewritten
        return rewritten.record

    def ask(self, *targets: Path, against: Sequence[str] = (), reads_back: bool = False) -> list[Said]:
        """Ask whether targets are safe; an error that concerns one alone is raised."""
        said: list[Said] = []

        def emit(event: Event) -> None:
            self.events.append(event)
            if isinstance(event, Finished):
                if event.error is not None:
                    raise event.error
                said.append(_copy(event.record))

        stop = threading.Event()
        api = _Api(self, self.studio.person("ada"))
        session = SimpleNamespace(
            api=api,
            emit=emit,
            stop=stop,
            patience=Patience(stop, budget_seconds=60, on_wait=lambda _: None),
            receiver=_Receiver(self.objects),
            service_url="https://service",
            journal=SimpleNamespace(unreported_downloads=lambda *_: []),
        )
        summary = Summary()
        options = SafeOptions(tuple(against), reads_back=reads_back)
        finder = UploadFinder(cast("Any", api))
        check_targets([os.fspath(each) for each in targets], finder, options, cast("Session", session), summary)
        assert len(summary.safe) + len(summary.unsafe) == len(targets)
        if summary.unsafe:
            said[-1].is_safe = said[-1].is_safe and os.fspath(targets[-1]) not in summary.unsafe
        return said


def pack_source(path: Path, folder: Path, *, name: str | None = None, excludes: Sequence[str] = ()) -> Packed:
    """Pack a file or folder, and write its index."""
    source = look(path, name=name, excludes=excludes)
    archive = folder / "packed.tar.gz"
    with IndexWriter(folder) as writer:
        packed = pack(source, archive, index=writer)
        index = io.BytesIO()
        writer.write(index)
    body = archive.read_bytes()
    archive.unlink()
    return Packed(source.name, body, index.getvalue(), packed.content)


def _copy(verdict: Any) -> Said:
    return Said(
        verdict.is_safe,
        [(each.path, each.code) for each in verdict.unsafe()],
        {each.path: each.unsafe_count for each in verdict.folders()},
        verdict.proofs,
        verdict.read.system_count if verdict.read is not None else 0,
        verdict.read.digests.cached_count if verdict.read is not None else 0,
        verdict.read.failure if verdict.read is not None else None,
        verdict.read.trashes if verdict.read is not None else (),
    )


class _Api:
    """The calls of `ServiceApi` that are needed, straight to the service."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self._check_count = 0

    def learn_limits(self) -> Limits:
        return Limits(items_max=100)

    def me(self) -> Me:
        return self._machine.call(routes.ME, Me)

    def history(self, request: HistoryRequest) -> HistoryResponse:
        return self._machine.history(**_query_of(request))

    def look(self, upload_ids: list[str], *, signs_indexes: bool = False) -> LookResponse:
        self._note_check()
        return self._machine.call(routes.LOOK, LookResponse, LookRequest(upload_ids, signs_indexes=signs_indexes))

    def look_up(self, operation_ids: list[str]) -> RecordsResponse:
        self._note_check()
        return self._machine.call(routes.LOOK_UP, RecordsResponse, LookUpRequest(operation_ids))

    def find_records(self, operation_ids: list[str]) -> dict[str, OperationRecord]:
        results = self.look_up(operation_ids).results
        return {each.operation_id: each.record for each in results if each.record is not None}

    def _note_check(self) -> None:
        self._world.before_check(self._check_count)
        self._check_count += 1

    def open_downloads(self, request: OpenDownloadsRequest) -> OpenDownloadsResponse:
        return self._machine.call(routes.OPEN_DOWNLOADS, OpenDownloadsResponse, request)

    def end_downloads(self, request: EndDownloadsRequest) -> RecordsResponse:
        return self._machine.call(routes.END_DOWNLOADS, RecordsResponse, request)


PIECE_BYTES = 256 * 1024
"""Of what a fetched range comes in."""


class _Receiver:
    """Fetches ranges from the fake storage."""

    def __init__(self, objects: FakeObjectStore) -> None:
        self._objects = objects

    def get(self, signed: SignedRequest, offset: int, length: int, size: int, sink: Sink) -> GetResult:
        status, body = self._objects.get(signed, (offset, offset + length - 1))
        if status != 206 or not body:
            return GetResult(GetOutcome.REFUSED, f"HTTP {status}")
        for at in range(0, len(body), PIECE_BYTES):
            piece = body[at : at + PIECE_BYTES]
            sink.room()[: len(piece)] = piece
            sink.note(len(piece))
        return GetResult(GetOutcome.RECEIVED if len(body) == length else GetOutcome.BROKEN, "it came")
