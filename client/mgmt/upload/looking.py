"""Look: what a command's targets are, and one job for each, with what a person should know of it."""

from __future__ import annotations

import os
import stat
import threading
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mgmt.archive import free_bytes, is_ours
from mgmt.errors import MgmtError, SourceError
from mgmt.events import Begun, Emit, Expected, Notice, Repeated, Sized, Waiting
from mgmt.journal import Journal, new_operation_id
from mgmt.layout import archive_file_name, is_temporary_name
from mgmt.session import Session
from mgmt.source import (
    Source,
    count_bytes,
    file_size,
    look,
    place_of,
    real_folder,
)
from mgmt.source.walk import SYSTEM_FILE, Excludes, is_system_name, own_data_at, special_kind
from mgmt.text import count_in_words, show_path, shown, size_in_words
from mgmt.upload import adopt
from mgmt.upload.job import Job, UploadOptions
from mgmt.upload.originals import EarlierMoves, find_place
from mgmt.upload.ours import choose_place, is_known_archive, is_left_by_move, placeholder_of, remove_cache_folder
from mgmt_contract.names import ARCHIVE_SUFFIX, InvalidNameError, fold_key, join_key

if TYPE_CHECKING:  # a name for annotations only
    from mgmt.upload.neighbours import Neighbours

_SKIPPED_NAMED_MAX: Final = 20
_STOPPING_MAX_SECONDS: Final = 1.0
"""For a disk that does not answer."""


class Sizing:
    """Sizes of one command's targets: files are looked at once, folders are counted beside the sending."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sizes: dict[str, int | None] = {}
        self._excludes: dict[str, Sequence[str]] = {}
        self._folders: list[str] = []
        self._begun: set[str] = set()
        self._stop = threading.Event()

    def look(self, targets: Iterable[str], excludes: Sequence[str]) -> list[str]:
        """Look at every target's own entry; return the targets, those first that cannot be uploaded.

        So a mistyped name is told at once, and not when everything before it was sent.
        """
        failing, others = [], []
        for target in targets:
            try:
                self._sizes[target] = file_size(target)
                others.append(target)
            except MgmtError:
                self._sizes[target] = 0
                failing.append(target)
            self._excludes[target] = excludes
        return failing + others

    def tell(self) -> None:
        """Tell the sizes of all targets."""
        self._session.emit(Expected(self._sizes))
        self._folders = [target for target, size in self._sizes.items() if size is None] if len(self._sizes) > 1 else []

    def note_begun(self, target: str) -> bool:
        """Leave a target out that needs no counting any more; tell whether it is the first that is spelled so."""
        is_first = target not in self._begun
        self._begun.add(target)
        return is_first

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is in folders until the context is left."""
        thread = threading.Thread(target=self._count, name="count", daemon=True)
        if self._folders:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            if self._folders:
                thread.join(_STOPPING_MAX_SECONDS)

    def _count(self) -> None:
        # From the end on: those at the beginning are looked at whole meanwhile, as they are uploaded.
        for target in reversed(self._folders):
            if target in self._begun:
                continue
            try:
                size_bytes = count_bytes(target, self._excludes[target], self._stop.is_set)
            except MgmtError:
                size_bytes = 0  # when its turn comes it fails, by name
            if self._stop.is_set():
                return
            self._session.emit(Sized(target, size_bytes))


