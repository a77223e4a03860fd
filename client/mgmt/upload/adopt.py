"""Going on with an earlier run: what is known of it, the decision what to do, and its application."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mgmt.archive import ArchiveSums, PackedArchive, is_ours, read_archive
from mgmt.errors import LocalStateError, SourceError
from mgmt.journal import Entry, Journal
from mgmt.source import Source
from mgmt.text import shown
from mgmt.upload.ours import (
    clear_move,
    is_promised,
    placeholder_of,
    promises_at,
    remove_archive,
    remove_elsewhere,
    remove_unfinished,
)
from mgmt_contract.messages.uploads import Packing
from mgmt_contract.values import Value
from mgmt_contract.wire import to_json

Foreign = Literal["made by mgmt", "foreign"]
AtPlace = Literal["nothing", "promised", Foreign]
"""A file that a crashed run had promised; one that mgmt made at some other time; or any other."""
Refusal = Literal[Foreign, "kept", "of another", "unreadable"]


class UnknownArchiveError(SourceError):
    """An archive that mgmt has made, and that this machine's journal does not know, is where one is to be made."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} exists already and an earlier mgmt made it, so it is left alone. If it was kept or downloaded, "
            "move it away, or use --archive-dir DIR or --as NAME. If somebody else uploads from this folder, wait "
            "until they have ended.",
            code="archive-exists",
        )
        self.path = path


class Facts(Value):
    """What the journal and the disk tell of earlier runs, before an upload begins."""

    source_path: str
    archive_path: Path
    fingerprint: str
    packing: Packing
    newest: Entry | None = None
    """The newest upload of this source to this destination."""
    known: Entry | None = None
    """The upload whose whole archive lies at the archive's place, by size and time."""
    at_place: AtPlace = "nothing"
    """What lies there where it is no known archive."""
    promised_ids: tuple[str, ...] = ()
    """The unfinished uploads, to wherever, that were to make their archives there."""
    sums: ArchiveSums | None = None
    """What the known archive really holds; None where it was not read."""
    unreadable: str | None = None
    """Why the known archive cannot be read."""

    def is_same(self, entry: Entry) -> bool:
        """Tell whether an earlier upload was of the same content, packed in the same way."""
        return (entry.fingerprint, entry.plan) == (self.fingerprint, to_json(self.packing))


class Adoption(Value):
    """What to do about earlier runs: in this order."""

    clears_promised: bool = False
    """The file of a crashed run is removed from the archive's place."""
    unfinished_ids: tuple[str, ...] = ()
    """Whose unfinished archives go."""
    elsewhere: Entry | None = None
    """The upload of which everything goes from another folder for archives."""
    moving: Entry | None = None
    """The upload whose move of the original left something in the original's new place, perhaps."""
    refusal: Refusal | None = None
    """Why this upload cannot begin."""
    replaced: Entry | None = None
    """The upload whose archive goes, to be packed anew."""
    forgotten_id: str | None = None
    """The upload to be crossed out, last: by its entry its archive was known to be ours."""
    operation_id: str | None = None
    """The operation to go on with."""
    archive: PackedArchive | None = None
    """The archive to go on with."""
    was_kept: bool = False
    """An earlier run was asked to keep the archive."""
    may_have_sent: bool = False
    """Bytes of the archive may have been sent: it is worth keeping."""

    @property
    def must_repeat_parts(self) -> bool:
        """Whether the archive that parts may have been sent of is gone: the next may have other bytes."""
        return self.operation_id is not None and self.archive is None


def look_back(
    source: Source, archive_path: Path, packing: Packing, newest: Entry | None, journal: Journal, *, reads: bool
) -> Facts:
    """Find out what earlier runs have left; a known archive that may be gone on with is read if `reads`."""
    known = journal.find_archive(archive_path)
    facts = Facts(
        source_path=os.fspath(source.path),
        archive_path=archive_path,
        fingerprint=source.fingerprint,
        packing=packing,
        newest=newest,
        known=known,
        at_place="nothing" if known is not None else _look_at_place(archive_path, journal),
        promised_ids=tuple(entry.operation_id for entry in journal.begun_at(archive_path)),
    )
    if known is None or not facts.is_same(known):
        return facts
    try:
        if reads:
            return replace(facts, sums=read_archive(archive_path))
        archive_path.open("rb").close()
    except (LocalStateError, OSError) as error:
        cause = error.__cause__ or error
        return replace(facts, unreadable=(cause.strerror if isinstance(cause, OSError) else None) or str(cause))
    return facts


