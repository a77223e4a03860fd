"""What to do when no answer comes: wait and try again, or give up with a reason in words.

There is one retry policy: full jitter between tries, and a budget of time without progress. Counting tries gives up
within a minute when a laptop changes its network; time without one byte of progress is when a person would say "it
does not work". A machine that sleeps tries nothing, so its sleep costs no patience. Waiting ends at once when the
command is stopped. What lasts until somebody changes a setting, such as a certificate that is not trusted, is raised
without a second try. A wrong clock is told.
"""

from __future__ import annotations

import random
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import urllib3

from mgmt.errors import INTERRUPTED, CancelledError, UnavailableError
from mgmt.machine import awake_seconds, elapsed_seconds
from mgmt.network import proxy_for
from mgmt.text import duration_in_words

START_BUDGET_SECONDS: Final = 20.0
"""How long the service may be out of reach before the first answer."""
PROGRESS_BUDGET_SECONDS: Final = 15 * 60.0
"""Longest time without progress, after the first."""
_LIFE_USED_SHARE: Final = 0.9
"""Of a URL's life: later none is used. The rest is for connecting, and for seconds that are rounded."""
_SHORTEST_TRY_SECONDS: Final = 1.0
_FIRST_DELAY_SECONDS: Final = 0.5
_STEP_SECONDS: Final = 1.0
_LONGEST_DELAY_SECONDS: Final = 30.0
_LONGEST_ASKED_DELAY_SECONDS: Final = 300.0
"""Longest pause that the other side can ask for."""


class Patience:
    """How long a command keeps trying; shared by all its requests, so that progress of one counts for all."""

    def __init__(
        self,
        stop: threading.Event,
        *,
        start_budget_seconds: float = START_BUDGET_SECONDS,
        budget_seconds: float = PROGRESS_BUDGET_SECONDS,
        monotonic: Callable[[], float] = awake_seconds,
        elapsed: Callable[[], float] = elapsed_seconds,
        on_wait: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.stop = stop
        self._start_budget_seconds = start_budget_seconds
        self._budget_seconds = budget_seconds
        self._monotonic = monotonic
        self._elapsed = elapsed
        self._on_wait = on_wait
        self._answered = False
        self._failing_since: float | None = None
        self._ends_at: float | None = None

    def hurry(self, seconds: float) -> None:
        """Limit the remaining time from now on, also with progress: the rest is not worth more."""
        self._ends_at = self._monotonic() + seconds

    def end_hurry(self) -> None:
        """Take all the time again: what follows is worth it."""
        self._ends_at = None

    def note_progress(self) -> None:
        """Note progress: an answer came, or bytes were sent and taken."""
        self._answered = True
        self._failing_since = None

    def note_answer(self) -> None:
        """Note that the other side answers, though it refuses: the long patience applies."""
        self._answered = True

    def begin_try(self) -> float | None:
        """Note a try; return how many seconds it may take, or None where an answer came before.

        Before the first answer, and in a hurry, a try that hangs must not outlast the budget.
        """
        now = self._monotonic()
        if self._ends_at is not None:
            return max(_SHORTEST_TRY_SECONDS, self._ends_at - now)
        if self._answered:
            return None
        return max(_SHORTEST_TRY_SECONDS, self._note_failing(now) + self._start_budget_seconds - now)

    def now(self) -> float:
        """Tell the time that waiting is measured with, in seconds: it stands still while the machine sleeps."""
        return self._monotonic()

    def passed(self) -> float:
        """Tell the time by which others count, such as how long a URL lives: it goes on while the machine sleeps."""
        return self._elapsed()

    def is_over(self, since: float, life_seconds: float) -> bool:
        """Tell whether what others let live so long, since `passed` told that time, has ended or is about to."""
        return self._elapsed() - since > _LIFE_USED_SHARE * life_seconds

    def check_silence(self, since: float, why: str) -> None:
        """Give up on one transfer that has not moved since then, though others may have.

        Raises:
            UnavailableError: If that is longer ago than the budget.
        """
        if self._monotonic() - since > self._budget_seconds:
            raise _out_of_patience(self._budget_seconds, why)

    def check_stopped(self) -> None:
        """Give up at once where the command was stopped.

        Raises:
            CancelledError: If it was.
        """
        if self.stop.is_set():
            raise CancelledError(INTERRUPTED)

    def wait(self, attempt: int, why: str, *, retry_after_seconds: float | None = None) -> None:
        """Wait before try number `attempt` + 1, or give up.

        The time since the first failure after the last progress counts: a long time without tries, such as
        packing, costs no patience.

        The other side may ask for a longer pause, of minutes at most; the budget stays the same.

        Raises:
            UnavailableError: If nothing has moved for the whole budget; `why` tells the last reason.
            CancelledError: If the command is stopped meanwhile.
        """
        self.check_stopped()
        now = self._monotonic()
        failing_since = self._note_failing(now)
        ceiling = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** min(attempt, 10))
        asked = min(retry_after_seconds or 0, _LONGEST_ASKED_DELAY_SECONDS)
        delay = max(random.uniform(0, ceiling), asked)  # noqa: S311  jitter is no secret
        budget = self._budget_seconds if self._answered else self._start_budget_seconds
        left = failing_since + budget - now
        if self._ends_at is not None:
            left = min(left, self._ends_at - now)
        if left <= 0:
            raise _out_of_patience(budget, why)
        self._on_wait(why)
        self._pause(min(delay, left))
        self.check_stopped()

    def pause(self, seconds: float) -> None:
        """Wait for what is known to take its time: that is no failure, and costs no patience.

        Raises:
            CancelledError: If the command is stopped meanwhile.
        """
        self.check_stopped()
        self._pause(seconds)
        self.check_stopped()

    def _pause(self, seconds: float) -> None:
        """Wait, in steps: Windows lets Ctrl-C through only between two."""
        while seconds > 0 and not self.stop.wait(min(seconds, _STEP_SECONDS)):
            seconds -= _STEP_SECONDS

    def _note_failing(self, now: float) -> float:
        """Return since when nothing has moved, from now on at the latest."""
        since = self._failing_since  # read once: another thread may note progress at any moment
        if since is None:
            since = self._failing_since = now
        return since


