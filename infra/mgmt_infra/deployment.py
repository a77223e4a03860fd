"""The values that a deployment sets, read from CDK context (`cdk deploy -c KEY=VALUE`, or "context" in cdk.json).

| key | means | default |
| --- | --- | --- |
| issuer | the OpenID Connect issuer whose tokens are accepted, as they write it | required |
| audience, client_id | what a token's `aud` or `client_id` must be; both are accepted | one is required |
| scopes | scopes of which a token must carry one, separated by spaces | none |
| root_prefix | folder in the bucket under which everything is stored; the role reaches nothing else | none |
| admin_group | which group administers, as the token names it, letter by letter | admins |
| groups_claim | which one claim of the token lists a person's groups | cognito:groups |
| actor_claim | which claim names a person | username |
| url_life_seconds, lease_seconds, feed_shards | see `mgmt_api/domain/settings.py` | 900, 600, 1 |
| join_patience_seconds | how long joining parts is only looked at before it is asked for again | 600 |
| key_part_max_bytes | longest part of a key between slashes, for a storage that has such a limit; S3 has none | none |
| requests_per_second, request_burst | throttle of the calls that need sign-in | 50, 100 |
| open_requests_per_second, open_request_burst | throttle of `GET /v1/service`, which anybody may call | 5, 5 |
| architecture | arm64 or x86_64 | arm64 |
| runtime | the function's Python | python3.13 |
| stack_name | several services in one account have several | mgmt |
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mgmt_api.domain.settings import Settings, SettingsError, read_settings

WHEEL_PLATFORMS: Mapping[str, str] = {
    "arm64": "manylinux2014_aarch64",
    "x86_64": "manylinux2014_x86_64",
}
"""The platform tag of wheels that load in the function, by its architecture."""

_OWN_VARIABLES = {"MGMT_BUCKET": "-", "MGMT_TABLE": "-", "AWS_REGION": "-"}
"""Variables that the stack or Lambda sets; a deployment cannot."""

_OWN_KEYS: Mapping[str, type[int | str]] = {
    "requests_per_second": int,
    "request_burst": int,
    "open_requests_per_second": int,
    "open_request_burst": int,
    "architecture": str,
    "runtime": str,
    "stack_name": str,
}
_PATTERNS = {
    "issuer": r"https://\S+",
    "root_prefix": r"[A-Za-z0-9._/-]*",  # it stands in the role's policy, where * and ? and $ are more than text
    "requests_per_second": r"[1-9][0-9]*",
    "request_burst": r"[1-9][0-9]*",
    "open_requests_per_second": r"[1-9][0-9]*",
    "open_request_burst": r"[1-9][0-9]*",
    "architecture": "|".join(WHEEL_PLATFORMS),
    "runtime": r"python3\.[0-9]+",
    "stack_name": r"[A-Za-z][A-Za-z0-9-]*",
}


class DeploymentError(Exception):
    """The context does not describe a deployment; the sentence names every key that is missing or wrong."""


@dataclass(frozen=True)
class Deployment:
    """One service to deploy."""

    settings: Settings
    """The function's settings as it will read them, but for bucket, table and region."""
    variables: Mapping[str, str]
    """The environment variables those settings are read from."""
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
    def issuer(self) -> str:
        """The issuer of the tokens."""
        return self.settings.issuer or ""

    @property
    def audiences(self) -> list[str]:
        """What a token's audience, or else its client id, may be."""
        named = (self.settings.audience, self.settings.client_id)
        return [value for value in dict.fromkeys(named) if value]


def read_deployment(context: Callable[[str], Any]) -> Deployment:
    """Read a deployment; `context` returns a key's value or None.

    The service's settings go through the function's own reader, so that values that it would refuse at its
    first request are refused before anything is deployed.

    Raises:
        DeploymentError: If something is missing or wrong.
    """
    variables = _read_variables(context)
    faults = _find_faults(context, variables)
    try:
        settings = read_settings(variables | _OWN_VARIABLES)
    except SettingsError as error:
        raise DeploymentError("; ".join([*faults, str(error)])) from error
    if faults:
        raise DeploymentError("; ".join(faults))
    return Deployment(settings, variables, **_read_own(context))


def _read_variables(context: Callable[[str], Any]) -> dict[str, str]:
    variables = {}
    for field in dataclasses.fields(Settings):
        variable, value = f"MGMT_{field.name.upper()}", context(field.name)
        if value is not None and variable not in _OWN_VARIABLES and field.name != "region":
            variables[variable] = " ".join(value) if isinstance(value, list) else str(value)
    return variables


def _find_faults(context: Callable[[str], Any], variables: Mapping[str, str]) -> list[str]:
    faults = []
    if "MGMT_ISSUER" not in variables:
        faults.append("issuer is missing: give the address of your sign-in, -c issuer=https://…")
    if not (variables.get("MGMT_AUDIENCE") or variables.get("MGMT_CLIENT_ID")):
        faults.append("audience or client_id is missing: without one, tokens for other services would be taken")
    for key, pattern in _PATTERNS.items():
        value = context(key)
        if value is not None and not re.fullmatch(pattern, str(value)):
            faults.append(f"{key} is {value!r}, expected {pattern}")
    return faults


def _read_own(context: Callable[[str], Any]) -> dict[str, Any]:
    given = {key: (kind, context(key)) for key, kind in _OWN_KEYS.items()}
    return {key: kind(value) for key, (kind, value) in given.items() if value is not None}
