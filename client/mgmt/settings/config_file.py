"""The config file: `MGMT_NAME=value` lines; comments and lines it does not know stay as they are.

An older mgmt kept its file at `~/.config/mgmt/config` on every system. Where ours lies elsewhere and is not
there yet, that one is read, and taken over when ours is first written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from mgmt.errors import LocalStateError
from mgmt.machine.private_files import write_private

_SECRET_NAME: Final = re.compile(r"(?i)secret|access_?key|token|password|credential")
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


def find_own_folder(kind: Literal["config", "state"]) -> Path | None:
    """Ask the system for its folder for files of this kind; None for a user without a home folder."""
    import platformdirs

    find = {"config": platformdirs.user_config_path, "state": platformdirs.user_state_path}[kind]
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
    return older if older.is_absolute() and not path.exists() and older.is_file() else path


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
    owner alone.

    Args:
        path: The config file.
        changes: Values by the variables' names.
        source: An older mgmt's file to take over: its MGMT_ lines and comments, and nothing like a credential.

    Raises:
        LocalStateError: If the file cannot be written, or what is there cannot be read.
    """
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
        return path.read_text(encoding="utf-8-sig").splitlines()  # editors of Windows put a mark first
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise LocalStateError(f"The config file {path} cannot be read: {why}.", code="config-file") from error


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
