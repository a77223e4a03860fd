"""The check of access tokens that an HTTP API's JWT authorizer makes.

Source: Amazon API Gateway Developer Guide, "Control access to HTTP APIs with JWT authorizers" and "Troubleshooting
issues with HTTP API JWT authorizers", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from mgmt_contract.values import Value

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

ALGORITHM: Final = "RS256"
_HEADER_SIZE_MAX_BYTES: Final = 4096
"""Enough for certificates' thumbprints beside the key's id."""


class Granted(Value):
    """A caller who was let through, with the claims of the token as its issuer wrote them."""

    claims: Mapping[str, Any]
    scopes: tuple[str, ...]
    token: str
    """What the handler finds in the Authorization header."""
    is_owner: bool = False
    """Whether this is the user of this machine, to whom the embedded backend belongs."""


class RefusedError(Exception):
    """A caller who is not let through; the sentence goes into the answer's `www-authenticate` header."""

    def __init__(self, status: HTTPStatus, code: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.code = code


class Authorizer(Protocol):
    """What the gateway asks for each route that needs a sign-in; from several threads at once."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of which a token must carry one; none where any token will do."""

    def authorize(self, token: str) -> Granted:
        """Let a token's bearer through.

        Raises:
            RefusedError: If the token is not good.
        """


class Keys(Protocol):
    """The public keys of an issuer."""

    def find(self, key_id: str) -> RSAKey | None:
        """Return a key; None where the issuer has none of this name.

        Raises:
            RefusedError: If the issuer does not answer.
        """


class TokenAuthorizer:
    """Checks the signature and the claims of tokens as API Gateway does.

    RS256 only, whatever the token or the key says. API Gateway documents no leeway for clocks, so there is none.

    Args:
        issuer: What `iss` must be; None where the keys alone tell the issuer.
        audiences: What `aud`, or where there is none `client_id`, must be one of.
        scopes: Of which `scope` or `scp` must hold one; none where any token will do.
        keys: The issuer's keys.
        clock: The time; aware.
    """

    def __init__(
        self,
        issuer: str | None,
        audiences: tuple[str, ...],
        scopes: tuple[str, ...],
        keys: Keys,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.scopes = scopes
        self._issuer = issuer
        self._audiences = audiences
        self._keys = keys
        self._clock = clock

    def authorize(self, token: str) -> Granted:
        """Let a token's bearer through.

        Raises:
            RefusedError: 401 for a token that is not good, 403 for a good one without any of the scopes.
        """
        claims = self._read_signed(token)
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise refuse("the token is of another issuer")
        self._check_audience(claims)
        self._check_times(claims)
        granted = read_scopes(claims)
        if self.scopes and not set(self.scopes) & set(granted):
            raise RefusedError(HTTPStatus.FORBIDDEN, "insufficient_scope", "the token has none of the scopes")
        return Granted(claims, granted, token)

    def _read_signed(self, token: str) -> Mapping[str, Any]:
        from joserfc import jws, jwt
        from joserfc.errors import JoseError

        registry = jws.JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)
        registry.max_header_length = _HEADER_SIZE_MAX_BYTES

        def find_key(signed: Any) -> RSAKey:
            key_id = signed.headers().get("kid")
            key = self._keys.find(key_id) if isinstance(key_id, str) else None
            if key is None:
                raise refuse("the token names no key of its issuer")
            return key

        try:
            return jwt.decode(token, find_key, registry=registry).claims
        # An endless nesting of brackets is no JSON either.
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise refuse("the token's algorithm or signature is not valid") from error

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        named = claims["aud"] if "aud" in claims else claims.get("client_id")
        if not set(self._audiences) & {each for each in _as_list(named) if isinstance(each, str)}:
            raise refuse("the token does not have a valid audience")

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock().timestamp()
        if not _is_number(claims.get("exp")) or claims["exp"] <= now:
            raise refuse("the token has expired")
        for name in ("nbf", "iat"):
            if name in claims and not (_is_number(claims[name]) and claims[name] <= now):
                raise refuse("the token is not valid yet")


def read_scopes(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the scopes of a token: a text of words in `scope`, or words or a list in `scp`."""
    named = claims["scope"] if "scope" in claims else claims.get("scp")
    words = named.split() if isinstance(named, str) else _as_list(named)
    return tuple(word for word in words if isinstance(word, str))


def refuse(description: str) -> RefusedError:
    """Make the refusal of a token that is not good."""
    return RefusedError(HTTPStatus.UNAUTHORIZED, "invalid_token", description)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
