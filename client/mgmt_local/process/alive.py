"""Checks that the program at an address is this user's own gateway, and keeps it from ending.

An address in a file outlives a killed process, and another program may be listening there by then. So the
command sends a random challenge before it sends its token, and the gateway proves that it knows the secret
in the file.

A command that packs for an hour sends no requests. It keeps the backend from ending by a connection that is
open as long as the command lives, also if it crashes.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from mgmt_contract.values import Value

ALIVE_PATH: Final = "/.mgmt-local/alive"
HOLD_PATH: Final = "/.mgmt-local/hold"
HOLDERS_PATH: Final = "/.mgmt-local/holders"
CHALLENGE_HEADER: Final = "mgmt-local-challenge"
PROOF_HEADER: Final = "mgmt-local-proof"
HOLDER_HEADER: Final = "mgmt-local-holder"
"""The header that keeps the backend in use: a command's process id and, percent-encoded, its words."""

_HEAD_SIZE_MAX_BYTES: Final = 8 * 1024
_HOLDER_SHOWN_MAX: Final = 200


class Holder(Value):
    """A command that keeps the backend from ending."""

    command: str
    pid: int


def prove(secret: str, challenge: str) -> str:
    """Answer a challenge."""
    return hmac.new(secret.encode(), challenge.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def is_alive(url: str, secret: str, timeout_seconds: float) -> bool:
    """Say whether the gateway that knows the secret answers at the address; it then counts as used just now.

    Another program there may answer with any bytes and slowly: no answer is awaited for longer than `timeout_seconds`
    in all, and none is read beyond a few KiB.
    """
    address = urlsplit(url)
    challenge = secrets.token_urlsafe(16)
    asked = f"GET {ALIVE_PATH} HTTP/1.1\r\nHost: {address.netloc}\r\n{CHALLENGE_HEADER}: {challenge}\r\n\r\n"
    try:
        head = _ask(str(address.hostname), address.port or 0, asked.encode(), time.monotonic() + timeout_seconds)
    except OSError:
        return False
    return hmac.compare_digest(_find_proof(head), prove(secret, challenge).encode())


def _ask(host: str, port: int, request: bytes, deadline: float) -> bytes:
    """Send a request and return the head of the answer.

    Raises:
        OSError: If the deadline passes first.
    """
    head = b""
    with socket.create_connection((host, port), timeout=_seconds_until(deadline)) as connection:
        connection.sendall(request)
        while b"\r\n\r\n" not in head and len(head) < _HEAD_SIZE_MAX_BYTES:
            connection.settimeout(_seconds_until(deadline))
            received = connection.recv(_HEAD_SIZE_MAX_BYTES)
            if not received:
                break
            head += received
    return head


def _seconds_until(deadline: float) -> float:
    left_seconds = deadline - time.monotonic()
    if left_seconds <= 0:
        raise TimeoutError
    return left_seconds


def _find_proof(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == PROOF_HEADER.encode():
            return value.strip()
    return b""


@contextlib.contextmanager
def hold_open(url: str, token: str, timeout_seconds: float, command: str = "") -> Iterator[None]:
    """Keep the gateway in use while the context or this process lasts; if that fails, it is used anyway.

    Args:
        url: The gateway's address.
        token: Any valid token.
        timeout_seconds: How long to wait for its answer.
        command: The running command line, shown to a user who wants to stop the gateway meanwhile.
    """
    holder = f"{os.getpid()} {quote(os.fsencode(command))}"
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=timeout_seconds)
    try:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", HOLD_PATH, headers={"authorization": f"Bearer {token}", HOLDER_HEADER: holder})
            connection.getresponse().read()
        yield
    finally:
        connection.close()


def read_holder(header: str) -> Holder:
    """Read the holder of the gateway from its header; a malformed one is an unknown holder."""
    pid, _, command = header.partition(" ")
    shown = "".join(sign if sign.isprintable() else "?" for sign in unquote(os.fsencode(command)))[:_HOLDER_SHOWN_MAX]
    return Holder(shown, int(pid) if pid.isascii() and pid.isdecimal() and len(pid) < 20 else 0)


def list_holders(url: str, token: str, timeout_seconds: float) -> list[Holder]:
    """Ask a gateway which commands hold it; none where it does not say."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=timeout_seconds)
    try:
        connection.request("GET", HOLDERS_PATH, headers={"authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        listed = json.loads(answer.read()) if answer.status == HTTPStatus.OK else []
        return [Holder(str(each["command"]), int(each["pid"])) for each in listed]
    except (OSError, http.client.HTTPException, ValueError):
        return []
    finally:
        connection.close()
