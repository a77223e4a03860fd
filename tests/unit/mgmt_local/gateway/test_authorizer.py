"""Tokens are checked as an HTTP API's JWT authorizer checks them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from mgmt_local.gateway.authorizer import RefusedError, TokenAuthorizer

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
ISSUER = "https://sign-in.example/pool"
KEY = RSAKey.generate_key(2048, {"kid": "key-1"})
CLAIMS = {
    "iss": ISSUER,
    "sub": "6b0c",
    "client_id": "command",
    "scope": "openid mgmt/use",
    "exp": NOW.timestamp() + 300,
    "iat": NOW.timestamp() - 1,
    "cognito:groups": ["a b", "c"],
}


class OneKey:
    def find(self, key_id: str) -> RSAKey | None:
        return KEY if key_id == "key-1" else None


def make_authorizer(scopes: tuple[str, ...] = ("mgmt/use",), now: datetime = NOW) -> TokenAuthorizer:
    return TokenAuthorizer(ISSUER, ("mgmt", "command"), scopes, OneKey(), lambda: now)


def sign(header: dict | None = None, key=KEY, **claims) -> str:
    """Sign a good token, but for the header's fields and the claims given; a claim of None is left out."""
    kept = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    head = {"alg": "RS256", "kid": "key-1"} | (header or {})
    return jwt.encode(head, kept, key, algorithms=[head["alg"]])


def sign_by_hand(**header) -> str:
    """Sign what the library that is tested would not."""
    text = f"{encode({'alg': 'RS256', 'kid': 'key-1'} | header)}.{encode(CLAIMS)}"
    return f"{text}.{encode(KEY.private_key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def status_of(token: str, authorizer: TokenAuthorizer | None = None) -> HTTPStatus:
    try:
        (authorizer or make_authorizer()).authorize(token)
    except RefusedError as error:
        return error.status
    return HTTPStatus.OK


def encode(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_good_token_gives_its_claims_as_they_were_written():
    token = sign()
    granted = make_authorizer().authorize(token)
    assert granted.claims == CLAIMS
    assert (granted.scopes, granted.token, granted.is_owner) == (("openid", "mgmt/use"), token, False)


@pytest.mark.parametrize("more", [{"x5t": "a" * 400, "typ": "at+jwt"}, {"own": "field"}])
def test_more_fields_in_the_header_do_no_harm(more):
    assert status_of(sign_by_hand(**more)) == HTTPStatus.OK


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"iss": "https://other.example"}, 401),
        ({"iss": ISSUER + "/"}, 401),
        ({"iss": None}, 401),
        ({"aud": "mgmt"}, 200),
        ({"aud": ["other", "command"]}, 200),
        ({"aud": "other"}, 401),  # whatever client_id says
        ({"aud": []}, 401),
        ({"aud": None, "client_id": "other"}, 401),
        ({"client_id": None}, 401),
        ({"client_id": ["mgmt"]}, 200),
        ({"exp": NOW.timestamp()}, 401),
        ({"exp": NOW.timestamp() + 1}, 200),
        ({"exp": None}, 401),
        ({"exp": "9999999999"}, 401),
        ({"exp": True}, 401),
        ({"nbf": NOW.timestamp() + 1}, 401),
        ({"nbf": NOW.timestamp()}, 200),
        ({"iat": NOW.timestamp() + 60}, 401),
        ({"iat": None}, 200),
        ({"scope": None, "scp": "mgmt/use"}, 200),
        ({"scope": None, "scp": ["a", "mgmt/use"]}, 200),
        ({"scope": "openid", "scp": "mgmt/use"}, 403),
        ({"scope": "mgmt/user"}, 403),
        ({"scope": None}, 403),
        ({"scope": 7}, 403),
    ],
)
def test_claims_are_looked_at_one_by_one(claims, status):
    assert status_of(sign(**claims)) == status


def test_without_scopes_of_the_api_a_token_needs_none():
    assert status_of(sign(scope=None), make_authorizer(())) == HTTPStatus.OK


def test_a_token_ends_by_the_gateways_clock():
    token = sign()
    assert status_of(token, make_authorizer(now=NOW + timedelta(seconds=299))) == HTTPStatus.OK
    assert status_of(token, make_authorizer(now=NOW + timedelta(seconds=300))) == HTTPStatus.UNAUTHORIZED


def test_an_id_token_is_refused_for_want_of_a_scope():
    """Its audience is the client, so only the scope tells it from an access token."""
    assert status_of(sign(aud="command", scope=None, client_id=None, token_use="id")) == HTTPStatus.FORBIDDEN


def unsigned() -> str:
    return f"{encode({'alg': 'none', 'kid': 'key-1'})}.{encode(CLAIMS)}."


def signed_with_the_public_key() -> str:
    """A classic: the public key's text as the secret of a symmetric signature."""
    text = f"{encode({'alg': 'HS256', 'kid': 'key-1'})}.{encode(CLAIMS)}"
    return f"{text}.{encode(hmac.digest(KEY.as_pem(private=False), text.encode(), hashlib.sha256))}"


def changed_after_signing() -> str:
    head, _, signature = sign().split(".")
    return f"{head}.{encode(CLAIMS | {'sub': 'somebody else'})}.{signature}"


def with_its_own_key() -> str:
    own = RSAKey.generate_key(2048, {"kid": "key-1"})
    head = {"alg": "RS256", "kid": "key-1", "jwk": own.as_dict(private=False)}
    return jwt.encode(head, CLAIMS, own)


@pytest.mark.parametrize(
    "token",
    [
        unsigned(),
        unsigned()[:-1] + ".",
        signed_with_the_public_key(),
        changed_after_signing(),
        with_its_own_key(),
        sign({"alg": "RS384"}),
        sign({"alg": "PS256"}),
        sign({"alg": "ES256", "kid": "key-1"}, ECKey.generate_key("P-256")),
        sign({"kid": "key-2"}),
        sign({"kid": ""}),
        sign_by_hand(crit=["own"], own="a meaning that must be understood"),
        sign_by_hand(x5t="a" * 5000),
        sign()[:-8],
        sign() + ".",
        "",
        "a.b.c",
        "é.ü.ö",
        "\udcff",
        f"{encode(b'[' * 20_000)}.{encode(CLAIMS)}.{encode(b'x')}",
        f"{encode([])}.{encode(CLAIMS)}.{encode(b'x')}",
        f"{encode({'alg': 'RS256'})}.{encode(CLAIMS)}.{encode(b'x')}",
        f"{encode({'alg': 'RS256', 'kid': ['key-1']})}.{encode(CLAIMS)}.{encode(b'x')}",
        f"{encode({'alg': ['RS256'], 'kid': 'key-1'})}.{encode(CLAIMS)}.{encode(b'x')}",
    ],
)
def test_a_token_with_another_signature_or_none_is_refused(token):
    assert status_of(token) == HTTPStatus.UNAUTHORIZED
