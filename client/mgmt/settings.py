"""The client's settings: option over environment over config file over default, resolved once.

The config file holds `MGMT_NAME=value` lines; comments and lines it does not know stay as they are.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from mgmt.errors import LocalStateError, NotConfiguredError, UsageError


class Variable(NamedTuple):
    """One setting: its name in the environment and in the config file, and what it is for."""

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
    "ca_bundle": Variable("MGMT_CA_BUNDLE", "PEM file with the certificates of your company's proxy"),
}

FILE_VARIABLES: Final = tuple(name for name, variable in VARIABLES.items() if not variable.is_secret)
"""What the config file may hold: everything but secrets."""


@dataclass(frozen=True)
class Settings:
    """What one run of the command works with."""

    api_url: str | None = None
    bucket: str | None = None
    object_prefix: str = ""
    local_dir: Path | None = None
    completed_dir: Path | None = None
    token: str | None = field(default=None, repr=False)
    ca_bundle: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each given setting came from: "option", "environment" or the config file's path."""

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


def default_config_path(environment: Mapping[str, str]) -> Path:
    """Say where the config file lies on this system; `MGMT_CONFIG` moves it."""
    if environment.get("MGMT_CONFIG"):
        return Path(environment["MGMT_CONFIG"])
    import platformdirs

    return platformdirs.user_config_path("mgmt", appauthor=False) / "config"


def state_directory(environment: Mapping[str, str]) -> Path:
    """Say where journal, machine id and logs lie; `MGMT_STATE_DIR` moves them."""
    if environment.get("MGMT_STATE_DIR"):
        return Path(environment["MGMT_STATE_DIR"])
    import platformdirs

    return platformdirs.user_state_path("mgmt", appauthor=False)


def resolve_settings(
    environment: Mapping[str, str], config_path: Path, options: Mapping[str, str | None] | None = None
) -> Settings:
    """Resolve every setting: option, then environment, then config file, then default.

    Raises:
        UsageError: If a value makes no sense; the sentence says where it came from.
        LocalStateError: If the config file cannot be read.
    """
    in_file = read_config(config_path)
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
    paths = {name: Path(values[name]).expanduser() for name in _PATHS if name in values}
    return Settings(**{**values, **paths}, origins=origins)  # type: ignore[arg-type]


_PATHS = ("local_dir", "completed_dir", "ca_bundle")


def check_value(name: str, value: str, origin: str) -> None:
    """Refuse a value that cannot work.

    Raises:
        UsageError: With what was expected and where the value came from.
    """
    if name == "token" and not (value.isascii() and value.isprintable() and " " not in value):
        raise UsageError("MGMT_TOKEN holds characters that no token has. Copy it again.", code="bad-token")
    if name != "api_url":
        return
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"MGMT_API_URL is {value!r} (from {origin}), expected an address such as https://host/path.",
            code="bad-url",
        )
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise UsageError(
            f"MGMT_API_URL is {value!r} (from {origin}): without TLS anyone on the way could read the token. "
            "Use the https:// address.",
            code="bad-url",
        )
    if parts.username or parts.password:
        raise UsageError("MGMT_API_URL holds a password; sign in or use MGMT_TOKEN instead.", code="bad-url")


def read_config(path: Path) -> dict[str, str]:
    """Read the `MGMT_*=value` lines of a config file; a missing file is empty.

    Raises:
        LocalStateError: If the file exists and cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise LocalStateError(f"The config file {path} cannot be read: {error}.", code="config-file") from error
    pairs = (_parse_line(line) for line in text.splitlines())
    return dict(pair for pair in pairs if pair)


def write_config(path: Path, changes: Mapping[str, str | None]) -> None:
    """Set variables in the config file, keeping its comments and its other lines; None removes one.

    Written beside the file and renamed over it, so that a crash leaves the old or the new file.

    Raises:
        LocalStateError: If the file cannot be written.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        _replace_file(path, "".join(line + "\n" for line in _merge(lines, dict(changes))))
    except OSError as error:
        raise LocalStateError(f"The config file {path} cannot be written: {error}.", code="config-file") from error


def _merge(lines: list[str], changes: dict[str, str | None]) -> list[str]:
    merged = []
    for line in lines:
        pair = _parse_line(line)
        if pair is None or pair[0] not in changes:
            merged.append(line)
            continue
        value = changes.pop(pair[0])
        if value is not None:
            merged.append(f"{pair[0]}={value}")
    merged += [f"{name}={value}" for name, value in changes.items() if value is not None]
    return merged


def _replace_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()  # a linked config file stays a link
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".config-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _parse_line(line: str) -> tuple[str, str] | None:
    name, separator, value = line.strip().removeprefix("export ").partition("=")
    name, value = name.strip(), value.strip()
    if not separator or not name.startswith("MGMT_"):
        return None
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name, value
