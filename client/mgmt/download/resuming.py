"""Resumes the downloads of this machine that have not ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mgmt.download import download
from mgmt.download.orders import is_newer, is_order_of, read_options
from mgmt.download.results import Summary, not_begun
from mgmt.download.wanted import DownloadOptions
from mgmt.errors import LocalStateError, MgmtError, SourceError, written_by_newer
from mgmt.events import Finished, Notice
from mgmt.journal import DownloadOrder
from mgmt.session import Session
from mgmt.text import shown
from mgmt_contract.records import DownloadRecord, OperationRecord

FindVersion = Callable[[str, str | None], OperationRecord]
"""Finds the operation that a name, or a name's version, means."""


class Resuming:
    """One run that resumes downloads.

    Args:
        session: The wired organs.
        summary: Filled in as downloads end.
        jobs: Ranges at a time; None for the usual number.
    """

    def __init__(self, session: Session, summary: Summary, jobs: int | None) -> None:
        self._session = session
        self._summary = summary
        self._jobs = jobs
        self._orders = session.journal.download_orders(session.service_url)
        self._chosen: list[DownloadOrder] = []

    def take(self, record: OperationRecord) -> bool:
        """Choose the download of a record; tell whether it was begun here and has not ended."""
        order = next((each for each in self._orders if _is_download_of(each, record)), None)
        if order is not None and order not in self._chosen:
            self._chosen.append(order)
        return order is not None

    def resume(self, find: FindVersion, *, is_named: bool) -> None:
        """Make the downloads that were chosen if some were named, else all, each with its own command's options.

        Raises:
            MgmtError: For causes that stop everything. What was begun stays resumable.
        """
        orders = self._chosen if is_named else [each for each in self._orders if self._is_idle(each)]
        going: dict[tuple[str, str], tuple[list[DownloadOrder], DownloadOptions, Path]] = {}
        for order in orders:
            read = read_options(order, self._jobs)
            if is_newer(order):
                self._fail(order, written_by_newer(f"The journal's entry of the download of {order.name}"))
            elif read is None:
                message = (
                    f"The journal's entry of the download of {order.name} is damaged. Run its `mgmt download` again."
                )
                self._fail(order, LocalStateError(message, code="journal-damaged"))
            elif not os.path.isdir(order.folder):  # noqa: PTH112  False also where it may not be looked at
                message = (
                    f"'{shown(order.folder)}' is not there, so the download of {order.name} cannot go on. Plug its "
                    "disk in and run `mgmt resume` again; or give it up: `mgmt cancel ID`, with the ID that "
                    "`mgmt history --mine --type download` names."
                )
                self._fail(order, SourceError(message, code="no-folder"))
            else:
                together, *_ = going.setdefault((order.folder, order.options), ([], *read))
                together.append(order)
        for together, options, shown_base in going.values():
            self._download(together, options, shown_base, find)

    def _download(
        self, orders: Sequence[DownloadOrder], options: DownloadOptions, shown_base: Path, find: FindVersion
    ) -> None:
        meant = {each.name: each.upload_id for each in orders}
        given = [each.given_seconds for each in orders if each.given_seconds is not None]
        options = replace(options, given_seconds=min(given, default=None))
        find_one = partial(_find_meant, meant, options.version_id, find)
        download(list(meant), find_one, options, self._session, shown_base, self._summary)
        archived, self._summary.archived = self._summary.archived, {}
        for name, error in archived.items():
            self._summary.errors.append(error)
            self._session.emit(Finished(not_begun(name, error), error))

    def _is_idle(self, order: DownloadOrder) -> bool:
        if not self._session.journal.is_running(order.run_id):
            return True
        message = f"The download of {order.name} is left to another mgmt on this machine, which is running."
        self._session.emit(Notice(message, "busy-here"))
        return False

    def _fail(self, order: DownloadOrder, error: MgmtError) -> None:
        self._summary.errors.append(error)
        self._session.emit(Finished(not_begun(order.name, error), error))


def _is_download_of(order: DownloadOrder, record: OperationRecord) -> bool:
    return isinstance(record, DownloadRecord) and is_order_of(order, record)


def _find_meant(meant: dict[str, str | None], version_id: str | None, find: FindVersion, name: str) -> OperationRecord:
    """Find the upload that a name was found to mean when its download began; else what it means now."""
    upload_id = meant[name]
    return find(upload_id, None) if upload_id is not None else find(name, version_id)
