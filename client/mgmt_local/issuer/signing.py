"""The issuer's key, and the tokens that it signs."""

from __future__ import annotations

import functools
import json
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from mgmt_local.issuer.people import Person
from mgmt_local.process.state import StateFolder, hold_lock, read_json, write_private_json

CLIENT_ID: Final = "mgmt-local"
SCOPE: Final = "mgmt-local/use"
"""The scope that the gateway asks for."""
SCOPES: Final = ("openid", SCOPE)
ACCESS_LIFE_SECONDS: Final = 900

_ALGORITHM: Final = "RS256"
_KEY_SIZE_BITS: Final = 2048
_LOCK_TIMEOUT_SECONDS: Final = 10


class Signer:
    """Signs tokens with the folder's key, which is made when first needed.

    Args:
        folder: The backend's folder.
        issuer: What the tokens carry as `iss`. It holds the backend's port, which is another one after each start; a
            token stays good all the same, for the gateway knows the issuer by its key.
        clock: Seconds since 1970.
    """

    def __init__(self, folder: StateFolder, issuer: str, clock: Callable[[], float] = time.time) -> None:
        self.issuer = issuer
        self._folder = folder
        self._clock = clock

    @functools.cached_property
    def _key(self) -> RSAKey:
        """The folder's key: most backends never sign anything, and opening it would take 40 ms of each start."""
        return _open_key(self._folder)

    def find(self, key_id: str) -> RSAKey | None:
        """Return the public key of a name; the authorizer asks this."""
        return self._key if key_id == self._key.kid else None

    def publish(self) -> dict[str, Any]:
        """Return the public key as a key set."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "use": "sig", "alg": _ALGORITHM}]}

    def sign_access_token(
        self, person: Person, scopes: Iterable[str] = SCOPES, life_seconds: float = ACCESS_LIFE_SECONDS
    ) -> str:
        """Sign an access token, with the claims that a Cognito user pool writes."""
        claims = {"client_id": CLIENT_ID, "scope": " ".join(scopes), "token_use": "access", "username": person.name}
        return self._sign(person, claims, life_seconds)

    def sign_id_token(self, person: Person, nonce: str | None) -> str:
        """Sign an ID token."""
        claims: dict[str, Any] = {"aud": CLIENT_ID, "token_use": "id", "cognito:username": person.name}
        named = {"name": person.name, **({"nonce": nonce} if nonce else {})}
        return self._sign(person, claims | named, ACCESS_LIFE_SECONDS)

    def _sign(self, person: Person, claims: dict[str, Any], life_seconds: float) -> str:
        now = int(self._clock())
        usual: dict[str, Any] = {
            "iss": self.issuer,
            "sub": person.subject,
            "cognito:groups": list(person.groups),
            "auth_time": now,
            "iat": now,
            "exp": now + int(life_seconds),
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode({"alg": _ALGORITHM, "kid": self._key.kid}, usual | claims, self._key)


def _open_key(folder: StateFolder) -> RSAKey:
    if_taken = f"another process keeps {folder.issuer_lock} locked"
    with hold_lock(folder.issuer_lock, _LOCK_TIMEOUT_SECONDS, if_taken):
        stored = _read_key(folder)
        if stored is not None:
            return stored
        key = RSAKey.generate_key(_KEY_SIZE_BITS, auto_kid=True)
        write_private_json(folder.issuer_key, key.as_dict(private=True))
        return key


def _read_key(folder: StateFolder) -> RSAKey | None:
    """Read the key; a damaged one is as good as none, and its tokens are refused from then on."""
    return _import_key(json.dumps(read_json(folder.issuer_key) or {}))


@functools.lru_cache(maxsize=2)
def _import_key(written: str) -> RSAKey | None:
    """Take a key as it is written in JSON; once in a process, as checking one takes a tenth of a second."""
    try:
        key = RSAKey.import_key(json.loads(written))
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if key.is_private and isinstance(key.kid, str) else None
