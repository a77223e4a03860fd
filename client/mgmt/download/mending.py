"""Brings bytes again, within the run, that arrived other than they were uploaded.

TCP and TLS let few such bytes pass, but proxies and memory make some. The same bytes twice are what is stored: then
nothing is tried again, and the download fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from mgmt.archive.blocks import Readable
from mgmt.download.unfinished import RANGE_SIZE_BYTES, Unfinished
from mgmt.download.wanted import Wanted
from mgmt.errors import IntegrityError
from mgmt.events import Notice
from mgmt.stored.archive import RANGE_SIZE_BYTES as STEP_BYTES
from mgmt.stored.archive import Fetch, read_ahead
from mgmt_contract.parts import MIB

_log: Final = logging.getLogger(__name__)
TIMES_MAX: Final = 2
"""How often a download fetches again what arrived wrong: more would hide a line or a memory that is broken."""
_STEPS_AT_A_TIME: Final = 2
"""Their memory comes beside that of the download itself, which may not be given back yet."""
_CHANGED_CODES: Final = frozenset({"content-differs", "archive-damaged", "file-differs"})
"""What a byte that was changed on the way is found by."""


class Mending:
    """The tries of one download to get rid of wrong bytes.

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
        """Tell whether it is worth to fetch again, and say so if it is.

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
            Whether anything is other than it was.
        """
        missing = {span.number for span in unfinished.missing()}
        if any(number * RANGE_SIZE_BYTES < checked_bytes for number in missing):
            return True  # of the ranges that it read, some were not synced yet, and are fetched again anyway
        session, has_found = self._wanted.session, False
        self.fetched_bytes = 0
        numbers = [each for each in _backwards(unfinished.size, checked_bytes) if each not in missing]
        spans = (step for number in numbers for step in _steps(number, unfinished.size))
        with read_ahead(fetch, spans, _STEPS_AT_A_TIME, session.patience.check_stopped) as arriving:
            for number in numbers:
                differing_bytes = 0
                for step in _steps(number, unfinished.size):
                    differing_bytes += _replace(unfinished, step, arriving)
                    self.fetched_bytes += len(step)
                    self._wanted.note(operation_id, "checking", self.fetched_bytes)
                if differing_bytes:
                    has_found = True
                    unfinished.note_whole(number)
                    if self._times < TIMES_MAX:
                        break
        return has_found


def _replace(unfinished: Unfinished, step: range, arriving: Readable) -> int:
    """Write what comes for a step where it is other than what is there; return how much that is."""
    offset, differing_bytes = step.start, 0
    while offset < step.stop:
        data = arriving.read(min(MIB, step.stop - offset))
        if unfinished.differs(offset, data):
            unfinished.write(offset, data)
            differing_bytes += len(data)
        offset += len(data)
    return differing_bytes


def _backwards(size: int, checked_bytes: int) -> Iterator[int]:
    """Number the ranges, from the one that was read last on backwards, and then from the end."""
    count = -(-size // RANGE_SIZE_BYTES)
    last = max(0, min(checked_bytes - 1, size - 1)) // RANGE_SIZE_BYTES
    yield from reversed(range(last + 1))
    yield from reversed(range(last + 1, count))


def _steps(number: int, size: int) -> Iterator[range]:
    stop = min((number + 1) * RANGE_SIZE_BYTES, size)
    for start in range(number * RANGE_SIZE_BYTES, stop, STEP_BYTES):
        yield range(start, min(start + STEP_BYTES, stop))
