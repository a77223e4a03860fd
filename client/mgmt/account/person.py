"""The person that is signed in, as the last sign-in has found out: no network is needed to tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mgmt.credentials.place import read_plain

if TYPE_CHECKING:  # names for annotations: to tell who is signed in is to import little
    from mgmt.credentials.tokens import Credentials
    from mgmt_contract.messages.service import Me


class Person(NamedTuple):
    """The person that is signed in, with the service and the end of the sign-in."""

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


def find_person(state_dir: Path, service_url: str, now: datetime | None = None) -> Person | None:
    """Return the person whose sign-in is kept and good now.

    None where there is none, or it has to be renewed, or cannot be read: the service can be asked then.
    """
    kept = read_plain(state_dir, service_url)
    credentials = kept.get("credentials")
    try:
        person = _load_person(state_dir, service_url) if kept.get("keyring_entry") else _read_person(credentials)
    except (KeyError, TypeError, ValueError):
        return None
    is_good = person is not None and (person.expires_at is None or person.expires_at > (now or datetime.now(UTC)))
    return person if is_good else None


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


def keep_answer(state_dir: Path, service_url: str, me: Me) -> Person | None:
    """Keep for whom the service takes the sign-in now, and say whose it is; None where it is another person's, or none.

    Raises:
        LoginRequiredError: If what is kept cannot be read.
        LocalStateError: If it cannot be written.
    """
    from dataclasses import replace

    from mgmt.credentials.store import CredentialStore

    store = CredentialStore(state_dir, lambda _: None)
    if store.version(service_url) is None:
        return None
    with store.locked(service_url):
        credentials = store.load(service_url)
        if credentials is None or credentials.subject != me.id:
            return None
        told = replace(credentials, name=me.name, role=me.role, groups=me.groups)
        if told != credentials:
            store.update(told)
    return describe_credentials(told)


def _read_person(credentials: Mapping[str, Any] | None) -> Person | None:
    """Read a person from what stands in the file; the types of tokens would take as long to import as all the rest."""
    if credentials is None:
        return None
    tokens = credentials["tokens"]
    ends = tokens["expires_at"]
    return Person(
        service_url=str(credentials["service_url"]),
        id=credentials["subject"],
        name=str(credentials["name"] or credentials["subject"] or "?"),
        role=credentials["role"],
        groups=tuple(map(str, credentials["groups"])),
        issuer=credentials["issuer"],
        expires_at=datetime.fromisoformat(ends) if ends is not None else None,
        is_renewable=tokens["refresh_token"] is not None,
    )


def _load_person(state_dir: Path, service_url: str) -> Person | None:
    """Read a person from the system's keyring."""
    from mgmt.credentials.store import CredentialStore
    from mgmt.errors import LoginRequiredError

    try:
        credentials = CredentialStore(state_dir, lambda _: None).load(service_url)
    except LoginRequiredError:
        return None
    return describe_credentials(credentials) if credentials is not None else None
