"""The client's settings: option over environment over config file over default, resolved once.

The config file has `MGMT_NAME=value` lines; comments and lines it does not know stay as they are. An older mgmt kept
its file at `~/.config/mgmt/config` on every system. Where ours lies elsewhere and is not there yet, that one is read,
and taken over when ours is first written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from mgmt.errors import LocalStateError, LoginRequiredError, NotConfiguredError, UsageError
from mgmt.machine.files import write_private
from mgmt_contract.values import Value

_SECRET_NAME: Final = re.compile(r"(?i)secret|access_?key|token|password|credential")
_FILE_SIZE_MAX_CHARACTERS: Final = 1_048_576
"""Far more than any config file has; some devices have no end."""
_ASSIGNMENT: Final = re.compile(r"[\s#]*(?:export\s+)?[\w.-]+\s*[=:]")


def default_config_path(environment: Mapping[str, str]) -> Path:
    """Say where the config file lies on this system; `MGMT_CONFIG` moves it.

    Raises:
        LocalStateError: If nothing names a file and the user has no home.
    """
    if environment.get("MGMT_CONFIG"):
        return Path(environment["MGMT_CONFIG"])
    folder = find_own_folder("config")
    if folder is None:
        raise LocalStateError(
            "This user has no home folder, so there is no place for a config file. Set HOME, or name a file with "
            "MGMT_CONFIG. Settings in the environment work without one.",
            code="no-home",
        )
    return folder / "config"


def find_own_folder(kind: Literal["cache", "config", "state"]) -> Path | None:
    """Ask the system for its folder for files of this kind; None for a user without a home folder."""
    import platformdirs

    find = {
        "cache": platformdirs.user_cache_path,
        "config": platformdirs.user_config_path,
        "state": platformdirs.user_state_path,
    }[kind]
    try:
        path = find("mgmt", appauthor=False)
    except RuntimeError:
        return None
    return path if path.is_absolute() else None  # older versions leave the ~ in


def config_source(path: Path, environment: Mapping[str, str]) -> Path:
    """Say which file to read: ours, or the older mgmt's while there is none of ours.

    A file named with `MGMT_CONFIG` is always the one to read.
    """
    if environment.get("MGMT_CONFIG"):
        return path
    older = Path(os.path.expanduser("~/.config/mgmt/config"))  # noqa: PTH111  Path's own fails without a home
    # pathlib's own tests raise where a name is too long or a disk fails; reading the file then says so
    is_older = older.is_absolute() and not os.path.exists(path) and os.path.isfile(older)  # noqa: PTH110, PTH113
    return older if is_older else path


def read_config(path: Path) -> dict[str, str]:
    """Read the `MGMT_*=value` lines of a config file; a missing file is empty.

    Raises:
        LocalStateError: If the file exists and cannot be read.
    """
    pairs = (_parse_line(line) for line in _read_lines(path))
    return dict(pair for pair in pairs if pair)


def write_config(path: Path, changes: Mapping[str, str | None], source: Path | None = None) -> None:
    """Set variables in the config file, keeping its comments and its other lines; None removes one.

    Written beside the file and renamed over it, so that a crash leaves the old or the new file; readable by its
    owner alone. Anything but a file, such as a device, is not replaced.

    Args:
        path: The config file.
        changes: Values by the variables' names.
        source: An older mgmt's file to take over: its MGMT_ lines and comments, and nothing like a credential.

    Raises:
        LocalStateError: If the file cannot be written, or what is there cannot be read.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  pathlib's raise where a disk fails
        raise LocalStateError(
            f"The config file {path} is no file. Name another one with MGMT_CONFIG.", code="config-file"
        )
    is_taken_over = source is not None and source != path
    lines = [line for line in _read_lines(source) if _is_ours(line)] if source and is_taken_over else _read_lines(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, "".join(line + "\n" for line in _merge(lines, dict(changes))))
    except OSError as error:
        raise LocalStateError(
            f"The config file {path} cannot be written: {error.strerror or error}.", code="config-file"
        ) from error


