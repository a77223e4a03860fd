"""The service's settings, from the environment; missing ones are named at start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mgmt_contract.parts import ABANDONED_AFTER_DAYS
from mgmt_contract.storage import STORAGE_CLASSES
from mgmt_contract.values import Value

MINUTE_SECONDS = 60


class SettingsError(Exception):
    """The environment does not configure the service; the sentence names every missing or wrong variable."""


class Settings(Value):
    """The values that a deployment sets."""

    bucket: str
    table: str
    region: str
    root_prefix: str = ""
    member_group: str = ""
    """The group without which nobody is a member; "" where a scope alone makes one."""
    admin_group: str = "admins"
    actor_claim: str = "username"
    """The claim that names a person; the subject is used where a token lacks it."""
    groups_claim: str = "cognito:groups"
    """The one claim that lists a person's groups."""
    url_life_seconds: int = 15 * MINUTE_SECONDS
    lease_seconds: int = 10 * MINUTE_SECONDS
    feed_shards: int = 4
    """Fixed at deployment, and only ever raised: the index of pending operations takes two writes of each upload, and
    a partition 1,000 a second. Source: Amazon DynamoDB Developer Guide, "Partitions and data distribution", read
    2026-11."""
    join_patience_seconds: int = 10 * MINUTE_SECONDS
    """How long joining parts is only looked at before it is asked for again: S3 takes minutes for the largest, and
    asked twice it may throw the parts away."""
    recoverable_days: int = 30
    """How long a deleted upload can be brought back."""
    resume_days: int = 7
    """How long a silent upload or download may be gone on with, until the worker ends it as failed. Shorter than the
    time after which the storage itself throws parts away."""
    joins_queue_url: str = ""
    """The queue of uploads whose parts the worker joins; "" where a call joins them itself."""
    looks_queue_url: str = ""
    """The queue of everything else for the worker."""
    key_part_max_bytes: int | None = None
    """Longest part of a key between slashes that the storage takes; S3 itself has no such limit."""
    restores_archived: bool = True
    """False for a storage that keeps an archived class as a mere label: its objects can be read at any time."""
    storage_classes: tuple[str, ...] = STORAGE_CLASSES
    """The classes that the storage has; an upload that asks for another one is refused."""
    issuer: str | None = None
    client_id: str | None = None
    audience: str | None = None
    scopes: tuple[str, ...] = ()
    """The scopes of which a member's token carries one."""
    read_scopes: tuple[str, ...] = ()
    """Scopes that are enough for calls that only read."""
    sign_in_scopes: tuple[str, ...] = ()
    """The scopes that a client asks for at sign-in; `scopes` where there are none."""
    machine_clients: tuple[str, ...] = ()
    """Ids of clients whose own tokens (client credentials), which have no groups, are members'.

    `client_id`, which is people's, is ignored here.
    """
    replace_others: Literal["members", "admins"] = "members"
    """Who may replace an object that somebody else has stored."""


_REQUIRED = {"bucket": "MGMT_BUCKET", "table": "MGMT_TABLE", "region": "AWS_REGION"}
_TEXTS = {
    "root_prefix": "MGMT_ROOT_PREFIX",
    "member_group": "MGMT_MEMBER_GROUP",
    "admin_group": "MGMT_ADMIN_GROUP",
    "actor_claim": "MGMT_ACTOR_CLAIM",
    "groups_claim": "MGMT_GROUPS_CLAIM",
    "issuer": "MGMT_ISSUER",
    "client_id": "MGMT_CLIENT_ID",
    "audience": "MGMT_AUDIENCE",
    "joins_queue_url": "MGMT_JOINS_QUEUE_URL",
    "looks_queue_url": "MGMT_LOOKS_QUEUE_URL",
}
_LISTS = {
    "scopes": "MGMT_SCOPES",
    "read_scopes": "MGMT_READ_SCOPES",
    "sign_in_scopes": "MGMT_SIGN_IN_SCOPES",
    "machine_clients": "MGMT_MACHINE_CLIENTS",
}
"""Texts without blanks, which stand between them."""
_REPLACERS = ("members", "admins")
_NUMBERS = {
    "url_life_seconds": ("MGMT_URL_LIFE_SECONDS", range(30, 3601)),
    "lease_seconds": ("MGMT_LEASE_SECONDS", range(30, 24 * 3600 + 1)),
    "feed_shards": ("MGMT_FEED_SHARDS", range(1, 33)),
    "join_patience_seconds": ("MGMT_JOIN_PATIENCE_SECONDS", range(60, 3601)),
    "recoverable_days": ("MGMT_RECOVERABLE_DAYS", range(1, 3651)),
    "resume_days": ("MGMT_RESUME_DAYS", range(1, ABANDONED_AFTER_DAYS)),
    "key_part_max_bytes": ("MGMT_KEY_PART_MAX_BYTES", range(16, 1025)),
}


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables.

    Raises:
        SettingsError: If a required variable is missing, or a number or choice is not one that is allowed.
    """
    faults = [f"{variable} is missing" for variable in _REQUIRED.values() if not environment.get(variable)]
    values: dict[str, object] = {name: environment.get(variable) for name, variable in _REQUIRED.items()}
    values |= {name: environment[variable] for name, variable in _TEXTS.items() if environment.get(variable)}
    for name, (variable, allowed) in _NUMBERS.items():
        text = environment.get(variable)
        if not text:
            continue
        if text.isdecimal() and int(text) in allowed:
            values[name] = int(text)
        else:
            faults.append(f"{variable} is {text!r}, expected a number from {allowed[0]} to {allowed[-1]}")
    replacers = values["replace_others"] = environment.get("MGMT_REPLACE_OTHERS") or _REPLACERS[0]
    if replacers not in _REPLACERS:
        faults.append(f"MGMT_REPLACE_OTHERS is {replacers!r}, expected {' or '.join(_REPLACERS)}")
    if faults:
        raise SettingsError("; ".join(faults))
    values |= {name: tuple(environment.get(variable, "").split()) for name, variable in _LISTS.items()}
    return Settings(**values)  # type: ignore[arg-type]
