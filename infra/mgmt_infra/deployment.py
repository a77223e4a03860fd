"""A deployment, read from its file (`infra/deployment.toml`), which is kept under version control.

All values stand in the file and nowhere else: a value that one deployment gives on the command line, the next one
forgets. `keys.py` describes them; the table in `docs/admin.md` is made from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mgmt_api.domain.settings import MINUTE_SECONDS, Settings, SettingsError, read_settings
from mgmt_infra.keys import KEYS, Key, Kind, describe_pattern

WHEEL_PLATFORMS: Mapping[str, str] = {
    "arm64": "manylinux2014_aarch64",
    "x86_64": "manylinux2014_x86_64",
}
"""The platform tag of wheels that load in the function, by its architecture."""

_OWN_VARIABLES: Final = {"MGMT_BUCKET": "-", "MGMT_TABLE": "-", "AWS_REGION": "-"}
"""Variables that the stack or Lambda sets; a deployment cannot."""
_UNDECIDED: Final = frozenset({"bucket", "table", "region", "restores_archived"})
"""Settings that no deployment decides: the stack makes the first three, and S3 always restores."""
_SETTINGS: Final = frozenset(field.name for field in dataclasses.fields(Settings)) - _UNDECIDED
_POOL: Final[Mapping[str, Any]] = {
    "member_group": "members",
    "admin_group": "admins",
    "scopes": ["mgmt/use"],
    "read_scopes": ["mgmt/read"],
    "sign_in_scopes": ["openid", "mgmt/use"],
}
"""The values of the keys that need an issuer, where the stack makes the user pool."""
_POOL_URL_LIFE_MAX_SECONDS: Final = 15 * MINUTE_SECONDS
"""With the user pool's access tokens of 15 minutes, it makes up the half hour after which a removed person is out."""
_OPENID_SCOPES: Final = frozenset({"openid", "profile", "email", "phone", "address", "offline_access"})
"""Scopes of OpenID Connect itself (Core 1.0, 5.4 and 11): anybody who can sign in can have them."""
_KINDS: Final[Mapping[Kind, str]] = {
    "text": "a text",
    "number": "a whole number",
    "list": "a list of texts",
    "people": "a table of names and addresses",
}
_NAME: Final = r"[a-z0-9][a-z0-9._-]{0,63}"


class DeploymentError(Exception):
    """The file does not describe a deployment; the sentence names every key that is missing or wrong."""


@dataclass(frozen=True)
class Deployment:
    """One service to deploy."""

    settings: Settings
    """The function's settings as it will read them, but for bucket, table and region."""
    values: Mapping[str, Any]
    """What the file says, with the user pool's fixed values."""
    first_admins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    identity_providers: tuple[str, ...] = ()
    alarm_addresses: tuple[str, ...] = ()
    requests_per_second: int = 50
    request_burst: int = 100
    open_requests_per_second: int = 5
    """A client asks once, when it is configured; each start answers the same. So a team can set up in a minute."""
    open_request_burst: int = 5
    """Half of the ten calls at a time that Lambda gives a new account: a flood leaves the other half to the team."""
    architecture: str = "arm64"
    runtime: str = "python3.13"
    stack_name: str = "mgmt"

    @property
    def makes_pool(self) -> bool:
        """Whether the stack makes a user pool, because the file names no issuer."""
        return "issuer" not in self.values

    @property
    def issuer(self) -> str:
        """The issuer of the tokens."""
        return self.settings.issuer or ""

    @property
    def audiences(self) -> list[str]:
        """What a token's audience, or else its client id, may be.

        Where an audience is named it is the only one: an ID token has its client as audience, and must not fit.
        """
        if self.settings.audience:
            return [self.settings.audience]
        named = (self.settings.client_id, *self.settings.machine_clients)
        return [value for value in dict.fromkeys(named) if value]

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables from which the function reads its settings."""
        return _write_variables({**self.values, "issuer": self.settings.issuer, "client_id": self.settings.client_id})

    def with_sign_in(self, issuer: str, client_id: str) -> Deployment:
        """Return the deployment with the sign-in that the stack itself makes."""
        return dataclasses.replace(
            self, settings=dataclasses.replace(self.settings, issuer=issuer, client_id=client_id)
        )


def read_file(path: Path) -> Deployment:
    """Read a deployment file.

    Raises:
        DeploymentError: If it cannot be read, or something in it is missing or wrong.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DeploymentError(f"there is no file {path}; name the one that has your deployment's values") from error
    except (OSError, ValueError) as error:
        raise DeploymentError(f"{path} cannot be read as TOML: {error}") from error
    try:
        return read_deployment(values)
    except DeploymentError as error:
        raise DeploymentError(f"{path}: {error}") from error


