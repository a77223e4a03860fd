"""What one target was found to hold, and which uploads list the same: in a temporary database, so memory stays small.

SQLite keeps it in a file without a name in the system's folder for temporary files, of which a crash leaves nothing.
Paths are those below the target, so that it does not matter what the target was called when it was uploaded.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, Final, NamedTuple, Self

from mgmt.archive.checksums import ListDigest
from mgmt.archive.index import IndexedMember
from mgmt.archive.member_digests import DigestedMember
from mgmt.errors import LocalStateError
from mgmt.layout import Member, frame_of
from mgmt.safe.deciding import Answer, Code, Loss, MemberFacts, judge_member
from mgmt.source.walk import Excludes

_SCHEMA: Final = """
CREATE TABLE members (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, mode INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, target BLOB NOT NULL, digest BLOB, content BLOB, stamp TEXT NOT NULL
) STRICT;
CREATE TABLE problems (path BLOB PRIMARY KEY, code TEXT NOT NULL, reason TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE listed (path BLOB PRIMARY KEY, content BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE held (
    member INTEGER NOT NULL, upload INTEGER NOT NULL, is_same INTEGER NOT NULL, PRIMARY KEY (member, upload)
) STRICT, WITHOUT ROWID;
CREATE TABLE again (path BLOB PRIMARY KEY, stamp TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE answers (
    id INTEGER PRIMARY KEY, folder BLOB NOT NULL, path BLOB NOT NULL, kind TEXT, size_bytes INTEGER NOT NULL, code TEXT,
    reason TEXT, upload INTEGER
) STRICT;
"""
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
    """One target's members, in the order they were read, with all that is known of them.

    Raises:
        LocalStateError: If the disk for temporary files is full, from every method.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[object, ...]] = []
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
        row = (path, member.kind, member.mode, member.size_bytes, target, digested.digest, content, stamp_of(member))
        self._waiting.append(row)
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
        for path, kind, mode, size_bytes, target, digest in self._rows(
            "SELECT path, kind, mode, size_bytes, target, digest FROM members ORDER BY id"
        ):
            named = _join(root, target) if kind == "hardlink" else target
            listed.add(frame_of(_join(root, path), kind, mode, size_bytes, named), digest)
        return listed.text()

    # ---- which uploads hold the same

    def hold_all(self, upload: int) -> None:
        """Note that an upload holds all that was read."""
        self._flush()
        with _explained():
            self._database.execute(
                "INSERT OR REPLACE INTO held SELECT id, ?, 1 FROM members WHERE content IS NOT NULL", (upload,)
            )

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
                " FROM members JOIN listed USING (path)",
                (upload,),
            )

    def forget(self, uploads: Iterable[int]) -> None:
        """Forget what these uploads hold: they are compared anew."""
        with _explained():
            self._database.executemany("DELETE FROM held WHERE upload = ?", ((upload,) for upload in uploads))

    def _contents(self, listed: Iterable[IndexedMember]) -> Iterator[tuple[bytes, bytes | None]]:
        for member in listed:
            content = _content_of(member.kind, member.target, member.digest)
            if member.kind == "hardlink":
                content = self._content_at("listed", below(member.target))
            yield below(member.path), content

    # ---- the answers

    def decide(self, losses: Mapping[int, Loss | None], excludes: Mapping[int, Excludes] | None = None) -> set[int]:
        """Decide on every member anew.

        Args:
            losses: Of each upload why it proves nothing; None for those that stand.
            excludes: What uploads have left out, of those where it is known.

        Returns:
            The uploads that the safe ones rest on.
        """
        self._flush()
        used: set[int] = set()

        @lru_cache(_JUDGED_MAX)
        def judge(facts: MemberFacts) -> Answer:
            return judge_member(facts, losses)

        def answers() -> Iterator[tuple[object, ...]]:
            for path, kind, size_bytes, facts, reason in self._facts(excludes or {}):
                answer = judge(facts)
                if answer.code is None and answer.upload is not None:
                    used.add(answer.upload)
                folder = path.partition(b"/")[0] if b"/" in path or kind == "directory" else b""
                yield folder, path, kind, size_bytes, answer.code, reason, answer.upload

        with _explained():
            self._database.execute("DELETE FROM answers")
            decided = answers()
            while batch := list(islice(decided, _BATCH)):
                self._database.executemany("INSERT INTO answers VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", batch)
        return used

    def has_open_answers(self) -> bool:
        """Tell whether another upload could make anything safe that is not."""
        query = "SELECT EXISTS (SELECT 1 FROM answers WHERE code NOT IN ('unreadable', 'changed', 'special', 'empty'))"
        with _explained():
            return bool(self._database.execute(query).fetchone()[0])

    def unsafe(self) -> Iterator[Unsafe]:
        """Yield what is not safe, by path."""
        for row in self._rows("SELECT path, code, reason, upload FROM answers WHERE code IS NOT NULL ORDER BY path"):
            yield Unsafe(*row)

    def folders(self) -> Iterator[FolderSum]:
        """Yield the sums of the target's own folders, by the names' bytes."""
        rows = self._rows(
            "SELECT folder, sum(kind IN ('file', 'hardlink')), sum(size_bytes), sum(code IS NOT NULL) FROM answers"
            " GROUP BY folder ORDER BY folder"
        )
        for path, file_count, size_bytes, unsafe_count in rows:
            yield FolderSum(path, file_count or 0, size_bytes, unsafe_count)

    def _facts(
        self, excludes: Mapping[int, Excludes]
    ) -> Iterator[tuple[bytes, str | None, int, MemberFacts, str | None]]:
        """Yield each member with its facts, then the problems of what never became a member."""
        rows = self._rows(
            "SELECT members.id, path, kind, size_bytes, content IS NOT NULL, code, reason, upload, is_same FROM members"
            " LEFT JOIN problems USING (path) LEFT JOIN held ON held.member = members.id ORDER BY members.id, upload"
        )
        for (_, path, kind, size_bytes, was_read, code, reason), held in groupby(rows, lambda row: row[:7]):
            uploads = [(row[7], row[8]) for row in held if row[7] is not None]
            same = tuple([upload for upload, is_same in uploads if is_same])
            other = tuple([upload for upload, is_same in uploads if not is_same])
            excluded = () if uploads or not excludes else _excluded_by(excludes, path)
            yield path, kind, size_bytes, MemberFacts(code, bool(was_read), same, other, excluded), reason
        for path, code, reason in self._rows(
            "SELECT path, code, reason FROM problems"
            " WHERE NOT EXISTS (SELECT 1 FROM members WHERE members.path = problems.path)"
        ):
            yield path, None, 0, MemberFacts(code, was_read=False, same=()), reason

    def _content_at(self, table: str, path: bytes) -> bytes | None:
        with _explained():
            found = self._database.execute(f"SELECT content FROM {table} WHERE path = ?", (path,)).fetchone()  # noqa: S608  no text of others
        return found[0] if found is not None else None

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        with _explained():
            self._database.executemany("INSERT INTO members VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", waiting)

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        with _explained():
            yield from self._database.execute(query)


def below(path: bytes) -> bytes:
    """Return a member's path below the root.

    >>> below(b"DCIM/clip.mov"), below(b"DCIM")
    (b'clip.mov', b'')
    """
    return path.partition(b"/")[2]


def _excluded_by(excludes: Mapping[int, Excludes], path: bytes) -> tuple[int, ...]:
    return tuple([upload for upload, globs in excludes.items() if _has_left_out(globs, path)])


def _has_left_out(excludes: Excludes, path: bytes) -> bool:
    """Tell whether an entry is left out, by itself or with a folder that it lies in."""
    names = path.split(b"/")
    return any(
        excludes.leave_out(name, _join(b"root", b"/".join(names[:count]))) for count, name in enumerate(names, 1)
    )


def _join(root: bytes, path: bytes) -> bytes:
    return root + b"/" + path if path else root


def _content_of(kind: str, target: bytes, digest: bytes | None) -> bytes | None:
    """Write what two members must have in common to be the same; None where it is not known."""
    if kind == "file":
        return b"f" + digest if digest is not None else None
    return b"s" + target if kind == "symlink" else b"d"


def stamp_of(member: Member) -> str:
    """Write what differs after a member was changed; without inode numbers, which some file systems make up anew."""
    if member.kind == "directory":
        return "directory"
    status = member.status
    return f"{member.kind} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {member.target.hex()}"


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
