"""The issuer's addresses: OpenID Connect Discovery 1.0, OAuth 2.0 (RFC 6749), PKCE (RFC 7636), revocation (RFC 7009).

It has one client, the command, which is public and returns to a loopback address (RFC 8252).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from mgmt_contract.sign_in import redirect_uri
from mgmt_contract.values import Value
from mgmt_local.issuer.logins import Logins
from mgmt_local.issuer.people import Person
from mgmt_local.issuer.signing import ACCESS_LIFE_SECONDS, CLIENT_ID, SCOPES, Signer
from mgmt_local.issuer.tickets import take_ticket
from mgmt_local.process.state import StateFolder

CODE_LIFE_SECONDS: Final = 60
_CODES_MAX: Final = 100
_CHALLENGE: Final = re.compile(r"[\w-]{43}", re.ASCII)


class IssuerAnswer(NamedTuple):
    """An answer as it goes over the wire."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class _Code(Value):
    """What an authorization code stands for, for as long as it can be used."""

    person: Person
    redirect_uri: str
    challenge: str
    scopes: tuple[str, ...]
    nonce: str | None
    until: float


class _RefusedError(Exception):
    """A request that is refused, as RFC 6749 names it."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


class Issuer:
    """Answers the requests below its path; from several threads at once.

    Args:
        folder: The backend's folder, with the tickets and the logins.
        signer: The key, and the issuer's name.
        clock: Seconds since 1970.
    """

    def __init__(self, folder: StateFolder, signer: Signer, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._signer = signer
        self._clock = clock
        self._logins = Logins(folder, clock)
        self._codes: dict[str, _Code] = {}
        self._lock = threading.Lock()

    def answer(self, method: str, target: str, body: bytes) -> IssuerAnswer:
        """Answer a request.

        Args:
            method: Of the request.
            target: Its path below the issuer's, and its query.
            body: Its body, a form.
        """
        path, _, query = target.partition("?")
        known: dict[tuple[str, str], Callable[[], IssuerAnswer]] = {
            ("GET", "/.well-known/openid-configuration"): self._describe,
            ("GET", "/keys"): lambda: _json(HTTPStatus.OK, self._signer.publish()),
            ("GET", "/authorize"): lambda: self._authorize(query),
            ("POST", "/token"): lambda: self._give_tokens(body),
            ("POST", "/revoke"): lambda: self._revoke(body),
        }
        called = known.get((method, path))
        if called is None:
            return _json(HTTPStatus.NOT_FOUND, {"error": "not_found"})
        try:
            return called()
        except _RefusedError as error:
            return _json(HTTPStatus.BAD_REQUEST, {"error": error.code, "error_description": str(error)})

    def _describe(self) -> IssuerAnswer:
        issuer = self._signer.issuer
        described = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "revocation_endpoint": f"{issuer}/revoke",
            "jwks_uri": f"{issuer}/keys",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "subject_types_supported": ["public"],
            "authorization_response_iss_parameter_supported": True,
        }
        return _json(HTTPStatus.OK, described)

    # --- the browser's part ------------------------------------------------------------------------------

    def _authorize(self, query: str) -> IssuerAnswer:
        """Send the browser back to the command, with a code for the person of the ticket.

        Until client and address are known to be right nothing is sent anywhere: the answer is an error of its own.
        """
        asked = _read_form(query)
        address_back = asked.get("redirect_uri", "")
        _require_client(asked)
        if not _is_of(address_back, self._signer.issuer):
            raise _RefusedError("invalid_request", "redirect_uri is not the command's for this issuer")
        try:
            answered = {"code": self._make_code(asked, address_back)}
        except _RefusedError as error:
            answered = {"error": error.code, "error_description": str(error)}
        answered |= {"state": asked["state"]} if "state" in asked else {}
        answered["iss"] = self._signer.issuer
        location = ("location", f"{address_back}?{urlencode(answered)}")
        return IssuerAnswer(HTTPStatus.FOUND, (location, ("cache-control", "no-store")))

    def _make_code(self, asked: Mapping[str, str], address_back: str) -> str:
        if asked.get("response_type") != "code":
            raise _RefusedError("unsupported_response_type", "response_type is not code")
        challenge = asked.get("code_challenge", "")
        if asked.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise _RefusedError("invalid_request", "a code_challenge of the method S256 is needed")
        wanted = asked.get("scope", "").split()
        scopes = tuple(scope for scope in SCOPES if scope in wanted)
        person = take_ticket(self._folder, asked.get("login_hint", ""))
        if person is None:
            raise _RefusedError("access_denied", "only mgmt login --local can sign in here")
        code = secrets.token_urlsafe(32)
        until = self._clock() + CODE_LIFE_SECONDS
        with self._lock:
            kept = [(name, each) for name, each in self._codes.items() if each.until >= self._clock()]
            self._codes = dict(kept[-_CODES_MAX:])
            self._codes[code] = _Code(person, address_back, challenge, scopes, asked.get("nonce"), until)
        return code

    # --- the command's part ------------------------------------------------------------------------------

    def _give_tokens(self, body: bytes) -> IssuerAnswer:
        form = _read_form(body.decode("utf-8", "replace"))
        _require_client(form)
        grant = form.get("grant_type")
        if grant == "authorization_code":
            return self._redeem_code(form)
        if grant == "refresh_token":
            return self._refresh(form)
        raise _RefusedError("unsupported_grant_type", "grant_type is neither authorization_code nor refresh_token")

    def _redeem_code(self, form: Mapping[str, str]) -> IssuerAnswer:
        with self._lock:
            code = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode("utf-8", "surrogatepass")).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        is_right = (
            code is not None
            and code.until >= self._clock()
            and code.redirect_uri == form.get("redirect_uri")
            and hmac.compare_digest(code.challenge, challenge)
        )
        if code is None or not is_right:
            raise _RefusedError("invalid_grant", "the code is not good, or not any more")
        refresh_token = self._logins.begin(code.person, code.scopes)
        id_token = self._signer.sign_id_token(code.person, code.nonce) if "openid" in code.scopes else None
        return self._tokens(code.person, code.scopes, refresh_token, id_token)

    def _refresh(self, form: Mapping[str, str]) -> IssuerAnswer:
        refreshed = self._logins.refresh(form.get("refresh_token", ""))
        if refreshed is None:
            raise _RefusedError("invalid_grant", "the refresh token is not good, or not any more")
        login, following = refreshed
        return self._tokens(login.person, login.scopes, following, None)

    def _tokens(
        self, person: Person, scopes: tuple[str, ...], refresh_token: str, id_token: str | None
    ) -> IssuerAnswer:
        tokens: dict[str, Any] = {
            "access_token": self._signer.sign_access_token(person, scopes),
            "token_type": "Bearer",
            "expires_in": ACCESS_LIFE_SECONDS,
            "scope": " ".join(scopes),
            "refresh_token": refresh_token,
        }
        return _json(HTTPStatus.OK, tokens | ({"id_token": id_token} if id_token else {}))

    def _revoke(self, body: bytes) -> IssuerAnswer:
        """End a login; of an unknown token the answer is the same (RFC 7009, 2.2)."""
        form = _read_form(body.decode("utf-8", "replace"))
        _require_client(form)
        self._logins.end(form.get("token", ""))
        return _json(HTTPStatus.OK, {})


def _read_form(text: str) -> dict[str, str]:
    """Read a query or a form; a name that comes twice could mean either.

    Raises:
        _RefusedError: If one does.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=50)
    except ValueError as error:
        raise _RefusedError("invalid_request", "too many parameters") from error
    if any(count > 1 for count in Counter(name for name, _ in pairs).values()):
        raise _RefusedError("invalid_request", "a parameter is given twice")
    return dict(pairs)


def _require_client(asked: Mapping[str, str]) -> None:
    if asked.get("client_id") != CLIENT_ID:
        raise _RefusedError("invalid_client", f"client_id is not {CLIENT_ID}")


def _is_of(address: str, issuer: str) -> bool:
    """Say whether a redirect goes to this machine, to the path of this issuer; any port will do (RFC 8252, 7.3)."""
    try:
        port = urlsplit(address).port
    except ValueError:
        return False
    return bool(port) and address == redirect_uri(port or 0, issuer)


def _json(status: HTTPStatus, value: object) -> IssuerAnswer:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return IssuerAnswer(status, headers, json.dumps(value).encode())
