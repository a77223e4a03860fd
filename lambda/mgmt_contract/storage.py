"""Storage classes and tags of objects: what S3 takes, so that both ends refuse the same.

Source: Amazon S3 User Guide, "Categorizing your objects using tags", and Amazon S3 API Reference, "PutObject",
read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

STORAGE_CLASSES: Final = (
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
)
EMBEDDED_CLASSES: Final = ("STANDARD",)
"""What the embedded backend has: its engine would write down any other class, and store in the same way."""
ARCHIVED_CLASSES: Final = ("GLACIER", "DEEP_ARCHIVE")
"""Classes whose objects S3 makes readable only when it is asked for a restore, which takes minutes to days."""
TAGS_MAX: Final = 10
TAG_KEY_MAX_CHARACTERS: Final = 128
TAG_VALUE_MAX_CHARACTERS: Final = 256

EXPIRED_TAG: Final = "mgmt-expired"
"""The tag of a version whose days of recovery are over: the bucket's lifecycle rules remove what has it."""
EXPIRED_TAG_VALUE: Final = "true"
KEPT_TAG_PREFIX: Final = "mgmt-"
"""Tag keys that begin so are the service's own."""

_TAG_TEXT: Final = re.compile(r"[\w +\-=.:/@]*")


class InvalidTagError(ValueError):
    """Tags that no object can have; the sentence says why."""


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that S3 would not take.

    Raises:
        InvalidTagError: If there are too many, one is too long, holds other characters, or belongs to AWS or to mgmt.
    """
    if len(tags) > TAGS_MAX:
        raise InvalidTagError(f"{len(tags)} tags, S3 takes at most {TAGS_MAX}")
    for key, value in tags.items():
        if key.lower().startswith("aws:"):
            raise InvalidTagError("a tag's key does not begin with aws:, which S3 keeps for itself")
        if key.lower().startswith(KEPT_TAG_PREFIX):
            raise InvalidTagError(f"a tag's key does not begin with {KEPT_TAG_PREFIX}, which mgmt keeps for itself")
        _check_text("the key of a tag", key, 1, TAG_KEY_MAX_CHARACTERS)
        _check_text(f"the value of tag {key}", value, 0, TAG_VALUE_MAX_CHARACTERS)


def _check_text(what: str, text: str, at_least: int, at_most: int) -> None:
    if not at_least <= len(text) <= at_most or _TAG_TEXT.fullmatch(text) is None:
        raise InvalidTagError(f"{what} is not {at_least} to {at_most} letters, digits, spaces and + - = . _ : / @")
