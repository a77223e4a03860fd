"""One upload of one source: its facts, the phase it is in, and what was computed so far."""

from __future__ import annotations

import os
import threading
import time
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

from mgmt.archive import PackedArchive, current_codec
from mgmt.errors import SourceError
from mgmt.journal import EndedAs, Entry, Journal, new_operation_id
from mgmt.layout import archive_file_name
from mgmt.members import NANOSECONDS
from mgmt.source import Source, look, real_folder
from mgmt.upload import adopt
from mgmt.upload.adopt import Adoption
from mgmt.upload.originals import find_place, is_left_over
from mgmt.upload.ours import is_known_archive, placeholder_of
from mgmt_contract.messages import Content, Lease, Packing, StartItem
from mgmt_contract.names import InvalidNameError, fold_key, join_key
from mgmt_contract.parts import SINGLE_PUT_MAX_BYTES
from mgmt_contract.texts import fit_text
from mgmt_contract.values import Value
from mgmt_contract.wire import to_json


class UploadOptions(Value):
    """How a command's uploads are to be made."""

    prefix: str = ""
    as_name: str | None = None
    replace: bool = False
    excludes: tuple[str, ...] = ()
    plan: str = "auto"
    keep_archive: bool = False
    archive_dir: Path | None = None
    completed_dir: Path | None = None
    """Absolute; where originals are moved after success, if they are."""
    jobs: int | None = None
    """Transfers at a time; None leaves it to what is transferred."""
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


Phase = Literal["prepared", "asked", "sending", "ended", "released"]
"""How far this run has come with an upload.

prepared: The service knows nothing of it. Also after it turned the client away, and under a new id.
asked: The service may have recorded it: its id is worth keeping.
sending: Bytes went out: its archive is worth keeping.
ended: It has come to an end in this run, good or bad.
released: Other processes may use its archive's path, and its entry in the journal, by now.
"""

MAY_FOLLOW: Final[Mapping[Phase, frozenset[Phase]]] = {
    "prepared": frozenset({"prepared", "asked", "ended", "released"}),
    "asked": frozenset({"prepared", "sending", "ended", "released"}),
    "sending": frozenset({"prepared", "ended", "released"}),
    "ended": frozenset({"released"}),
    "released": frozenset(),
}
"""Which phase may come next. Sending more, or asking again after bytes went out, leads nowhere new."""


