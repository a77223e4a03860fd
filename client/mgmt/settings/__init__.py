"""The client's settings: option over environment over config file over default, resolved once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from mgmt.errors import LocalStateError, LoginRequiredError, NotConfiguredError, UsageError
from mgmt.settings.config_file import find_own_folder, read_config
from mgmt_contract.values import Value


class Variable(NamedTuple):
    """One setting: its name in the environment and in the config file, and its meaning."""

    name: str
    meaning: str
    is_secret: bool = False


VARIABLES: Final = {
    "api_url": Variable("MGMT_API_URL", "address of the team's service, as the admin hands it out"),
    "bucket": Variable("MGMT_BUCKET", "optional pin: refuse a service that stores into another bucket"),
    "object_prefix": Variable("MGMT_OBJECT_PREFIX", "folder in the bucket that every key begins with"),
    "local_dir": Variable("MGMT_LOCAL_DIR", "base folder of your files; the current directory if not set"),
    "completed_dir": Variable("MGMT_COMPLETED_DIR", "where --move-completed puts originals after success"),
    "token": Variable("MGMT_TOKEN", "access token for scripts and CI", is_secret=True),
    "client_id": Variable("MGMT_CLIENT_ID", "client that signs in by itself, for scripts and CI", is_secret=True),
    "client_secret": Variable("MGMT_CLIENT_SECRET", "that client's secret", is_secret=True),
    "ca_bundle": Variable(
        "MGMT_CA_BUNDLE", "PEM file of certificates to trust beside the system's, such as a company proxy's"
    ),
}

FILE_VARIABLES: Final = tuple(name for name, variable in VARIABLES.items() if not variable.is_secret)
"""The settings of the config file: all but secrets."""


class Settings(Value):
    """The resolved settings of one run."""

    api_url: str | None = None
    bucket: str | None = None
    object_prefix: str = ""
    local_dir: Path | None = None
    completed_dir: Path | None = None
    token: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    ca_bundle: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each given setting came from: "option", "environment" or the config file's path."""

    def no_sign_in(self) -> LoginRequiredError:
        """Make the error for a command that has no token."""
        return LoginRequiredError(
            "MGMT_TOKEN is not set. Put your access token there, or try everything on this machine with `mgmt --local`."
        )

    def require_api_url(self) -> str:
        """Return the service's address.

        Raises:
            NotConfiguredError: If none is configured.
        """
        if self.api_url is None:
            raise NotConfiguredError(
                "No service is configured (MGMT_API_URL). Run `mgmt config`, "
                "or try everything on this machine with `mgmt --local`."
            )
        return self.api_url


def state_directory(environment: Mapping[str, str]) -> Path:
    """Say where journal, machine id and logs lie; `MGMT_STATE_DIR` moves them.

    Raises:
        LocalStateError: If nothing names a folder and the user has no home.
    """
    if environment.get("MGMT_STATE_DIR"):
        return Path(environment["MGMT_STATE_DIR"])
    path = find_own_folder("state")
    if path is None:
        raise LocalStateError(
            "This user has no home folder, and mgmt has to keep a journal of its uploads. Set HOME, or set "
            "MGMT_STATE_DIR to a folder that can be written.",
            code="no-home",
        )
    return path


def resolve_settings(
    environment: Mapping[str, str], config_path: Path | None, options: Mapping[str, str | None] | None = None
) -> Settings:
    """Resolve every setting: option, then environment, then config file (if there is one), then default.

    Raises:
        UsageError: If a value makes no sense; the sentence says where it came from.
        LocalStateError: If the config file cannot be read.
    """
    in_file = read_config(config_path) if config_path is not None else {}
    values: dict[str, str] = {}
    origins: dict[str, str] = {}
    for name, variable in VARIABLES.items():
        candidates = (
            ("option", (options or {}).get(name)),
            ("environment", environment.get(variable.name)),
            (str(config_path), None if variable.is_secret else in_file.get(variable.name)),
        )
        for origin, value in candidates:
            if value:
                values[name], origins[name] = value.strip() if variable.is_secret else value, origin
                break
    for name, value in values.items():
        check_value(name, value, origins[name])
    paths = {name: _expand(values[name]) for name in _PATHS if name in values}
    return Settings(**{**values, **paths}, origins=origins)  # type: ignore[arg-type]


_PATHS = ("local_dir", "completed_dir", "ca_bundle")


def check_value(name: str, value: str, origin: str) -> None:
    """Refuse a value that cannot work.

    Raises:
        UsageError: With what was expected and where the value came from.
    """
    if name == "token":
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise UsageError("MGMT_TOKEN holds characters that no token has. Copy it again.", code="bad-token")
        return
    if VARIABLES[name].is_secret:  # a sentence would show it
        return
    variable = VARIABLES[name].name
    if any(character < " " or character == "\x7f" for character in value):
        raise UsageError(f"{variable} (from {origin}) holds a control character: {value!r}.", code="bad-value")
    if name == "api_url":
        _check_address(value, origin)
    elif name in _PATHS and _expand(value) is None:
        raise UsageError(f"{variable} is {value!r} (from {origin}), and there is no such home folder.", code="bad-path")


def _check_address(value: str, origin: str) -> None:
    said = f"MGMT_API_URL is {value!r} (from {origin})"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{said}: {error}. Expected an address such as https://host/path.", code="bad-url") from error
    if parts.username or parts.password:
        # Before the others, whose sentences show it.
        raise UsageError(
            f"MGMT_API_URL (from {origin}) holds a user or a password. Put a token into MGMT_TOKEN instead.",
            code="bad-url",
        )
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{said}, expected an address such as https://host/path.", code="bad-url")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise UsageError(
            f"{said}: without TLS anyone on the way could read the token. Use the https:// address.", code="bad-url"
        )


def _expand(path: str) -> Path | None:
    """Put the home folder in where a path begins with ~; None where there is none of that name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return None
