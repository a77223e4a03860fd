"""People who are signed in at an embedded gateway: by a token of the tests' own, or by a login over HTTP."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import urllib3
from joserfc.jwk import RSAKey

from mgmt_contract.sign_in import CALLBACK_PORTS, redirect_uri
from mgmt_local.gateway.authorizer import TokenAuthorizer
from mgmt_local.gateway.owner import OwnerAuthorizer
from mgmt_local.issuer import ISSUER_PATH
from mgmt_local.issuer.people import Person
from mgmt_local.issuer.signing import CLIENT_ID, SCOPE, Signer
from mgmt_local.process.state import StateFolder, write_private_json

_TOKEN_LIFE_SECONDS = 3600


@functools.cache
def _shared_key() -> dict[str, Any]:
    """Make the key of all folders of a process: making one takes up to a second."""
    return dict(RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True))


def make_signer(folder: StateFolder, issuer: str = "http://127.0.0.1/issuer") -> Signer:
    """Open the signer of a folder; one without a key gets the tests' own."""
    if not folder.issuer_key.exists():
        write_private_json(folder.issuer_key, _shared_key())
    return Signer(folder, issuer)


def make_authorizer(folder: StateFolder) -> OwnerAuthorizer:
    """Make the authorizer of an embedded backend."""
    return OwnerAuthorizer(folder, TokenAuthorizer(None, (CLIENT_ID,), (SCOPE,), make_signer(folder)))


def make_token(folder: StateFolder, name: str, *, admin: bool = False) -> str:
    """Make an access token of a person that outlives every test."""
    return make_signer(folder).sign_access_token(Person(name, admin), life_seconds=_TOKEN_LIFE_SECONDS)


def log_in(url: str, ticket: str) -> dict[str, Any]:
    """Log in at the issuer of the backend at an address, as a command does; return the tokens."""
    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    address_back = redirect_uri(CALLBACK_PORTS[0], f"{url}{ISSUER_PATH}")
    asked = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": address_back,
        "scope": f"openid {SCOPE}",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "login_hint": ticket,
    }
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        sent_back = pool.request("GET", f"{url}{ISSUER_PATH}/authorize?{urlencode(asked)}", redirect=False)
    answered = dict(parse_qsl(urlsplit(sent_back.headers["location"]).query))
    form = {"grant_type": "authorization_code", "code": answered["code"], "redirect_uri": address_back}
    status, tokens = ask_for_tokens(url, **form, code_verifier=verifier)
    assert status == 200, tokens
    return tokens


def ask_for_tokens(url: str, **form: str) -> tuple[int, dict[str, Any]]:
    """Send a form to the token endpoint of the backend at an address."""
    body = urlencode({"client_id": CLIENT_ID} | form)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        answer = pool.request("POST", f"{url}{ISSUER_PATH}/token", body=body, headers=headers)
        return answer.status, json.loads(answer.data)
