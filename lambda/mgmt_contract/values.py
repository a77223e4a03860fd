"""Base of the contract's messages: dataclasses that never change and that cost little to import."""

from __future__ import annotations

from dataclasses import Field, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Value:
    """A value that stays as it was made; two are the same where their class and their fields are.

    To derive from this is to be a frozen dataclass: `fields`, `replace` and pydantic take it for one, and a type
    checker refuses an assignment. What differs is the price. For `dataclass(frozen=True)` the standard library
    writes six functions as text and compiles them anew in every process, which under Python 3.11 takes 1 ms a
    class: with the fifty or so that a command imports, a quarter of all it does before its first request. Here
    the constructor alone is made that way, and the others are these.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls) -> None:
        """Make a dataclass of the class."""
        super().__init_subclass__()
        dataclass(repr=False, eq=False)(cls)

    def __setattr__(self, name: str, value: object) -> None:
        """Take each field once, from the constructor."""
        if name in vars(self) or name not in self.__dataclass_fields__:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        vars(self)[name] = value

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
