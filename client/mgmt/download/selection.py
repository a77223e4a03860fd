"""Chooses members of an archive by globs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mgmt.archive.index import Index, IndexedMember
from mgmt.errors import SourceError
from mgmt.stored.globs import Globs
from mgmt.text import shown


class Selection:
    """The members that globs choose, with the folders that lead to them, in the archive's order.

    Globs choose as `Globs` says. A hard link whose file is not chosen comes as a file of its own.

    Args:
        index: The archive's.
        globs: What to choose.

    Raises:
        SourceError: nothing-chosen, naming the globs that fit nothing.
        IntegrityError: index-damaged, from every method too.
    """

    def __init__(self, index: Index, globs: Sequence[str]) -> None:
        self._index = index
        self._globs = Globs(globs)
        self.size_bytes = self.count = 0
        """Of the chosen files: their bytes, and how many."""
        self._sources: dict[bytes, IndexedMember | None] = {}
        """The files that chosen links are names of and that are not chosen: None until their line was read."""
        for member, is_chosen in self._walk():
            if is_chosen and member.kind == "hardlink":
                self._sources.setdefault(member.target, None)
        self._learn_sources()
        for member in self.members():
            if member.kind == "file":
                self.size_bytes += member.size_bytes
                self.count += 1
        unmatched = self._globs.unmatched
        if unmatched:
            raise SourceError(
                f"--only: nothing fits {', '.join(repr(shown(glob)) for glob in unmatched)}. Expected a file's or "
                "folder's name, or its path below the one that was uploaded. Upper and lower case count; "
                "`mgmt contents NAME` lists all.",
                code="nothing-chosen",
            )

    def members(self) -> Iterator[IndexedMember]:
        """Yield the members to make, in the archive's order."""
        leading: list[tuple[int, IndexedMember]] = []
        deepest = b""  # the last one's path: of the others its length tells it, as the sum of all would be huge
        first_names: dict[bytes, bytes] = {}
        for member, is_chosen in self._walk():
            while leading and not member.path.startswith(deepest[: leading[-1][0]] + b"/"):
                leading.pop()
            if not is_chosen:
                if member.kind == "directory":
                    deepest = member.path
                    leading.append((len(deepest), member._replace(path=b"")))
                continue
            for length, folder in leading:
                yield folder._replace(path=deepest[:length])
            leading.clear()
            yield self._as_made(member, first_names)

    def _as_made(self, member: IndexedMember, first_names: dict[bytes, bytes]) -> IndexedMember:
        """Return a member as it is made: of the links to a file that is not chosen, the first becomes that file."""
        source = self._sources.get(member.target) if member.kind == "hardlink" else None
        if source is None:
            return member
        first = first_names.setdefault(member.target, member.path)
        return source._replace(path=member.path) if first == member.path else member._replace(target=first)

    def _learn_sources(self) -> None:
        """Find the files of links, and forget those that are chosen themselves."""
        if not self._sources:
            return
        for member, is_chosen in self._walk():
            if member.path in self._sources and member.kind == "file":
                self._sources[member.path] = None if is_chosen else member

    def _walk(self) -> Iterator[tuple[IndexedMember, bool]]:
        """Yield every member, and whether it is chosen."""
        for member in self._index.members():
            yield member, self._globs.takes(member.path)
