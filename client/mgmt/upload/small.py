"""Small sources: packed first, started with one call, sent side by side, confirmed with one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mgmt.archive import PackedArchive, pack
from mgmt.events import Progress
from mgmt.session import Session
from mgmt.upload.job import Carrying, Granted, Job
from mgmt.upload.ours import make_cache_folder, unfinished_token
from mgmt.upload.sending import Meter, send_whole
from mgmt_contract.messages.uploads import Part, StartResult

if TYPE_CHECKING:
    from mgmt.archive.index import IndexWriter


class Small:
    """Uploads many small sources together: packed first, then begun and confirmed with one call for all."""

    goes_alone = False

    def pack(self, session: Session, job: Job) -> None:
        """Pack the source, unless its archive lies on the disk since an earlier run."""
        if job.archive is None:
            job.archive = pack_job(session, job)

    def carry(self, session: Session, granted: Sequence[Granted], pool: ThreadPoolExecutor) -> Carrying:
        """Begin to send all archives, side by side."""
        return [(job, pool.submit(send_packed, session, job, result).result) for job, result in granted]


def pack_job(  # noqa: PLR0913  most are those of `pack`
    session: Session,
    job: Job,
    *,
    stop: threading.Event | None = None,
    part_size_bytes: int | None = None,
    on_open: Callable[[Path], None] | None = None,
    on_part: Callable[[Part], None] | None = None,
    begin_index: Callable[[], IndexWriter | None] = lambda: None,
) -> PackedArchive:
    """Pack a job's source to its archive.

    Raises:
        SourceError: If the source cannot be read or changes meanwhile.
        LocalStateError: If the disk is full.
        CancelledError: If the command was stopped.
    """
    if job.why_cached is not None:
        make_cache_folder(job.archive_path)

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
        part_size_bytes=part_size_bytes,
        on_open=on_open,
        on_part=on_part,
        index=begin_index(),
    )


def send_packed(session: Session, job: Job, result: StartResult) -> None:
    """Send an archive that lies packed on the disk, whole or in parts as the service has granted."""
    session.patience.check_stopped()
    multipart = result.multipart
    if job.archive is None:
        return
    if multipart is None and result.request is not None:
        send_whole(session, job, result.request, Meter(session, job))
    elif multipart is not None:
        from mgmt.upload.parts import send_packed_parts

        send_packed_parts(session, job, multipart)
