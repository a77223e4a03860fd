"""Answers to `mgmt config`, prepared for the config file: checked on this machine, without the network.

A relative folder in the environment or in a file is relative to wherever a command runs, as it always was.
`mgmt config` writes absolute ones, so that their meaning does not change.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mgmt.errors import MgmtError, UsageError
from mgmt.network.trust import check_certificates
from mgmt.settings import VARIABLES, check_value
from mgmt_contract.names import InvalidNameError, join_key

FOLDERS: Final = ("local_dir", "completed_dir", "archive_dir")
_BUCKET_LENGTHS: Final = range(3, 64)
"""Amazon S3 User Guide, "General purpose bucket naming rules", read 2026-11."""


def accept_answer(name: str, text: str, origin: str) -> str:
    """Return an answer as it is to be kept.

    Raises:
        UsageError: If it makes no sense on this machine, with what was expected.
    """
    check_value(name, text, origin)
    if name == "bucket":
        _check_bucket(text, origin)
    elif name == "object_prefix":
        _check_prefix(text, origin)
    elif name in FOLDERS:
        return os.fspath(_accept_folder(name, text, origin))
    elif name == "ca_bundle":
        path = _absolute(text)
        try:
            check_certificates(path)
        except MgmtError as error:
            raise UsageError(error.message, code=error.code) from error
        return os.fspath(path)
    return text


def is_missing_folder(name: str, value: str) -> bool:
    """Say whether a setting names a folder that is not there (yet, or while a disk is not plugged in)."""
    return name in FOLDERS and not os.path.isdir(value)  # noqa: PTH112  is_dir raises where a name is too long


def _check_bucket(text: str, origin: str) -> None:
    is_name = text.isascii() and text.replace("-", "").replace(".", "").isalnum() and text == text.lower()
    if not is_name or len(text) not in _BUCKET_LENGTHS:
        raise UsageError(
            f"MGMT_BUCKET is {text!r} (from {origin}), expected a bucket's name: 3 to 63 of a-z, 0-9, dot and hyphen, "
            "without s3://.",
            code="bad-bucket",
        )


def _check_prefix(text: str, origin: str) -> None:
    try:
        join_key("", text, "x")
    except InvalidNameError as error:
        raise UsageError(f"MGMT_OBJECT_PREFIX is {text!r} (from {origin}): {error}.", code="bad-prefix") from error


def _accept_folder(name: str, text: str, origin: str) -> Path:
    path = _absolute(text)
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112  as above
        raise UsageError(
            f"{VARIABLES[name].name} is {text!r} (from {origin}), and {path} is not a folder.", code="bad-path"
        )
    return path


def _absolute(text: str) -> Path:
    try:
        return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  without following links: they may change
    except OSError as error:
        raise UsageError(
            f"{text!r} is relative to the current directory, which cannot be used ({error.strerror or error}). Name "
            "its whole path.",
            code="no-directory",
        ) from error
