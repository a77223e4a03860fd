"""The subjects under which each person's name was recorded, in the table beside the operations.

They let one index serve a person's history by subject and by name: an index costs a write unit for each operation, and
such an item is written once. Of a table that held operations before its people were noted, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mgmt_api.adapters.items import LOST_RACES_MAX, Items
from mgmt_api.adapters.table import PEOPLE_KEY, SUBJECTS_MAX, Item, person_item, person_key
from mgmt_api.ports import ConflictError, RecordsUnavailableError
from mgmt_contract.names import fold_person

KNOWN_MAX: Final = 10_000
"""Of so many pairs of name and subject a process remembers that they are stored."""


class People:
    """Notes and finds the subjects of people's names; may be used from several threads.

    Args:
        items: The table's.
        is_empty: Tells whether the table holds no operation.
    """

    def __init__(self, items: Items, is_empty: Callable[[], bool]) -> None:
        self._items = items
        self._is_empty = is_empty
        self._known: set[tuple[str, str]] = set()

    def note(self, actor: str, actor_id: str) -> None:
        """Store that a name is this subject's; called before the first operation of the two is stored.

        A pair costs a write once, and a read in each process that meets it.

        Raises:
            RecordsUnavailableError: If it cannot be stored now.
        """
        pair = (fold_person(actor), actor_id)
        if pair in self._known:
            return
        for _ in range(LOST_RACES_MAX):
            if self._is_noted(actor, actor_id):
                break
        else:
            raise RecordsUnavailableError(f"the name of {actor_id} is being noted by too many at once")
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known.add(pair)

    def find_subjects(self, actor: str) -> list[str] | None:
        """Return the subjects of a name; None where they are too many, or not sure to be all."""
        person, are_all_noted = self._read(actor)
        subjects: list[str] = person.get("subjects", [])
        return subjects if are_all_noted and len(subjects) <= SUBJECTS_MAX else None

    def _is_noted(self, actor: str, actor_id: str) -> bool:
        """Read a name's subjects and add one where it is new; False where another call has changed them meanwhile."""
        person, are_all_noted = self._read(actor)
        subjects, revision = person.get("subjects", []), int(person.get("revision", 0))
        try:
            if not are_all_noted and self._is_empty():
                self._items.put(PEOPLE_KEY | {"revision": 1}, over_revision=0)
            if actor_id not in subjects and len(subjects) <= SUBJECTS_MAX:
                self._items.put(person_item(actor, [*subjects, actor_id], revision + 1), over_revision=revision)
        except ConflictError:
            return False
        return True

    def _read(self, actor: str) -> tuple[Item, bool]:
        """Read a name's item, empty where there is none, and whether people were noted from the first operation on."""
        items = {item["sk"]: item for item in self._items.get([person_key(actor), PEOPLE_KEY])}
        return items.get(person_key(actor)["sk"], {}), PEOPLE_KEY["sk"] in items
