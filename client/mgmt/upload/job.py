"""One upload of one source: its facts, the phase it is in, and what was computed so far."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from mgmt.archive import PackedArchive, current_codec
from mgmt.events import Emit, Notice
from mgmt.journal import EndedAs, Entry, new_operation_id
from mgmt.layout import NANOSECONDS
from mgmt.source import Source
from mgmt.text import read_path, spell_path
from mgmt.upload.adopt import Adoption
from mgmt_contract.messages.uploads import Content, Lease, Packing, StartItem, StartResult
from mgmt_contract.parts import SINGLE_PUT_MAX_BYTES
from mgmt_contract.texts import fit_globs, fit_text
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
    """Where archives are made; None for beside their sources."""
    cache_dir: Path | None = None
    """Without links; where archives are made that find no place beside their sources, if they may be."""
    completed_dir: Path | None = None
    """Absolute; where originals are moved after success, if they are."""
    jobs: int | None = None
    """Transfers at a time; None leaves it to what is transferred."""
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


_TIMES: Final = 256
"""Enough for machines that seldom meet, and few enough that an archive that is kept is dated about right."""

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
    promised_mtime_ns: int = field(default_factory=lambda: _choose_seconds() * NANOSECONDS)
    """The archive's modification time, chosen beforehand: after a crash it tells the archive from other files."""
    whole_max_bytes: int = SINGLE_PUT_MAX_BYTES
    """What may become larger goes in parts."""
    archive: PackedArchive | None = None
    packed_source_bytes: int = 0
    """So far; also while the archive is not whole."""
    expected_archive_bytes: int | None = None
    """Guessed while the archive grows, from what packing has made of the source so far."""
    lease: Lease | None = None
    """None until the service has said that it has recorded the operation."""
    granted_at: float = 0.0
    """When the service was asked for the lease and, of a whole archive, its URL; by `Patience.passed`."""
    phase: Phase = "prepared"
    """Changed by `enter` alone."""
    adoption: Adoption = field(default_factory=Adoption)
    """What it goes on with of an earlier run, or of the operation that was given up for this one."""
    renewed_from: str | None = None
    """The operation that was given up for this one, which must not happen twice."""
    completed_path: Path | None = None
    """Where the original goes after success."""
    why_cached: str | None = None
    """Why the archive is made in the user's cache folder, in a sentence; None where it is not."""
    left_elsewhere: Sequence[str] = ()
    """What of an earlier run could not be removed from another folder, each in a sentence."""
    turned_away: str | None = None
    """Why the storage did not take the latest bytes, where only the service can tell whether it has them."""
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
        if self.options.archive_dir is not None or self.why_cached is not None:
            return self.archive_path.name
        folder = os.path.dirname(read_path(self.target_path))  # noqa: PTH120  a text to show, not a path to open
        return spell_path(os.path.join(folder, self.archive_path.name))  # noqa: PTH118  as above

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
            excludes=fit_globs(self.options.excludes),
        )

    def entry(self, service_url: str, *, ended_as: EndedAs | None = None, is_moving: bool = False) -> Entry:
        """Write this upload down as it stands; `is_moving` where the original is about to be moved."""
        # One that has vanished, or was replaced, is packed anew by the next run; what took its place is not ours.
        archive = self.archive if self.archive is not None and self.archive.may_be_there() else None
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


Granted = tuple[Job, StartResult]
"""A job that has bytes to send, with the service's answer, which says how."""
Carrying = Iterable[tuple[Job, Callable[[], None]]]
"""Jobs, each with what brings its bytes to the storage, or waits until another thread has."""


def say_unapplied(options: UploadOptions, already_there_count: int, emit: Emit) -> None:
    """Say that what is already there keeps its storage class and tags: nothing of it is sent."""
    asked = [f"--storage-class {options.storage_class}"] if options.storage_class else []
    asked += [f"--tag {key}={value}" for key, value in options.tags.items()]
    if asked and already_there_count:
        message = (
            f"What is already there keeps the storage class and tags it was stored with; {' and '.join(asked)} "
            "changed nothing of it."
        )
        emit(Notice(message, "option-not-applied"))


def _choose_seconds() -> int:
    """Choose a time within the last ten minutes, in a number that every disk keeps: some know only every other second.

    Chosen, because a machine that shares the folder may pack the same source in the same second.
    """
    return (int(time.time()) // 2 - random.randrange(_TIMES)) * 2  # noqa: S311  only told apart
