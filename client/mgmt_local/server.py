"""The background process: storage engine, records, the service's own code, and the gateway in front of it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import queue
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import filelock

from mgmt_contract.storage import EMBEDDED_CLASSES
from mgmt_local.engine.expiry import Expiry, FindExpired
from mgmt_local.engine.seaweedfs import OUTPUT_FILE, StorageEngine
from mgmt_local.errors import LocalBackendError
from mgmt_local.gateway.authorizer import TokenAuthorizer
from mgmt_local.gateway.owner import OwnerAuthorizer
from mgmt_local.gateway.server import App, Gateway, listen, url_of
from mgmt_local.issuer import ISSUER_PATH
from mgmt_local.issuer.endpoints import Issuer
from mgmt_local.issuer.signing import CLIENT_ID, SCOPE, SCOPES, Signer
from mgmt_local.process.activity import Activity
from mgmt_local.process.processes import describe_process, has_outside_connections
from mgmt_local.process.state import Claim, StateFolder, read_json, remove_state_file, trim_log, write_private_json
from mgmt_local.worker import WORK_SECONDS, AwaitedQueue, LocalQueue, WorkerThread

BUCKET: Final = "mgmt-local"
KEY_PART_MAX_BYTES: Final = 246
"""The engine keeps keys as paths, beside a folder `{name}.versions`, and answers 500 to longer names."""
JOIN_PATIENCE_SECONDS: Final = 30
"""The engine joins parts in moments, and asking it twice does no harm."""
EXIT_FAILED: Final = 1

_SERVER_LOCK_TIMEOUT_SECONDS: Final = 1.0
"""Others hold the lock for a moment only, to see whether a server does."""
_CHECK_SECONDS_MAX: Final = 10.0
_CHECKS_PER_IDLE_TIME: Final = 10
_RESTARTS_MAX: Final = 3
_RESTART_WINDOW_SECONDS: Final = 600.0

_logger = logging.getLogger(__name__)
Signal = Literal["stop", "engine ended"]


def serve(folder: StateFolder, *, idle_seconds: float) -> int:
    """Run the embedded backend until it is idle, told to end, or broken; return the exit code.

    The endpoint file is there exactly while the gateway answers, unless this process is killed.
    """
    signals: queue.SimpleQueue[Signal] = queue.SimpleQueue()
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            # A simple queue is what a signal handler may put into at any moment.
            signal.signal(getattr(signal, name), lambda *_: signals.put("stop"))
    try:
        with _sole_server(folder) as claim, _run_backend(folder, claim, signals, idle_seconds) as backend:
            backend.watch()
    except LocalBackendError as error:
        _logger.error("%s", error)  # noqa: TRY400 - a sentence for a user; there is no bug to trace
        return EXIT_FAILED
    return 0


class Backend:
    """The running parts, and their supervision."""

    def __init__(
        self,
        folder: StateFolder,
        claim: Claim,
        engine: StorageEngine,
        activity: Activity,
        signals: queue.SimpleQueue[Signal],
    ) -> None:
        self.engine = engine
        self._folder = folder
        self._claim = claim
        self._activity = activity
        self._signals = signals
        self._ends: list[float] = []
        self.worker: WorkerThread | None = None
        """Once the service is put together."""
        self._announced: dict[str, Any] = {}
        self._expiry = Expiry(self.engine.make_client, BUCKET)
        self._check_seconds = min(_CHECK_SECONDS_MAX, activity.idle_seconds / _CHECKS_PER_IDLE_TIME)
        self._follow_engine()

    def watch(self) -> None:
        """Supervise all parts until it is time to end.

        Raises:
            LocalBackendError: If the engine cannot be kept running.
        """
        while True:
            try:
                event = self._signals.get(timeout=self._check_seconds)
            except queue.Empty:
                if self._is_over():
                    _logger.info("nobody uses the backend any more: it ends")
                    if self.worker is not None:
                        self.worker.finish()
                    return
                self._expiry.look_if_due()
                continue
            if event == "stop":
                _logger.info("told to end")
                return
            if not self._claim.stands():
                return  # started again, the engine would run on a folder that is another backend's by now
            self._restart_engine()

    def expire(self, find_expired: FindExpired) -> None:
        """Remove from now on also deleted uploads whose days are over."""
        self._expiry = Expiry(self.engine.make_client, BUCKET, find_expired=find_expired)

    def announce(self, gateway: Gateway) -> None:
        """Write down where the gateway answers, for every command to find."""
        started_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        process = describe_process(os.getpid())
        self._announced = {"url": gateway.url, "secret": gateway.secret, "started_at": started_at, **process}
        write_private_json(self._folder.endpoint, self._announced)
        _logger.info("answering at %s", gateway.url)

    def withdraw(self) -> None:
        """Take back what `announce` wrote; in a folder that is another one by now, it may be another backend's."""
        if self._claim.stands():
            remove_state_file(self._folder.endpoint)

    def stop_engine(self) -> None:
        """End the engine that runs now."""
        self.engine.stop()

    def _is_over(self) -> bool:
        """Say whether it is time to end; parts on their way to the engine never pass the gateway."""
        for log in (self._folder.log, self.engine.data_dir / OUTPUT_FILE):
            trim_log(log)
        if not self._claim.stands() or not self._folder.endpoint.exists():
            return True  # the folder was deleted or moved, so no command will find this backend again
        self._repair_endpoint()
        is_at_work = self.worker is not None and self.worker.is_busy()
        if is_at_work or has_outside_connections(self.engine.pid, self.engine.ports.s3):
            self._activity.touch()
        return self._activity.close_if_idle()

    def _repair_endpoint(self) -> None:
        """Write a damaged endpoint file again: without it no command finds this backend, and no other can start."""
        if read_json(self._folder.endpoint) != self._announced:
            _logger.warning("%s was damaged and is written anew", self._folder.endpoint)
            with contextlib.suppress(LocalBackendError):  # the next look tries again
                write_private_json(self._folder.endpoint, self._announced)

    def _restart_engine(self) -> None:
        """Restart the engine at its old address: presigned URLs stay valid."""
        ended = self.engine
        while True:
            self._count_end()
            _logger.warning("the storage engine ended (status %s) and is started again", ended.poll())
            try:
                self.engine = StorageEngine.start(
                    ended.data_dir, access_key=ended.access_key, secret_key=ended.secret_key, ports=ended.ports
                )
            except LocalBackendError as error:
                _logger.warning("%s", error)
            else:
                self._follow_engine()
                return

    def _count_end(self) -> None:
        """Note an end of the engine, and give up after too many."""
        now = time.monotonic()
        self._ends = [moment for moment in self._ends if now - moment < _RESTART_WINDOW_SECONDS] + [now]
        if len(self._ends) > _RESTARTS_MAX:
            raise LocalBackendError(f"the storage engine ended {len(self._ends)} times in a short while")

    def _follow_engine(self) -> None:
        engine = self.engine

        def report_end() -> None:
            engine.wait()
            self._signals.put("engine ended")

        threading.Thread(target=report_end, name="engine watch", daemon=True).start()


