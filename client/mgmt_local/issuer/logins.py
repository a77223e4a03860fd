"""Logins that are kept: each refresh token is good once, and its next one comes with the answer.

They survive restarts and crashes. Only hashes are stored; they need no salt and no slow function, for each hashes 32
random bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from mgmt_contract.values import Value
from mgmt_local.issuer.people import Person
from mgmt_local.process.state import StateFolder, read_json, write_private_json

LOGIN_LIFE_SECONDS: Final = 30 * 86_400
_LOGINS_MAX: Final = 1000
"""The oldest are dropped beyond: a script that logs in again and again does not fill the disk."""


class Login(Value):
    """A person's login, and its refresh token as a hash."""

    person: Person
    scopes: tuple[str, ...]
    until: float
    hashed: str


class Logins:
    """The logins of one backend; safe for threads. One process at a time uses them."""

    def __init__(self, folder: StateFolder, clock: Callable[[], float] = time.time) -> None:
        self._path = folder.logins
        self._clock = clock
        self._lock = threading.Lock()
        self._logins = _read(folder)

    def begin(self, person: Person, scopes: tuple[str, ...]) -> str:
        """Keep a new login and return its first refresh token."""
        login_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        with self._lock:
            self._logins[login_id] = Login(person, scopes, self._clock() + LOGIN_LIFE_SECONDS, _hash(secret))
            self._write()
        return f"{login_id}.{secret}"

    def refresh(self, refresh_token: str) -> tuple[Login, str] | None:
        """Return a token's login and the next token.

        A token that was used before ends its login: either the person or a thief has used it, and nobody can tell.
        """
        login_id, _, secret = refresh_token.partition(".")
        with self._lock:
            login = self._logins.get(login_id)
            if login is None or login.until < self._clock():
                return None
            if not hmac.compare_digest(login.hashed, _hash(secret)):
                self._end(login_id)
                return None
            following = secrets.token_urlsafe(32)
            renewed = Login(login.person, login.scopes, login.until, _hash(following))
            self._logins[login_id] = renewed
            self._write()
            return renewed, f"{login_id}.{following}"

    def end(self, refresh_token: str) -> None:
        """End the login of a refresh token."""
        with self._lock:
            self._end(refresh_token.partition(".")[0])

    def _end(self, login_id: str) -> None:
        if self._logins.pop(login_id, None) is not None:
            self._write()

    def _write(self) -> None:
        """Write all logins before any answer that depends on them is given."""
        now = self._clock()
        kept = [(login_id, login) for login_id, login in self._logins.items() if login.until >= now][-_LOGINS_MAX:]
        self._logins = dict(kept)
        write_private_json(self._path, {"logins": {login_id: _to_plain(login) for login_id, login in kept}})


def _to_plain(login: Login) -> dict[str, Any]:
    return {
        "name": login.person.name,
        "is_admin": login.person.is_admin,
        "scopes": list(login.scopes),
        "until": login.until,
        "hash": login.hashed,
    }


def _read(folder: StateFolder) -> dict[str, Login]:
    """Read the logins; damaged ones give no access."""
    listed = (read_json(folder.logins) or {}).get("logins")
    found = {}
    for login_id, each in listed.items() if isinstance(listed, dict) else ():
        try:
            person = Person(str(each["name"]), each["is_admin"] is True)
            hashed = str(each["hash"])
            found[login_id] = Login(person, tuple(map(str, each["scopes"])), float(each["until"]), hashed)
        except (KeyError, TypeError, ValueError):
            continue
    return {login_id: login for login_id, login in found.items() if login.hashed.isascii()}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
