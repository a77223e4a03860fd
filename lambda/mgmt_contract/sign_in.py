"""The addresses to which a browser returns after a sign-in, in one place for the client and the deployment.

An identity provider sends a browser only to addresses that were registered with it. Cognito wants each one with its
port (Cognito Developer Guide, "App client callback URLs", read 2026-11), so they are a small fixed set. Each issuer has
paths of its own (RFC 8252, section 8.10): an issuer that sends people on to another one's page, to get the code that
they bring back, has to name an address that the other does not know.
"""

from __future__ import annotations

from typing import Final

CALLBACK_HOST: Final = "127.0.0.1"
"""The literal address: `localhost` may lead elsewhere (RFC 8252, section 8.3)."""
CALLBACK_PORTS: Final = (8976, 8977, 8978, 8979, 8980)
"""The client takes the first that is free."""


def callback_path(issuer: str) -> str:
    """Write the path to which one issuer sends browsers.

    It is no hash of the issuer: a deployment joins it from parts that are known only when they have been made.

    >>> callback_path("https://login.example.com/team")
    '/callback/login.example.com/team'
    """
    return f"/callback/{issuer.partition('://')[2]}"


def redirect_uri(port: int, issuer: str) -> str:
    """Write the address for one port and one issuer.

    >>> redirect_uri(8976, "https://login.example.com/team")
    'http://127.0.0.1:8976/callback/login.example.com/team'
    """
    return f"http://{CALLBACK_HOST}:{port}{callback_path(issuer)}"


def redirect_uris(issuer: str) -> tuple[str, ...]:
    """Write the addresses to register with an issuer."""
    return tuple(redirect_uri(port, issuer) for port in CALLBACK_PORTS)