def decide(facts: Facts) -> Adoption:
    """Decide what to do about earlier runs; needs neither disk nor journal."""
    if facts.at_place in ("made by mgmt", "foreign"):
        return Adoption(refusal=facts.at_place)
    known, begun = facts.known, facts.newest
    if begun is not None and begun.ended_as is not None and begun.completed_path is None:
        begun = None
    passing = begun if begun and begun.ended_as != "kept" else None
    goes_on_id = begun.operation_id if begun and facts.is_same(begun) else None
    archive = _find_archive(facts)
    refusal = _find_refusal(facts) if archive is None else None
    return Adoption(
        clears_promised=facts.at_place == "promised",
        unfinished_ids=facts.promised_ids,
        elsewhere=passing if passing and passing.archive_path != os.fspath(facts.archive_path) else None,
        moving=begun if begun and begun.completed_path is not None else None,
        refusal=refusal,
        replaced=known if archive is None and refusal is None else None,
        forgotten_id=passing.operation_id if passing and goes_on_id is None else None,
        operation_id=goes_on_id,
        archive=archive,
        was_kept=known is not None and known.ended_as == "kept",
        may_have_sent=goes_on_id is not None or archive is not None,
    )


def _find_archive(facts: Facts) -> PackedArchive | None:
    """Find the archive to go on with: of the same content, and as it was written down as far as that was read."""
    known, sums = facts.known, facts.sums
    if known is None or known.content is None or facts.unreadable or not facts.is_same(known):
        return None
    content = known.content
    if sums is not None and (sums.size, sums.crc64nvme) != (content.size, content.crc64nvme):
        return None
    return PackedArchive(
        path=facts.archive_path,
        content=content,
        packing=facts.packing,
        parts=(),
        mtime_ns=known.archive_mtime_ns or 0,
        content_md5=sums.content_md5 if sums is not None else None,
    )


def _find_refusal(facts: Facts) -> Refusal | None:
    """Find out whether the archive at this place may still be wanted, so that no other can be made there."""
    known = facts.known
    if known is None:
        return None
    if facts.unreadable and facts.is_same(known):
        return "unreadable"
    if known.ended_as == "kept":
        return "kept"
    return "of another" if known.ended_as != "left" and known.source_path != facts.source_path else None


def apply(adoption: Adoption, facts: Facts, source: Source, journal: Journal) -> list[str]:
    """Do what was decided; only for a process that holds the archive's place and the destination.

    Returns:
        What of an earlier run could not be removed from another folder, each in a sentence.

    Raises:
        SourceError: If the upload cannot begin, or another file has taken the archive's place meanwhile.
        LocalStateError: If something cannot be removed, or the journal cannot be used.
    """
    path, told = facts.archive_path, []
    if adoption.clears_promised and not remove_archive(path, promises_at(path, journal)):
        raise explain(_name_foreign(path), facts)
    for operation_id in adoption.unfinished_ids:
        remove_unfinished(path, operation_id)
    if adoption.elsewhere is not None:
        told = remove_elsewhere(adoption.elsewhere, source.name, journal)
    if adoption.moving is not None:
        place = Path(adoption.moving.completed_path or "")
        clear_move(source, place, placeholder_of(adoption.moving.operation_id))
    if adoption.refusal is not None:
        raise explain(adoption.refusal, facts)
    if adoption.replaced is not None and not remove_archive(path, [adoption.replaced]):
        raise explain(_name_foreign(path), facts)
    if adoption.forgotten_id is not None:
        journal.forget([adoption.forgotten_id])
    return told


def explain(refusal: Refusal, facts: Facts) -> SourceError:
    """Say why an upload cannot begin, and what to do."""
    path, known = facts.archive_path, facts.known
    if refusal == "unreadable":
        return SourceError(
            f"{path}, left by an earlier run, cannot be read: {facts.unreadable}. Make it readable to go on with it, "
            "or use --archive-dir DIR to make another one.",
            code="archive-unreadable",
        )
    if refusal == "kept":
        what = "is an archive that was kept on request, and it is left alone. Move it away, or use --archive-dir DIR."
    elif refusal == "of another" and known is not None:
        what = (
            f"belongs to the unfinished upload of '{shown(known.source_path)}'. Upload that one first, or use another "
            "--archive-dir DIR."
        )
    elif refusal == "made by mgmt":
        return UnknownArchiveError(path)
    else:
        what = (
            "exists already and mgmt did not make it, so it is left alone. Move it away, or use --archive-dir DIR or "
            "--as NAME."
        )
    return SourceError(f"{path} {what}", code="archive-exists")


def _look_at_place(path: Path, journal: Journal) -> AtPlace:
    if not os.path.lexists(path):
        return "nothing"
    return "promised" if is_promised(path, journal) else _name_foreign(path)


def _name_foreign(path: Path) -> Foreign:
    return "made by mgmt" if is_ours(path) else "foreign"
