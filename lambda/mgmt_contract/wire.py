"""JSON both ways for the contract's dataclasses.

Readers ignore fields they do not know. Times are ISO-8601 in UTC with milliseconds and "Z". The service
validates requests with pydantic instead, which refuses unknown fields; this module needs the standard
library only.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

T = TypeVar("T")


class MessageError(ValueError):
    """JSON that is not the expected message; the sentence names the field."""


def format_time(moment: datetime) -> str:
    """Write an aware time as the contract does.

    Raises:
        ValueError: If the time is naive.

    >>> format_time(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    '2026-01-02T03:04:05.678Z'
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Read an ISO-8601 time with a zone.

    Raises:
        ValueError: If the text is no time or has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)


def to_plain(value: Any) -> Any:
    """Turn a contract value into dictionaries, lists, strings, numbers, booleans and None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def to_json(value: Any) -> str:
    """Write a contract value as one line of JSON."""
    return json.dumps(to_plain(value), separators=(",", ":"), ensure_ascii=False)


def from_plain(kind: type[T], data: Any) -> T:
    """Build a contract value from what `json.loads` gave.

    Raises:
        MessageError: If a field is missing or has the wrong type.
    """
    return typing.cast("T", _build(kind, data, kind.__name__))


def from_json(kind: type[T], text: str | bytes) -> T:
    """Read a contract value from JSON.

    Raises:
        MessageError: If the text is no JSON, or not the expected message.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise MessageError(f"no JSON where {kind.__name__} was expected: {error}") from error
    return from_plain(kind, data)


def _build(kind: Any, data: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast("type[Any]", kind), data, where)
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _build_union(arguments, data, where)
    if origin is typing.Literal:
        return _expect(data in arguments, data, where, f"one of {', '.join(map(repr, arguments))}")
    if origin in (list, tuple):
        _expect(isinstance(data, list), data, where, "a list")
        return origin(_build(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(data))
    if origin is dict:
        _expect(isinstance(data, dict), data, where, "an object")
        return {key: _build(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    return _build_scalar(kind, data, where)


def _build_dataclass(kind: type[Any], data: Any, where: str) -> Any:
    _expect(isinstance(data, dict), data, where, "an object")
    values = {}
    for field, hint in _fields_of(kind):  # type: ignore[arg-type]  # a class is hashable
        if field.name in data:
            values[field.name] = _build(hint, data[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise MessageError(f"{where}.{field.name} is missing")
    return kind(**values)


def _build_union(arguments: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in arguments:
        return None
    *first_kinds, last_kind = [argument for argument in arguments if argument is not type(None)]
    for kind in first_kinds:
        try:
            return _build(kind, data, where)
        except MessageError:
            continue
    return _build(last_kind, data, where)


def _build_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is datetime:
        _expect(isinstance(data, str), data, where, "a time")
        try:
            return parse_time(data)
        except ValueError as error:
            raise MessageError(f"{where} is {data!r}, expected a time with a zone") from error
    right = isinstance(data, kind) and not (kind is int and isinstance(data, bool))
    return _expect(right, data, where, kind.__name__)


def _expect(right: bool, data: Any, where: str, expected: str) -> Any:
    if not right:
        raise MessageError(f"{where} is {data!r:.100}, expected {expected}")
    return data


@functools.cache
def _fields_of(kind: type[Any]) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))
