"""One large source: started with a bound of its size, and sent in parts while it is still being packed and indexed."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from mgmt.errors import IntegrityError, LocalStateError, UnavailableError
from mgmt.session import Session
from mgmt.upload.index_file import ArchiveIndex
from mgmt.upload.job import Carrying, Granted, Job
from mgmt.upload.parts import PartFeed, PartsSender
from mgmt.upload.sending import Meter
from mgmt.upload.small import pack_job, send_packed
from mgmt_contract.messages.uploads import Content, Part, StartResult

RENAMES_OPEN_FILES: Final = os.name != "nt"
"""Where a file that is being read can get its final name; elsewhere nothing is sent before the archive has it."""


class Large:
    """Uploads one large source at a time: its parts are sent while it is packed."""

    goes_alone = True

    def pack(self, session: Session, job: Job) -> None:
        """Leave the packing for later: it goes on while parts are sent."""

    def carry(self, session: Session, granted: Sequence[Granted], _: ThreadPoolExecutor) -> Carrying:
        """Pack and send in the calling thread and in threads of its own, when that is asked for."""
        return [(job, partial(_pack_and_send, session, job, result)) for job, result in granted]


def _pack_and_send(session: Session, job: Job, result: StartResult) -> None:
    """Send parts as they reach the disk, where the system allows; return when all are sent and the archive is whole.

    Where the storage is out of reach or bytes arrive corrupted, packing goes on to the end: the archive is then
    there for the next try. Otherwise it stops.
    """
    multipart = result.multipart
    if job.archive is not None or multipart is None:  # an earlier run has packed it
        send_packed(session, job, result)
        return
    session.patience.check_stopped()
    feed, index = PartFeed(multipart.part_size), ArchiveIndex(session, job)
    opened: list[Path] = []

    def offer(part: Part) -> None:
        job.note_packed((part.number - 1) * multipart.part_size + part.length)
        feed.put(part)

    def pack_parts(stop: threading.Event) -> Content:
        on_part = offer if RENAMES_OPEN_FILES else None
        size_bytes = multipart.part_size
        job.archive = pack_job(
            session,
            job,
            stop=stop,
            part_size_bytes=size_bytes,
            on_open=opened.append,
            on_part=on_part,
            begin_index=index.begin,
        )
        session.journal.put([job.entry(session.service_url)])
        for part in () if RENAMES_OPEN_FILES else job.archive.parts:
            feed.put(part)
        return job.archive.content

    def find_archive() -> Path:
        """Find the archive: under a temporary name while it grows, under its own once it is whole."""
        is_growing = os.path.exists(opened[0])  # noqa: PTH110  Path.exists raises where a disk fails
        return opened[0] if is_growing else job.archive_path

    sender = PartsSender(session, job, multipart.part_size, find_archive, Meter(session, job), index)
    try:
        with index, feed.filled_by(pack_parts, goes_on_after=(UnavailableError, IntegrityError)):
            sender.send(feed, multipart.received_parts)
    except LocalStateError as error:
        if error.code == "archive-unreadable":
            feed.raise_failure()  # packing that fails takes the file away from under the sending
        raise
