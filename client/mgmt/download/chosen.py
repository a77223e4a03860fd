"""Downloads single members: of their archive, only the blocks that hold them are fetched.

They are made below a hidden name, each is checked by its digest, and then all of them get their names. Members that are
in their places already, with the same content, are not fetched again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from mgmt.archive.blocks import KnownBlocks, Readable
from mgmt.archive.extraction import Extraction
from mgmt.archive.index import Index, IndexedMember
from mgmt.archive.merging import refuse_changed_since, refuse_other_kind
from mgmt.archive.names_here import split_path
from mgmt.archive.rules import Rules
from mgmt.download.refetching import Refetching
from mgmt.download.selection import Selection
from mgmt.download.unfinished import Opened
from mgmt.download.unfinished_tree import UnfinishedTree, list_paths
from mgmt.download.wanted import Wanted
from mgmt.errors import INTERRUPTED, CancelledError, IntegrityError, MgmtError, TargetExistsError
from mgmt.events import Begun
from mgmt.layout import temporary_name
from mgmt.machine.files import open_regular
from mgmt.machine.filling import remove_tree
from mgmt.stored.archive import RANGE_SIZE_BYTES, StoredArchive, open_archive
from mgmt.stored.indexes import open_index
from mgmt.stored.members import read_member
from mgmt.stored.ranges import RANGES_AT_A_TIME
from mgmt.text import shown
from mgmt_contract.parts import MIB
from mgmt_contract.records import DownloadRecord

_READ_SIZE_BYTES: Final = MIB
_AHEAD_MAX: Final = 1_000
"""Members that are looked at ahead to join their ranges."""


class ChosenMembers:
    """The download of some members of one archive."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        # Another choice is another tree: what one has left must not come into the other's.
        choice = "\0".join(sorted(wanted.options.only))
        self._token = wanted.token(f"chosen {choice}")
        self._list_name = f"{wanted.upload.operation_id} {choice}"
        self._part = temporary_name(wanted.tree_name, self._token)
        self._archive: StoredArchive | None = None

    @property
    def failed_record(self) -> DownloadRecord | None:
        """The record of a download that was begun and has failed."""
        return self._archive.record if self._archive is not None else None

    @property
    def hidden_paths(self) -> tuple[Path, ...]:
        """Where it keeps what is not whole yet."""
        folder, tree_name = self._wanted.options.folder, self._wanted.tree_name
        return (folder / self._part, *list_paths(folder, tree_name, self._list_name))

    def run(self) -> DownloadRecord:
        """Download them.

        Raises:
            MgmtError: If it failed; where `failed_record` is set, the team knows.
        """
        wanted = self._wanted
        with UnfinishedTree(wanted.options.folder, wanted.tree_name, self._list_name, 0) as unfinished:
            earlier = unfinished.opened
            try:
                with open_index(wanted.session, wanted.upload, target_path=wanted.target_path) as index:
                    record = self._bring(index, unfinished)
            except MgmtError as error:
                was_refused = earlier is None and self.failed_record is None and not error.stops_everything
                if isinstance(error, IntegrityError) or was_refused:
                    unfinished.discard()
                raise
            unfinished.discard()
            return record

    def _bring(self, index: Index, unfinished: UnfinishedTree) -> DownloadRecord:
        wanted, earlier = self._wanted, unfinished.opened
        selection = Selection(index, wanted.options.only)
        present = self._find_present(selection)
        is_missing = any(not self._is_there(member, present) for member in selection.members())
        with open_archive(
            wanted.session,
            wanted.upload,
            wanted.target_path,
            operation_id=earlier.operation_id if earlier is not None else None,
        ) as archive:
            self._archive = archive
            archive.begin(lambda begun_id: unfinished.open(Opened(begun_id, wanted.target_path)))
            wanted.session.emit(Begun(wanted.name, archive.operation_id, selection.size_bytes))
            if is_missing:
                self._extract_until_right(index, archive, selection, present)
            else:  # all that a run has made was merged before it was killed, but for the folder that it was made in
                remove_tree(wanted.tree_place.parent, os.fsencode(self._part))
            wanted.hurry_report()
        assert archive.record is not None  # noqa: S101  it was opened
        return archive.record

    def _find_present(self, selection: Selection) -> dict[bytes, IndexedMember]:
        """Find the members that are in their places already, with the same content.

        Raises:
            TargetExistsError: If something else is there and is not, or cannot be, replaced.
        """
        present: dict[bytes, IndexedMember] = {}
        links: list[IndexedMember] = []
        for member in selection.members():
            place = self._place_of(member.path)
            if not os.path.lexists(place):
                continue
            is_folder = place.is_dir() and not place.is_symlink()
            if is_folder != (member.kind == "directory"):
                raise refuse_other_kind(place, place.lstat().st_mode)
            if is_folder:
                continue
            if member.kind == "hardlink" and member.target not in present:
                links.append(member)  # it may have come before, as a file of its own
            else:
                source = present[member.target] if member.kind == "hardlink" else member
                self._note_present(place, member, source, present)
        if links:
            targets = {link.target for link in links}
            sources = {member.path: member for member in selection.members() if member.path in targets}
            for link in links:
                source = sources.get(link.target, link)  # a link to nothing is refused when it is made
                self._note_present(self._place_of(link.path), link, source, present)
        return present

    def _note_present(
        self, place: Path, member: IndexedMember, source: IndexedMember, present: dict[bytes, IndexedMember]
    ) -> None:
        """Note a member as present where it is what its source says, else refuse what may not be replaced."""
        if self._is_equal(place, source):
            present[member.path] = member
            return
        refuse_changed_since(place, place.lstat(), self._wanted.options.replaces_before_ns)
        if not self._wanted.options.replaces:
            raise TargetExistsError(
                f"'{shown(os.fspath(place))}' exists already, and is not what was uploaded. Choose another folder "
                "with --to, or replace it with --replace."
            )

    def _is_there(self, member: IndexedMember, present: dict[bytes, IndexedMember]) -> bool:
        if member.path in present:
            return True
        # `Path.is_dir` raises where a path is longer than the system takes.
        return member.kind == "directory" and os.path.isdir(self._place_of(member.path))  # noqa: PTH112

    def _place_of(self, path: bytes) -> Path:
        return self._wanted.tree_place.joinpath(*map(os.fsdecode, split_path(path)[1:]))

    def _is_equal(self, place: Path, member: IndexedMember) -> bool:
        if member.kind == "symlink":
            return place.is_symlink() and os.fsencode(place.readlink()) == member.target
        return self._has_content(place, member)

    def _has_content(self, place: Path, member: IndexedMember) -> bool:
        with open_regular(place) as descriptor:
            if descriptor is None or os.fstat(descriptor).st_size != member.size_bytes:
                return False
            hashed = blake3()
            while data := os.read(descriptor, _READ_SIZE_BYTES):
                if self._wanted.session.stop.is_set():
                    raise CancelledError(INTERRUPTED)
                hashed.update(data)
        return hashed.digest() == member.digest

    def _extract_until_right(
        self, index: Index, archive: StoredArchive, selection: Selection, present: dict[bytes, IndexedMember]
    ) -> None:
        """Extract, and fetch damaged files again; the others are not fetched again."""
        refetching = Refetching(self._wanted)
        while True:
            try:
                self._extract(index, archive, selection, present)
            except IntegrityError as error:
                if not refetching.begin(error, archive.operation_id):
                    raise
            else:
                return

    def _extract(
        self, index: Index, archive: StoredArchive, selection: Selection, present: dict[bytes, IndexedMember]
    ) -> None:
        wanted = self._wanted
        options = wanted.options
        rules = Rules(
            replaces=options.replaces,
            replaces_before_ns=options.replaces_before_ns,
            lifts_limits=options.lifts_limits,
            merges=True,
            resumes=True,
        )
        there_bytes = sum(member.size_bytes for member in present.values() if member.kind == "file")

        def note(done_bytes: int) -> None:
            wanted.note(archive.operation_id, "fetching", there_bytes + done_bytes, there_bytes, selection.size_bytes)

        plan = _Plan(index, _without(present, selection), wanted.tree_place.with_name(self._part))
        jobs = options.jobs or RANGES_AT_A_TIME
        with (
            Extraction(
                wanted.tree_place, token=self._token, rules=rules, on_progress=note, stop=wanted.session.stop
            ) as extraction,
            archive.stream_spans(plan.spans(), jobs=jobs) as stream,
        ):
            for member in present.values():  # an earlier run may have begun it, and somebody else has brought it since
                extraction.drop(member)
            blocks = _Blocks(index, stream)
            for piece in plan.pieces():
                if piece.member.kind == "file":
                    _fill(index, archive, extraction, piece, blocks)
                else:
                    extraction.add(piece.member)
            extraction.publish()
        wanted.tell_left_out(extraction.left_out, archive.operation_id)


