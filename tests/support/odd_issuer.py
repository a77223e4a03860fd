"""An OpenID provider on loopback that can misbehave on purpose: each of its answers may be changed by a test.

Left alone it does as it should: codes serve once, and only with their verifier, client and redirect address, and no
browser is sent to an address that is not registered.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from mgmt_contract.sign_in import CALLBACK_HOST, callback_path
from support.loopback import LoopbackServer, QuietHandler
from support.secrecy import MARKED

Plain = dict[str, Any]
Sign = Callable[[Plain], str]

CLIENT_ID = "mgmt-cli"
AUDIENCE = "https://uploads.example.com"
SCOPE = "mgmt/use"
DEVICE_CODE = f"{MARKED}-device"


@functools.cache
def make_key(name: str) -> RSAKey:
    """Make a key, the same for a name in all tests of a process: making one takes up to a second."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


class OddIssuer(LoopbackServer):
    """A running issuer. What is `None` in a change is left out of the answer."""

    def __init__(self) -> None:
        self.reset()
        self._codes: dict[str, Plain] = {}
        super().__init__(type("Handler", (_Handler,), {"issuer": self}))

    def reset(self) -> None:
        """Behave, and forget what was asked."""
        self.subject, self.name, self.groups = "sub-anna", "anna", ["editors"]
        self.key = make_key("key-1")
        """What it signs with."""
        self.published: list[Plain] | None = None
        """The keys that it publishes; its own where nothing else is said."""
        self.metadata: Plain = {}
        self.redirect: Plain = {}
        """Changes of the fields that the browser brings back."""
        self.redirect_to: Callable[[str], str] = lambda address: address
        self.id_claims: Plain = {}
        self.access_claims: Plain = {}
        self.answer: Plain = {}
        """Changes of the token endpoint's answer."""
        self.sign_id_token: Sign = self.sign
        self.refusals: list[str] = []
        """OAuth errors that the next requests for tokens get."""
        self.is_out_of_reach: set[str] = set()
        """Paths that are answered 503."""
        self.refuses_to_revoke = False
        self.asked: list[Plain] = []
        """Fields of each authorization request."""
        self.forms: list[tuple[str, Plain]] = []
        """Each form that was sent, with its path."""
        self.fetched: list[str] = []
        self.before_keys: Callable[[], object] = lambda: None

    def describe(self) -> Plain:
        """Return the discovery document."""
        usual = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "revocation_endpoint": f"{self.url}/revoke",
            "device_authorization_endpoint": f"{self.url}/device",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return _changed(usual, self.metadata)

    def keys(self) -> list[Plain]:
        """Return the published keys."""
        self.before_keys()
        return self.published if self.published is not None else [dict(self.key.as_dict(private=False))]

    def sign(self, claims: Plain) -> str:
        """Sign a token as it should be."""
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)

    def authorize(self, query: Mapping[str, str]) -> str | None:
        """Sign the person in at once; return where the browser goes. Ports of loopback are not compared (RFC 8252)."""
        self.asked.append(dict(query))
        back = urlsplit(query.get("redirect_uri", ""))
        if (back.hostname, back.path) != (CALLBACK_HOST, callback_path(self.url)):
            return None
        code = f"{MARKED}-{secrets.token_urlsafe(16)}"
        self._codes[code] = dict(query)
        fields = _changed({"code": code, "state": query.get("state"), "iss": self.url}, self.redirect)
        return f"{self.redirect_to(query['redirect_uri'])}?{urlencode(fields)}"

    def answer_form(self, path: str, form: Plain) -> tuple[int, Any]:
        """Answer a form."""
        self.forms.append((path, form))
        if path == "/revoke":
            return (400, {"error": "unsupported_token_type"}) if self.refuses_to_revoke else (200, {})
        if path == "/device":
            self._codes[DEVICE_CODE] = {"client_id": form.get("client_id")}
            return 200, {
                "device_code": DEVICE_CODE,
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.url}/enter",
                "verification_uri_complete": f"{self.url}/enter?code=WDJB-MJHT",
                "expires_in": 600,
                "interval": 1,
            }
        if self.refusals:
            return 400, {"error": self.refusals.pop(0)}
        if form.get("grant_type") == "refresh_token":
            return 200, _changed(self.make_tokens(), self.answer)
        begun = self._codes.pop(form.get("code") or form.get("device_code") or "", None)
        if begun is None or not _proves(begun, form):
            return 400, {"error": "invalid_grant"}
        return 200, _changed(self.make_tokens(begun.get("nonce")), self.answer)

    def make_tokens(self, nonce: str | None = None) -> Plain:
        """Make the answer of the token endpoint."""
        now = int(time.time())
        usual = {"iss": self.url, "sub": self.subject, "iat": now, "exp": now + 3600}
        access_claims = {
            **usual, "aud": AUDIENCE, "client_id": CLIENT_ID, "scope": f"openid {SCOPE}", "token_use": "access",
            "username": self.name, "cognito:groups": self.groups,
        }  # fmt: skip
        access_token = self.sign(_changed(access_claims, self.access_claims))
        digest = hashlib.sha256(access_token.encode()).digest()
        id_claims = {**usual, "aud": CLIENT_ID, "nonce": nonce, "at_hash": encode(digest[:16])}
        id_token = self.sign_id_token(_changed(id_claims, self.id_claims))
        return {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": f"{MARKED}-{secrets.token_urlsafe(16)}",
            "id_token": id_token,
        }


def encode(data: bytes) -> str:
    """Write bytes as tokens do."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _proves(begun: Plain, form: Plain) -> bool:
    """Tell whether a form comes from the client that began."""
    if form.get("client_id") != begun.get("client_id"):
        return False
    if "code_challenge" not in begun:
        return True
    challenge = encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
    return challenge == begun["code_challenge"] and form.get("redirect_uri") == begun.get("redirect_uri")


def _changed(usual: Plain, changes: Plain) -> Plain:
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


class _Handler(QuietHandler):
    issuer: OddIssuer

    def do_GET(self) -> None:  # noqa: N802  the name http.server looks for
        address = urlsplit(self.path)
        self.issuer.fetched.append(address.path)
        if address.path in self.issuer.is_out_of_reach:
            self._send(503, {})
        elif address.path == "/authorize":
            location = self.issuer.authorize(dict(parse_qsl(address.query)))
            if location is None:
                self._send(400, {"error": "invalid_request"})
            else:
                self._send(302, {}, location=location)
        elif address.path == "/.well-known/openid-configuration":
            self._send(200, self.issuer.describe())
        elif address.path == "/keys":
            self._send(200, {"keys": self.issuer.keys()})
        else:
            self._send(404, {})

    def do_POST(self) -> None:  # noqa: N802  likewise
        form = dict(parse_qsl(self.rfile.read(int(self.headers.get("content-length", 0))).decode()))
        if self.path in self.issuer.is_out_of_reach:
            self._send(503, {})
            return
        self._send(*self.issuer.answer_form(self.path, form))

    def _send(self, status: int, value: Any, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def odd_issuer() -> Iterator[OddIssuer]:
    """Run an issuer for as long as the context lasts."""
    issuer = OddIssuer()
    try:
        yield issuer
    finally:
        issuer.close()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def where_it_ends(address: str) -> str:
    """Follow an issuer's address as a browser on another machine does: to the loopback one that it cannot show."""
    try:
        urllib.request.build_opener(_Stay).open(address, timeout=30)
    except urllib.error.HTTPError as error:
        return error.headers["location"] or ""
    raise AssertionError("no redirect")
