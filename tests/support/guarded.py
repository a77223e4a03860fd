"""A service behind a gateway that checks an issuer's tokens, and people who sign in to it with a real command.

The service is the real one on fakes, the gateway the embedded backend's, which checks tokens as API Gateway does.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from mgmt_local.gateway.authorizer import TokenAuthorizer
from mgmt_local.gateway.server import Gateway
from mgmt_local.process.activity import Activity
from support.odd_issuer import AUDIENCE, CLIENT_ID, SCOPE, OddIssuer
from support.published_keys import PublishedKeys
from support.studio import SETTINGS, Studio
from support.team import Laptop

_BROWSER = Path(__file__).with_name("browser.py")
_HELD: Final[deque[socket.socket]] = deque()
_HELD_MAX: Final = 16
"""More than one test asks for."""


@contextmanager
def guarded_service(issuer: OddIssuer) -> Iterator[str]:
    """Run a service that trusts an issuer; yield its address."""
    settings = replace(SETTINGS, issuer=issuer.url, client_id=CLIENT_ID, audience=AUDIENCE, scopes=(SCOPE,))
    studio = Studio(settings)
    authorizer = TokenAuthorizer(issuer.url, (AUDIENCE,), (SCOPE,), PublishedKeys(issuer.url))
    gateway = Gateway(studio.app, authorizer, Activity(3600))
    try:
        yield gateway.url
    finally:
        gateway.close()


def make_laptop(folder: Path) -> Laptop:
    """Give a person a laptop on which nothing is set up, with a browser that keeps its last page in a file."""
    work = folder / "work"
    work.mkdir(parents=True)
    environment = {
        "MGMT_CONFIG": os.fspath(folder / "config"),
        "MGMT_STATE_DIR": os.fspath(folder / "state"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "BROWSER": f"{sys.executable} {_BROWSER} {folder / 'page.html'} %s",
    }
    return Laptop(folder, work, environment)


def find_free_port() -> int:
    """Return a free port that nobody else is given while a command starts that is told to listen there.

    On Linux a socket stays bound to it without listening: the system gives the port to no other, and the command that
    asks for this very one gets it, as both say that they share it. Elsewhere the port is free just now.
    """
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    port = int(bound.getsockname()[1])
    _HELD.append(bound)
    if len(_HELD) > (_HELD_MAX if sys.platform == "linux" else 0):
        _HELD.popleft().close()
    return port
