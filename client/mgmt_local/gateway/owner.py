"""This machine's user, to whom the embedded backend belongs: a secret in the private folder takes a login's place."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mgmt_local.gateway.authorizer import Authorizer, Granted
from mgmt_local.issuer.people import find_owner
from mgmt_local.process.state import StateFolder, hold_lock, read_json, write_private_json

_LOCK_TIMEOUT_SECONDS: Final = 10
_TOKEN_LIFE_SECONDS: Final = 900


class OwnerAuthorizer:
    """Lets the owner through by the secret, and asks another authorizer about everybody else.

    A secret that is made meanwhile is known at the next request.

    Args:
        folder: The backend's folder.
        others: Who decides about tokens.
    """

    def __init__(self, folder: StateFolder, others: Authorizer) -> None:
        self.scopes = others.scopes
        self._folder = folder
        self._others = others
        self._owner = find_owner()
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._secret: bytes | None = None

    def authorize(self, token: str) -> Granted:
        """Let a token's bearer through.

        Raises:
            RefusedError: If the token is neither the secret nor good.
        """
        secret = self._read_secret()
        if secret is None or not hmac.compare_digest(secret, token.encode("utf-8", "surrogateescape")):
            return self._others.authorize(token)
        claims = self._build_claims(int(time.time()))
        return Granted(claims, self.scopes, _write_token(claims), is_owner=True)

    def _read_secret(self) -> bytes | None:
        with self._lock:
            version = _version_of(self._folder.own_token)
            if version != self._version:
                secret = _read_own_secret(self._folder)
                self._secret, self._version = secret.encode() if secret else None, version
            return self._secret

    def _build_claims(self, now: int) -> dict[str, Any]:
        return {
            "sub": self._owner.subject,
            "username": self._owner.name,
            "cognito:groups": list(self._owner.groups),
            "iss": "mgmt-local",
            "client_id": "mgmt-local",
            "token_use": "access",
            "scope": " ".join(self.scopes),
            "auth_time": now,
            "iat": now,
            "exp": now + _TOKEN_LIFE_SECONDS,
            "jti": str(uuid.uuid4()),
        }


def own_secret(folder: StateFolder) -> str:
    """Return the owner's secret; made if there is none.

    Raises:
        LocalBackendError: If it cannot be kept.
    """
    stored = _read_own_secret(folder)
    if stored is not None:
        return stored
    if_taken = f"another process keeps {folder.own_token_lock} locked"
    with hold_lock(folder.own_token_lock, _LOCK_TIMEOUT_SECONDS, if_taken):
        stored = _read_own_secret(folder) or secrets.token_urlsafe(32)
        write_private_json(folder.own_token, {"token": stored})
        return stored


def _read_own_secret(folder: StateFolder) -> str | None:
    secret = (read_json(folder.own_token) or {}).get("token")
    return secret if isinstance(secret, str) and secret.isascii() and secret else None


def _write_token(claims: Mapping[str, Any]) -> str:
    """Write claims as a token for the handler; unsigned, for the gateway has checked the caller."""
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return f"{'.'.join(encoded)}."


def _version_of(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_mtime_ns, state.st_ino
