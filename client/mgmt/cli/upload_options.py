"""What `mgmt upload` was asked for, checked before anything is looked at, packed or sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgmt.errors import NotConfiguredError, UsageError
from mgmt.settings import check_value
from mgmt.text import shorten
from mgmt_contract.names import InvalidNameError, join_key, trim_prefix
from mgmt_contract.storage import InvalidTagError, check_tags

if TYPE_CHECKING:  # names for annotations only
    from mgmt.settings import Settings
    from mgmt.upload.job import UploadOptions

_ANY_NAME = "x"
_RATE_MAX_BYTES_PER_SECOND = 10**15
"""No line is as fast; more digits are a slip, and no number that Python can count with."""


def check_names(
    targets: tuple[str, ...], *, as_name: str | None, prefix: str | None, excludes: tuple[str, ...]
) -> None:
    """Refuse targets and names that have no meaning, alone or together.

    Raises:
        UsageError: With what was expected.
    """
    from mgmt.text import shown
    from mgmt.upload.looking import is_excluded

    if "" in targets:
        raise UsageError("A target's name is empty; expected a file or directory.", code="empty-name")
    for target in targets:
        if target != "all" and is_excluded(os.path.abspath(target), excludes):  # noqa: PTH100  keeps a link's own name
            raise UsageError(
                f"'{shown(target)}' is a target and left out by --exclude at once. Drop one of the two; --exclude "
                "is for what lies in a folder.",
                code="target-excluded",
            )
    if prefix is not None:
        _require_key("--prefix", prefix, _ANY_NAME)
    if as_name is None:
        return
    if len(targets) != 1 or targets[0] == "all":
        raise UsageError("--as needs exactly one target.", code="as-needs-one-target")
    _require_key("--as", "", as_name)


def make_options(given: Mapping[str, Any], settings: Settings) -> UploadOptions:
    """Put together how the uploads are to be made, from options and settings.

    Raises:
        UsageError: If a value makes no sense; the sentence names the option or setting it came from.
        NotConfiguredError: If --move-completed has no folder.
    """
    from mgmt.upload.job import UploadOptions

    options = dict(given)
    prefix = _choose_prefix(options.pop("prefix"), settings)
    if options["as_name"] is not None:
        _require_key("--as", prefix, options["as_name"])  # together they may be too long
    named_dir = options.pop("completed_dir")
    completed_dir = choose_completed_dir(named_dir, settings) if options.pop("move_completed") else None
    tags = parse_tags(options.pop("tags"))
    return UploadOptions(prefix=prefix, tags=tags, completed_dir=completed_dir, **options)


def check_completed_dir(named: str | None, *, is_moving: bool) -> None:
    """Refuse a folder for completed originals that has no name, or that nothing would be moved to.

    Raises:
        UsageError: With what to add.
    """
    if named == "":
        raise UsageError("--completed-dir names no folder; expected --completed-dir DIR.", code="empty-name")
    if named is not None and not is_moving:
        raise UsageError(
            "--completed-dir alone moves nothing. Add --move-completed, or drop --completed-dir.",
            code="completed-dir-alone",
        )


def choose_completed_dir(named: str | None, settings: Settings) -> Path:
    """Choose where originals go after success: the folder that the command names, or the configured one.

    Raises:
        UsageError: If the named folder makes no sense.
        NotConfiguredError: If none is named and none is configured.
    """
    if named is not None:
        check_value("completed_dir", named, "--completed-dir")
        return Path(os.path.abspath(Path(named).expanduser()))  # noqa: PTH100  resolving would follow links
    if settings.completed_dir is None:
        raise NotConfiguredError(
            "--move-completed has no folder to move originals to. Name one with --completed-dir DIR, or configure "
            "MGMT_COMPLETED_DIR with `mgmt config`.",
            code="no-completed-dir",
        )
    return Path(os.path.abspath(settings.completed_dir))  # noqa: PTH100  as above


def check_archive_dir(folder: Path | None) -> None:
    """Refuse a folder for archives that is not there: made anew, it might fill a disk that is not meant.

    Raises:
        UsageError: With what to do.
    """
    if folder is not None and not folder.is_dir():
        raise UsageError(
            f"--archive-dir: there is no folder '{folder}'. Create it, or plug its disk in.",
            code="no-archive-dir",
        )


def parse_tags(texts: tuple[str, ...]) -> dict[str, str]:
    """Read `KEY=VALUE` pairs.

    Raises:
        UsageError: If one is none, a key is given twice, or S3 would not take them.
    """
    pairs = [_parse_tag(text) for text in texts]
    tags = dict(pairs)
    if len(tags) != len(pairs):
        raise UsageError("A --tag is given twice; expected each key once.", code="bad-tag")
    try:
        check_tags(tags)
    except InvalidTagError as error:
        raise UsageError(f"--tag: {error}.", code="bad-tag") from error
    return tags


def parse_rate(text: str | None) -> int | None:
    """Read bytes per second, such as 500k.

    Raises:
        UsageError: If that is no rate.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)(?:i?[bB])?(?:/s)?", text)
    rate = float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[found[2].lower()] if found else 0
    if not 1 <= rate <= _RATE_MAX_BYTES_PER_SECOND:
        raise UsageError(
            f"--limit-rate {shorten(text, 40)!r}: expected bytes per second, such as 500k or 2M.", code="bad-rate"
        )
    return int(rate)


def _choose_prefix(given: str | None, settings: Settings) -> str:
    if given is not None:
        return trim_prefix(given)
    origin = settings.origins.get("object_prefix")
    _require_key(f"MGMT_OBJECT_PREFIX (from {origin})", settings.object_prefix, _ANY_NAME)
    return trim_prefix(settings.object_prefix)


def _require_key(origin: str, prefix: str, name: str) -> None:
    try:
        join_key("", prefix, name)
    except InvalidNameError as error:
        raise UsageError(f"{origin} cannot be used: {error}.", code="invalid-name") from error


def _parse_tag(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise UsageError(f"--tag {text!r}: expected KEY=VALUE.", code="bad-tag")
    return key, value
