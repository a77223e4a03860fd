"""The person that is signed in, as the last sign-in has found out: no network is needed to tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mgmt_contract.values import Value

if TYPE_CHECKING:  # names for annotations: to tell who is signed in is to import little
    from mgmt.credentials.store import CredentialStore
    from mgmt.credentials.tokens import Credentials
    from mgmt_contract.messages import Me


class Person(Value):
    """Who is signed in, where, and until when."""

    service_url: str
    id: str | None
    name: str
    role: str | None
    groups: tuple[str, ...]
    issuer: str | None = None
    expires_at: datetime | None = None
    """When the present token ends; None where that is not known."""
    is_renewable: bool = False
    """Whether a new token is fetched by itself then."""


def find_person(store: CredentialStore, service_url: str, now: datetime | None = None) -> Person | None:
    """Return the person whose sign-in is kept and good now; None where there is none, or it has to be renewed.

    Raises:
        LoginRequiredError: If what is kept cannot be read.
    """
    credentials = store.load(service_url)
    expires_at = credentials.tokens.expires_at if credentials is not None else None
    if credentials is None or (expires_at is not None and expires_at <= (now or datetime.now(UTC))):
        return None
    return describe_credentials(credentials)


def describe_credentials(credentials: Credentials) -> Person:
    """Say whose a sign-in is."""
    return Person(
        service_url=credentials.service_url,
        id=credentials.subject,
        name=credentials.name or credentials.subject or "?",
        role=credentials.role,
        groups=credentials.groups,
        issuer=credentials.issuer,
        expires_at=credentials.tokens.expires_at,
        is_renewable=credentials.tokens.refresh_token is not None,
    )


def describe_answer(service_url: str, me: Me) -> Person:
    """Say whom the service has named."""
    return Person(service_url, me.id, me.name, me.role, me.groups)