def _out_of_patience(budget_seconds: float, why: str) -> UnavailableError:
    return UnavailableError(
        f"No progress for {_in_words(budget_seconds)}: {why}. "
        "Nothing is lost; check the connection and run the same command again."
    )


def _in_words(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"


WRONG_FROM: Final = timedelta(minutes=5)
"""Smaller differences harm nothing; servers that check times usually allow five minutes."""
_YEARS: Final = range(2020, 3000)


RETRY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Of a service's and an issuer's answers: the same call may be answered later."""


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read for how many seconds the other side asks to wait; None where it does not say, or names a date."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None


def read_date(headers: Mapping[str, str]) -> datetime | None:
    """Read the time at which an answer was made, by the other side's clock; None where it says none."""
    try:
        moment = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, OverflowError):  # the second for numbers of many digits
        return None
    if moment.year not in _YEARS:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def describe_wrong_clock(theirs: datetime | None, ours: datetime, host: str) -> str | None:
    """Say in a sentence that this machine's clock is wrong; None where it is right, or nothing is known.

    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> describe_wrong_clock(noon, noon + timedelta(hours=2), "issuer.example")
    "This machine's clock is 2 h 0 min ahead of that of issuer.example: set it right."
    >>> describe_wrong_clock(noon, noon + timedelta(minutes=1), "issuer.example")
    """
    if theirs is None or abs(ours - theirs) < WRONG_FROM:
        return None
    way = "ahead of" if ours > theirs else "behind"
    span = duration_in_words(abs(ours - theirs).total_seconds())
    return f"This machine's clock is {span} {way} that of {host}: set it right."


_EXPIRED_OR_TOO_NEW: Final = frozenset({9, 10})
"""OpenSSL's verdicts X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (x509_vfy.h, read 2026-11)."""
_CLOCK_WORDS: Final = ("expired", "not yet valid")
_WRONG_NAME_WORDS: Final = ("hostname mismatch", "ip address mismatch", "doesn't match")