def _read_lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:  # editors of Windows put a mark first
            text = file.read(_FILE_SIZE_MAX_CHARACTERS + 1)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise LocalStateError(f"The config file {path} cannot be read: {why}.", code="config-file") from error
    if len(text) > _FILE_SIZE_MAX_CHARACTERS:
        message = f"The config file {path} is larger than any can be. Name another one with MGMT_CONFIG."
        raise LocalStateError(message, code="config-file")
    return text.splitlines()


def _is_ours(line: str) -> bool:
    """Say whether a line of an older mgmt's file is one to take over."""
    pair = _parse_line(line)
    if pair is not None:
        return not _SECRET_NAME.search(pair[0])
    is_comment = line.lstrip().startswith("#") or not line.strip()
    # Credentials in a comment are still credentials.
    return is_comment and not (_ASSIGNMENT.match(line) and _SECRET_NAME.search(line))


def _merge(lines: list[str], changes: dict[str, str | None]) -> list[str]:
    merged = []
    settled: dict[str, str | None] = {}
    for line in lines:
        pair = _parse_line(line)
        if pair is None or pair[0] not in changes:
            merged.append(line)
            continue
        if pair[0] in settled:
            continue  # a variable that was there twice
        value = settled[pair[0]] = changes[pair[0]]
        if value is not None:
            # A value that does not change keeps its line, with quotes and `export`.
            merged.append(line if value == pair[1] else _format_line(pair[0], value))
    added = {name: value for name, value in changes.items() if name not in settled}
    return merged + [_format_line(name, value) for name, value in added.items() if value is not None]


def _format_line(name: str, value: str) -> str:
    needs_quotes = value != value.strip() or value[:1] in ("'", '"')
    quote = "'" if value.startswith('"') or '"' in value else '"'
    return f"{name}={quote}{value}{quote}" if needs_quotes else f"{name}={value}"


def _parse_line(line: str) -> tuple[str, str] | None:
    name, separator, value = line.strip().removeprefix("export ").partition("=")
    name, value = name.strip(), value.strip()
    if not separator or not name.startswith("MGMT_"):
        return None
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name, value


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
    "archive_dir": Variable(
        "MGMT_ARCHIVE_DIR",
        "where archives are made; beside their sources if not set",
    ),
    "token": Variable("MGMT_TOKEN", "access token for scripts and CI", is_secret=True),
    "client_id": Variable("MGMT_CLIENT_ID", "client that signs in by itself, for scripts and CI", is_secret=True),
    "client_secret": Variable("MGMT_CLIENT_SECRET", "that client's secret", is_secret=True),
    "client_scope": Variable(
        "MGMT_CLIENT_SCOPE", "what that client asks for, where its issuer wants it named", is_secret=True
    ),
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
    archive_dir: Path | None = None
    token: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_scope: str | None = None
    ca_bundle: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each given setting came from: "option", "environment" or the config file's path."""

    def no_sign_in(self) -> LoginRequiredError:
        """Make the error for a command that has no token."""
        return LoginRequiredError(
            f"You are not signed in to {urlsplit(self.api_url or '').netloc}. Run `mgmt login`; a script puts a "
            "token into MGMT_TOKEN. Or try everything on this machine with `mgmt --local`."
        )

    def require_api_url(self) -> str:
        """Return the service's address.

        Raises:
            NotConfiguredError: If none is configured.
        """
        if self.api_url is None:
            raise NotConfiguredError(
                "No service is configured (MGMT_API_URL). Run `mgmt login URL` with the address that your admin has "
                "given you (`mgmt config` asks for more), or try everything on this machine with `mgmt --local`."
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


_PATHS = ("local_dir", "completed_dir", "archive_dir", "ca_bundle")


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
