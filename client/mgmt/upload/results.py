"""What uploads came to: for the person, in the run's summary, and in reports to the service of what became of files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from mgmt.errors import CancelledError, MgmtError
from mgmt.events import Finished
from mgmt.service import error_in
from mgmt.session import Session
from mgmt_contract.messages.uploads import CleanUp, CleanUpRequest
from mgmt_contract.records import UploadRecord
from mgmt_contract.values import Value

_log: Final = logging.getLogger(__name__)
CLEAN_UPS_MAX_SECONDS: Final = 5.0
"""How long a command whose uploads have ended stays only to report what became of the local files."""


class AlreadyThere(Value):
    """The same content is stored under this name already; nothing was sent and nothing recorded."""

    status: ClassVar = "already there"
    operation_id: str
    target_path: str
    s3_object_key: str
    actor: str | None
    finished_at: str | None
    moved_to: str | None = None
    """The path to which an earlier run has moved the original, if it has."""


@dataclass
class Summary:
    """What a command's uploads came to; counted from any thread."""

    succeeded: int = 0
    skipped: int = 0
    """Already there."""
    errors: list[MgmtError] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def count(self, event: Finished | None) -> None:
        """Count an upload by the event that tells its end; None for a success of which no more is known."""
        with self._lock:
            if event is not None and isinstance(event.record, AlreadyThere):
                self.skipped += 1
            elif event is not None and event.error is not None:
                self.errors.append(event.error)
            else:
                self.succeeded += 1


class CleanUps:
    """The clean-ups that the journal keeps until the service knows them; for any thread.

    They ride on later calls, and the last ones go alone.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    @contextmanager
    def reporting(self) -> Iterator[list[CleanUp]]:
        """Hand out clean-ups to send along with a call; when it has come back they count as reported."""
        with self._lock:
            most = self._session.api.limits.items_max
            waiting = self._session.journal.unreported(self._session.service_url, most + len(self._under_way))
            clean_ups = [each for each in waiting if each.operation_id not in self._under_way][:most]
            taken = {each.operation_id for each in clean_ups}
            self._under_way |= taken
        try:
            yield clean_ups
            self._session.journal.note_reported(clean_ups)
        finally:
            with self._lock:
                self._under_way -= taken

    def report(self) -> None:
        """Report what no later call has carried along; where no answer comes within seconds, the next command does."""
        self._session.patience.hurry(CLEAN_UPS_MAX_SECONDS)
        try:
            is_more = True
            while is_more:
                with self.reporting() as clean_ups:
                    if clean_ups:
                        for result in self._session.api.clean_up(CleanUpRequest(clean_ups)).results:
                            error = error_in(result)
                            if error is not None and error.stops_everything:  # it can be recorded later
                                raise error
                is_more = bool(clean_ups)
        except CancelledError:
            raise
        except MgmtError as error:
            # The uploads are safe; the journal keeps what is left to report.
            _log.info("The clean-up is not reported yet: %s", error.message)


def note_clean_up(record: UploadRecord, clean_up: CleanUp) -> None:
    """Write into a record what became of the local files, which the service learns later."""
    if record.source_file_record is not None:
        record.source_file_record = replace(record.source_file_record, status=clean_up.source_status)
    if record.compressed_file_record is not None:
        record.compressed_file_record = replace(record.compressed_file_record, status=clean_up.archive_status)
