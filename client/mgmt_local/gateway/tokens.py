"""Bearer tokens of the embedded backend, and the people that they stand for."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import hmac
import secrets
import uuid
from pathlib import Path
from typing import Any, Final

from mgmt_contract.values import Value
from mgmt_local.errors import BadNameError
from mgmt_local.process.state import StateFolder, hold_lock, read_json, write_private_json

ADMIN_GROUP: Final = "admins"
_NAME_LENGTH_MAX: Final = 128
_LOCK_TIMEOUT_SECONDS: Final = 10


class Identity(Value):
    """The person that a token stands for."""

    name: str
    subject: str
    groups: tuple[str, ...] = ()


class TokenFile:
    """The tokens of a running gateway; one issued meanwhile is known at the next request.

    Only hashes are stored. They need no salt and no slow function: each hashes 32 random bytes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._entries: list[tuple[str, Identity]] = []

    def find(self, token: str) -> Identity | None:
        """Return a token's person, or None; takes as long for a wrong token as for a right one."""
        self._reload()
        hashed = _hash(token)
        found = None
        for known, identity in self._entries:
            if hmac.compare_digest(known, hashed):
                found = identity
        return found

    def _reload(self) -> None:
        version = _version_of(self._path)
        if version != self._version:
            self._entries = [(entry["hash"], _to_identity(entry)) for entry in _read_entries(self._path)]
            self._version = version


def issue_token(folder: StateFolder, name: str, *, admin: bool = False) -> str:
    """Make a token for a person, known from now on; the same name is always the same person.

    Raises:
        BadNameError: If the name is empty, too long or not printable.
    """
    if not (name and name.isprintable() and name == name.strip() and len(name) <= _NAME_LENGTH_MAX):
        raise BadNameError(
            f"{name!r} cannot be a person's name: expected 1 to {_NAME_LENGTH_MAX} printable characters, "
            "none of them a space at either end"
        )
    token = secrets.token_urlsafe(32)
    with _lock(folder):
        entries = _read_entries(folder.tokens)
        subject = next((entry["subject"] for entry in entries if entry["name"] == name), str(uuid.uuid4()))
        groups = [ADMIN_GROUP] if admin else []
        entries.append({"hash": _hash(token), "name": name, "subject": subject, "groups": groups})
        write_private_json(folder.tokens, {"tokens": entries})
    return token


def own_token(folder: StateFolder) -> str:
    """Return the token of this machine's user (an admin here); made if there is none."""
    stored = _read_own_token(folder)
    return stored or _issue_own_token(folder)


def _read_own_token(folder: StateFolder) -> str | None:
    stored = read_json(folder.own_token)
    token = stored.get("token") if stored else None
    # Both files are needed: a token whose hash was lost opens nothing.
    is_known = isinstance(token, str) and _hash(token) in {entry["hash"] for entry in _read_entries(folder.tokens)}
    return token if is_known else None


def _issue_own_token(folder: StateFolder) -> str:
    token = issue_token(folder, _user_name(), admin=True)
    write_private_json(folder.own_token, {"token": token})
    return token


def _user_name() -> str:
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser().strip()[:_NAME_LENGTH_MAX] or "local"
    return "local"


def _lock(folder: StateFolder) -> contextlib.AbstractContextManager[None]:
    if_taken = f"another process keeps {folder.tokens_lock} locked"
    return hold_lock(folder.tokens_lock, _LOCK_TIMEOUT_SECONDS, if_taken)


def _read_entries(path: Path) -> list[dict[str, Any]]:
    """Read the tokens; damaged ones give no access."""
    listed = (read_json(path) or {}).get("tokens")
    return [entry for entry in listed if _is_entry(entry)] if isinstance(listed, list) else []


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("groups"), list):
        return False
    texts = [entry.get(name) for name in ("hash", "name", "subject")] + entry["groups"]
    return all(isinstance(text, str) for text in texts) and entry["hash"].isascii()


def _to_identity(entry: dict[str, Any]) -> Identity:
    return Identity(entry["name"], entry["subject"], tuple(entry["groups"]))


def _version_of(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_mtime_ns, state.st_ino


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
