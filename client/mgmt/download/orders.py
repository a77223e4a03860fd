"""Orders of downloads: the names that a command was given, in the journal until their downloads have ended.

With them `mgmt resume` finishes a whole command that was stopped, and `mgmt cancel` finds what it has fetched.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mgmt.archive.rules import OVER_LIMIT
from mgmt.download.left_over import find_left_over
from mgmt.download.wanted import DownloadOptions, Wanted
from mgmt.errors import IntegrityError, MgmtError, TargetExistsError, UsageError
from mgmt.journal import DownloadOrder, has_newer_options, name_of_run, new_operation_id
from mgmt.session import Session
from mgmt.text import read_path, show_path
from mgmt_contract.records import DownloadRecord, OperationRecord, UploadRecord
from mgmt_contract.texts import fit_text, may_be_cut

_log: Final = logging.getLogger(__name__)
_NAMES: Final = frozenset({"extracts", "only", "replaces", "lifts_limits", "version_id", "shown_base"})
"""What is in an order's options (`has_newer_options`)."""


class Orders:
    """The orders of one run."""

    def __init__(self, session: Session, options: DownloadOptions, shown_base: Path) -> None:
        self._session = session
        self._folder = os.path.abspath(options.folder)  # noqa: PTH100  links stay links
        self._way = (options.extracts, options.only)
        self._options = write_options(options, shown_base)
        self._given_seconds = options.given_seconds
        self._run_id = new_operation_id()

    @contextmanager
    def keeping(self, names: Sequence[str]) -> Iterator[None]:
        """Write the orders of these names into the journal; while the context lasts they belong to a running command.

        Raises:
            LocalStateError: If the journal cannot be used.
        """
        with self._session.journal.hold(name_of_run(self._run_id), "run"):
            self._session.journal.take_download_orders(order for name in names for order in self._make(name))
            yield

    def note_upload(self, name: str, upload_id: str) -> None:
        """Note which upload a name means: a later run continues that one, whatever the name means by then."""
        orders = [replace(order, upload_id=upload_id) for order in self._make(name)]
        self._session.journal.take_download_orders(orders)

    def end(self, name: str, error: MgmtError | None = None) -> None:
        """Note that there is nothing left to do for a name, unless its failure can pass."""
        if error is None or not _can_pass(error):
            self._session.journal.end_download_orders(self._make(name))

    def end_come(self, wanted: Wanted) -> None:
        """Note that a download has succeeded.

        What has come to a place ends what earlier commands were to put there, whatever else they said: they may have
        meant an older upload, and would replace it.
        """
        earlier = [*self._earlier(wanted)]
        self._session.journal.end_download_orders([*self._make(wanted.name), *earlier])

    def _earlier(self, wanted: Wanted) -> Iterator[DownloadOrder]:
        """Find the orders of ended commands for the same, or for the same place, where they would replace it."""
        journal, folder, others = self._session.journal, os.path.realpath(self._folder), list[DownloadOrder]()
        for order in journal.download_orders(self._session.service_url):
            read = read_options(order)
            if read is None or os.path.realpath(order.folder) != folder or journal.is_running(order.run_id):
                continue
            is_same_upload = order.upload_id == wanted.upload.operation_id
            is_same_way = (read[0].extracts, read[0].only) == self._way
            if is_same_way and (is_same_upload or order.name == wanted.name):
                yield order
            elif read[0].replaces and not is_same_upload and order.upload_id is not None:
                others.append(order)
        uploads = self._find_uploads(others)
        for order in others:
            upload, read = uploads.get(order.upload_id or ""), read_options(order)
            if isinstance(upload, UploadRecord) and read is not None and wanted.has_place_of(upload, read[0]):
                yield order

    def _find_uploads(self, orders: Sequence[DownloadOrder]) -> Mapping[str, OperationRecord]:
        ids = sorted({order.upload_id for order in orders if order.upload_id is not None})
        try:
            return self._session.api.find_records(ids) if ids else {}
        except MgmtError as error:  # what has come has come
            _log.info("Where earlier commands were to put something is not known: %s", error.message)
            return {}

    def _make(self, name: str) -> list[DownloadOrder]:
        """Make the order of a name; none of a name that is no text, as no upload has one."""
        try:
            name.encode()
        except UnicodeEncodeError:
            return []
        service = self._session.service_url
        order = DownloadOrder(service, self._folder, name, self._options, self._run_id, None, self._given_seconds)
        return [order]


def _can_pass(error: MgmtError) -> bool:
    """Tell whether the same download may succeed another time."""
    if isinstance(error, (TargetExistsError, UsageError)) or error.code == OVER_LIMIT:  # another command is needed
        return False
    return error.stops_everything or isinstance(error, IntegrityError) or error.code == "busy-here"


def write_options(options: DownloadOptions, shown_base: Path) -> str:
    """Write down how downloads are made."""
    values = {
        "extracts": options.extracts,
        "only": options.only,
        "replaces": options.replaces,
        "lifts_limits": options.lifts_limits,
        "version_id": options.version_id,
        "shown_base": os.fspath(shown_base),
    }
    return json.dumps(values, sort_keys=True)


def read_options(order: DownloadOrder, jobs: int | None = None) -> tuple[DownloadOptions, Path] | None:
    """Read an order's options, and the folder that paths are shown relative to; None where they are damaged."""
    try:
        values: dict[str, Any] = json.loads(order.options)
        shown_base = Path(values.pop("shown_base"))
        values["only"] = tuple(values["only"])
        return DownloadOptions(folder=Path(order.folder), jobs=jobs, **values), shown_base
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def is_newer(order: DownloadOrder) -> bool:
    """Tell whether a newer mgmt has written an order."""
    return has_newer_options(order, _NAMES)


def is_order_of(order: DownloadOrder, record: DownloadRecord) -> bool:
    """Tell whether a download and an order are the same: one upload, to one place."""
    read = read_options(order)
    if read is None or order.upload_id != record.upload_id:
        return False
    place = place_in(order, record)
    if fit_text(show_path(os.fspath(place), read[1])) != record.target_path:
        return False
    # Of a path that was cut only the ends are the same; what lies there names the operation that it is of.
    return not may_be_cut(record.target_path) or find_left_over(place.parent, record.operation_id) is not None


def place_in(order: DownloadOrder, record: DownloadRecord) -> Path:
    """Return the place of an order's download."""
    return Path(order.folder) / Path(read_path(record.target_path)).name
