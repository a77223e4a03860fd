"""Rules for requests beyond their types; every refusal is a problem whose sentence names the field."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mgmt_api.domain.settings import Settings
from mgmt_contract.messages.uploads import Content, IndexFile, StartItem
from mgmt_contract.names import InvalidNameError, join_key
from mgmt_contract.parts import INDEX_SIZE_MAX_BYTES, ITEMS_MAX, OBJECT_SIZE_MAX_BYTES
from mgmt_contract.problems import ProblemError
from mgmt_contract.restoring import DAYS_MAX
from mgmt_contract.storage import InvalidTagError, check_tags
from mgmt_contract.texts import GLOBS_MAX_BYTES, TEXT_MAX_BYTES, globs_size, holds_control_character, is_short

LABEL_MAX_CHARACTERS: Final = 200
CRC64_BYTES: Final = 8
MD5_BYTES: Final = 16
COUNT_MAX: Final = 2**53 - 1
"""Largest whole number that every JSON reader keeps exactly."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = re.compile(r"(blake3|sha256):[0-9a-f]{64}")
_ERROR_CODE = re.compile(r"[a-z0-9-]{1,64}")
_KEY_TEXTS: Final = frozenset({"name", "prefix"})
"""Fields of a start that become a key; the key's own rules refuse control characters with a better sentence."""


def is_operation_id(text: str) -> bool:
    """Tell whether a text can be an operation's id: a UUID in lower case."""
    return _UUID.fullmatch(text) is not None


def check_count(field: str, count: int, *, at_least: int = 1) -> None:
    """Refuse a list that is too short or too long.

    Raises:
        ProblemError: invalid-request.
    """
    _require(at_least <= count <= ITEMS_MAX, f"{field} holds {count}, expected {at_least} to {ITEMS_MAX}")


def check_operation_id(operation_id: str) -> None:
    """Refuse an operation's id that is no UUID.

    Raises:
        ProblemError: invalid-request.
    """
    _require(is_operation_id(operation_id), "operation_id is no UUID in lower case")


def check_path(field: str, path: str) -> None:
    """Refuse a path that is empty.

    Raises:
        ProblemError: invalid-request.
    """
    _require(path != "", f"{field} is empty")


def check_amount(field: str, amount: int) -> None:
    """Refuse a number of bytes that is none.

    Raises:
        ProblemError: invalid-request.
    """
    _check_number(field, amount)


def check_days(days: int) -> None:
    """Refuse a number of days that no restored copy stays.

    Raises:
        ProblemError: invalid-request.
    """
    _require(1 <= days <= DAYS_MAX, f"days is {days}, expected 1 to {DAYS_MAX}")


def check_machine_id(machine_id: str) -> None:
    """Refuse a machine id that is no UUID.

    Raises:
        ProblemError: invalid-request.
    """
    _require(is_operation_id(machine_id), "machine_id is no UUID in lower case")


def check_texts(message: object, field: str = "") -> None:
    """Refuse a text that is too long as JSON or holds a control character, anywhere in a message.

    The text is not repeated in the problem; `field` names the message where it is part of another.

    Raises:
        ProblemError: invalid-request.
    """
    key_texts = _KEY_TEXTS if isinstance(message, StartItem) else ()
    for place, text in _find_texts(field, message):
        _require(is_short(text), f"{place} is longer than {TEXT_MAX_BYTES} bytes, as JSON writes it")
        _require(
            place in key_texts or not holds_control_character(text),
            f"{place} holds a control character; write it out, as in \\n",
        )


def _find_texts(field: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, Mapping):
        for text in (*value.keys(), *value.values()):
            yield from _find_texts(field, text)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _find_texts(field, item)
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            yield from _find_texts(f"{field}.{each.name}".lstrip("."), getattr(value, each.name))


def check_start_item(item: StartItem, storage_classes: Sequence[str]) -> None:
    """Refuse an upload that makes no sense.

    Args:
        item: The upload.
        storage_classes: Those that the storage has.

    Raises:
        ProblemError: invalid-request or too-large.
    """
    check_operation_id(item.operation_id)
    _require(
        (item.content is None) != (item.upper_bound is None),
        "exactly one of content and upper_bound is to be given",
    )
    if item.content is not None:
        check_content(item.content)
    else:
        _check_object_size("upper_bound", item.upper_bound or 0)
    if item.content_md5 is not None:
        _require(item.content is not None, "content_md5 is given without content")
        _check_base64("content_md5", item.content_md5, MD5_BYTES)
    _check_source(item)
    _check_label("packing.codec", item.packing.codec)
    _check_label("packing.plan", item.packing.plan)
    _check_storage(item, storage_classes)


