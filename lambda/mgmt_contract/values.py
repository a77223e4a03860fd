"""Base of the contract's messages: dataclasses that never change and that cost little to import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, dataclass_transform


class _Shape(NamedTuple):
    """What the constructor of a class must know of its fields."""

    names: tuple[str, ...]
    """In the order of the fields."""
    every: frozenset[str]
    """The same names."""
    defaults: Mapping[str, object]
    factories: Mapping[str, Callable[[], object]]


_SHAPES: Final[dict[type, _Shape]] = {}
"""Of the classes of which there was a value."""


def _learn_shape(kind: type[Value]) -> _Shape:
    every = fields(kind)
    defaults = {each.name: each.default for each in every if each.default is not MISSING}
    factories = {each.name: each.default_factory for each in every if each.default_factory is not MISSING}
    names = tuple(each.name for each in every)
    shape = _SHAPES[kind] = _Shape(names, frozenset(names), defaults, factories)
    return shape


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Value:
    """A value that stays as it was made; two are the same where their class and their fields are.

    To derive from this is to be a frozen dataclass: `fields`, `replace` and pydantic take it for one, and a type
    checker refuses an assignment. What differs is the price. For `dataclass(frozen=True)` the standard library
    writes six functions as text and compiles them anew in every process, which under Python 3.11 takes 1 ms a
    class: with the eighty or so that a command imports, more than a third of all it does before its first request.
    Here all classes share the functions below, and each takes a tenth of that.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls) -> None:
        """Make a dataclass of the class."""
        super().__init_subclass__()
        dataclass(init=False, repr=False, eq=False)(cls)

    def __init__(self, *values: object, **named: object) -> None:
        """Take the fields, in their order or by name."""
        kind = type(self)
        names, every, defaults, factories = _SHAPES.get(kind) or _learn_shape(kind)
        content = vars(self)
        content.update(zip(names, values, strict=False))
        content.update(named)
        given_count = len(content)
        if given_count < len(names):
            for name, default in defaults.items():
                content.setdefault(name, default)
            for name, make in factories.items():
                if name not in content:
                    content[name] = make()
        if content.keys() != every or given_count != len(values) + len(named):
            raise _misfit(kind, values, named)

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return self._content() == other._content() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content())

    def __repr__(self) -> str:
        shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _content(self) -> tuple[object, ...]:
        return tuple(getattr(self, each.name) for each in fields(self))


class StrictValue(Value):
    """A value that stands in requests: the service refuses a field of it that it does not know."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": False}
    """Read by the service's validation; a plain dictionary needs no import."""


def _misfit(kind: type[Value], values: tuple[object, ...], named: Mapping[str, object]) -> TypeError:
    """Make the error for values that are not those of the fields."""
    names, _, defaults, factories = _learn_shape(kind)
    given = [*names[: len(values)], *named]
    wrong = {
        "missing": [name for name in names if name not in {*given, *defaults, *factories}],
        "unknown": [name for name in named if name not in names],
        "given twice": [name for name in named if name in names[: len(values)]],
        "too many": [repr(value) for value in values[len(names) :]],
    }
    said = "; ".join(f"{what}: {', '.join(which)}" for what, which in wrong.items() if which)
    return TypeError(f"{kind.__name__}: {said}")
