"""Claims of tokens, read for this machine alone.

Nothing here verifies a signature: of an access token the service does, of an ID token the login (`account.id_token`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from mgmt.errors import LoginRequiredError


def read_claims(token: str) -> Mapping[str, Any]:
    """Read what a signed token claims; nothing where it is none, as an access token may be.

    >>> read_claims("opaque")
    {}
    """
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def check_id_token(token: str, *, issuer: str, client_id: str, nonce: str | None) -> Mapping[str, Any]:
    """Check that an ID token, fresh from the issuer, is for this client and this login; return its claims.

    Its times are not compared with this machine's clock, which may be wrong: the token is an answer to the request
    that has just been made, and the nonce shows for which login it was made.

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
            f"The issuer's answer is not meant for this login ({', '.join(wrong)} of the ID token). Nothing of it was "
            "kept. Run `mgmt login` again, and tell the admin if that does not help.",
            code="foreign-id-token",
        )
    return claims
