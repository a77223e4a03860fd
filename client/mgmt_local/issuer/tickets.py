"""Tickets: the proof that a login is made by somebody with access to the backend's private folder.

A command writes one into the folder and hands it to the issuer, which takes it out. It is good for one login and for
a minute. Its file is named by its hash, so a name never comes from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from typing import Final

from mgmt_local.issuer.people import Person
from mgmt_local.process.state import StateFolder, read_json, write_private_json

TICKET_LIFE_SECONDS: Final = 60


def make_ticket(folder: StateFolder, person: Person) -> str:
    """Make a ticket for one login of a person.

    Raises:
        LocalBackendError: If it cannot be written.
    """
    ticket = secrets.token_urlsafe(32)
    folder.tickets.mkdir(mode=0o700, exist_ok=True)
    _drop_old(folder)
    content = {"name": person.name, "is_admin": person.is_admin, "until": time.time() + TICKET_LIFE_SECONDS}
    write_private_json(folder.tickets / _file_name(ticket), content)
    return ticket


def take_ticket(folder: StateFolder, ticket: str) -> Person | None:
    """Take a ticket out of the folder; None where there is no such ticket, or not any more."""
    path = folder.tickets / _file_name(ticket)
    content = read_json(path) or {}
    try:
        path.unlink()  # of two takers one
    except OSError:
        return None
    name, is_admin, until = content.get("name"), content.get("is_admin"), content.get("until")
    is_good = isinstance(name, str) and isinstance(until, (int, float)) and time.time() <= until
    return Person(str(name), is_admin is True) if is_good else None


def _drop_old(folder: StateFolder) -> None:
    """Remove tickets that nobody took in time."""
    for path in folder.tickets.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - 2 * TICKET_LIFE_SECONDS:
                path.unlink()


def _file_name(ticket: str) -> str:
    return f"{hashlib.sha256(ticket.encode('utf-8', 'surrogatepass')).hexdigest()}.json"
