"""What commands were told to upload: written down before anything is looked at, and crossed out when it has ended.

By these orders `mgmt resume` finishes a whole command that was stopped, also what it had not come to. An upload that
fails for a cause that can pass stays an order; one that needs another command does not.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mgmt.errors import IntegrityError, MgmtError
from mgmt.journal import Entry, Order, has_newer_options, name_of_run, new_operation_id
from mgmt.session import Session
from mgmt.source import place_of
from mgmt.upload.job import Job, UploadOptions
from mgmt_contract.messages.uploads import Packing
from mgmt_contract.values import Value
from mgmt_contract.wire import MessageError, from_json

_PASSING_CODES: Final = frozenset(
    {"source-changed", "source-unreadable", "archive-unreadable", "name-reserved", "busy-here", "lease-lost"}
)
"""Of errors that concern one target alone: the same upload may succeed later. All others need another command."""
_PATHS: Final = ("archive_dir", "completed_dir")
_OF_A_RUN: Final = ("cache_dir", "jobs")
"""Options that are the machine's or the run's own, so that a later run has others."""


class Errand(Value):
    """Targets that are uploaded in the same way."""

    targets: Sequence[str]
    options: UploadOptions
    shown_base: Path
    """Folder that paths in the team's records are relative to."""

    def place(self, target: str) -> tuple[str, str]:
        """Say what tells a target's order from others: its path, and where it is to be stored."""
        path = place_of(target)
        return os.fspath(path), f"{self.options.prefix}/{self.options.as_name or path.name}"


class Orders:
    """The orders of one run; for any thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ended: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @contextmanager
    def keeping(self, errands: Sequence[Errand]) -> Iterator[None]:
        """Have what is to be done in the journal until it has ended, and at the end what has not.

        Raises:
            LocalStateError: If the journal cannot be used.
        """
        journal, run_id = self._session.journal, new_operation_id()
        with journal.hold(name_of_run(run_id), "run"):
            orders = [order for errand in errands for order in self._make(errand, run_id)]
            if orders:
                journal.take_orders(orders)
            try:
                yield
            finally:
                with self._lock:
                    ended, self._ended = [place for place in self._ended if _is_text(place[1])], []
                if ended:
                    journal.end_orders(self._session.service_url, ended)

    def end(self, place: tuple[str, str], error: MgmtError | None = None) -> None:
        """Note that there is nothing left to do for an order, unless its failure can pass."""
        if error is None or not can_pass(error):
            with self._lock:
                self._ended.append(place)

    def end_job(self, job: Job, error: MgmtError | None = None) -> None:
        """Note the same of a job's."""
        self.end((os.fspath(job.source.path), job.destination), error)

    def _make(self, errand: Errand, run_id: str) -> list[Order]:
        options, places = write_options(errand), map(errand.place, errand.targets)
        return [Order(self._session.service_url, *place, options, run_id) for place in places if _is_text(place[1])]


def can_pass(error: MgmtError) -> bool:
    """Tell whether the very same upload may succeed another time."""
    return error.stops_everything or isinstance(error, IntegrityError) or error.code in _PASSING_CODES


def _is_text(destination: str) -> bool:
    """Tell whether a name is text; what is none is refused, so nothing of it is ever left to do."""
    try:
        destination.encode()
    except UnicodeEncodeError:
        return False
    return True


def write_options(errand: Errand) -> str:
    """Write down how an errand's targets are uploaded."""
    values = {name: getattr(errand.options, name) for name in _NAMES}
    # A later run may be in another folder.
    values |= {name: os.path.abspath(values[name]) for name in _PATHS if values[name] is not None}  # noqa: PTH100  links stay links
    values["tags"] = dict(errand.options.tags)
    return json.dumps({**values, "shown_base": os.fspath(errand.shown_base)}, sort_keys=True)


def read_options(order: Order, cache_dir: Path | None, jobs: int | None) -> tuple[UploadOptions, Path] | None:
    """Read how an order is to be uploaded, and what its paths are shown relative to; None where that is damaged."""
    try:
        values: dict[str, Any] = json.loads(order.options)
        shown_base = Path(values.pop("shown_base"))
        values |= {name: Path(values[name]) for name in _PATHS if values[name] is not None}
        values["excludes"] = tuple(values["excludes"])
        return UploadOptions(**values, cache_dir=cache_dir, jobs=jobs), shown_base
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def is_newer(order: Order) -> bool:
    """Tell whether a newer mgmt has written an order."""
    return has_newer_options(order, {*_NAMES, "shown_base"})


def order_of(entry: Entry, shown_base: Path, cache_dir: Path | None) -> Order:
    """Make the order that an upload without one must have come of, as far as its entry tells."""
    prefix, _, name = entry.destination.rpartition("/")
    source, folder = Path(entry.source_path), Path(entry.archive_path).parent
    is_elsewhere = folder != source.parent and (cache_dir is None or not folder.is_relative_to(cache_dir))
    try:
        plan = from_json(Packing, entry.plan).plan
    except MessageError:
        plan = "auto"
    options = UploadOptions(
        prefix=prefix,
        as_name=name if name != source.name else None,
        excludes=entry.excludes,
        plan=plan,
        archive_dir=folder if is_elsewhere else None,
    )
    errand = Errand([entry.source_path], options, shown_base)
    return Order(entry.service, entry.source_path, entry.destination, write_options(errand), entry.operation_id)


_NAMES: Final = tuple(name for name in UploadOptions.__annotations__ if name not in _OF_A_RUN)