@contextlib.contextmanager
def _sole_server(folder: StateFolder) -> Iterator[Claim]:
    """Hold the lock that says that this folder's backend lives; it ends with the process, also by a crash."""
    lock = filelock.FileLock(folder.server_lock, timeout=_SERVER_LOCK_TIMEOUT_SECONDS, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise LocalBackendError(f"another embedded backend runs on {folder.path}") from error
    try:
        remove_state_file(folder.endpoint)
        yield Claim(folder)
    finally:
        lock.release()


@contextlib.contextmanager
def _run_backend(
    folder: StateFolder, claim: Claim, signals: queue.SimpleQueue[Signal], idle_seconds: float
) -> Iterator[Backend]:
    """Start everything, announce it once it answers, and end it in the opposite order."""
    with contextlib.ExitStack() as running, ThreadPoolExecutor(1) as beside:
        # The service's libraries take as long to import as the engine takes to boot.
        importing = beside.submit(importlib.import_module, "mgmt_api.wiring")
        activity = Activity(idle_seconds, claim.stands)
        backend = Backend(folder, claim, _start_engine(folder.engine), activity, signals)
        running.callback(backend.stop_engine)
        importing.result()
        listener = running.enter_context(listen())
        signer = Signer(folder, f"{url_of(listener)}{ISSUER_PATH}")
        app, backend.worker, find_expired = running.enter_context(
            _open_app(folder.records, backend.engine, signer.issuer)
        )
        backend.expire(find_expired)
        authorizer = OwnerAuthorizer(folder, TokenAuthorizer(None, (CLIENT_ID,), (SCOPE,), signer))
        gateway = Gateway(app, authorizer, activity, listener=listener, issuer=Issuer(folder, signer))
        running.callback(gateway.close)
        running.callback(backend.withdraw)
        backend.announce(gateway)
        yield backend


def _start_engine(data_dir: Path) -> StorageEngine:
    # Keys live as long as this process: nothing else ever needs them.
    engine = StorageEngine.start(
        data_dir, access_key=secrets.token_hex(10).upper(), secret_key=secrets.token_urlsafe(30)
    )
    try:
        engine.ensure_bucket(BUCKET)
    except BaseException:
        engine.stop()
        raise
    return engine


@contextlib.contextmanager
def _open_app(
    records_path: Path, engine: StorageEngine, issuer: str
) -> Iterator[tuple[App, WorkerThread, FindExpired]]:
    """Put the service and its worker together as on AWS, over the local stores; and what finds deleted uploads."""
    from mgmt_api.adapters.clients import make_s3_client
    from mgmt_api.calls.backends import Backends
    from mgmt_api.domain.settings import Settings
    from mgmt_api.upkeep.tasks import Worker
    from mgmt_api.wiring import build_app
    from mgmt_local.deleted import find_deleted
    from mgmt_local.engine.room import read_room
    from mgmt_local.engine.seaweedfs import REGION
    from mgmt_local.objects import LocalObjectStore
    from mgmt_local.records import SQLiteRecordStore

    client = make_s3_client(
        REGION, endpoint_url=engine.endpoint_url, access_key=engine.access_key, secret_key=engine.secret_key
    )
    settings = Settings(
        bucket=BUCKET,
        table="local",
        region=REGION,
        key_part_max_bytes=KEY_PART_MAX_BYTES,
        join_patience_seconds=JOIN_PATIENCE_SECONDS,
        restores_archived=False,
        storage_classes=EMBEDDED_CLASSES,
        issuer=issuer,
        client_id=CLIENT_ID,
        scopes=(SCOPE,),
        sign_in_scopes=SCOPES,
    )
    with contextlib.closing(client), contextlib.closing(SQLiteRecordStore(records_path)) as records:
        queue, objects = LocalQueue(), LocalObjectStore(client, BUCKET, partial(read_room, engine.data_dir))
        app = build_app(settings, records, objects, _now, worker=AwaitedQueue(queue))
        backends = Backends(settings, records, objects, _now, remaining_seconds=lambda: WORK_SECONDS)
        thread = WorkerThread(queue, Worker(backends, queue).do, after_each=records.sync)

        def answer_durably(event: dict[str, Any], context: object) -> Mapping[str, Any]:
            answer = app(event, context)
            records.sync()
            return answer

        try:
            yield answer_durably, thread, partial(find_deleted, backends)
        finally:
            thread.close()


def _now() -> datetime:
    return datetime.now(UTC)
