"""The parts of one archive: handed over as they are packed or read, signed some at a time, and sent.

The archive's index goes before the last part.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Final

from mgmt.archive import read_archive
from mgmt.errors import CancelledError, IntegrityError, LocalStateError, StorageFullError, UnavailableError
from mgmt.service import error_in
from mgmt.session import Session
from mgmt.text import size_in_words
from mgmt.upload.index_file import ArchiveIndex
from mgmt.upload.job import Job
from mgmt.upload.pace import Pace
from mgmt.upload.sending import Delivery, Meter, deliver_slice, sending_pool
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Content, IndexFile, Multipart, Part, SignItem, SignRequest, SignResult
from mgmt_contract.parts import PartSpan

_log: Final = logging.getLogger(__name__)
PARTS_AT_A_TIME: Final = 4
"""Fill an uplink, and are few enough to be quick one by one."""
FAST_WINDOW_SECONDS: Final = 30.0
"""Parts signed together that went out within this time were not too many; nor within a quarter of their URLs' life."""
_FAST_WINDOW_SHARE: Final = 0.25
GATHERING_SECONDS: Final = 0.05
"""While others are on their way, a part waits so long at most for more to be signed together with."""


def send_packed_parts(session: Session, job: Job, multipart: Multipart) -> None:
    """Send an archive that lies packed on the disk in parts."""
    feed, index = PartFeed(multipart.part_size), ArchiveIndex(session, job)

    def read_parts(stop: threading.Event) -> Content | None:
        read_archive(job.archive_path, multipart.part_size, on_part=feed.put, stop=stop)
        index.rebuild(stop)  # while the parts are on their way: the last one waits for it
        return job.content

    meter = Meter(session, job)
    sender = PartsSender(session, job, multipart.part_size, lambda: job.archive_path, meter, index)
    with index, feed.filled_by(read_parts):
        sender.send(feed, multipart.received_parts)


class PartFeed:
    """Hands parts from the packing or reading thread to the sending ones, as they reach the disk or come from it.

    A part shorter than the others is the last one, and waits for the content that must go along with it.
    """

    def __init__(self, part_size_bytes: int) -> None:
        self._part_size_bytes = part_size_bytes
        self._parts: list[Part] = []
        self._content: Content | None = None
        self._is_closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    @contextmanager
    def filled_by(
        self,
        produce: Callable[[threading.Event], Content | None],
        *,
        goes_on_after: tuple[type[BaseException], ...] = (),
    ) -> Iterator[None]:
        """Have a thread of its own put parts in, until it has all, or the body fails; but see `goes_on_after`.

        `produce` puts parts in and returns the content of the whole; it ends soon after the given event was set.
        """
        stop = threading.Event()
        thread = threading.Thread(target=self._fill, args=[produce, stop], name="parts")
        thread.start()
        try:
            yield
        except BaseException as error:
            if not isinstance(error, goes_on_after):
                stop.set()
            raise
        finally:
            try:
                while thread.is_alive():
                    thread.join(1.0)  # a bounded wait lets Ctrl-C through on every system
            except BaseException:
                stop.set()
                thread.join()
                raise

    def _fill(self, produce: Callable[[threading.Event], Content | None], stop: threading.Event) -> None:
        try:
            content = produce(stop)
        except BaseException as error:  # noqa: BLE001  handed to the sending thread, which raises it
            self.close(None, error)
        else:
            self.close(content)

    def put(self, part: Part) -> None:
        """Offer one more part."""
        with self._changed:
            self._parts.append(part)
            self._changed.notify_all()

    def close(self, content: Content | None, error: BaseException | None = None) -> None:
        """Say that no more parts come, and what the whole is or why there is none."""
        with self._changed:
            self._content, self._error, self._is_closed = content, error, True
            self._changed.notify_all()

    def raise_failure(self) -> None:
        """Raise what ended the packing, if it failed for a reason of its own and was not stopped."""
        with self._changed:
            if self._error is not None and not isinstance(self._error, CancelledError):
                raise self._error

    def take(self, most: int, *, enough: int = 1, gathering_seconds: float = 0.0) -> tuple[list[Part], Content | None]:
        """Wait for parts and take what there is, up to `most`; fewer than `enough` only after `gathering_seconds`.

        With the last parts comes the content; no parts and a content mean that everything was taken. Neither the one
        nor the other means that nothing came for a second: a lease must be renewed in time.

        Raises:
            BaseException: What ended the packing, where it failed.
        """
        gather_until = time.monotonic() + gathering_seconds
        with self._changed:
            while not self._is_closed and (count := len(self._ready())) < enough:
                left_seconds = gather_until - time.monotonic()
                if count and left_seconds <= 0:
                    break
                self._changed.wait(min(1.0, left_seconds) if count else 1.0)
                if not self._ready():
                    break
            if self._error is not None:
                raise self._error
            taken = self._ready()[:most]
            del self._parts[: len(taken)]
            is_last = self._is_closed and not self._parts
            return taken, self._content if is_last else None

    def _ready(self) -> list[Part]:
        if self._is_closed or not self._parts or self._parts[-1].length == self._part_size_bytes:
            return self._parts
        return self._parts[:-1]