@dataclass(eq=False)
class Job:
    """One upload of one source: facts that stay, one phase, and what is computed on the way."""

    operation_id: str
    source: Source
    target_path: str
    archive_path: Path
    options: UploadOptions
    held: ExitStack = field(default_factory=ExitStack)
    """Keeps other processes of this machine away from the same archive; closed when the job ends."""
    promised_mtime_ns: int = field(default_factory=lambda: _whole_seconds() * NANOSECONDS)
    """The time that the archive is to bear: by it a killed run's archive is told from any other at its place."""
    whole_max_bytes: int = SINGLE_PUT_MAX_BYTES
    """What may become larger goes in parts."""
    archive: PackedArchive | None = None
    packed_source_bytes: int = 0
    """So far; also while the archive is not whole."""
    expected_archive_bytes: int | None = None
    """Guessed while the archive grows, from what packing has made of the source so far."""
    lease: Lease | None = None
    """None until the service has said that it has recorded the operation."""
    phase: Phase = "prepared"
    """Changed by `enter` alone."""
    adoption: Adoption = field(default_factory=Adoption)
    """What it goes on with of an earlier run, or of the operation that was given up for this one."""
    renewed_from: str | None = None
    """The operation that was given up for this one, which must not happen twice."""
    completed_path: Path | None = None
    """Where the original goes after success."""
    left_elsewhere: Sequence[str] = ()
    """What of an earlier run could not be removed from another folder, each in a sentence."""
    _entering: threading.Lock = field(default_factory=threading.Lock)

    @property
    def has_sent_bytes(self) -> bool:
        """Whether this run or an earlier one may have sent some: from then on the archive is worth keeping."""
        return self.phase == "sending" or self.adoption.may_have_sent

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left to do in this run."""
        return self.phase in ("ended", "released")

    @property
    def destination(self) -> str:
        """Prefix and name, as far as the client decides them: one half of what makes an upload the same."""
        return f"{self.options.prefix}/{self.source.name}"

    @property
    def shown_archive_path(self) -> str:
        """The archive's path as the team may see it: beside the shown source, or only its name."""
        if self.options.archive_dir is not None:
            return self.archive_path.name
        return os.path.join(os.path.dirname(self.target_path), self.archive_path.name)  # noqa: PTH118, PTH120  a text to show, not a path to open

    @property
    def content(self) -> Content | None:
        """What the packed archive is; None until it is whole."""
        return self.archive.content if self.archive is not None else None

    @property
    def packing(self) -> Packing:
        """How the archive's bytes are made."""
        return Packing(current_codec(self.options.plan), self.options.plan)

    def note_packed(self, archive_bytes: int) -> None:
        """Guess how large the archive becomes, now that so much of it is there."""
        source_bytes = self.source.uncompressed_size
        guess = archive_bytes * source_bytes // self.packed_source_bytes if self.packed_source_bytes else source_bytes
        self.expected_archive_bytes = min(max(archive_bytes, guess), self.source.upper_bound_bytes)

    def take_up(self, adoption: Adoption) -> None:
        """Go on with what an earlier run has left."""
        self.operation_id = adoption.operation_id or self.operation_id
        self.archive, self.adoption = adoption.archive, adoption

    def enter(self, phase: Phase) -> None:
        """Go on to a phase where it may follow; a thread that comes late changes nothing."""
        with self._entering:
            if phase in MAY_FOLLOW[self.phase]:
                self.adoption = replace(self.adoption, may_have_sent=self.has_sent_bytes)
                self.phase = phase

    def renew(self) -> str:
        """Go on under a new id; return the old one."""
        self.renewed_from, self.operation_id = self.operation_id, new_operation_id()
        self.enter("prepared")
        return self.renewed_from

    def start_item(self) -> StartItem:
        """Ask for this upload: with its content where the archive is whole, else with a bound.

        File systems take names and paths that no message can carry; those are written as it can.
        """
        content, source = self.content, self.source.file_record
        return StartItem(
            operation_id=self.operation_id,
            name=self.source.name,
            target_path=fit_text(self.target_path),
            source_file_record=replace(source, name=fit_text(source.name), path=fit_text(source.path)),
            compressed_file_path=fit_text(self.shown_archive_path),
            packing=self.packing,
            content=content,
            upper_bound=self.source.upper_bound_bytes if content is None else None,
            prefix=self.options.prefix,
            replace=self.options.replace,
            storage_class=self.options.storage_class,
            tags=dict(self.options.tags),
            content_md5=self.archive.content_md5 if self.archive is not None else None,
        )

    def entry(self, service_url: str, *, ended_as: EndedAs | None = None, is_moving: bool = False) -> Entry:
        """Write this upload down as it stands; `is_moving` where the original is about to be moved."""
        # One that has vanished, or was replaced, is packed anew by the next run; what took its place is not ours.
        archive = self.archive if self.archive is not None and self.archive.is_untouched() else None
        return Entry(
            operation_id=self.operation_id,
            service=service_url,
            source_path=os.fspath(self.source.path),
            destination=self.destination,
            archive_path=os.fspath(self.archive_path),
            fingerprint=self.source.fingerprint,
            plan=to_json(self.packing),
            archive_size=archive.size if archive else None,
            archive_mtime_ns=archive.mtime_ns if archive else self.promised_mtime_ns,
            ended_as=ended_as,
            content=archive.content if archive else None,
            completed_path=os.fspath(self.completed_path) if is_moving and self.completed_path else None,
            excludes=self.options.excludes,
        )


def _whole_seconds() -> int:
    """Say what time it is, in a number that every disk keeps: some know only every other second."""
    return int(time.time()) // 2 * 2


