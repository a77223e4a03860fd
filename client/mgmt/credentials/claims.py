"""Claims of tokens, read for this machine alone.

Nothing here verifies a signature: of an access token the service does, of an ID token the sign-in (`account.id_token`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any


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
