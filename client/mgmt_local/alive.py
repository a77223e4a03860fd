"""How a command makes sure that what answers at an address is this user's own gateway.

An address in a file outlives a killed process, and somebody else may be listening there by then. So the
command sends a random challenge before it sends its token, and the gateway proves that it knows the secret
in the file.

And how a command keeps the backend from ending while it packs for an hour and asks for nothing: by a
connection that is open as long as the command lives, however that ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import secrets
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

ALIVE_PATH: Final = "/.mgmt-local/alive"
HOLD_PATH: Final = "/.mgmt-local/hold"
CHALLENGE_HEADER: Final = "mgmt-local-challenge"
PROOF_HEADER: Final = "mgmt-local-proof"


def prove(secret: str, challenge: str) -> str:
    """Answer a challenge."""
    return hmac.new(secret.encode(), challenge.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def is_alive(url: str, secret: str, timeout_seconds: float) -> bool:
    """Say whether the gateway that knows the secret answers at the address; it then counts as used just now."""
    address = urlsplit(url)
    challenge = secrets.token_urlsafe(16)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=timeout_seconds)
    try:
        connection.request("GET", ALIVE_PATH, headers={CHALLENGE_HEADER: challenge})
        proof = connection.getresponse().getheader(PROOF_HEADER, "")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return hmac.compare_digest(proof, prove(secret, challenge))


@contextlib.contextmanager
def hold_open(url: str, token: str, timeout_seconds: float) -> Iterator[None]:
    """Keep the gateway in use while the context, or this process, lasts; one that cannot be kept is used as it is."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=timeout_seconds)
    try:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", HOLD_PATH, headers={"authorization": f"Bearer {token}"})
            connection.getresponse().read()
        yield
    finally:
        connection.close()