def read_deployment(values: Mapping[str, Any]) -> Deployment:
    """Read a deployment from its values.

    The service's settings go through the function's own reader, so that values that it would refuse at its
    first request are refused before anything is deployed.

    Raises:
        DeploymentError: If a key is unknown, or something is missing or wrong.
    """
    faults = [*_find_unknown(values), *_find_misfits(values)]
    if not faults:
        faults = list(_find_gaps(values))
    if faults:
        raise DeploymentError("; ".join(faults))
    if "issuer" not in values:
        values = {**_POOL, **values}
    try:
        settings = read_settings(_write_variables(values) | _OWN_VARIABLES)
    except SettingsError as error:
        raise DeploymentError(str(error)) from error
    return Deployment(settings, values, **_read_own(values))


def explain_unknown(name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, and which one is nearest."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"{name} is unknown" + (f"; did you mean {near[0]}?" if near else "")


def _find_unknown(values: Mapping[str, Any]) -> list[str]:
    return [explain_unknown(name, KEYS) for name in values if name not in KEYS]


def _find_misfits(values: Mapping[str, Any]) -> list[str]:
    known = ((name, KEYS[name], value) for name, value in values.items() if name in KEYS)
    return [fault for name, key, value in known for fault in _check(name, key, value)]


def _check(name: str, key: Key, value: Any) -> list[str]:
    if key.kind == "people" and isinstance(value, dict) and (misplaced := [each for each in value if each in KEYS]):
        return [f"{each} stands below [{name}], and so in that table: write it above [{name}]" for each in misplaced]
    if not _is_of_kind(key.kind, value):
        return [f"{name} is {value!r}, expected {_KINDS[key.kind]}"]
    parts = value if key.kind == "list" else value.values() if key.kind == "people" else [value]
    pattern = key.pattern or r".*"
    wanted = describe_pattern(pattern)
    faults = [f"{name} is {part!r}, expected {wanted}" for part in parts if not re.fullmatch(pattern, str(part))]
    names = value if key.kind == "people" else ()
    return faults + [
        f"{name}: {each!r} is no name, expected small letters, digits and . _ -, at most 64"
        for each in names
        if not re.fullmatch(_NAME, each)
    ]


def _is_of_kind(kind: Kind, value: Any) -> bool:
    if kind == "list":
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    if kind == "people":
        return isinstance(value, dict) and all(isinstance(part, str) for part in value.values())
    return isinstance(value, str) if kind == "text" else type(value) is int


def _find_gaps(values: Mapping[str, Any]) -> Iterable[str]:
    """Name what is missing, or does not go together."""
    return _find_gaps_with_issuer(values) if "issuer" in values else _find_gaps_with_pool(values)


def _find_gaps_with_pool(values: Mapping[str, Any]) -> Iterable[str]:
    for name in values:
        if KEYS[name].needs_issuer:
            yield f"{name} describes a sign-in of your own: give its issuer too, or leave it out"
    if values.get("url_life_seconds", 0) > _POOL_URL_LIFE_MAX_SECONDS:
        yield (
            f"url_life_seconds is more than {_POOL_URL_LIFE_MAX_SECONDS}: with the user pool, somebody who was removed "
            "has to be out within half an hour"
        )


def _find_gaps_with_issuer(values: Mapping[str, Any]) -> Iterable[str]:
    for name in ("first_admins", "identity_providers"):
        if name in values:
            yield f"{name} is for the user pool that the stack makes, and with issuer it makes none"
    if not (values.get("audience") or values.get("client_id")):
        yield "audience or client_id is missing: without one, tokens for other services would be taken"
    if not (values.get("member_group") or values.get("scopes")):
        yield "member_group or scopes is missing: without one, everybody whom the issuer lets sign in would be a member"
    if values.get("member_group") == (values.get("admin_group") or Settings.admin_group):
        yield "admin_group is member_group too: then every member would be an admin"
    yield from _find_misused_scopes(values)
    if values.get("client_id") in values.get("machine_clients", []):
        yield "machine_clients has the client_id of people: then everybody who can sign in would be a member"


def _find_misused_scopes(values: Mapping[str, Any]) -> Iterable[str]:
    for name in ("scopes", "read_scopes"):
        for scope in sorted(_OPENID_SCOPES.intersection(values.get(name, []))):
            yield f"{name} has {scope}, which gives no right: anybody who can sign in has it (see sign_in_scopes)"
    if values.get("read_scopes") and not values.get("scopes"):
        yield "read_scopes needs scopes: without them, a member whose token has a scope for reading could only read"


def _write_variables(values: Mapping[str, Any]) -> dict[str, str]:
    written = {}
    for name, value in values.items():
        if name in _SETTINGS and value is not None:
            written[f"MGMT_{name.upper()}"] = " ".join(value) if isinstance(value, list) else str(value)
    return written


def _read_own(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the stack itself reads, not the function."""
    own = {name: value for name, value in values.items() if name not in _SETTINGS}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
