"""Fetches ranges of a stored object, each tried again until it is whole or nothing has moved for too long."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from mgmt.errors import UnavailableError
from mgmt.session import Session
from mgmt.storage.receiving import GetOutcome, GetResult, Noted, Sink
from mgmt_contract.messages.objects import SignedRequest

_log: Final = logging.getLogger(__name__)
RANGES_AT_A_TIME: Final = 4
"""Fill a line, and need little memory."""
REFUSED_TRIES_MAX: Final = 5
"""How many fresh URLs in a row may be refused."""


class Ranges:
    """One stored object, whose presigned URL all threads share.

    Args:
        session: The wired organs.
        shown: How sentences name the object.
        size: Bytes of the whole object.
        request: The URL to begin with.
        sign_again: Gets a fresh URL.
    """

    def __init__(
        self, session: Session, shown: str, size: int, request: SignedRequest, sign_again: Callable[[], SignedRequest]
    ) -> None:
        self._session = session
        self._receiver = session.receiver
        self._shown = shown
        self._size = size
        self._signed = request, session.patience.passed()
        """The URL, and when it was asked for; the first one was a moment ago."""
        self._sign_again = sign_again
        self._lock = threading.Lock()

    def fetch(
        self,
        offset: int,
        length: int,
        sink: Sink,
        check_wanted: Callable[[], object] = lambda: None,
    ) -> None:
        """Fetch a range.

        Args:
            offset: Of its first byte.
            length: Bytes.
            sink: Takes them, each once.
            check_wanted: Called before each try; raises where nobody waits for the range any more.

        Raises:
            UnavailableError: If fresh URLs are refused, or nothing has come for too long.
            CancelledError: If the command was stopped.
            MgmtError: The service's refusal of a fresh URL, or what the callbacks raise.
        """
        done_bytes = 0

        def count(size_bytes: int) -> None:
            nonlocal done_bytes
            done_bytes += size_bytes
            self._session.patience.note_progress()

        counted = Noted(sink, count)
        tries = _Tries(self._session, f"{self._shown}: bytes from {offset} on")
        while done_bytes < length:
            check_wanted()
            request, signed_at = self._signed
            if self._session.patience.is_over(signed_at, request.expires_in_seconds):
                self._renew(request)
            before, (request, _) = done_bytes, self._signed
            result = self._receiver.get(request, offset + before, length - before, self._size, counted)
            if result.outcome is GetOutcome.RECEIVED:
                return
            if done_bytes > before:
                tries.begin_anew()
            tries.give_up_or_wait(result)
            if result.outcome is not GetOutcome.RETRY:  # over TLS an expired URL often shows as a broken connection
                self._renew(request)

    def _renew(self, used: SignedRequest) -> None:
        """Get a fresh URL, unless another thread has one already."""
        with self._lock:
            if self._signed[0] is used:
                signed_at = self._session.patience.passed()
                self._signed = self._sign_again(), signed_at


class _Tries:
    """The tries of one range: how many in a row came to nothing, and when to give up."""

    def __init__(self, session: Session, what: str) -> None:
        self._patience = session.patience
        self._what = what
        self.begin_anew()

    def begin_anew(self) -> None:
        """Note that bytes have come."""
        self._attempt = self._refused_in_a_row = 0
        self._moved_at = self._patience.now()

    def give_up_or_wait(self, result: GetResult) -> None:
        """Wait before the next try.

        Raises:
            UnavailableError: If fresh URLs are refused, or nothing has come for too long.
            CancelledError: If the command was stopped.
        """
        self._refused_in_a_row = self._refused_in_a_row + 1 if result.outcome is GetOutcome.REFUSED else 0
        if self._refused_in_a_row >= REFUSED_TRIES_MAX:
            raise UnavailableError(
                f"{self._what}: the storage refuses {REFUSED_TRIES_MAX} fresh URLs in a row ({result.reason}). "
                "Tell the admin; nothing is lost, and the same command goes on from here.",
                code="storage-refuses",
            )
        # The service's answers to asking for fresh URLs are no progress of this range.
        self._patience.check_silence(self._moved_at, result.reason)
        _log.info("%s: %s; trying again", self._what, result.reason)
        self._patience.wait(self._attempt, result.reason, retry_after_seconds=result.retry_after_seconds)
        self._attempt += 1