def check_content(content: Content) -> None:
    """Refuse malformed sizes, checksums and digests.

    Raises:
        ProblemError: invalid-request or too-large.
    """
    _check_object_size("content.size", content.size)
    check_checksum("content.crc64nvme", content.crc64nvme)
    _require(
        _DIGEST.fullmatch(content.content_digest) is not None,
        "content.content_digest is not blake3: (or sha256:) and 64 hexadecimal digits",
    )
    _check_number("content.uncompressed_size", content.uncompressed_size)
    _check_number("content.member_count", content.member_count)


def check_index(index: IndexFile) -> None:
    """Refuse an index that is empty or too large, or whose checksum is malformed.

    Raises:
        ProblemError: invalid-request or too-large.
    """
    _require(index.size > 0, f"index.size is {index.size}, expected 1 or more")
    if index.size > INDEX_SIZE_MAX_BYTES:
        raise ProblemError(
            "too-large",
            f"index.size is {index.size} bytes, this service takes at most {INDEX_SIZE_MAX_BYTES}. Upload the archive "
            "without an index.",
        )
    check_checksum("index.crc64nvme", index.crc64nvme)


def check_checksum(field: str, text: str) -> None:
    """Refuse a checksum that is not the base64 of eight bytes as S3 writes it.

    Raises:
        ProblemError: invalid-request.
    """
    _check_base64(field, text, CRC64_BYTES)


def check_error_code(text: str) -> None:
    """Refuse a malformed error code.

    Raises:
        ProblemError: invalid-request.
    """
    _require(
        _ERROR_CODE.fullmatch(text) is not None,
        "error_code is not 1 to 64 lower-case letters, digits and hyphens",
    )


def make_key(settings: Settings, item: StartItem) -> str:
    """Join an upload's object key.

    Raises:
        ProblemError: invalid-name, with the reason.
    """
    try:
        key = join_key(settings.root_prefix, item.prefix, item.name)
    except InvalidNameError as error:
        raise ProblemError("invalid-name", f"{error}. Choose another name with --as or another --prefix.") from error
    longest = max(len(part.encode()) for part in key.split("/"))
    if settings.key_part_max_bytes is not None and longest > settings.key_part_max_bytes:
        raise ProblemError(
            "invalid-name",
            f"A part of the key {key} has {longest} bytes; this storage takes at most {settings.key_part_max_bytes}. "
            "Choose a shorter name with --as or another --prefix.",
        )
    return key


def _check_source(item: StartItem) -> None:
    source = item.source_file_record
    _require(source.location == "local", "source_file_record.location is not local")
    _check_number("source_file_record.size", source.size)
    texts = {
        "target_path": item.target_path,
        "compressed_file_path": item.compressed_file_path,
        "source_file_record.name": source.name,
        "source_file_record.path": source.path,
    }
    for field, text in texts.items():
        _require(text != "", f"{field} is empty")
    size = globs_size(item.excludes)
    _require(size <= GLOBS_MAX_BYTES, f"excludes take {size} bytes, expected {GLOBS_MAX_BYTES} at most")


def _check_storage(item: StartItem, storage_classes: Sequence[str]) -> None:
    if item.storage_class is not None:
        known = ", ".join(storage_classes)
        _require(item.storage_class in storage_classes, f"storage_class is none that this storage has: {known}")
    try:
        check_tags(item.tags)
    except InvalidTagError as error:
        raise ProblemError("invalid-request", f"{error}.") from error


def _check_object_size(field: str, size_bytes: int) -> None:
    _require(size_bytes >= 0, f"{field} is {size_bytes}, expected 0 or more")
    if size_bytes > OBJECT_SIZE_MAX_BYTES:
        raise ProblemError(
            "too-large",
            f"{field} is {size_bytes} bytes, S3 takes at most {OBJECT_SIZE_MAX_BYTES}. Upload it in pieces.",
        )


def _check_base64(field: str, text: str, length: int) -> None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    right = len(raw) == length and base64.b64encode(raw).decode() == text
    _require(right, f"{field} is not the base64 of {length} bytes")


def _check_number(field: str, number: int) -> None:
    _require(0 <= number <= COUNT_MAX, f"{field} is {number}, expected 0 to {COUNT_MAX}")


def _check_label(field: str, text: str) -> None:
    _require(0 < len(text) <= LABEL_MAX_CHARACTERS, f"{field} is not 1 to {LABEL_MAX_CHARACTERS} characters")


def _require(right: bool, sentence: str) -> None:
    if not right:
        raise ProblemError("invalid-request", f"{sentence}.")