def explain_connection_error(error: urllib3.exceptions.HTTPError, url: str) -> str:
    """Say in words why no answer came; never with a path or a signature in it."""
    address = _address_of(url)
    if isinstance(error, urllib3.exceptions.ProxyError):
        return _explain_proxy_error(_root_of(error), url)
    return _explain(_root_of(error), address)


def raise_if_permanent(error: urllib3.exceptions.HTTPError, url: str) -> None:
    """Raise at once for errors that last until a setting is changed.

    A certificate counts only where its verification failed, which happens before the first byte of a request;
    other TLS errors may be a connection that broke in the middle of a body.

    Raises:
        UnavailableError: If the other side's certificate is not trusted, or the proxy refuses.
    """
    root = _root_of(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        raise UnavailableError(_explain_certificate(root, _address_of(url)), code="untrusted-certificate")
    if isinstance(error, urllib3.exceptions.ProxyError):
        status = _tunnel_status(root)
        if status == 407:
            raise proxy_login_error(url)
        if status in (401, 403):
            raise UnavailableError(
                f"The proxy {_proxy_name(url)} does not let mgmt through to {_address_of(url)} (it answers {status}). "
                "Ask your IT department to allow that host, or list it in NO_PROXY to go without the proxy.",
                code="proxy",
            )


def proxy_login_error(url: str) -> UnavailableError:
    """Make the error for a proxy that wants another user and password."""
    proxy = proxy_for(url)
    said = "does not accept the user and password it was given" if proxy and proxy.authorization else "asks for a login"
    return UnavailableError(
        f"The proxy {_proxy_name(url)} {said} (407). Write them into HTTPS_PROXY as "
        "http://USER:PASSWORD@HOST:PORT, special characters percent-encoded, and run the same command again.",
        code="proxy-login",
    )


def _root_of(error: BaseException) -> BaseException:
    """Find the innermost error below urllib3's wrappings."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = [getattr(error, "reason", None), getattr(error, "original_error", None), *error.args[:1]]
        error = next((each for each in inner if isinstance(each, BaseException)), error)
    return error


def _explain(root: BaseException, address: str) -> str:
    if isinstance(root, urllib3.exceptions.NameResolutionError):
        return f"the host of {address} is not found"
    if isinstance(root, urllib3.exceptions.NewConnectionError):  # before time-outs: it is one of them by name
        return f"{address} refuses the connection"
    if isinstance(root, (urllib3.exceptions.TimeoutError, TimeoutError)):
        return f"{address} does not answer in time"
    if isinstance(root, ssl.SSLError):
        return f"the secure connection to {address} fails ({root.reason or 'no reason given'})"
    return f"the connection to {address} broke"


def _explain_proxy_error(root: BaseException, url: str) -> str:
    status = _tunnel_status(root)
    if status is not None:
        return f"the proxy {_proxy_name(url)} answers {status} when asked for {_address_of(url)}"
    return _explain(root, f"the proxy {_proxy_name(url)}")


def _tunnel_status(root: BaseException) -> int | None:
    found = re.match(r"Tunnel connection failed: (\d{3})", str(root))
    return int(found[1]) if found else None


def _explain_certificate(error: ssl.SSLCertVerificationError, address: str) -> str:
    why = (getattr(error, "verify_message", "") or str(error)).rstrip(".")
    said = f"The certificate of {address} is not trusted: {why}. "
    lowered = why.lower()
    if getattr(error, "verify_code", 0) in _EXPIRED_OR_TOO_NEW or any(word in lowered for word in _CLOCK_WORDS):
        return said + (
            "Compare this machine's clock and date with the real time; if they are right, tell the admin that the "
            "certificate has to be renewed."
        )
    if any(word in lowered for word in _WRONG_NAME_WORDS):
        return said + "Another server answers under that name, or the address is wrong: check `mgmt config`."
    return said + (
        "If your company's proxy looks into secure connections, get its certificate as a PEM file from the IT "
        "department and name it in MGMT_CA_BUNDLE; on a network you do not know, do not go on."
    )


def _address_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _proxy_name(url: str) -> str:
    proxy = proxy_for(url)
    return urlsplit(proxy.address).netloc if proxy else "in between"
