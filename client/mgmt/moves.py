"""Moves of originals: promised in the journal, made, and brought to their end where a run was killed in between."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mgmt.completed import move_original
from mgmt.errors import MgmtError, RefusedError
from mgmt.events import Notice
from mgmt.jobs import Job
from mgmt.journal import Entry
from mgmt.session import Session
from mgmt.source import place_of
from mgmt_contract.messages import CleanUp


class Moves:
    """The moves of one command.

    A move is written down before it is made. Whoever is killed after that finds, next time, either the source
    in its old place, and the upload goes its way again to the same end; or the source gone and its new place
    taken, and only the report is still to be made.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settled: dict[str, Entry] = {}

    def make(self, jobs: Sequence[Job]) -> set[Job]:
        """Move the originals of uploads that have succeeded; return those that were moved.

        One that cannot be moved stays, and that is said: the upload is good all the same.
        """
        for job in jobs:
            if job.options.completed_dir is not None and job.completed_path is None:
                self._say_stays(job, "it is a link, and neither the link nor what it leads to is moved.")
        movable = [job for job in jobs if job.completed_path is not None]
        if movable:
            url = self._session.service_url
            self._session.journal.put([job.entry(url, is_moving=True) for job in movable])
        return {job for job in movable if self._move(job)}

    def settle(self) -> None:
        """Find the moves that earlier runs had made, and could not write down any more."""
        for entry in self._session.journal.moves(self._session.service_url):
            try:
                with self._session.journal.hold(entry.archive_path, Path(entry.source_path).name):
                    self._settle(entry)
            except RefusedError:
                continue  # another process of this machine is at it

    def take_settled(self, target: str) -> Entry | None:
        """Return the upload whose original was settled to be moved away from a target's path."""
        return self._settled.pop(os.fspath(place_of(target)), None) if self._settled else None

    def finish(self, entry: Entry, *, has_moved: bool = True) -> CleanUp:
        """Cross a settled upload out, and have its end reported."""
        clean_up = CleanUp(
            entry.operation_id,
            "moved" if has_moved else "completed",
            "deleted" if entry.archive_size is None else "completed",
        )
        kept = [] if entry.archive_size is None else [replace(entry, ended_as="kept", completed_path=None)]
        self._session.journal.finish(self._session.service_url, [clean_up], kept)
        return clean_up

    def finish_unnamed(self) -> None:
        """Finish and tell of those that this command has not named."""
        for entry in self._settled.values():
            self.finish(entry)
            message = f"{entry.source_path} was uploaded by an earlier run, and moved to {entry.completed_path}."
            self._session.emit(Notice(message, "moved-before", entry.operation_id))

    def _settle(self, entry: Entry) -> None:
        source, place = Path(entry.source_path), Path(entry.completed_path or "")
        if os.path.lexists(source):
            return  # not moved yet: who names it again moves it
        has_moved = os.path.lexists(place)
        if not has_moved and not (source.parent.exists() and place.parent.exists()):
            return  # a disk that is not plugged in; time will tell
        if has_moved:
            self._settled[entry.source_path] = entry
        else:
            self.finish(entry, has_moved=False)  # somebody took both away: there is nothing left to wait for

    def _move(self, job: Job) -> bool:
        assert job.completed_path is not None  # noqa: S101  only such jobs are moved
        try:
            move_original(job.source, job.completed_path)
        except MgmtError as error:
            self._say_stays(job, error.message)
            return False
        return True

    def _say_stays(self, job: Job, why: str) -> None:
        message = f"{job.target_path} is uploaded, and the original stays where it is: {why}"
        self._session.emit(Notice(message, "not-moved", job.operation_id))
