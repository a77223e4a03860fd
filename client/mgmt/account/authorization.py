"""The request that a browser carries to the issuer, and the answer that it brings back.

Authorization code with PKCE (RFC 7636, RFC 8252): the address and the answer are of no use to anybody that sees them,
because the verifier never leaves this process.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from mgmt.credentials.issuer import Metadata
from mgmt.errors import LoginRequiredError
from mgmt_contract.messages.service import Service
from mgmt_contract.sign_in import callback_path
from mgmt_contract.values import Value

_OPENID: Final = "openid"
_METHOD: Final = "S256"
_FIELDS_MAX: Final = 20
_ANSWER_MAX_CHARACTERS: Final = 16_384
_REASON_MAX_CHARACTERS: Final = 200


class UnrelatedAnswerError(Exception):
    """An answer that does not belong to this sign-in, such as a forged one: it changes nothing."""


class Attempt(Value):
    """The secrets of one sign-in."""

    verifier: str = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)


def begin_attempt() -> Attempt:
    """Make the secrets of a sign-in: a verifier of 64 characters (RFC 7636 asks for 43 to 128)."""
    return Attempt(secrets.token_urlsafe(48), secrets.token_urlsafe(24), secrets.token_urlsafe(24))


def make_address(
    metadata: Metadata, service: Service, attempt: Attempt, redirect_uri: str, login_hint: str | None = None
) -> str:
    """Write the address that the browser opens.

    Args:
        metadata: The issuer's.
        service: Names client, scopes and audience.
        attempt: The secrets of this sign-in.
        redirect_uri: Where the browser returns to.
        login_hint: Tells the issuer who is about to sign in.

    Raises:
        LoginRequiredError: If the issuer has no such page, or says that it does not know PKCE with S256.
    """
    host = urlsplit(metadata.issuer).netloc
    if metadata.authorization_endpoint is None:
        raise LoginRequiredError(f"{host} offers no sign-in by browser. Tell the admin.", code="no-browser-sign-in")
    methods = metadata.code_challenge_methods_supported
    if methods and _METHOD not in methods:
        raise LoginRequiredError(
            f"{host} does not offer PKCE with {_METHOD}, without which a sign-in on a laptop is not safe. Tell the "
            "admin.",
            code="no-pkce",
        )
    asked = {
        "response_type": "code",
        "client_id": service.client_id or "",
        "redirect_uri": redirect_uri,
        "scope": " ".join(choose_scopes(service)),
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": challenge_of(attempt.verifier),
        "code_challenge_method": _METHOD,
        **name_audience(service),
        **({"login_hint": login_hint} if login_hint else {}),
    }
    joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
    return f"{metadata.authorization_endpoint}{joint}{urlencode(asked)}"


def challenge_of(verifier: str) -> str:
    """Derive the challenge from a verifier, as RFC 7636 does in its appendix B.

    >>> challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def choose_scopes(service: Service) -> tuple[str, ...]:
    """Choose what to ask for: who it is, and what the service names.

    Also a sign-in that outlasts the browser's (`offline_access`) only where the service names it: that is its admin's
    decision.
    """
    return tuple(dict.fromkeys((_OPENID, *service.scopes)))


def name_audience(service: Service) -> dict[str, str]:
    """Say for which service the token is to be good, in both ways that issuers know.

    `resource` is RFC 8707's and must be an address; Entra refuses it, and names its audiences otherwise.
    """
    audience = service.audience
    if not audience:
        return {}
    is_address = audience.startswith(("https://", "http://127.0.0.1:"))
    return {"audience": audience, **({"resource": audience} if is_address else {})}


def read_answer(query: str, attempt: Attempt, metadata: Metadata) -> str:
    """Return the code in the answer that a browser brought.

    Raises:
        UnrelatedAnswerError: If the answer is not of this attempt.
        LoginRequiredError: If it is, and says no, or comes from another issuer (RFC 9207).
    """
    fields = _read_fields(query)
    if not hmac.compare_digest(fields.get("state", "").encode(errors="replace"), attempt.state.encode()):
        raise UnrelatedAnswerError("It belongs to another sign-in, or to none.")
    issuer = fields.get("iss")
    if issuer != metadata.issuer and (issuer is not None or metadata.authorization_response_iss_parameter_supported):
        raise LoginRequiredError(
            f"The browser's answer does not come from {metadata.issuer}, where this sign-in was begun. Nothing was "
            "kept. Run `mgmt login` again, and tell the admin if this comes back.",
            code="issuer-differs",
        )
    if "error" in fields:
        raise _refusal(metadata, fields)
    if not fields.get("code"):
        raise LoginRequiredError(
            f"{urlsplit(metadata.issuer).netloc} sent the browser back without a code. Run `mgmt login` again, and "
            "tell the admin if that does not help.",
            code="no-code",
        )
    return fields["code"]


def read_pasted(text: str, attempt: Attempt, metadata: Metadata) -> str:
    """Return the code in an address that a person has pasted; the same checks as of an answer that a browser brings.

    Raises:
        UnrelatedAnswerError: If it is none, or not of this attempt.
        LoginRequiredError: See `read_answer`.
    """
    try:
        parts = urlsplit(text.strip().strip("'\"<>").encode().decode())  # a terminal may bring what is no text
    except ValueError as error:
        raise UnrelatedAnswerError("It is no address.") from error
    path = callback_path(metadata.issuer)
    if not parts.query or parts.path != path or parts.hostname not in ("127.0.0.1", "localhost"):
        raise UnrelatedAnswerError(
            f"It does not begin with http://127.0.0.1: and hold {path}, code=… and state=…; copy all of the browser's "
            "address bar after you have signed in."
        )
    return read_answer(parts.query, attempt, metadata)


def _read_fields(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query[:_ANSWER_MAX_CHARACTERS], keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError as error:
        raise UnrelatedAnswerError("It is no answer of an issuer.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise UnrelatedAnswerError("It says something twice, which no issuer does.")
    return fields


def _refusal(metadata: Metadata, fields: dict[str, str]) -> LoginRequiredError:
    host = urlsplit(metadata.issuer).netloc
    name, why = fields["error"], fields.get("error_description", "")
    if name == "access_denied":
        said = f": {why}" if why else ""
        return LoginRequiredError(
            f"The sign-in at {host} was declined{said[:_REASON_MAX_CHARACTERS]}. Run `mgmt login` to try again.",
            code="sign-in-declined",
        )
    reason = f"{name}: {why}" if why else name
    return LoginRequiredError(
        f"{host} does not sign you in ({reason[:_REASON_MAX_CHARACTERS]}). Run `mgmt login` to try again, and tell the "
        "admin if that does not help.",
        code="sign-in-refused",
    )