class PartsSender:
    """Signs and sends the parts of one archive with a bounded number of workers."""

    def __init__(
        self,
        session: Session,
        job: Job,
        part_size_bytes: int,
        path: Callable[[], Path],
        meter: Meter,
        index: ArchiveIndex,
    ) -> None:
        self._session = session
        self._job = job
        self._part_size_bytes = part_size_bytes
        self._path = path
        self._meter = meter
        self._index = index
        self._workers = job.options.jobs or PARTS_AT_A_TIME
        self._pace: Pace | None = None
        self._lease_renewed_at = self._window_begun_at = session.patience.passed()
        self._url_life_seconds: float = FAST_WINDOW_SECONDS / _FAST_WINDOW_SHARE

    def send(self, feed: PartFeed, received: Sequence[int] = ()) -> None:
        """Send every part the feed gives, except those that the storage holds already."""
        there = frozenset(received)
        workers, patience = self._workers, self._session.patience
        if self._job.options.jobs is None:  # else so many go at a time as a person has asked for
            part_count = self._meter.total_bytes // self._part_size_bytes + 1 - len(there)
            self._pace = Pace(workers, part_count, patience.now, patience.check_stopped)
        with sending_pool(workers) as pool:
            under_way: set[Future[None]] = set()
            content = None
            parts: list[Part] = []
            most = self._session.api.limits.sign_parts_max
            window = min(most, 4 * workers)
            while content is None:
                under_way = self._await_room(under_way, workers)
                self._keep_lease()
                window = min(most, self._next_window(window)) if parts else window
                gathering_seconds = GATHERING_SECONDS if under_way else 0.0
                parts, content = feed.take(window, enough=workers, gathering_seconds=gathering_seconds)
                self._meter.add(sum(part.length for part in parts if part.number in there), is_carried_over=True)
                # An archive that was packed anew may have other bytes: asked for with all its parts, the service
                # says so at the first of them. Else it would only when all the others had been sent in vain.
                must_repeat = self._job.adoption.must_repeat_parts
                asked = [part for part in parts if must_repeat or part.number not in there]
                if asked or content is not None:  # the content is told also where no part is left to sign
                    under_way |= {pool.submit(deliver) for deliver in self._prepare(asked, content, there)}
            self._await_room(under_way, 0)

    def _next_window(self, window: int) -> int:
        """Choose how many parts to sign ahead: more while they go out fast, fewer when URLs and lease grow old."""
        took_seconds = self._session.patience.passed() - self._window_begun_at
        is_fast = took_seconds < min(FAST_WINDOW_SECONDS, _FAST_WINDOW_SHARE * self._url_life_seconds)
        return 2 * window if is_fast else max(self._workers, window // 2)

    def _await_room(self, under_way: set[Future[None]], room: int) -> set[Future[None]]:
        """Wait until at most `room` parts are under way; raise what went wrong with any. Keeps the lease alive."""
        while True:
            done = {future for future in under_way if future.done()}
            for future in done:
                future.result()
            under_way = under_way - done
            if len(under_way) <= room:
                return under_way
            self._keep_lease()
            wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)

    def _prepare(
        self, asked: Sequence[Part], content: Content | None, there: frozenset[int]
    ) -> Sequence[Callable[[], None]]:
        """Have parts signed; return what sends each that is not there, the index before the last."""
        index = self._index.finish() if content is not None else None
        signed_at = self._window_begun_at = self._session.patience.passed()
        result = self._sign(asked, content, index)
        urls = {signed.number: signed.request for signed in result.parts}
        self._url_life_seconds = min((url.expires_in_seconds for url in urls.values()), default=self._url_life_seconds)
        deliveries = [
            partial(self._send_part, part, urls[part.number], signed_at) for part in asked if part.number not in there
        ]
        if content is None or result.index_request is None:
            return deliveries
        then = deliveries[-1:]
        return [*deliveries[:-1], partial(self._send_index, result.index_request, signed_at, content, then)]

    def _keep_lease(self) -> None:
        lease = self._job.lease
        if lease and self._session.patience.passed() - self._lease_renewed_at > lease.expires_in_seconds / 3:
            self._sign([], None)

    def _sign(
        self,
        parts: Sequence[Part],
        content: Content | None,
        index: IndexFile | None = None,
    ) -> SignResult:
        assert self._job.lease is not None  # noqa: S101  parts are only sent under a lease
        self._lease_renewed_at = self._session.patience.passed()
        item = SignItem(self._job.operation_id, self._job.lease.epoch, list(parts), content, index)
        [result] = self._session.api.sign(SignRequest(self._session.journal.machine_id, [item])).results
        error = error_in(result)
        if isinstance(error, StorageFullError):
            left = size_in_words(self._meter.left_bytes)
            error.message += f" {left} of {self._job.target_path} are still to be sent."
        elif error is not None and index is not None:  # such as index-differs: the archive goes without
            _log.info("The index is refused: %s", error.message)
            return self._sign(parts, content)
        if error is not None:
            raise error
        return result

    def _send_part(self, part: Part, signed: SignedRequest, signed_at: float) -> None:
        self._session.patience.check_stopped()
        span = PartSpan(part.number, (part.number - 1) * self._part_size_bytes, part.length)
        turn = nullcontext if self._pace is None else partial(self._pace.turn, part.number)
        delivery = deliver_slice(self._session, self._job, span, self._path, self._note_bytes, turn)
        turned_away = delivery.send(signed, signed_at, lambda: self._sign([part], None).parts[0].request)
        self._job.turned_away = turned_away or self._job.turned_away

    def _note_bytes(self, size_bytes: int) -> None:
        if self._pace is not None:
            self._pace.note_bytes(size_bytes)
        self._meter.add(size_bytes)

    def _send_index(
        self,
        signed: SignedRequest,
        signed_at: float,
        content: Content,
        then: Sequence[Callable[[], None]],
    ) -> None:
        """Send the index, and then the last part: when the archive is whole, its index is there."""
        self._session.patience.check_stopped()
        delivery = Delivery(self._session, self._job, "the index", self._index.put, lambda _: None)
        try:
            delivery.send(signed, signed_at, lambda: self._sign([], content, self._index.finish()).index_request)
        except StorageFullError:  # once there is room, the index goes before the last part
            raise
        except (UnavailableError, IntegrityError, LocalStateError) as error:
            self._index.give_up(error)
        for deliver in then:
            deliver()
