"""A certified OpenID provider on loopback (npm oidc-provider), two people who can sign in there, and their browser."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from mgmt_contract.sign_in import redirect_uris
from mgmt_local.gateway.authorizer import TokenAuthorizer
from support.node import ToolMissingError, script_command
from support.published_keys import PublishedKeys
from support.secrecy import MARKED

AUDIENCE = "https://mgmt.example"
CLIENT_ID = "mgmt-command"
ROBOT_ID, ROBOT_SECRET = "robot", f"{MARKED} of the robot"
SCOPE = "mgmt/use"
TOKEN_LIFE_SECONDS = 300

_CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_BROWSER_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Account:
    """Somebody who can sign in."""

    login: str
    password: str
    name: str
    groups: tuple[str, ...] = ("members",)

    @property
    def subject(self) -> str:
        """What tokens call this person."""
        return f"sub-{self.login}"


ANNA = Account("anna", "annas password", "Anna of the cameras")
BERT = Account("bert", "berts password", "Bert of the sound", ("members", "admins"))


@dataclass(frozen=True)
class Provider:
    """The running provider."""

    issuer: str

    def authorizer(self) -> TokenAuthorizer:
        """Make an authorizer for a gateway, as a deployment with this issuer has it."""
        return TokenAuthorizer(self.issuer, (AUDIENCE,), (SCOPE,), PublishedKeys(self.issuer))

    @property
    def deployed(self) -> dict[str, Any]:
        """The settings of a service with this issuer."""
        return {
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "audience": AUDIENCE,
            "scopes": (SCOPE,),
            "sign_in_scopes": ("openid", "profile", SCOPE),
            "member_group": "members",
            "machine_clients": (ROBOT_ID,),
        }

    def granted(self) -> list[str]:
        """Name the grants for which it has given out tokens so far, and `revoked` for each that it has ended."""
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            return list(json.loads(pool.request("GET", f"{self.issuer}/granted").data))

    def ask_for_tokens(self, **form: str) -> tuple[int, dict[str, Any]]:
        """Send a form to the token endpoint."""
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            answer = pool.request("POST", f"{self.issuer}/token", fields=form, encode_multipart=False)
            return answer.status, json.loads(answer.data)


@contextmanager
def run_provider(*, access_token_seconds: int = TOKEN_LIFE_SECONDS) -> Iterator[Provider]:
    """Run the provider for as long as the block lasts."""
    people = [
        {
            "sub": account.subject,
            "login": account.login,
            "password": account.password,
            "name": account.name,
            "groups": account.groups,
        }
        for account in (ANNA, BERT)
    ]
    settings = {
        "people": people,
        "clients": _clients(),
        "audience": AUDIENCE,
        "scopes": [SCOPE],
        "accessTokenSeconds": access_token_seconds,
    }
    process = subprocess.Popen(
        script_command("oidc_provider.mjs"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(f"{json.dumps(settings)}\n")
        process.stdin.flush()
        yield Provider(json.loads(process.stdout.readline())["issuer"])
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=30)


def _clients() -> list[dict[str, Any]]:
    command = {
        "client_id": CLIENT_ID,
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token", _DEVICE_CODE],
        "response_types": ["code"],
        "redirect_uris": redirect_uris("http://ISSUER"),  # the provider puts itself there, once it knows its port
    }
    robot = {
        "client_id": ROBOT_ID,
        "client_secret": ROBOT_SECRET,
        "grant_types": ["client_credentials"],
        "response_types": [],
        "redirect_uris": [],
    }
    return [command, robot]


def find_chromium() -> str:
    """Find the browser.

    Raises:
        ToolMissingError: If there is none.
    """
    for name in _CHROMIUMS:
        path = shutil.which(name)
        if path:
            return path
    raise ToolMissingError("there is no Chromium: `make test` installs one where it may, else install it yourself")


@dataclass(frozen=True)
class Browser:
    """A person at a browser without a window, and the pictures of what it shows."""

    command: list[str]
    pictures: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes it the browser that a command opens."""
        return {"BROWSER": f"{shlex.join(self.command)} %s"}

    def open(self, address: str) -> None:
        """Open an address, sign in there and go on to the last page."""
        subprocess.run([*self.command, address], check=True, timeout=_BROWSER_TIMEOUT_SECONDS)

    def seen(self) -> list[dict[str, str]]:
        """Return each page's address, title and text."""
        return list(json.loads((self.pictures / "pages.json").read_text("utf-8")))


def make_browser(account: Account, folder: Path, pictures: Path) -> Browser:
    """Seat a person at a browser.

    Args:
        account: Who types name and password.
        folder: Where that is written down for the browser.
        pictures: Where a picture of each page goes.
    """
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    settings = folder / f"{account.login}.json"
    typed = {"login": account.login, "password": account.password}
    settings.write_text(json.dumps({"executable": find_chromium(), "pictures": os.fspath(pictures), **typed}), "utf-8")
    return Browser([*script_command("chromium.mjs"), os.fspath(settings)], pictures)
