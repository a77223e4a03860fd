"""The people whom the embedded backend knows: anybody with a name."""

from __future__ import annotations

import contextlib
import getpass
import uuid
from typing import Final

from mgmt_contract.values import Value
from mgmt_local.errors import BadNameError

MEMBER_GROUP: Final = "members"
ADMIN_GROUP: Final = "admins"
_NAME_LENGTH_MAX: Final = 128
_SUBJECTS: Final = uuid.UUID("6d676d74-6c6f-4361-8c70-656f706c6521")
"""The namespace of the subjects: any fixed UUID does."""


class Person(Value):
    """A person of the embedded backend; the same name is always the same person."""

    name: str
    is_admin: bool = False

    @property
    def subject(self) -> str:
        """The person's id in tokens and records."""
        return str(uuid.uuid5(_SUBJECTS, self.name))

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, as a pool of the stack has them."""
        return (MEMBER_GROUP, ADMIN_GROUP) if self.is_admin else (MEMBER_GROUP,)


def check_person(name: str, *, is_admin: bool = False) -> Person:
    """Return the person of a name.

    Raises:
        BadNameError: If the name is empty, too long or not printable.
    """
    if not (name and name.isprintable() and name == name.strip() and len(name) <= _NAME_LENGTH_MAX):
        raise BadNameError(
            f"{name!r} cannot be a person's name: expected 1 to {_NAME_LENGTH_MAX} printable characters, "
            "none of them a space at either end"
        )
    return Person(name, is_admin)


def find_owner() -> Person:
    """Return this machine's user, who is an admin here."""
    name = ""
    with contextlib.suppress(OSError, KeyError, ImportError):
        name = getpass.getuser().strip()[:_NAME_LENGTH_MAX]
    return Person(name or "local", is_admin=True)
