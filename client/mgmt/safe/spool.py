"""What one target was found to hold, and which uploads list the same: in a temporary database, so memory stays small.

SQLite keeps it in a file without a name in the system's folder for temporary files, of which a crash leaves nothing.
Paths are those below the target, so that it does not matter what the target was called when it was uploaded.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, Final, NamedTuple, Self

from mgmt.archive.checksums import ListDigest
from mgmt.archive.index import IndexedMember
from mgmt.archive.member_digests import DigestedMember
from mgmt.errors import LocalStateError
from mgmt.layout import LETTERS, Member, frame_of
from mgmt.safe.deciding import Answer, Code, Loss, MemberFacts, judge_member
from mgmt.source.globs import ExcludedTrees

_SCHEMA: Final = """
CREATE TABLE members (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, mode INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, target BLOB NOT NULL, content BLOB, stamp BLOB NOT NULL
) STRICT;
CREATE TABLE problems (path BLOB PRIMARY KEY, code TEXT NOT NULL, reason TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE listed (path BLOB PRIMARY KEY, content BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE held (
    member INTEGER NOT NULL, upload INTEGER NOT NULL, is_same INTEGER NOT NULL, PRIMARY KEY (member, upload)
) STRICT, WITHOUT ROWID;
CREATE TABLE again (path BLOB PRIMARY KEY, stamp BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE unsafe (
    path BLOB PRIMARY KEY, kind TEXT, code TEXT NOT NULL, reason TEXT, upload INTEGER
) STRICT, WITHOUT ROWID;
"""
_FOLDER: Final = (
    "CASE WHEN instr(path, x'2f') THEN substr(path, 1, instr(path, x'2f') - 1)"
    " WHEN kind = 'directory' THEN path ELSE x'' END"
)
"""The folder right below the target that a path lies in."""
_SUMS: Final = (
    "sum(is_file), sum(size_bytes), sum(is_unsafe) FROM ("
    "SELECT path, kind, kind IN ('file', 'hardlink') AS is_file, size_bytes, 0 AS is_unsafe FROM members"
    " UNION ALL SELECT path, kind, 0, 0, 1 FROM unsafe)"
)
_BATCH: Final = 500
_JUDGED_MAX: Final = 1_000
"""Judgments that are kept: of most members the same is known."""
ADDED: Final = "it came after the reading had passed its folder"
REMOVED: Final = "it is not there any more"
WRITTEN: Final = "it was changed after it was read"
EMPTY: Final = "is the card in, and can its files be seen?"


class Unsafe(NamedTuple):
    """A file, folder or link that is not safe."""

    path: bytes
    """Below the target; empty for the target itself."""
    code: Code
    reason: str | None
    """More about it, such as "permission denied"."""
    upload: int | None


class FolderSum(NamedTuple):
    """What one folder right below the target came to; an empty path is the target without those folders."""

    path: bytes
    file_count: int
    size_bytes: int
    unsafe_count: int


class Spool:
    """One target's members, in the order they were read, with all that is known of them, and which are not safe.

    An upload that holds all of them is one number, not a row for each of them.

    Raises:
        LocalStateError: If the disk for temporary files is full, from every method.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[object, ...]] = []
        self._wholes: set[int] = set()
        """The uploads that hold all that was read."""
        with _explained():
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -4096; {_SCHEMA} BEGIN;")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    # ---- what the target holds

    def add(self, digested: DigestedMember) -> None:
        """Note a member that was read whole."""
        member = digested.member
        path, target = below(member.path), member.target
        content = _content_of(member.kind, target, digested.digest)
        if member.kind == "hardlink":
            target = below(target)
            self._flush()
            content = self._content_at("members", target)
        self._waiting.append((path, member.kind, member.mode, member.size_bytes, target, content, stamp_of(member)))
        if len(self._waiting) >= _BATCH:
            self._flush()

    def note_problem(self, path: bytes, code: Code, reason: str) -> None:
        """Note why a file or folder was not read, or did not stay as it was; the first reason stands."""
        with _explained():
            self._database.execute("INSERT OR IGNORE INTO problems VALUES (?, ?, ?)", (path, code, reason))

    @property
    def problem_count(self) -> int:
        """How many problems are noted."""
        with _explained():
            return int(self._database.execute("SELECT count(*) FROM problems").fetchone()[0])

    def refuse_emptiness(self) -> None:
        """Note it as a problem where no file was found: a card that is not mounted leaves an empty folder."""
        self._flush()
        with _explained():
            self._database.execute(
                "INSERT OR IGNORE INTO problems SELECT x'', 'empty', ? WHERE NOT EXISTS (SELECT 1 FROM problems)"
                " AND NOT EXISTS (SELECT 1 FROM members WHERE kind != 'directory')",
                (EMPTY,),
            )

    def compare_again(self, members: Iterable[Member]) -> None:
        """Note as problems what was added, changed or removed since it was read."""
        self._flush()
        with _explained():
            rows = ((below(member.path), stamp_of(member)) for member in members)
            self._database.executemany("INSERT OR IGNORE INTO again VALUES (?, ?)", rows)
            self._database.execute(
                "INSERT OR IGNORE INTO problems SELECT path, 'changed', ? FROM again"
                " WHERE NOT EXISTS (SELECT 1 FROM members WHERE members.path = again.path)",
                (ADDED,),
            )
            self._database.execute(
                "INSERT OR IGNORE INTO problems SELECT path, 'changed', iif(again.stamp IS NULL, ?, ?)"
                " FROM members LEFT JOIN again USING (path) WHERE again.stamp IS NOT members.stamp",
                (REMOVED, WRITTEN),
            )

    def content_digest(self, root: bytes) -> str:
        """Compute the content digest of an archive of all that was read, under a root of that name."""
        self._flush()
        listed = ListDigest()
        for path, kind, mode, size_bytes, target, content in self._rows(
            "SELECT path, kind, mode, size_bytes, target, content FROM members ORDER BY id"
        ):
            named = _join(root, target) if kind == "hardlink" else target
            digest = content[1:] if kind == "file" else None
            listed.add(frame_of(_join(root, path), kind, mode, size_bytes, named), digest)
        return listed.text()

    # ---- which uploads hold the same

    def hold_all(self, upload: int) -> None:
        """Note that an upload holds all that was read."""
        self._wholes.add(upload)

    def hold(self, upload: int, listed: Iterable[IndexedMember]) -> None:
        """Note which members an upload lists, with the same content or with other content."""
        self._flush()
        with _explained():
            self._database.execute("DELETE FROM listed")
            self._database.executemany(
                # A path that is listed twice has no content that is certain.
                "INSERT INTO listed VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET content = NULL",
                self._contents(listed),
            )
            self._database.execute(
                "INSERT OR REPLACE INTO held SELECT id, ?, ifnull(listed.content = members.content, 0)"
                " FROM members JOIN listed USING (path)"
                # A single file and a folder are no versions of each other, though both have the empty path.
                " WHERE path != x'' OR (members.kind = 'directory') = (listed.content IS x'64')",
                (upload,),
            )

    def forget(self, uploads: Sequence[int]) -> None:
        """Forget what these uploads hold: they are compared anew."""
        self._wholes.difference_update(uploads)
        with _explained():
            self._database.executemany("DELETE FROM held WHERE upload = ?", ((upload,) for upload in uploads))

    def _contents(self, listed: Iterable[IndexedMember]) -> Iterator[tuple[bytes, bytes | None]]:
        for member in listed:
            content = _content_of(member.kind, member.target, member.digest)
            if member.kind == "hardlink":
                content = self._content_at("listed", below(member.target))
            yield below(member.path), content

    # ---- the answers

    def decide(
        self, losses: Mapping[int, Loss | None], excludes: Mapping[int, ExcludedTrees] | None = None
    ) -> set[int]:
        """Decide on every member anew.

        Args:
            losses: Of each upload why it proves nothing; None for those that stand.
            excludes: What uploads have left out, of those where it is known.

        Returns:
            The uploads that the safe ones rest on.
        """
        self._flush()
        used: set[int] = set()
        whole = min((upload for upload in self._wholes if losses[upload] is None), default=None)
        if whole is not None and self._has_safe_members():
            used.add(whole)

        @lru_cache(_JUDGED_MAX)
        def judge(facts: MemberFacts) -> Answer:
            return judge_member(facts, losses)

        def unsafe() -> Iterator[tuple[object, ...]]:
            for path, kind, facts, reason in self._facts(excludes or {}, is_all_held=whole is not None):
                answer = judge(facts)
                if answer.code is not None:
                    yield path, kind, answer.code, reason, answer.upload
                elif answer.upload is not None:
                    used.add(answer.upload)

        with _explained():
            self._database.execute("DELETE FROM unsafe")
            decided = unsafe()
            while batch := list(islice(decided, _BATCH)):
                self._database.executemany("INSERT INTO unsafe VALUES (?, ?, ?, ?, ?)", batch)
        return used

    def has_open_answers(self) -> bool:
        """Tell whether another upload could make anything safe that is not."""
        query = "SELECT EXISTS (SELECT 1 FROM unsafe WHERE code NOT IN ('unreadable', 'changed', 'special', 'empty'))"
        return self._has(query)

    def unsafe(self) -> Iterator[Unsafe]:
        """Yield what is not safe, by path."""
        for row in self._rows("SELECT path, code, reason, upload FROM unsafe ORDER BY path"):
            yield Unsafe(*row)

    def folders(self) -> Iterator[FolderSum]:
        """Yield the sums of the target's own folders, by the names' bytes."""
        for row in self._rows(f"SELECT {_FOLDER} AS folder, {_SUMS} GROUP BY folder ORDER BY folder"):
            yield FolderSum(*row)

    def total(self) -> FolderSum:
        """Return the sums of all."""
        [row] = self._rows(f"SELECT {_SUMS}")
        return FolderSum(b"", *(number or 0 for number in row))

    def _facts(
        self, excludes: Mapping[int, ExcludedTrees], *, is_all_held: bool
    ) -> Iterator[tuple[bytes, str | None, MemberFacts, str | None]]:
        """Yield each member with its facts, then the problems of what never became a member.

        Args:
            excludes: What uploads have left out.
            is_all_held: Leave out members of which nothing else is known than that they were read: they are safe.
        """
        condition = "WHERE content IS NULL OR code IS NOT NULL" if is_all_held else ""
        rows = self._rows(
            "SELECT members.id, path, kind, content IS NOT NULL, code, reason, upload, is_same FROM members"  # noqa: S608  no text of others
            f" LEFT JOIN problems USING (path) LEFT JOIN held ON held.member = members.id {condition}"
            " ORDER BY members.id, upload"
        )
        for (_, path, kind, was_read, code, reason), held in groupby(rows, lambda row: row[:6]):
            uploads = {row[6]: row[7] for row in held if row[6] is not None}
            if was_read:
                uploads |= dict.fromkeys(self._wholes, 1)
            same = tuple(sorted(upload for upload, is_same in uploads.items() if is_same))
            other = tuple(sorted(upload for upload, is_same in uploads.items() if not is_same))
            excluded = () if uploads or not excludes else _excluded_by(excludes, path)
            yield path, kind, MemberFacts(code, bool(was_read), same, other, excluded), reason
        for path, code, reason in self._rows(
            "SELECT path, code, reason FROM problems"
            " WHERE NOT EXISTS (SELECT 1 FROM members WHERE members.path = problems.path)"
        ):
            yield path, None, MemberFacts(code, was_read=False, same=()), reason

    def _has_safe_members(self) -> bool:
        """Tell whether a member was read of which there is no problem."""
        return self._has(
            "SELECT EXISTS (SELECT 1 FROM members LEFT JOIN problems USING (path)"
            " WHERE content IS NOT NULL AND code IS NULL)"
        )

    def _content_at(self, table: str, path: bytes) -> bytes | None:
        with _explained():
            found = self._database.execute(f"SELECT content FROM {table} WHERE path = ?", (path,)).fetchone()  # noqa: S608  no text of others
        return found[0] if found is not None else None

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        with _explained():
            self._database.executemany("INSERT INTO members VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", waiting)

    def _has(self, query: str) -> bool:
        with _explained():
            return bool(self._database.execute(query).fetchone()[0])

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        with _explained():
            yield from self._database.execute(query)


def below(path: bytes) -> bytes:
    """Return a member's path below the root.

    >>> below(b"DCIM/clip.mov"), below(b"DCIM")
    (b'clip.mov', b'')
    """
    return path.partition(b"/")[2]


def _excluded_by(excludes: Mapping[int, ExcludedTrees], path: bytes) -> tuple[int, ...]:
    return tuple([upload for upload, trees in excludes.items() if trees.have(path)])


def _join(root: bytes, path: bytes) -> bytes:
    return root + b"/" + path if path else root


def _content_of(kind: str, target: bytes, digest: bytes | None) -> bytes | None:
    """Write what two members must have in common to be the same; None where it is not known."""
    if kind == "file":
        return b"f" + digest if digest is not None else None
    return b"s" + target if kind == "symlink" else b"d"


def stamp_of(member: Member) -> bytes:
    """Write what differs after a member was changed; without inode numbers, which some file systems make up anew."""
    if member.kind == "directory":
        return b"d"
    status = member.status
    return b"%b %d %d %d %b" % (
        LETTERS[member.kind],
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        member.target,
    )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LocalStateError(
            f"The list of what was read cannot be kept: {error}. Make room where temporary files are (TMPDIR), then "
            "run the same command again.",
            code="disk-full",
        ) from error
