"""A person's sign-in at the rotating issuer, kept on a laptop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mgmt.credentials.issuer import IssuerApi
from mgmt.credentials.place import service_name
from mgmt.credentials.provider import StoredToken, now_by_clock
from mgmt.credentials.store import CredentialStore
from mgmt.credentials.tokens import Credentials, TokenSet
from mgmt.events import Emit
from mgmt.network import Connections
from mgmt.network.retry import Patience
from support.rotating_issuer import CLIENT_ID, RotatingIssuer

SERVICE_URL = "https://api.example/stage"


def make_credentials(
    issuer: RotatingIssuer, person: str = "anna", *, service_url: str = SERVICE_URL, received_at: datetime | None = None
) -> Credentials:
    """Log a person in, as `mgmt login` does, without a browser."""
    answer = issuer.sign_in(person)
    received_at = received_at or now_by_clock()
    life = answer.get("expires_in")
    return Credentials(
        service_url=service_name(service_url),
        issuer=issuer.url,
        client_id=CLIENT_ID,
        token_endpoint=issuer.token_endpoint,
        tokens=TokenSet(
            access_token=answer["access_token"],
            received_at=received_at,
            expires_at=None if life is None else received_at + timedelta(seconds=life),
            refresh_token=answer["refresh_token"],
        ),
        subject=person,
        name=person.capitalize(),
    )


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def move(self, **span: float) -> None:
        """Set it forwards, or back."""
        self.now += timedelta(**span)


def make_provider(
    state_dir: Path,
    emit: Emit,
    *,
    clock: Callable[[], datetime] = now_by_clock,
    service_url: str = SERVICE_URL,
    learn: Callable[..., Any] = lambda *_: None,
    budget_seconds: float = 5.0,
    stop: threading.Event | None = None,
) -> StoredToken:
    """Make what gives a run its tokens, as a process of its own has it."""
    patience = Patience(stop or threading.Event(), start_budget_seconds=budget_seconds, budget_seconds=budget_seconds)

    @contextmanager
    def open_issuer() -> Iterator[IssuerApi]:
        with closing(Connections()) as connections:
            yield IssuerApi(connections, patience, emit, clock=clock, tries_once=True)

    store = CredentialStore(state_dir, emit)
    return StoredToken(
        store, service_name(service_url), open_issuer, patience=patience, emit=emit, learn=learn, clock=clock
    )
