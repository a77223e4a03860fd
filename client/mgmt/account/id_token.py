"""Proof that the issuer's answer is for this sign-in: the ID token, its signature included.

The library for signatures is imported here alone, so that only a sign-in pays for it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from joserfc import jwk, jws
from joserfc.errors import JoseError

from mgmt.credentials.claims import read_claims
from mgmt.errors import LoginRequiredError

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA"),
)
"""Signatures by a private key only: "none" proves nothing, and an HMAC's key is public where the key set is."""
_KINDS: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_SKEW: Final = timedelta(minutes=5)
_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_KEYS_MAX: Final = 100

FetchKeys = Callable[[], Sequence[Mapping[str, Any]]]
"""Fetches the keys that the issuer publishes now."""


def verify_id_token(  # noqa: PLR0913  what it is compared with
    token: str,
    *,
    issuer: str,
    client_id: str,
    nonce: str | None,
    access_token: str,
    now: datetime,
    fetch_keys: FetchKeys,
) -> Mapping[str, Any]:
    """Verify an ID token and return its claims.

    Args:
        token: As the issuer answered it.
        issuer: The `iss` that it must have.
        client_id: Its audience.
        nonce: Of this sign-in; None where the grant has none (device code).
        access_token: The one beside it, whose hash it may hold.
        now: The time by the issuer's clock.
        fetch_keys: Asked twice where the first answer lacks the key: issuers rotate them.

    Raises:
        LoginRequiredError: If it is not for this client and this sign-in, or the issuer has not signed it.
    """
    header = _verify_signature(token, fetch_keys)
    claims = check_id_token(token, issuer=issuer, client_id=client_id, nonce=nonce)
    expires_at = claims.get("exp")
    if not isinstance(expires_at, (int, float)) or expires_at + _SKEW.total_seconds() < now.timestamp():
        raise _not_proven("it has expired")
    bound = claims.get("at_hash")
    if bound is not None and not _is_bound(str(bound), access_token, str(header["alg"])):
        raise _not_proven("the access token beside it is another one's")
    return claims


def check_id_token(token: str, *, issuer: str, client_id: str, nonce: str | None) -> Mapping[str, Any]:
    """Check that an ID token, fresh from the issuer, is for this client and this sign-in; return its claims.

    Its times are not compared with this machine's clock, which may be wrong: the token is an answer to the request
    that has just been made, and the nonce shows for which sign-in it was made.

    Raises:
        LoginRequiredError: If it is not.
    """
    claims = read_claims(token)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    authorized = claims.get("azp", client_id)
    wrong = [
        what
        for what, is_right in (
            ("iss", claims.get("iss") == issuer),
            ("aud", client_id in audiences),
            ("azp", authorized == client_id),
            ("nonce", nonce is None or claims.get("nonce") == nonce),
            ("sub", isinstance(claims.get("sub"), str)),
        )
        if not is_right
    ]
    if wrong:
        raise LoginRequiredError(
            f"The issuer's answer is not meant for this sign-in ({', '.join(wrong)} of the ID token). Nothing of it "
            "was kept. Run `mgmt login` again, and tell the admin if that does not help.",
            code="foreign-id-token",
        )
    return claims


def _verify_signature(token: str, fetch_keys: FetchKeys) -> Mapping[str, Any]:
    """Verify the signature with the key that the header names; return the header."""
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError) as error:
        raise _not_proven("it is no signed token") from error
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _not_proven(f"it is signed with {str(algorithm)[:20]!r}, which proves nothing here")
    for _ in range(2):
        keys = list(_choose_keys(fetch_keys(), algorithm, key_id))
        if keys:
            break
    else:
        raise _not_proven("it is signed with a key that the issuer does not publish")
    if not any(_has_signed(token, key, algorithm) for key in keys):
        raise _not_proven("its signature is not the issuer's")
    return header


def _choose_keys(published: Sequence[Mapping[str, Any]], algorithm: str, key_id: object) -> Iterator[jwk.Key]:
    """Choose the keys that the token may be signed with; entries that are no such keys are passed over."""
    for entry in published[:_KEYS_MAX]:
        is_meant = key_id is None or entry.get("kid") == key_id
        is_fit = entry.get("kty") == _KINDS[algorithm[:2]] and entry.get("use", "sig") == "sig"
        if is_meant and is_fit and entry.get("alg", algorithm) == algorithm:
            with contextlib.suppress(JoseError, ValueError, TypeError, KeyError):
                yield jwk.import_key(dict(entry))


def _has_signed(token: str, key: jwk.Key, algorithm: str) -> bool:
    try:
        jws.deserialize_compact(token, key, algorithms=[algorithm])
    except (JoseError, ValueError):
        return False
    return True


def _is_bound(named: str, access_token: str, algorithm: str) -> bool:
    """Compare the hash of the access token (OpenID Connect Core 1.0, 3.1.3.6) where its function is known."""
    function = _HASHES.get(algorithm[-3:])
    if function is None:
        return True
    digest = function(access_token.encode()).digest()
    try:
        return hmac.compare_digest(base64.urlsafe_b64decode(named + "=="), digest[: len(digest) // 2])
    except (ValueError, binascii.Error):
        return False


def _not_proven(why: str) -> LoginRequiredError:
    return LoginRequiredError(
        f"The issuer's ID token proves nothing: {why}. Nothing was kept. Run `mgmt login` again, and tell the "
        "admin if that does not help.",
        code="bad-id-token",
    )
