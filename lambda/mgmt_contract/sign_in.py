"""What client and deployment both know of a sign-in: where a browser returns to, and which scopes are OpenID's own.

An identity provider sends a browser only to addresses that were registered with it. Cognito wants each one with its
port (Cognito Developer Guide, "App client callback URLs", read 2026-11), so they are a small fixed set.
"""

from __future__ import annotations

from typing import Final

CALLBACK_HOST: Final = "127.0.0.1"
"""The literal address: `localhost` may lead elsewhere (RFC 8252, section 8.3)."""
CALLBACK_PATH: Final = "/callback"
CALLBACK_PORTS: Final = (8976, 8977, 8978, 8979, 8980)
"""The client takes the first that is free."""


def redirect_uri(port: int) -> str:
    """Write the address for one port.

    >>> redirect_uri(8976)
    'http://127.0.0.1:8976/callback'
    """
    return f"http://{CALLBACK_HOST}:{port}{CALLBACK_PATH}"


OPENID_SCOPES: Final = frozenset({"openid", "profile", "email", "phone", "address", "offline_access"})
"""Scopes of OpenID Connect itself (Core 1.0, 5.4 and 11): anybody who can sign in can have them.

So none of them makes a member. They are about a person, and a client that signs in for itself must not ask for them.
"""

REDIRECT_URIS: Final = tuple(map(redirect_uri, CALLBACK_PORTS))
"""The addresses to register with the identity provider."""
