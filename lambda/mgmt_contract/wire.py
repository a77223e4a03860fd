"""JSON both ways for the contract's dataclasses.

Readers ignore fields they do not know, and take texts they do not know where one of several is expected (a status,
an outcome): a newer service must not break an installed client. Numbers and times outside what anything here can
mean are refused. Times are ISO-8601 in UTC with milliseconds and "Z". The service validates requests with pydantic
instead, which refuses unknown fields and texts; this module needs the standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")

COUNT_MAX: Final = 2**53 - 1
"""Largest whole number that every JSON reader keeps exactly; none in the contract is negative."""
YEARS: Final = range(1970, 3000)
"""Years that every system can show in every zone: Windows' `localtime` ends with the year 3000."""


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
        ValueError: If the text is no time, has no zone, or is of a year that nothing is recorded in.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    if moment.year not in YEARS:  # first: near the ends of time a zone's offset leads out of it
        raise ValueError(f"{text!r} is not in the years {YEARS.start} to {YEARS.stop - 1}")
    return moment.astimezone(UTC)


def to_plain(value: Any) -> Any:
    """Turn a contract value into dictionaries, lists, strings, numbers, booleans and None."""
    if value is None or type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    opened = _open(value)
    return {name: to_plain(item) for name, item in opened.items()} if isinstance(opened, dict) else opened


_PLAIN_TYPES: Final = frozenset({str, int, float, bool})


def to_json(value: Any) -> str:
    """Write a contract value as one line of JSON."""
    return _ENCODER.encode(value)


def _open(value: Any) -> Any:
    """Take one step from a value that JSON itself does not know; inner values are left as they are."""
    names = _names_of(type(value))  # type: ignore[arg-type]  # a class is hashable
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing that a contract value is made of")


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=_open)


@functools.cache
def _names_of(kind: type[Any]) -> tuple[str, ...] | None:
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def from_plain(kind: type[T], data: Any) -> T:
    """Build a contract value from what `json.loads` gave.

    Raises:
        MessageError: If a field is missing or has the wrong type.
    """
    try:
        return typing.cast("T", _make_reader(kind)(data))
    except _Misfit as misfit:
        raise MessageError(f"{kind.__name__}{''.join(misfit.way)} {misfit}") from misfit


def from_json(kind: type[T], text: str | bytes) -> T:
    """Read a contract value from JSON.

    Raises:
        MessageError: If the text is no JSON, or not the expected message.
    """
    try:
        data = _DECODER.decode(text.decode() if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"no JSON where {kind.__name__} was expected: {error}") from error
    return from_plain(kind, data)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


# --- readers: a type is examined once, since a message has a hundred items of the same --------------------------------


_Reader = Callable[[Any], Any]
"""Takes what `json.loads` gave and returns the value; _Misfit where it is none."""


class _Misfit(Exception):  # noqa: N818  it does not leave this module: MessageError does
    """Data of another type than expected; the path to it is joined only when it is shown."""

    def __init__(self, sentence: str, *way: str) -> None:
        super().__init__(sentence)
        self.way = list(way)


def _make_misfit(data: Any, expected: str) -> _Misfit:
    return _Misfit(f"is {_describe(data)}, expected {expected}")


def _describe(data: Any) -> str:
    """Say what data is, in few words however large it is."""
    if data and isinstance(data, (list, dict)):
        return "a list" if isinstance(data, list) else "an object"
    return f"{data[:100]!r:.100}" if isinstance(data, str) else f"{data!r:.100}"


def _make_reader(hint: Any) -> _Reader:
    if dataclasses.is_dataclass(hint):
        return partial(_read_dataclass, typing.cast("type[Any]", hint))
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _make_union_reader(arguments)
    if origin is typing.Literal:
        return partial(_read_literal, arguments)
    if origin in (list, tuple):
        return partial(_read_list, origin, _make_reader(arguments[0]))
    if origin is dict:
        return partial(_read_dict, _make_reader(arguments[1]))
    return _read_time if hint is datetime else partial(_read_scalar, hint)


def _make_union_reader(arguments: tuple[Any, ...]) -> _Reader:
    *special, other = [argument for argument in arguments if argument is not types.NoneType]
    reader = partial(_read_told_apart, special, other) if special else _make_reader(other)
    return partial(_read_optional, reader) if types.NoneType in arguments else reader


def _read_told_apart(special: list[type[Any]], other: type[Any], data: Any) -> Any:
    """Choose the class by the field that tells them apart, never by which one happens to fit."""
    kind = next((each for each in special if _is_told(each, data)), other)
    return _read_dataclass(kind, data)


def _is_told(kind: type[Any], data: Any) -> bool:
    name, value = kind.TOLD_BY
    return isinstance(data, dict) and data.get(name) == value


def _read_dataclass(kind: type[Any], data: Any) -> Any:
    if not isinstance(data, dict):
        raise _make_misfit(data, "an object")
    if hasattr(kind, "TOLD_BY") and kind.TOLD_BY[0] in data and not _is_told(kind, data):
        name, value = kind.TOLD_BY
        raise _Misfit(f"is {_describe(data[name])}, expected {value!r}", f".{name}")
    values = {}
    for name, read, is_required in _fields_of(kind):  # type: ignore[arg-type]  # a class is hashable
        if name in data:
            try:
                values[name] = read(data[name])
            except _Misfit as misfit:
                misfit.way.insert(0, f".{name}")
                raise
        elif is_required:
            raise _Misfit("is missing", f".{name}")
    return kind(**values)


@functools.cache
def _fields_of(kind: type[Any]) -> list[tuple[str, _Reader, bool]]:
    hints = typing.get_type_hints(kind)
    return [(field.name, _make_reader(hints[field.name]), _is_required(field)) for field in dataclasses.fields(kind)]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _read_optional(read: _Reader, data: Any) -> Any:
    return None if data is None else read(data)


def _read_literal(choices: tuple[str, ...], data: Any) -> Any:
    if isinstance(data, str):  # also one of tomorrow
        return data
    raise _make_misfit(data, f"one of {', '.join(map(repr, choices))}")


def _read_list(make: Callable[[list[Any]], Any], read: _Reader, data: Any) -> Any:
    if not isinstance(data, list):
        raise _make_misfit(data, "a list")
    values: list[Any] = []
    for item in data:
        try:
            values.append(read(item))
        except _Misfit as misfit:
            misfit.way.insert(0, f"[{len(values)}]")
            raise
    return make(values)


def _read_dict(read: _Reader, data: Any) -> Any:
    if not isinstance(data, dict):
        raise _make_misfit(data, "an object")
    values: dict[str, Any] = {}
    for key, item in data.items():
        try:
            values[key] = read(item)
        except _Misfit as misfit:
            misfit.way.insert(0, f".{key}")
            raise
    return values


def _read_time(data: Any) -> datetime:
    if not isinstance(data, str):
        raise _make_misfit(data, "a time")
    try:
        return parse_time(data)
    except ValueError as error:
        raise _make_misfit(data, "a time with a zone") from error


def _read_scalar(kind: type[Any], data: Any) -> Any:
    if type(data) is not kind:
        raise _make_misfit(data, kind.__name__)
    if kind is int and not 0 <= data <= COUNT_MAX:
        raise _make_misfit(data, f"a whole number from 0 to {COUNT_MAX}")
    return data
