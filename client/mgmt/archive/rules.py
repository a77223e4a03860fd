"""How far an extraction may go, and what it left out."""

from __future__ import annotations

from typing import Final, NamedTuple

from mgmt.archive.names_here import hostile
from mgmt.errors import IntegrityError
from mgmt.layout import TAR_HEADER_LIFTED_MAX_BYTES, TAR_HEADER_MAX_BYTES
from mgmt.text import shown
from mgmt_contract.values import Value

_LEFT_OUT_KEPT_MAX: Final = 1_000
OVER_LIMIT: Final = "over-limit"
"""Code of the error for an archive that only a command without limits unpacks."""


class Rules(Value):
    """How far an extraction may go.

    The defaults stop what is made to fill disks, and no footage: a team's largest projects have a few million files and
    a few terabytes, and nothing but zeros shrinks to less than one byte in 250. Disk images are zeros: an archive of
    the size that its record states is not refused for its ratio.
    """

    members_max: int = 10_000_000
    size_max_bytes: int = 16 * 1024**4
    ratio_max: int = 250
    """Bytes of the tar stream from one byte of the archive, from the first GiB on, beside `recorded_bytes`: the disk
    was seen to have room for those. Deflate reaches 1,030."""
    lifts_limits: bool = False
    """The three limits above do not hold. What the archive's record states still does."""
    recorded_members: int | None = None
    """Members that the archive's record states: more are refused."""
    recorded_bytes: int | None = None
    """Bytes of files that the archive's record states: more are refused, and a disk with less room is, before all."""
    replaces: bool = False
    """A file that exists is replaced, and a folder that exists is merged into."""
    replaces_before_ns: int | None = None
    """A file that was changed after this time, or came, is not replaced; None where all are."""
    merges: bool = False
    """A folder that exists is merged into, where that replaces no file."""
    resumes: bool = False
    """Files that an earlier run left are kept where their digests are right, and all is left for the next run when this
    one is interrupted. Members must have digests and come in an index's order."""
    makes_folder: bool | None = None
    """Whether a folder comes to the place, or a file; None where that is known only when it was made."""
    makes_links_out: bool = False
    """Symlinks that lead out of the tree are made too."""

    @property
    def header_max_bytes(self) -> int:
        """The longest header of a member that is read."""
        return TAR_HEADER_LIFTED_MAX_BYTES if self.lifts_limits else TAR_HEADER_MAX_BYTES


def over_limit(why: str) -> IntegrityError:
    """Make the error for an archive that is larger than the limits of `Rules`."""
    return IntegrityError(
        f"The archive cannot be unpacked safely: {why}. If it is meant to be that large, download it with --no-limits. "
        "Nothing of it was unpacked.",
        code=OVER_LIMIT,
    )


class LeftOut(NamedTuple):
    """A symlink that was not made."""

    path: str
    target: str


class LeftOutList:
    """Counts the symlinks that were not made and keeps the first thousand: memory must not grow with the archive."""

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[LeftOut] = []

    def add(self, path: bytes, target: bytes) -> None:
        """Note one more."""
        self.count += 1
        if len(self.kept) < _LEFT_OUT_KEPT_MAX:
            self.kept.append(LeftOut(shown(path), shown(target)))


class Counted:
    """Counts an archive's members and bytes, and refuses more than the rules allow."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._members = self._folders = self._size_bytes = 0

    def refuse_recorded(self) -> None:
        """Refuse an archive whose record states more than the limits, before any of it is fetched.

        Raises:
            IntegrityError: over-limit.
        """
        self._refuse_more(self._rules.recorded_members or 0, self._rules.recorded_bytes or 0)

    def add_member(self, size_bytes: int) -> None:
        """Count a member in.

        Raises:
            IntegrityError: hostile-archive or over-limit.
        """
        rules = self._rules
        self._members += 1
        self._size_bytes += size_bytes
        recorded_members, recorded_bytes = rules.recorded_members, rules.recorded_bytes
        if recorded_members is not None and self._members > recorded_members:
            raise hostile(f"it holds more files and folders than the {recorded_members:,} of its record")
        if recorded_bytes is not None and self._size_bytes > recorded_bytes:
            raise hostile(f"its files have more bytes than the {recorded_bytes:,} of its record")
        self._refuse_more(self._members, self._size_bytes)

    def add_folder(self) -> None:
        """Count a folder that was made: one path may ask for thousands.

        Raises:
            IntegrityError: over-limit.
        """
        self._folders += 1
        if self._folders > self._rules.members_max and not self._rules.lifts_limits:
            raise over_limit(f"it needs more than {self._rules.members_max:,} folders, the most that is allowed")

    def _refuse_more(self, members: int, size_bytes: int) -> None:
        rules = self._rules
        if rules.lifts_limits:
            return
        if members > rules.members_max:
            raise over_limit(f"it holds more than {rules.members_max:,} files and folders, the most that is allowed")
        if size_bytes > rules.size_max_bytes:
            raise over_limit(f"its files have more than {rules.size_max_bytes:,} bytes, the most that is allowed")
