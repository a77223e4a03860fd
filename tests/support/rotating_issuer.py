"""An issuer on loopback whose refresh tokens serve once: one that comes back ends its whole session."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote

from support.loopback import LoopbackServer, QuietHandler
from support.secrecy import MARKED

CLIENT_ID = "mgmt-cli"
ROBOT = ("robot", f"{MARKED}: with signs & spaces")
"""A client of its own with a secret, as a CI job is one."""


class RotatingIssuer(LoopbackServer):
    """Sessions, and the refresh tokens that were used; for any thread."""

    def __init__(self) -> None:
        self.life_seconds: int | None = 3600
        """Of the access tokens that are made from now on; None says nothing about it."""
        self.scripted: list[tuple[int, bytes, dict[str, str]]] = []
        """Answers to give to the next requests for tokens, whatever they ask."""
        self.lost_answers = 0
        """How many answers more are made and never sent."""
        self.headers: dict[str, str] = {}
        """Sent with every answer."""
        self.metadata: dict[str, Any] = {}
        """Fields of the description that differ from the usual ones."""
        self.uses: Counter[str] = Counter()
        """How often each refresh token came."""
        self.client_scopes = {"mgmt/use", "mgmt/read"}
        """What the client with a secret may have; without a scope it gets all of it."""
        self.ended_sessions: set[str] = set()
        self.forms: list[dict[str, str]] = []
        self._current: dict[str, str] = {}
        self._session_of: dict[str, str] = {}
        self._access: dict[str, str] = {}
        self._made = 0
        self._lock = threading.Lock()
        super().__init__(type("Handler", (_Handler,), {"issuer": self}))

    @property
    def token_endpoint(self) -> str:
        """Where it gives tokens out."""
        return f"{self.url}/token"

    def sign_in(self, session: str) -> dict[str, Any]:
        """Begin a session, as a login does; return the answer with its tokens."""
        with self._lock:
            self.ended_sessions.discard(session)
            return self._make_tokens(session)

    def accepts(self, access_token: str) -> bool:
        """Tell whether an access token is one of a session that goes on."""
        with self._lock:
            session = self._access.get(access_token)
            return session is not None and session not in self.ended_sessions

    def describe(self) -> dict[str, Any]:
        """Return the discovery document."""
        usual = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": self.token_endpoint,
            "revocation_endpoint": f"{self.url}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "response_types_supported": ["code"],
        }
        return {name: value for name, value in (usual | self.metadata).items() if value is not None}

    def answer_form(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, Any] | None:
        """Answer a form; None where the answer is to be lost."""
        with self._lock:
            self.forms.append(form)
            if path == "/revoke":
                self.ended_sessions.add(self._session_of.get(form.get("token", ""), ""))
                return 200, {}
            answer = self._answer_grant(form, authorization)
            if self.lost_answers:
                self.lost_answers -= 1
                return None
            return answer

    def _answer_grant(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        if form.get("grant_type") == "client_credentials":
            return self._answer_client(form, authorization)
        if form.get("grant_type") != "refresh_token" or form.get("client_id") != CLIENT_ID:
            return 400, {"error": "invalid_request"}
        token = form.get("refresh_token", "")
        self.uses[token] += 1
        session = self._session_of.get(token)
        if session is None or session in self.ended_sessions:
            return 400, {"error": "invalid_grant"}
        if self._current[session] != token:
            self.ended_sessions.add(session)
            return 400, {"error": "invalid_grant", "error_description": "refresh token already used"}
        return 200, self._make_tokens(session)

    def _answer_client(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        pair = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            pair = unquote(name), unquote(secret)
        if pair != ROBOT:
            return 401, {"error": "invalid_client"}
        if not self.client_scopes.issuperset(form.get("scope", "").split()):
            return 400, {"error": "invalid_scope"}
        tokens = self._make_tokens("robot")
        del tokens["refresh_token"]
        return 200, tokens

    def _make_tokens(self, session: str) -> dict[str, Any]:
        self._made += 1
        refresh_token, access_token = f"refresh-{session}-{self._made}", f"access-{session}-{self._made}"
        self._current[session] = refresh_token
        self._session_of[refresh_token] = session
        self._access[access_token] = session
        tokens = {"access_token": access_token, "token_type": "Bearer", "refresh_token": refresh_token}
        return tokens if self.life_seconds is None else {**tokens, "expires_in": self.life_seconds}


class _Handler(QuietHandler):
    issuer: RotatingIssuer

    def do_GET(self) -> None:  # noqa: N802  the name http.server looks for
        known = self.path == "/.well-known/openid-configuration"
        self._send(200 if known else 404, json.dumps(self.issuer.describe() if known else {}).encode())

    def do_POST(self) -> None:  # noqa: N802  likewise
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.issuer.scripted:
            status, content, headers = self.issuer.scripted.pop(0)
            self._send(status, content, **headers)
            return
        form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        answer = self.issuer.answer_form(self.path, form, self.headers.get("authorization", ""))
        if answer is None:
            self.close_connection = True
            return
        self._send(answer[0], json.dumps(answer[1]).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response_only(status)
        usual = {"content-type": "application/json", "content-length": str(len(body))}
        for name, value in {**usual, **self.issuer.headers, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def rotating_issuer() -> Iterator[RotatingIssuer]:
    """Run an issuer for as long as the context lasts."""
    with closing(RotatingIssuer()) as issuer:
        yield issuer