class Looking:
    """Looks at the targets of one command, knowing those it has looked at before.

    A dry run looks in the same way, but its jobs hold nothing, and nothing is removed or written down.
    """

    def __init__(
        self,
        options: UploadOptions,
        session: Session,
        shown_base: Path,
        targets: Sequence[str],
        *,
        is_dry_run: bool = False,
    ) -> None:
        self._options = options
        self._targets = targets
        self._target_of_place = {place_of(target): target for target in targets}
        self._session = session
        self._shown_base = shown_base
        self._is_dry_run = is_dry_run
        self._first_of_name: dict[str, Path] = {}
        self._nearly_full: set[Path] = set()
        self._said_cached: set[Path] = set()

    def jobs(
        self, sizing: Sizing, earlier_moves: EarlierMoves, end: Callable[[str, MgmtError | None], None]
    ) -> Iterator[Job]:
        """Look at each target in turn, those first that fail at once; one that fails is ended, the others go on.

        `end` is called for each that comes to an end here, with its error if it failed.
        """
        emit = self._session.emit
        for target in sorted(self._targets, key=lambda target: self._find_outer(target) is None):
            is_first = sizing.note_begun(target)
            try:
                if earlier_moves.end(target, self._options):
                    emit(Sized(target, 0))
                    end(target, None)
                    continue
                job = self.look(target)
            except MgmtError as error:
                if error.stops_everything:
                    raise
                emit(Sized(target, 0))
                end(target, error)
                continue
            if job is not None:
                emit(Begun(target, job.operation_id, job.source.uncompressed_size))
                yield job
            elif is_first:
                emit(Repeated(target))

    @cached_property
    def _neighbours(self) -> Neighbours:
        from mgmt.upload.neighbours import Neighbours  # hardly any run meets another machine's archive

        return Neighbours(self._session)

    def look(self, target: str) -> Job | None:
        """Make the job of a target; None for a target that came before.

        Raises:
            MgmtError: If it cannot be uploaded; see `make_job`.
        """
        session = self._session
        if self._is_repeated(target):
            return None
        self._refuse_inside_moved(target)
        session.emit(Waiting(f"looking at {target}"))
        journal, url, base = session.journal, session.service_url, self._shown_base
        try:
            job = make_job(target, self._options, journal, url, base, is_dry_run=self._is_dry_run)
        except adopt.UnknownArchiveError as error:
            raise self._neighbours.explain(error) from error
        try:
            # Asked where several targets may go in one call; a single one fits into any.
            limits = session.api.learn_limits() if len(self._targets) > 1 else session.api.limits
        except BaseException:
            job.held.close()
            raise
        job.whole_max_bytes = limits.single_put_max_bytes
        self._say_skipped(job)
        self._say_empty(job)
        for message in job.left_elsewhere:
            session.emit(Notice(message, "archive-not-deleted", job.operation_id))
        self._say_cached(job)
        self._warn_of_full_disk(job)
        return job

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

    def _find_outer(self, target: str) -> str | None:
        """Return the target that this one lies in and is to be moved with, if there is one."""
        if self._options.completed_dir is None:
            return None
        return next(filter(None, map(self._target_of_place.get, place_of(target).parents)), None)

    def _refuse_inside_moved(self, target: str) -> None:
        """Refuse a target inside another one that is to be moved with all that is in it.

        Raises:
            SourceError: With both.
        """
        outer = self._find_outer(target)
        if outer is not None:
            raise SourceError(
                f"'{shown(target)}' lies in '{shown(outer)}', which is uploaded whole and moved with all that is in "
                "it. Upload it in a command of its own before, or without --move-completed.",
                code="inside-another",
            )

    def _say_skipped(self, job: Job) -> None:
        """Name what a person might miss in the archive; no system files."""
        missed = [skipped for skipped in job.source.skipped if skipped.reason != SYSTEM_FILE][:_SKIPPED_NAMED_MAX]
        for path, reason in missed:
            self._session.emit(Notice(f"{path} is skipped: {reason}.", "skipped", job.operation_id))
        more = job.source.missed_count - len(missed)
        if more:
            entries = count_in_words(more, "more entry", "more entries")
            message = f"{entries} of {job.target_path} {'is' if more == 1 else 'are'} skipped."
            self._session.emit(Notice(message, "skipped", job.operation_id))

    def _say_empty(self, job: Job) -> None:
        """Say that a folder has no file: a card that is not mounted leaves an empty folder, and looks uploaded."""
        if not job.source.has_files:
            message = (
                f"No file is in {job.target_path}: only folders are uploaded. If it is a card, look whether it is in, "
                "and whether its files can be seen."
            )
            self._session.emit(Notice(message, "no-file", job.operation_id))

    def _say_cached(self, job: Job) -> None:
        """Say that an archive is not made beside its source, once for a folder."""
        folder = job.source.path.parent
        if job.why_cached is not None and folder not in self._said_cached:
            self._said_cached.add(folder)
            self._session.emit(Notice(job.why_cached, "archive-in-cache", job.operation_id))

    def _warn_of_full_disk(self, job: Job) -> None:
        """Say before packing that archives may not fit, once for a folder; whether they do shows only when packed."""
        folder = job.archive_path.parent
        free = free_bytes(folder)
        if free is None or job.archive is not None or folder in self._nearly_full:
            return  # where a folder is unusable, packing says so
        if free < job.source.upper_bound_bytes:
            self._nearly_full.add(folder)
            where = "beside it" if folder == job.source.path.parent else f"in {shown(os.fspath(folder))}"
            message = (
                f"The archive of {job.target_path} may need {size_in_words(job.source.upper_bound_bytes)}, but "
                f"only {size_in_words(free)} are free {where}. Use --archive-dir DIR to put it on another "
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


def make_job(
    target: str,
    options: UploadOptions,
    journal: Journal,
    service_url: str,
    shown_base: Path,
    *,
    is_dry_run: bool = False,
) -> Job:
    """Look at a target, and decide how to go on with what earlier runs left of it.

    The job holds its archive's path and its destination until `job.held` is closed, at its end. In a dry run
    it holds nothing, nothing is changed, and the job has the id of an earlier run but not its archive.

    Raises:
        SourceError: If the target cannot be uploaded, or another file has its archive's name.
        RefusedError: If another process of this machine is at it.
        LocalStateError: If the journal cannot be used, or what an earlier run left cannot be removed.
    """
    job = _look_at(target, options, journal, service_url, shown_base)
    source, left_by_move = job.source, None
    try:
        if not is_dry_run:  # one process per archive and per object: neither file nor operation is shared
            job.held.enter_context(journal.hold(os.fspath(job.archive_path), source.name))
            if job.why_cached is not None:
                job.held.callback(remove_cache_folder, job.archive_path)
            job.held.enter_context(journal.hold(f"{service_url} {fold_key(job.destination)}", source.name))
        newest = journal.find(service_url, os.fspath(source.path), job.destination)
        facts = adopt.look_back(source, job.archive_path, job.packing, newest, journal, reads=not is_dry_run)
        adoption = adopt.decide(facts)
        job.operation_id = adoption.operation_id or job.operation_id
        if is_dry_run:
            left_by_move = _foresee(adoption, facts, source)
        else:
            job.left_elsewhere = adopt.apply(adoption, facts, source, journal)
            job.archive, job.adoption = adoption.archive, adoption
        if options.completed_dir is not None:
            job.completed_path = find_place(source, options.completed_dir, left_by_move)
    except BaseException:
        job.held.close()
        raise
    return job


def _look_at(target: str, options: UploadOptions, journal: Journal, service_url: str, shown_base: Path) -> Job:
    shown_path = show_path(target, shown_base)
    source = look(
        target,
        name=options.as_name,
        excludes=options.excludes,
        shown_as=shown_path,
        is_own_archive=partial(is_known_archive, journal=journal),
    )
    try:
        join_key("", options.prefix, source.name)
    except InvalidNameError as error:
        raise SourceError(
            f"'{source.file_record.path}' cannot be stored under its name: {error}. "
            "Choose another name for it with --as NAME.",
            code="invalid-name",
        ) from error
    # The journal and the locks know an archive by its path: its folder is spelled in one way, its own name as it is.
    if options.archive_dir is not None:
        path = real_folder(options.archive_dir) / archive_file_name(source.name)
        return Job(new_operation_id(), source, shown_path, path, options)
    job = Job(new_operation_id(), source, shown_path, source.path.parent, options)
    find_newest = partial(journal.find, service_url, os.fspath(source.path), job.destination)
    place = choose_place(source, options.cache_dir, job.packing, journal, find_newest)
    job.archive_path, job.why_cached = place.path, place.why_cached
    return job


def _foresee(adoption: adopt.Adoption, facts: adopt.Facts, source: Source) -> Path | None:
    """Return the place for the original that a real run would clear of what a crashed move left.

    Raises:
        SourceError: If a real run could not begin.
    """
    if adoption.refusal is not None:
        raise adopt.explain(adoption.refusal, facts)
    if adoption.moving is not None:
        place, mark = Path(adoption.moving.completed_path or ""), placeholder_of(adoption.moving.operation_id)
        with suppress(OSError):  # what cannot be looked at is not cleared either
            return place if is_left_by_move(source, place, mark) else None
    return None


def everything_in(
    folder: Path, known_archives: Collection[str], emit: Emit, excludes: Sequence[str] = ()
) -> Iterator[str]:
    """Name every entry to upload, sorted; what a person might miss is said.

    Args:
        folder: Where to look, not below.
        known_archives: Paths of archives that the journal knows as ours.
        emit: Told of sockets, pipes and devices, and of what mgmt has made or keeps for itself.
        excludes: Globs of entries to leave out.

    Raises:
        SourceError: If the folder cannot be listed.
    """
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208  names are what is wanted
    except OSError as error:
        raise SourceError(
            f"'{shown(os.fspath(folder))}' cannot be listed: {error.strerror or error}. Make it readable, or name each "
            "file and folder that is to be uploaded.",
            code="source-unreadable",
        ) from error
    for name in names:
        if is_excluded(name, excludes):
            continue
        reason = _reason_to_skip(folder / name, known_archives)
        if reason is None:
            yield name
        elif reason:
            emit(Notice(f"{name} is skipped: {reason}.", "skipped"))


def is_excluded(target: str, excludes: Sequence[str]) -> bool:
    """Tell whether a target itself is what is to be left out."""
    name = os.fsencode(Path(target).name)
    return Excludes(excludes).leave_out(name, name + b"/" + name)


def _reason_to_skip(path: Path, known_archives: Collection[str]) -> str | None:
    """Say why an entry is left out; empty where no one would expect it to be uploaded."""
    if is_system_name(path.name) or is_temporary_name(path.name) or os.fspath(path) in known_archives:
        return ""
    if path.name.endswith(ARCHIVE_SUFFIX) and is_ours(path):
        return "an archive that mgmt has made (name it to upload it anyway)"
    try:
        status = path.stat()
        return own_data_at(os.fspath(path)) if stat.S_ISDIR(status.st_mode) else special_kind(status)
    except OSError:
        return None  # a dangling link or an unreadable entry fails by name, not in silence
