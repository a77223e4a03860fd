"""Pack a job's source, or read its archive: before anything is sent, or while parts are already going up."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypedDict, Unpack

from mgmt.archive import PackedArchive, pack, read_archive
from mgmt.errors import IntegrityError, MgmtError, UnavailableError
from mgmt.events import Progress
from mgmt.session import Session
from mgmt.upload.job import Job
from mgmt.upload.ours import unfinished_token
from mgmt.upload.sending import Meter, PartFeed, PartsSender
from mgmt_contract import messages

RENAMES_OPEN_FILES: Final = os.name != "nt"
"""Where a file that is being read can get its final name; elsewhere nothing is sent before the archive has it."""


class PartHooks(TypedDict, total=False):
    """What packing calls on the way where parts are sent meanwhile; see `mgmt.archive.pack`."""

    part_size_bytes: int
    on_open: Callable[[Path], None]
    on_part: Callable[[messages.Part], None]


def pack_job(
    session: Session, job: Job, *, stop: threading.Event | None = None, **part_hooks: Unpack[PartHooks]
) -> PackedArchive:
    """Pack a job's source to its archive.

    Raises:
        SourceError: If the source cannot be read or changes meanwhile.
        LocalStateError: If the disk is full.
        CancelledError: If the command was stopped.
    """

    def note_progress(done_bytes: int) -> None:
        job.packed_source_bytes = done_bytes
        total_bytes = job.source.uncompressed_size
        session.emit(Progress(job.operation_id, job.target_path, "packing", done_bytes, total_bytes))

    return pack(
        job.source,
        job.archive_path,
        plan=job.options.plan,
        on_progress=note_progress,
        stop=stop or session.stop,
        token=unfinished_token(job.operation_id),
        mtime_ns=job.promised_mtime_ns,
        **part_hooks,
    )


def pack_and_send(session: Session, job: Job, multipart: messages.Multipart) -> None:
    """Send parts as they reach the disk, where the system allows; return when all are sent and the archive is whole.

    Where the storage is out of reach or bytes arrive corrupted, packing goes on to the end: the archive is then
    there for the next try. Otherwise it stops.

    Raises:
        MgmtError: What ended the packing or the sending.
    """
    stop = threading.Event()
    feed = PartFeed(multipart.part_size)
    opened: list[Path] = []
    hooks: PartHooks = {"part_size_bytes": multipart.part_size, "on_open": opened.append}

    def offer(part: messages.Part) -> None:
        job.note_packed((part.number - 1) * multipart.part_size + part.length)
        feed.put(part)

    if RENAMES_OPEN_FILES:
        hooks["on_part"] = offer
    thread = threading.Thread(target=partial(_pack_into, session, job, stop, feed, hooks), name="pack")
    thread.start()
    meter = Meter(session, job)
    sender = PartsSender(session, job, multipart.part_size, lambda: _where(opened, job), meter)
    try:
        sender.send(feed, multipart.received_parts)
    except MgmtError as error:
        if not isinstance(error, UnavailableError | IntegrityError):
            stop.set()
        _join(thread, stop)
        if error.code == "archive-unreadable":
            feed.raise_failure()  # packing that fails takes the file away from under the sending
        raise
    except BaseException:
        stop.set()
        raise
    finally:
        _join(thread, stop)


def send_packed(session: Session, job: Job, multipart: messages.Multipart) -> None:
    """Send the parts of an archive that lies packed on the disk, while their checksums are still being read.

    Raises:
        MgmtError: What ended the reading or the sending.
    """
    stop = threading.Event()
    feed = PartFeed(multipart.part_size)
    thread = threading.Thread(target=partial(_read_into, job, multipart.part_size, stop, feed), name="read")
    thread.start()
    sender = PartsSender(session, job, multipart.part_size, lambda: job.archive_path, Meter(session, job))
    try:
        sender.send(feed, multipart.received_parts)
    finally:
        stop.set()
        _join(thread, stop)


def _join(thread: threading.Thread, stop: threading.Event) -> None:
    try:
        while thread.is_alive():
            thread.join(1.0)  # a bounded wait lets Ctrl-C through on every system
    except BaseException:
        stop.set()
        thread.join()
        raise


def _pack_into(session: Session, job: Job, stop: threading.Event, feed: PartFeed, hooks: PartHooks) -> None:
    try:
        job.archive = pack_job(session, job, stop=stop, **hooks)
        session.journal.put([job.entry(session.service_url)])
        for part in () if "on_part" in hooks else job.archive.parts:
            feed.put(part)
    except BaseException as error:  # noqa: BLE001  handed to the sending thread, which raises it
        feed.close(None, error)
    else:
        feed.close(job.content)


def _read_into(job: Job, part_size_bytes: int, stop: threading.Event, feed: PartFeed) -> None:
    try:
        read_archive(job.archive_path, part_size_bytes, on_part=feed.put, stop=stop)
    except BaseException as error:  # noqa: BLE001  handed to the sending thread, which raises it
        feed.close(None, error)
    else:
        feed.close(job.content)


def _where(opened: list[Path], job: Job) -> Path:
    """Return the archive's present path: temporary while it grows, its own once it is whole."""
    return opened[0] if opened[0].exists() else job.archive_path