def _without(present: dict[bytes, IndexedMember], selection: Selection) -> Iterator[IndexedMember]:
    """Yield the members still to be made; a link to a file that is there comes as a file of its own."""
    for member in selection.members():
        source = present.get(member.target) if member.kind == "hardlink" else None
        if member.path not in present:
            yield member if source is None else source._replace(path=member.path)


class _Piece(NamedTuple):
    """A member that is to be made."""

    member: IndexedMember
    done_bytes: int
    """Of its content, left by an earlier run."""
    blocks: range
    """The blocks that hold the rest."""


class _Plan:
    """The members to make, in order, and the ranges to fetch for them, which are planned a few ahead."""

    def __init__(self, index: Index, members: Iterator[IndexedMember], part: Path) -> None:
        self._index = index
        self._members = members
        self._part = part
        self._pieces: deque[_Piece] = deque()
        self._spans: deque[range] = deque()
        self._next_block = 0

    def pieces(self) -> Iterator[_Piece]:
        """Yield the members to make."""
        while self._pieces or self._advance():
            yield self._pieces.popleft()

    def spans(self) -> Iterator[range]:
        """Yield ranges of the archive, neighbours joined, each block once where it serves several members in a row."""
        while self._spans or self._advance():
            while self._may_grow() and self._advance():
                pass
            if self._spans:
                span = self._spans.popleft()
                if len(span) > RANGE_SIZE_BYTES:
                    self._spans.appendleft(span[RANGE_SIZE_BYTES:])
                yield span[:RANGE_SIZE_BYTES]

    def _may_grow(self) -> bool:
        is_short = len(self._spans) == 1 and len(self._spans[0]) < RANGE_SIZE_BYTES
        return is_short and len(self._pieces) < _AHEAD_MAX

    def _advance(self) -> bool:
        """Plan one more member; False at the end."""
        member = next(self._members, None)
        if member is None:
            return False
        if member.kind != "file":
            self._pieces.append(_Piece(member, 0, range(0)))
            return True
        done_bytes = self._left_bytes(member)
        start, stop = member.content_offset + done_bytes, member.content_offset + member.size_bytes
        blocks = self._index.find_range(start, stop)[0] if start < stop else range(0)
        self._pieces.append(_Piece(member, done_bytes, blocks))
        if blocks:
            self._want(blocks)
        return True

    def _left_bytes(self, member: IndexedMember) -> int:
        """Return how much of a file an earlier run has left; whether it is good is seen when it is read."""
        try:
            size_bytes = self._part.joinpath(*map(os.fsdecode, split_path(member.path)[1:])).lstat().st_size
        except OSError:
            return 0
        return size_bytes if size_bytes <= member.size_bytes else 0

    def _want(self, blocks: range) -> None:
        is_held = blocks.start == self._next_block - 1
        missing = blocks[1:] if is_held else blocks
        self._next_block = blocks.stop
        if not missing:
            return
        size_bytes = self._index.facts.block_size_bytes
        stop = min(missing.stop * size_bytes, self._index.facts.tar_bytes)
        _, span = self._index.find_range(missing.start * size_bytes, stop)
        if self._spans and self._spans[-1].stop == span.start:
            span = range(self._spans.pop().start, span.stop)
        self._spans.append(span)


