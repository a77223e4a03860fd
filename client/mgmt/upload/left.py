"""What is left to do on this machine: begun uploads that have not ended, and orders that no run has come to."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mgmt.errors import UsageError
from mgmt.journal import Entry, Order
from mgmt.session import Session
from mgmt.source import place_of
from mgmt.text import printable, shown
from mgmt.upload.orders import order_of
from mgmt_contract.names import archive_name
from mgmt_contract.records import DownloadRecord
from mgmt_contract.values import Value

_LISTED_MAX: Final = 20


class Left(Value):
    """One upload that is left to do."""

    order: Order
    entry: Entry | None = None
    """What is known of it, if it was begun."""

    @property
    def source_path(self) -> str:
        """The source's path."""
        return self.order.source_path

    @property
    def operation_id(self) -> str | None:
        """Its id; None where it was not begun."""
        return self.entry.operation_id if self.entry is not None else None

    @property
    def is_remains(self) -> bool:
        """Whether it is over, and only its archive is left: an order of its source is a later upload's."""
        return self.entry is not None and self.entry.ended_as == "left" and self.entry.completed_path is None

    @property
    def name(self) -> str:
        """What a person names it by in a shell."""
        return shlex.quote(printable(self.operation_id or self.source_path))

    def is_named(self, name: str) -> bool:
        """Tell whether a name means it: its id, its source's path, or its name or key."""
        if self.operation_id is not None and name.lower() == self.operation_id:
            return True
        destination = _composed(self.order.destination)
        keys = {destination, archive_name(destination)}
        last = {each.rpartition("/")[2] for each in keys}
        return self.source_path == os.fspath(place_of(name)) or _composed(name) in keys | last


def _composed(name: str) -> str:
    """Write a key without the slashes at its ends, and its accented letters as the service does."""
    return unicodedata.normalize("NFC", name.strip("/"))


def find_left(session: Session, shown_base: Path, cache_dir: Path | None) -> list[Left]:
    """Find what is left to do for the session's service: the oldest first, and what was begun before what was not.

    Raises:
        LocalStateError: If the journal cannot be used.
    """
    journal, url = session.journal, session.service_url
    orders = {(each.source_path, each.destination): each for each in journal.orders(url)}
    begun = {(each.source_path, each.destination): each for each in journal.unfinished(url)}
    left = [Left(orders.get(place) or order_of(entry, shown_base, cache_dir), entry) for place, entry in begun.items()]
    return left + [Left(order) for place, order in orders.items() if place not in begun]


def choose_named(
    left: Sequence[Left], name: str, command: str, downloads: Sequence[DownloadRecord] = ()
) -> Left | None:
    """Choose what a name means among what is left here; None where it means nothing of it.

    Args:
        left: Uploads that are left to do.
        name: What a person has named.
        command: What is named with each, where there are several.
        downloads: Unfinished downloads that the name fits too.

    Raises:
        UsageError: If it means several.
    """
    here = [each for each in left if each.is_named(name)]
    count = len(here) + len(downloads)
    if here and count > 1:
        ways = [f"{shown(each.source_path)} (`{command} {each.name}`)" for each in here]
        ways += [f"the download to {each.target_path} (`{command} {each.operation_id}`)" for each in downloads]
        more = f" and {count - _LISTED_MAX} more" if count > _LISTED_MAX else ""
        what = "unfinished uploads and downloads" if downloads else "uploads of this machine"
        listed = ", ".join(ways[:_LISTED_MAX])
        raise UsageError(f"'{shown(name)}' fits {count} {what}. Name one: {listed}{more}.", code="several-keys")
    return here[0] if here else None
