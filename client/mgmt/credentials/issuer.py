"""The calls to an issuer: its description of itself, its tokens, and their revocation.

Every address is checked before anything is sent to it: TLS, except on this machine. A redirect is an answer like any
other, and never followed: what is sent here are secrets.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import urllib3

from mgmt.credentials.tokens import TokenSet
from mgmt.errors import LoginRequiredError, NotConfiguredError, UnavailableError
from mgmt.events import Answered, Emit, Notice, Waiting
from mgmt.logs import CUT
from mgmt.network import Answer, Bounds, Connections, is_loopback, make_timeout
from mgmt.network.retry import (
    RETRY_STATUSES,
    Patience,
    describe_wrong_clock,
    explain_connection_error,
    proxy_login_error,
    raise_if_permanent,
    read_date,
    read_retry_after,
)
from mgmt_contract.values import Value
from mgmt_contract.wire import MessageError, from_json

_log: Final = logging.getLogger(__name__)

ANSWER_MAX_SECONDS: Final = 30.0
"""For a whole answer of an issuer: a document, or some tokens."""
_ANSWER_MAX_BYTES: Final = 256 * 1024
_TOKEN_MAX_CHARACTERS: Final = 16_000
"""Twice what API Gateway takes of all headers together (10,240 bytes) is no token that serves."""
_LIFE_MAX_SECONDS: Final = 10 * 366 * 86_400
_ADDRESS_MAX_CHARACTERS: Final = 2000
_SECRET_FIELDS: Final = ("code", "code_verifier", "device_code", "refresh_token", "token", "client_secret")
_REASON_MAX_CHARACTERS: Final = 200
_PASSING_REFUSALS: Final = frozenset({"server_error", "temporarily_unavailable"})
"""OAuth errors that say to come again (RFC 6749, 4.1.2.1)."""
_OPENID_PATH: Final = "/.well-known/openid-configuration"
_OAUTH_PATH: Final = "/.well-known/oauth-authorization-server"
"""RFC 8414, section 3: between the host and the issuer's own path; OpenID's is behind both."""


class Metadata(Value):
    """An issuer's description of itself (RFC 8414), as far as it is used here; every address was checked."""

    issuer: str
    token_endpoint: str
    authorization_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    jwks_uri: str | None = None
    """Where the issuer publishes the keys that its tokens are signed with."""
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False
    """Whether the redirect names the issuer, which then has to be this one (RFC 9207)."""


_ENDPOINTS: Final = (
    "token_endpoint",
    "authorization_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
    "jwks_uri",
)


class TokenRefusedError(LoginRequiredError):
    """The issuer gives no token."""

    default_code = "token-refused"

    def __init__(self, message: str, refusal: str) -> None:
        super().__init__(message)
        self.refusal = refusal
        """The error's name in OAuth, such as `invalid_grant` or, of a device code, `authorization_pending`."""


class UnansweredError(UnavailableError):
    """One try brought no answer, and another may."""

    default_code = "no-answer"

    def __init__(self, why: str, retry_after_seconds: float | None) -> None:
        super().__init__(f"The sign-in cannot be renewed now: {why}.")
        self.why = why
        self.retry_after_seconds = retry_after_seconds


