"""Looking at a command's targets, one after the other: what becomes a job, and what a person should know of it."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from mgmt.errors import SourceError
from mgmt.events import Notice, Waiting
from mgmt.service.replies import Limits
from mgmt.session import Session
from mgmt.source import SYSTEM_FILE, place_of
from mgmt.text import count_in_words, shown, size_in_words
from mgmt.upload.job import Job, UploadOptions, inspect_job, prepare_job
from mgmt_contract.names import fold_key

_SKIPPED_NAMED_MAX: Final = 20


class Preparation:
    """Turns the targets of one command into jobs."""

    def __init__(self, options: UploadOptions, session: Session, shown_base: Path, targets: Sequence[str]) -> None:
        self._options = options
        self._target_of_place = {place_of(target): target for target in targets}
        self._session = session
        self._shown_base = shown_base
        self._has_several = len(targets) > 1
        self._first_of_name: dict[str, Path] = {}
        self._nearly_full: set[Path] = set()

    def prepare(self, target: str) -> Job | None:
        """Make the job of a target, ready to go; None for a target that came before.

        Raises:
            MgmtError: If it cannot be uploaded; see `prepare_job`.
        """
        return self._look(target, prepare_job)

    def inspect(self, target: str) -> Job | None:
        """Make the job of a target only to look at it: nothing is held, removed or written down.

        Raises:
            MgmtError: If it could not be uploaded.
        """
        return self._look(target, inspect_job)

    def _look(self, target: str, make: Callable[..., Job]) -> Job | None:
        session = self._session
        if self._is_repeated(target):
            return None
        self._refuse_inside_moved(target)
        session.emit(Waiting(f"looking at {target}"))
        job = make(target, self._options, session.journal, session.service_url, self._shown_base)
        try:
            job.whole_max_bytes = self._find_limits().single_put_max_bytes
        except BaseException:
            job.held.close()
            raise
        self._say_skipped(job)
        for message in job.left_elsewhere:
            session.emit(Notice(message, "archive-not-deleted", job.operation_id))
        self._warn_of_full_disk(job)
        return job

    def _find_limits(self) -> Limits:
        """Ask the service for its limits where several targets may go in one call; a single one fits into any."""
        api = self._session.api
        return api.learn_limits() if self._has_several else api.limits

    def _is_repeated(self, target: str) -> bool:
        """Tell whether this very target came before in this command.

        Raises:
            SourceError: If another one of the same name did: they would be one object.
        """
        path = Path(os.path.abspath(target))  # noqa: PTH100  resolving would follow links
        # Names apart only by case are one to the service; what is not there takes no name away from others.
        is_there = os.path.exists(path)  # noqa: PTH110  Path.exists raises for what can be no name
        name = fold_key(self._options.as_name or path.name) if is_there else os.fspath(path)
        first = self._first_of_name.setdefault(name, path)
        if first is path:
            return False
        if place_of(first) == place_of(path):
            self._session.emit(Notice(f"{target} is named more than once; it is uploaded once.", "repeated"))
            return True
        raise SourceError(_explain_same_name(target, path, first), code="same-name")

    def find_outer(self, target: str) -> str | None:
        """Return the target that this one lies in and is to be moved with, if there is one."""
        if self._options.completed_dir is None:
            return None
        return next(filter(None, map(self._target_of_place.get, place_of(target).parents)), None)

    def _refuse_inside_moved(self, target: str) -> None:
        """Refuse a target inside another one that is to be moved with all that is in it.

        Raises:
            SourceError: With both.
        """
        outer = self.find_outer(target)
        if outer is not None:
            raise SourceError(
                f"'{shown(target)}' lies in '{shown(outer)}', which is uploaded whole and moved with all that is in "
                "it. Upload it in a command of its own before, or without --move-completed.",
                code="inside-another",
            )

    def _say_skipped(self, job: Job) -> None:
        """Name what a person might miss in the archive; system files nobody misses."""
        missed = [skipped for skipped in job.source.skipped if skipped.reason != SYSTEM_FILE][:_SKIPPED_NAMED_MAX]
        for path, reason in missed:
            self._session.emit(Notice(f"{path} is skipped: {reason}.", "skipped", job.operation_id))
        more = job.source.missed_count - len(missed)
        if more:
            entries = count_in_words(more, "more entry", "more entries")
            message = f"{entries} of {job.target_path} {'is' if more == 1 else 'are'} skipped."
            self._session.emit(Notice(message, "skipped", job.operation_id))

    def _warn_of_full_disk(self, job: Job) -> None:
        """Say before packing that archives may not fit, once for a folder; whether they do shows only when packed."""
        folder = job.archive_path.parent
        try:
            free_bytes = shutil.disk_usage(folder).free
        except OSError:
            return  # packing says what is wrong with the folder
        if job.archive is None and free_bytes < job.source.upper_bound_bytes and folder not in self._nearly_full:
            self._nearly_full.add(folder)
            where = "beside it" if folder == job.source.path.parent else f"in {shown(os.fspath(folder))}"
            message = (
                f"The archive of {job.target_path} may need {size_in_words(job.source.upper_bound_bytes)}, but "
                f"only {size_in_words(free_bytes)} are free {where}. Use --archive-dir DIR to put it on another "
                "disk."
            )
            self._session.emit(Notice(message, "disk-nearly-full", job.operation_id))


def _explain_same_name(target: str, path: Path, first: Path) -> str:
    way_out = "Upload it in a command of its own, with --as NAME or another --prefix."
    both = f"'{shown(target)}'", f"'{shown(os.fspath(first))}'"
    names = {unicodedata.normalize("NFC", each.name) for each in (path, first)}
    if len(names) > 1:
        return (
            f"The names of {both[0]} and {both[1]} differ only by capital and small letters; many systems cannot "
            f"keep two such names apart. {way_out}"
        )
    if path.name != first.name:
        return (
            f"The names of {both[0]} and {both[1]} look the same and differ only in how their accented letters are "
            f"encoded (Unicode NFC and NFD), which makes them one name in the bucket. {way_out}"
        )
    return f"{both[0]} would be stored under the same name as {both[1]}. {way_out}"