def prepare_job(target: str, options: UploadOptions, journal: Journal, service_url: str, shown_base: Path) -> Job:
    """Look at a target and find out whether it was begun before.

    The job holds its archive path from here on; whoever ends it closes `job.held`.

    Raises:
        SourceError: If the target cannot be uploaded, or its archive's name is taken by somebody's file.
        RefusedError: If another process of this machine is at it.
        LocalStateError: If the journal cannot be used, or what an earlier run left cannot be removed.
    """
    job = _look_at(target, options, journal, shown_base)
    try:
        # One process per archive and per object: neither file nor operation is shared.
        job.held.enter_context(journal.hold(os.fspath(job.archive_path), job.source.name))
        job.held.enter_context(journal.hold(f"{service_url} {fold_key(job.destination)}", job.source.name))
        facts = adopt.read_known(_look_back(job, journal, service_url))
        adoption = adopt.decide(facts)
        job.left_elsewhere = adopt.apply(adoption, facts, job.source, journal)
        job.take_up(adoption)
        _find_place(job)
    except BaseException:
        job.held.close()
        raise
    return job


def inspect_job(target: str, options: UploadOptions, journal: Journal, service_url: str, shown_base: Path) -> Job:
    """Look at a target as `prepare_job` does, and leave everything as it is; the job is good for looking only.

    Raises:
        SourceError: If the target cannot be uploaded, or its archive's name is taken by somebody's file.
        LocalStateError: If the journal cannot be used.
    """
    job = _look_at(target, options, journal, shown_base)
    facts = _look_back(job, journal, service_url)
    adoption = adopt.decide(facts)
    if adoption.refusal is not None:
        raise adopt.explain(adoption.refusal, facts)
    job.operation_id = adoption.operation_id or job.operation_id
    _find_place(job, _find_move_left_over(adoption.moving, job.source))
    return job


def _look_at(target: str, options: UploadOptions, journal: Journal, shown_base: Path) -> Job:
    shown_path = show_path(target, shown_base)
    source = look(
        target,
        name=options.as_name,
        excludes=options.excludes,
        shown_as=shown_path,
        is_own_archive=partial(is_known_archive, journal=journal),
    )
    _check_name(source, options)
    # The journal and the locks know an archive by its path: its folder is spelled in one way, its own name as it is.
    folder = real_folder(options.archive_dir) if options.archive_dir else source.path.parent
    return Job(new_operation_id(), source, shown_path, folder / archive_file_name(source.name), options)


def _look_back(job: Job, journal: Journal, service_url: str) -> adopt.Facts:
    newest = journal.find(service_url, os.fspath(job.source.path), job.destination)
    return adopt.look_back(job.source, job.archive_path, job.packing, newest, journal)


def _find_place(job: Job, left_over: Path | None = None) -> None:
    if job.options.completed_dir is not None:
        job.completed_path = find_place(job.source, job.options.completed_dir, left_over)


def _find_move_left_over(moving: Entry | None, source: Source) -> Path | None:
    """Find what a run that was killed while it moved the source has left in its new place."""
    if moving is None:
        return None
    place = Path(moving.completed_path or "")
    with suppress(OSError):  # what cannot be looked at is not cleared either
        return place if is_left_over(source, place, placeholder_of(moving.operation_id)) else None
    return None


def _check_name(source: Source, options: UploadOptions) -> None:
    try:
        join_key("", options.prefix, source.name)
    except InvalidNameError as error:
        raise SourceError(
            f"'{source.file_record.path}' cannot be stored under its name: {error}. "
            "Choose another name for it with --as NAME.",
            code="invalid-name",
        ) from error


def show_path(target: str, base: Path) -> str:
    """Say a target's path as the team may see it: relative to `base`, or only its name; no home folders."""
    absolute = Path(os.path.abspath(target))  # noqa: PTH100  resolve() would follow links
    try:
        shown = absolute.relative_to(base).as_posix()
    except ValueError:
        shown = absolute.name
    text = os.fsencode(shown if shown != "." else absolute.name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)
