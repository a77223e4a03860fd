"""The public keys that an issuer publishes, found through its discovery document as API Gateway finds them.

With them the embedded backend's gateway, which itself trusts only its own issuer, stands in for API Gateway in tests of
the sign-in.

Source: API Gateway Developer Guide, "Control access to HTTP APIs with JWT authorizers", read 2026-11: keys are kept
for two hours. Reported by users of slow issuers: it waits 1.5 s for an answer.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from mgmt_local.gateway.authorizer import refuse

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

KEYS_LIFE_SECONDS: Final = 2 * 3600
UNKNOWN_KEY_PAUSE_SECONDS: Final = 300
"""Keys are fetched for an unknown name at most this often: anybody can make up names."""
_ANSWER_TIMEOUT_SECONDS: Final = 15
"""API Gateway waits 1.5 s; an issuer on a busy machine may take longer, and no test is about that."""
_ANSWER_SIZE_MAX_BYTES: Final = 256 * 1024

_logger = logging.getLogger(__name__)


class PublishedKeys:
    """An issuer's keys, fetched when first needed, when they are old, and for an unknown name.

    Args:
        issuer: The issuer's address, as its tokens carry it.
        clock: Seconds that only go forward.
    """

    def __init__(self, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, RSAKey] = {}
        self._fetched_at: float | None = None
        self._asked_at = 0.0

    def find(self, key_id: str) -> RSAKey | None:
        """Return a key; None where the issuer has none of this name.

        Raises:
            RefusedError: If no keys are known and the issuer does not answer.
        """
        with self._lock:
            if self._is_due(key_id):
                self._asked_at = self._clock()
                self._keys = self._fetch_keys()
                self._fetched_at = self._clock()
            return self._keys.get(key_id)

    def _is_due(self, key_id: str) -> bool:
        if self._fetched_at is None:
            return True
        if key_id in self._keys:
            return self._clock() - self._fetched_at > KEYS_LIFE_SECONDS
        return self._clock() - self._asked_at > UNKNOWN_KEY_PAUSE_SECONDS

    def _fetch_keys(self) -> dict[str, RSAKey]:
        address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        document = self._fetch(address, "OIDC discovery endpoint communication error")
        if document.get("issuer") != self._issuer:
            _logger.warning("the issuer %s calls itself %r", self._issuer, document.get("issuer"))
            raise refuse("OIDC discovery endpoint communication error")
        listed = self._fetch(str(document.get("jwks_uri")), "JWKS communication error").get("keys")
        return read_keys(listed)

    def _fetch(self, address: str, if_failed: str) -> dict[str, Any]:
        import urllib3

        try:
            with urllib3.PoolManager(timeout=_ANSWER_TIMEOUT_SECONDS, retries=False) as pool:
                answer = pool.request("GET", address, redirect=False, preload_content=False)
                body = answer.read(_ANSWER_SIZE_MAX_BYTES)
            value = json.loads(body) if answer.status == HTTPStatus.OK else None
        except (urllib3.exceptions.HTTPError, ValueError, RecursionError) as error:
            _logger.warning("the issuer does not answer at %s: %s", address, error)
            raise refuse(if_failed) from error
        if not isinstance(value, dict):
            _logger.warning("the issuer's answer at %s makes no sense (status %d)", address, answer.status)
            raise refuse(if_failed)
        return value


def read_keys(listed: object) -> dict[str, RSAKey]:
    """Read the RSA keys of a key set by their names; others are left out."""
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    keys = {}
    for each in listed if isinstance(listed, list) else []:
        is_for_tokens = isinstance(each, dict) and each.get("kty") == "RSA" and each.get("use", "sig") == "sig"
        if is_for_tokens and isinstance(each.get("kid"), str):
            try:
                keys[each["kid"]] = RSAKey.import_key({name: each[name] for name in ("kty", "n", "e", "kid")})
            except (JoseError, ValueError, TypeError, KeyError) as error:
                _logger.warning("a key of the issuer cannot be read: %s", error)
    return keys