class IssuerApi:
    """The calls to issuers. Each is repeated, with the patience of other calls, until it is answered.

    With `tries_once` no call is repeated, and UnansweredError says why: for a caller that must not wait meanwhile.
    Every method may raise UnavailableError, NotConfiguredError and CancelledError.
    """

    def __init__(
        self,
        connections: Connections,
        patience: Patience,
        emit: Emit,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        tries_once: bool = False,
    ) -> None:
        self._connections = connections
        self._patience = patience
        self._emit = emit
        self._clock = clock
        self._tries_once = tries_once
        self._clock_is_named = False
        self._clock_difference = timedelta()

    @property
    def clock_difference(self) -> timedelta:
        """How far an issuer's clock was ahead of this machine's at its last answer that said the time."""
        return self._clock_difference

    def discover(self, issuer: str) -> Metadata:
        """Fetch an issuer's description of itself, and refuse one that is another's.

        Raises:
            NotConfiguredError: If the issuer's address cannot be used.
            UnavailableError: If there is no such description, or it names another issuer or addresses without TLS.
        """
        check_issuer(issuer)
        parts = urlsplit(issuer)
        path = parts.path.rstrip("/")
        origin = f"{parts.scheme}://{parts.netloc}"
        answer = self._ask("GET", origin + path + _OPENID_PATH, None, {})
        if answer.status == 404:
            answer = self._ask("GET", origin + _OAUTH_PATH + path, None, {})
        if answer.status != 200 or not answer.may_be_json:
            raise _no_issuer(issuer, f"answers {answer.status} when asked to describe itself")
        try:
            metadata = from_json(Metadata, answer.body)
        except MessageError as error:
            raise _no_issuer(issuer, f"describes itself wrongly ({error})") from error
        _check_metadata(metadata, issuer)
        return metadata

    def fetch_keys(self, metadata: Metadata) -> Sequence[Mapping[str, Any]]:
        """Fetch the keys that the issuer publishes (RFC 7517); the entries are not checked.

        Raises:
            UnavailableError: If it publishes none.
        """
        answer = self._ask("GET", metadata.jwks_uri, None, {}) if metadata.jwks_uri else None
        document = _read_object(answer) if answer is not None and answer.status == 200 else None
        keys = (document or {}).get("keys")
        if not isinstance(keys, list):
            raise _no_issuer(metadata.issuer, "does not publish the keys that it signs with")
        return [each for each in keys if isinstance(each, dict)]

    def request_tokens(
        self, endpoint: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> TokenSet:
        """Ask a token endpoint for tokens.

        An answer that is lost after the issuer made it cannot be fetched again. The request is repeated all the same:
        the issuers that forgive that give the tokens, and with the others they are lost either way.

        Args:
            endpoint: From checked metadata.
            form: The grant's fields; what makes it secret is in the body or the headers, never in the address.
            headers: See `authorize_client`.

        Raises:
            TokenRefusedError: If the issuer refuses, with the reason in `refusal`.
        """
        document = self.post(endpoint, form, headers)
        tokens = _read_tokens(document, self._clock())
        if tokens is None:
            raise _no_issuer(endpoint, "answers what is no token")
        return tokens

    def post(
        self, endpoint: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """Send a form to one of an issuer's endpoints and return the object that it answers.

        Raises:
            TokenRefusedError: If the issuer refuses.
        """
        answer = self._ask("POST", endpoint, form, headers or {})
        document = _read_object(answer)
        if document is not None and 200 <= answer.status < 300:
            return document
        refusal = _refusal_of(document)
        if refusal:
            raise _refused(endpoint, refusal, document or {}, form)
        raise _no_issuer(endpoint, f"answers {answer.status} when asked for a token")

    def revoke(self, endpoint: str, token: str, client_id: str, *, kind: str = "refresh_token") -> None:
        """Have the issuer end a token, and with a refresh token the whole sign-in (RFC 7009).

        Raises:
            UnavailableError: If the issuer does not confirm it.
        """
        form = {"token": token, "token_type_hint": kind, "client_id": client_id}
        answer = self._ask("POST", endpoint, form, {})
        if not 200 <= answer.status < 300:
            raise _no_issuer(endpoint, f"answers {answer.status} when asked to end a sign-in")

    def _ask(self, method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]) -> Answer:
        """Send one request until it is answered by more than "later"."""
        body = urlencode(form).encode() if form is not None else None
        sent = {"accept": "application/json", **headers}
        if body is not None:
            sent["content-type"] = "application/x-www-form-urlencoded"
        where = urlsplit(url)
        attempt = 0
        while True:
            self._patience.check_stopped()
            answer, why = self._try(method, url, body, sent)
            if answer is not None:
                self._note_clock(answer, where.netloc)
                if answer.status == 407:
                    raise proxy_login_error(url)
                if answer.status not in RETRY_STATUSES and _refusal_of(_read_object(answer)) not in _PASSING_REFUSALS:
                    return answer
                why = f"{where.netloc} answers {answer.status}"
            _log.info("%s %s%s: %s", method, where.netloc, where.path, why)
            retry_after_seconds = read_retry_after(answer.headers) if answer is not None else None
            if self._tries_once:
                raise UnansweredError(why, retry_after_seconds)
            self._patience.wait(attempt, why, retry_after_seconds=retry_after_seconds)
            attempt += 1

    def _try(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[Answer | None, str]:
        where = urlsplit(url)
        try_seconds = min(ANSWER_MAX_SECONDS, self._patience.begin_try() or ANSWER_MAX_SECONDS)
        self._emit(Waiting(f"an answer from {where.scheme}://{where.netloc}"))
        try:
            answer = self._connections.ask(
                method, url, body, headers, make_timeout(try_seconds), Bounds(try_seconds, _ANSWER_MAX_BYTES)
            )
        except urllib3.exceptions.HTTPError as error:
            raise_if_permanent(error, url)
            return None, explain_connection_error(error, url)
        _log.info("%s %s%s: %s", method, where.netloc, where.path, answer.status)
        self._emit(Answered())
        return answer, ""

    def _note_clock(self, answer: Answer, host: str) -> None:
        theirs, ours = read_date(answer.headers), self._clock()
        if theirs is not None:
            self._clock_difference = theirs - ours
        said = describe_wrong_clock(theirs, ours, host)
        if said is not None and not self._clock_is_named:
            self._clock_is_named = True
            self._emit(Notice(said, "clock"))


def check_issuer(issuer: str) -> None:
    """Refuse an issuer's address that tokens must not be asked for at.

    Raises:
        NotConfiguredError: If it is no address, or one without TLS that is not on this machine.
    """
    parts = urlsplit(issuer) if _is_address(issuer) else None
    if parts is None or "?" in issuer or "#" in issuer or _climbs(parts.path):
        raise NotConfiguredError(
            f"The service names the issuer {issuer[:_REASON_MAX_CHARACTERS]!r}, expected an address such as "
            "https://host/path. Tell the admin.",
            code="bad-issuer",
        )
    if not _is_private(issuer, allow_loopback=True):
        raise NotConfiguredError(
            f"The service names the issuer {issuer}, an address without TLS: anyone on the way could read the sign-in. "
            "Tell the admin.",
            code="bad-issuer",
        )


def authorize_client(metadata: Metadata, client_id: str, client_secret: str) -> tuple[dict[str, str], dict[str, str]]:
    """Say how a client with a secret proves who it is: fields of the form, and headers (RFC 6749, 2.3.1)."""
    methods = metadata.token_endpoint_auth_methods_supported
    if methods and "client_secret_basic" not in methods and "client_secret_post" in methods:
        return {"client_id": client_id, "client_secret": client_secret}, {}
    pair = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
    return {}, {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _check_metadata(metadata: Metadata, issuer: str) -> None:
    if metadata.issuer != issuer:
        # Else one issuer could hand out another's tokens (RFC 8414, section 3.3).
        raise _no_issuer(issuer, f"describes another one, {metadata.issuer[:_REASON_MAX_CHARACTERS]!r}")
    for name in _ENDPOINTS:
        address = getattr(metadata, name)
        if address is None:
            continue
        right = _is_address(address) and _is_private(address, allow_loopback=issuer.startswith("http://"))
        if not right or urlsplit(address).fragment:
            raise _no_issuer(issuer, f"names a {name} that is no address with TLS")


def _is_address(text: str) -> bool:
    if len(text) > _ADDRESS_MAX_CHARACTERS or not re.fullmatch(r"https?://[!-~]+", text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and "@" not in parts.netloc and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _climbs(path: str) -> bool:
    """Tell whether a browser would take a path for another one: the address that it returns to has the issuer's."""
    return "\\" in path or not {".", ".."}.isdisjoint(unquote(path).split("/"))


def _is_private(address: str, *, allow_loopback: bool) -> bool:
    """Tell whether nobody on the way can read what is sent to an address."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (allow_loopback and is_loopback(parts.hostname or ""))


def _read_object(answer: Answer) -> Mapping[str, Any] | None:
    """Read an answer that is a JSON object; None where it is none."""
    if not answer.may_be_json:
        return None
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _refusal_of(document: Mapping[str, Any] | None) -> str:
    """Return the name of an OAuth error; empty where an answer is none."""
    name = document.get("error") if document is not None else None
    return name if isinstance(name, str) and re.fullmatch(r"[!-~]{1,60}", name) else ""


def _refused(endpoint: str, refusal: str, document: Mapping[str, Any], form: Mapping[str, str]) -> TokenRefusedError:
    """Make the error of a refusal, without the secrets of the form, which an issuer may repeat."""
    reason = document.get("error_description")
    said = ""
    if isinstance(reason, str) and reason:
        for secret in filter(None, map(form.get, _SECRET_FIELDS)):
            reason = reason.replace(secret, CUT)
        said = f": {reason[:_REASON_MAX_CHARACTERS]}"
    return TokenRefusedError(f"{urlsplit(endpoint).netloc} gives no token ({refusal}{said}).", refusal)


def _read_tokens(document: Mapping[str, Any], now: datetime) -> TokenSet | None:
    """Read a token endpoint's answer (RFC 6749, 5.1); None where it is none. Sentences would show parts of it."""
    token, kind = document.get("access_token"), document.get("token_type")
    if not _is_token(token) or not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    others = {name: document.get(name) for name in ("refresh_token", "id_token")}
    if not all(each is None or _is_token(each) for each in others.values()):
        return None
    life = _read_life(document.get("expires_in"))
    return TokenSet(
        access_token=str(token),
        received_at=now,
        expires_at=None if life is None else now + timedelta(seconds=life),
        **others,
    )


def _is_token(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"[!-~]{{1,{_TOKEN_MAX_CHARACTERS}}}", value) is not None


def _read_life(value: object) -> int | None:
    """Read `expires_in`: some issuers write the number as a text. None where it says nothing that can be meant."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return min(int(text), _LIFE_MAX_SECONDS) if re.fullmatch(r"[0-9]{1,12}", text) else None


def _no_issuer(address: str, what: str) -> UnavailableError:
    parts = urlsplit(address)
    return UnavailableError(
        f"The issuer {parts.scheme}://{parts.netloc} {what}. Run the same command again, and tell the admin if that "
        "does not help.",
        code="no-issuer",
    )