class _Blocks:
    """The planned blocks, in order, as they arrive; the latest is kept for the member that follows in it."""

    def __init__(self, index: Index, stream: Readable) -> None:
        self._index = index
        self._known = KnownBlocks(stream)
        self._number = -1
        self._content = memoryview(b"")

    def read(self, piece: _Piece) -> Iterator[memoryview]:
        """Yield the bytes that a file still needs."""
        size_bytes = self._index.facts.block_size_bytes
        offset = piece.member.content_offset + piece.done_bytes
        left_bytes = piece.member.size_bytes - piece.done_bytes
        for number in piece.blocks:
            if number != self._number:
                self._content = self._known.read(*self._index.measure_block(number))
                self._number = number
            at = offset - number * size_bytes
            view = self._content[at : at + left_bytes]
            offset += len(view)
            left_bytes -= len(view)
            yield view


def _fill(index: Index, archive: StoredArchive, extraction: Extraction, piece: _Piece, blocks: _Blocks) -> None:
    with extraction.begin_file(piece.member) as file:
        is_as_planned = file.done_bytes == piece.done_bytes
        for view in blocks.read(piece):
            if is_as_planned:
                file.write(view)
        # What an earlier run has left may be no beginning of it: then all of it is brought once more.
        while not is_as_planned or file.finish() is None:
            is_as_planned = True
            at = 0
            for view in read_member(index, archive, piece.member):
                file.write(view[max(0, file.done_bytes - at) :])
                at += len(view)
