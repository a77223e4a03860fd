"""Fetches bytes again, within the run, that arrived damaged.

TCP and TLS let few such bytes pass, but proxies and memory damage some. The same bytes twice are what is stored: then
the download fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from mgmt.archive.blocks import Readable
from mgmt.download.unfinished import Span, Unfinished
from mgmt.download.wanted import Wanted
from mgmt.errors import IntegrityError
from mgmt.events import Notice
from mgmt.stored.archive import Fetch, read_ahead
from mgmt_contract.parts import MIB

_log: Final = logging.getLogger(__name__)
TIMES_MAX: Final = 2
"""How often a download fetches damaged bytes again: more would hide a broken line or memory."""
_RANGES_AT_A_TIME: Final = 2
"""Few: their memory comes on top of the download's own, which may not be free yet."""
_CHANGED_CODES: Final = frozenset({"content-differs", "archive-damaged", "file-differs"})
"""Errors that a byte changed on the way can cause."""


class Refetching:
    """Decides for one download whether damaged bytes are fetched again, and finds them in an archive.

    Args:
        wanted: The download.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._times = 0
        self._seen: tuple[int, int] | None = None
        self.fetched_bytes = 0
        """Bytes that the latest comparison has fetched."""

    def begin(self, error: IntegrityError, operation_id: str, *, seen: tuple[int, int] | None = None) -> bool:
        """Tell whether fetching again may help; if so, show the user a note.

        Args:
            error: What the check has found.
            operation_id: The download's.
            seen: How many bytes had come then, and their checksum, where that is known: the same once more is what is
                stored.
        """
        is_stored = seen is not None and seen == self._seen
        if error.code not in _CHANGED_CODES or is_stored or self._times == TIMES_MAX:
            return False
        self._seen = seen
        self._times += 1
        _log.info("%s: %s", self._wanted.target_path, error.message)
        message = (
            f"{self._wanted.target_path}: some bytes arrived other than they were uploaded. They are fetched again."
        )
        self._wanted.session.emit(Notice(message, "fetched-again", operation_id))
        return True

    def compare(self, unfinished: Unfinished, fetch: Fetch, checked_bytes: int, operation_id: str) -> bool:
        """Fetch an archive's ranges again, and write those that come with other bytes than before.

        Wrong bytes were found soon after they were read, or only by the sum of all: so the ranges are compared from
        that place on backwards. But for the last try it ends with the first that differs: mostly it is the only one.

        Args:
            unfinished: The archive, opened.
            fetch: Fetches one range of it.
            checked_bytes: How far it was read when they were found.
            operation_id: The download's.

        Returns:
            Whether anything differed.
        """
        if any(span.offset < checked_bytes for span in unfinished.missing()):
            return True  # of the ranges that it read, some were not synced yet, and are fetched again anyway
        session, has_found = self._wanted.session, False
        self.fetched_bytes = 0
        spans = _in_order_of_suspicion(unfinished.present(), checked_bytes)
        ranges = (range(span.offset, span.offset + span.length) for span in spans)
        with read_ahead(fetch, ranges, _RANGES_AT_A_TIME, session.patience.check_stopped) as arriving:
            for span in spans:
                is_other = _replace(unfinished, span, arriving)
                self.fetched_bytes += span.length
                self._wanted.note(operation_id, "checking", self.fetched_bytes)
                if is_other:
                    has_found = True
                    unfinished.note_whole(span.number)
                    if self._times < TIMES_MAX:
                        break
        return has_found


def _replace(unfinished: Unfinished, span: Span, arriving: Readable) -> bool:
    """Fetch a range again and overwrite what differs; tell whether anything did."""
    offset, stop, is_other = span.offset, span.offset + span.length, False
    while offset < stop:
        data = arriving.read(min(MIB, stop - offset))
        if unfinished.differs(offset, data):
            unfinished.write(offset, data)
            is_other = True
        offset += len(data)
    return is_other


def _in_order_of_suspicion(spans: Iterable[Span], checked_bytes: int) -> list[Span]:
    """Sort ranges: from the one that was read last backwards, then the others from the end backwards."""
    read_bytes = max(1, checked_bytes)  # an archive whose first bytes are no archive's was read that far
    return sorted(spans, key=lambda span: (span.offset < read_bytes, span.offset), reverse=True)
