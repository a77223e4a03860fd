"""Looks at a source: whether it can be uploaded, and everything known of it before packing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from mgmt.errors import SourceError, UsageError, source_unreadable
from mgmt.layout import TAR_END_BYTES, Member, Survey, archive_bound_bytes, frame, member_bound_bytes
from mgmt.source.walk import Excludes, IsOwnArchive, Skipped, Walk, is_system_name, never_own, own_data_at, special_kind
from mgmt.text import shown, spell_path
from mgmt_contract.records import FileRecord
from mgmt_contract.values import Value


class Source(Value):
    """A file or folder as it was looked at; nothing of its content is held."""

    path: Path
    """As `place_of` writes it; if it is a symlink, the archive holds its target."""
    name: str
    """The root member's name in the archive."""
    file_record: FileRecord
    is_directory: bool
    uncompressed_size: int
    """Bytes of all regular files together, each hard-linked one once."""
    member_count: int
    upper_bound_bytes: int
    """No archive of this source is larger, with any codec and plan."""
    fingerprint: str
    """Differs as soon as a member was added, removed or changed."""
    skipped: tuple[Skipped, ...] = ()
    """The first thousand entries that stay out of the archive, with the reason."""
    missed_count: int = 0
    """Number of entries left out that the user might miss: all but system files."""
    excludes: tuple[str, ...] = ()
    seal: str = ""
    """Differs also where a file was changed whose size and times were put back; empty where no system tells. It may
    differ as well where nothing has changed, such as after a card was plugged in anew."""
    is_own_archive: IsOwnArchive = never_own
    has_files: bool = True
    """Whether anything but folders is in it: the folder of a card that is not mounted has nothing."""

    def members(self) -> Generator[Member]:
        """Find the members anew, as they are now, in the archive's order."""
        excludes = Excludes(self.excludes, self.path.name)
        return Walk(os.fspath(self.path), self.name, excludes, self.is_own_archive).members()

    def look_again(self) -> Source:
        """Look at the same file or folder as it is now."""
        return look(self.path, name=self.name, excludes=self.excludes, is_own_archive=self.is_own_archive)


def place_of(target: str | Path) -> Path:
    """Return a target's place: its real folder and its own name.

    The same file has one place, however its path is spelled, through links or with "..". A symlink named as
    target keeps its own name and place.
    """
    folder, name = os.path.split(os.path.abspath(target))  # noqa: PTH100  keeps a symlink's own name
    return real_folder(folder) / name


def real_folder(folder: str | Path) -> Path:
    """Write a folder's path as it really is: absolute, and without links."""
    try:
        return Path(os.path.realpath(folder))
    except (OSError, ValueError):  # some drives of Windows cannot say; an invalid name is refused elsewhere
        return Path(os.path.abspath(folder))  # noqa: PTH100  resolve() has just failed


def file_size(target: str | Path) -> int | None:
    """Look at a target's own entry only: a file's size, None for a folder.

    Raises:
        SourceError: If it is missing, or cannot be uploaded.
    """
    given = os.fspath(target)
    path = os.fspath(place_of(given))
    status = _status(given, path)
    _refuse_special(given, os.path.basename(path), status)  # noqa: PTH119  a text, as in `look`
    return None if stat.S_ISDIR(status.st_mode) else status.st_size


def count_bytes(target: str | Path, excludes: Sequence[str], is_stopped: Callable[[], bool]) -> int:
    """Count the bytes of all files in a folder, as `look` does; the sum so far where it is stopped.

    Raises:
        SourceError: If something in it cannot be looked at.
    """
    path = place_of(target)
    counted_bytes = 0
    for member in Walk(os.fspath(path), path.name or "folder", Excludes(excludes, path.name)).members():
        if is_stopped():
            break
        counted_bytes += member.size_bytes
    return counted_bytes


class Entry(NamedTuple):
    """A target's own entry."""

    path: str
    """As `place_of` writes it."""
    name: str
    """Its own name; empty for the root of a disk."""
    is_directory: bool


def look_at_entry(target: str | Path) -> Entry:
    """Look at a target's own entry only, and follow it where it is a symlink.

    Raises:
        SourceError: source-missing, source-special, source-is-system-file, source-is-own-data or source-unreadable.
        UsageError: If the target's name is empty.
    """
    given = os.fspath(target)
    if not given:
        raise UsageError("The target's name is empty. Name a file or folder, such as: mgmt upload clip.mp4")
    path = os.fspath(place_of(given))
    own_name = os.path.basename(path)  # noqa: PTH119  a text, as most of what follows takes it
    status = _status(given, path)
    _refuse_special(given, own_name, status)
    is_directory = stat.S_ISDIR(status.st_mode)
    if is_directory:
        _refuse_own_data(given, path)
    return Entry(path, own_name, is_directory)


def look(
    target: str | Path,
    *,
    name: str | None = None,
    excludes: Sequence[str] = (),
    shown_as: str | None = None,
    is_own_archive: IsOwnArchive = never_own,
) -> Source:
    """Look at a file or folder that is to be uploaded: every name and size in it, no content.

    A symlink named as target is followed, as a person who uploads `latest` wants the footage and not a
    pointer to it; links inside a folder stay links, as with `tar`. Sockets, pipes and devices inside are
    skipped and listed, and so are system files, unfinished archives of mgmt and folders with its own data. The
    order of members is that of their names' bytes, the same on every system.

    Args:
        target: Path, absolute or relative to the current directory.
        name: Root member's name, if not the target's own.
        excludes: Globs of entries to leave out, as `Excludes` compares them.
        shown_as: Path for the record, if not the one given.
        is_own_archive: Tells which archives in a folder are mgmt's own; they are skipped and listed.

    Raises:
        SourceError: With code source-missing, source-special, source-is-system-file, source-is-own-data,
            source-unreadable, source-changed or source-nameless.
        UsageError: If the target or the name is empty or is no name.
    """
    given = os.fspath(target)
    path, own_name, is_directory = look_at_entry(given)
    root_name = _named_by_itself(given, own_name) if name is None else _chosen(name)
    walk = Walk(path, root_name, Excludes(excludes, own_name), is_own_archive)
    survey = Survey()
    tar_bytes = TAR_END_BYTES
    has_files = False
    for member in walk.members(asks_readable=True):
        survey.add(member, frame(member))
        tar_bytes += member_bound_bytes(member)
        has_files = has_files or member.kind != "directory"
    size = 0 if is_directory else survey.uncompressed_size
    shown_path = spell_path(given) if shown_as is None else shown_as
    return Source(
        path=Path(path),
        name=root_name,
        file_record=FileRecord(spell_path(own_name or root_name), shown_path, "local", size, is_directory, "pending"),
        is_directory=is_directory,
        uncompressed_size=survey.uncompressed_size,
        member_count=survey.member_count,
        upper_bound_bytes=archive_bound_bytes(tar_bytes),
        fingerprint=survey.fingerprint,
        skipped=tuple(walk.skipped.kept),
        missed_count=walk.skipped.missed_count,
        excludes=tuple(excludes),
        seal=survey.seal,
        is_own_archive=is_own_archive,
        has_files=has_files,
    )


def _named_by_itself(given: str, own_name: str) -> str:
    if own_name:
        return own_name
    raise SourceError(
        f"'{shown(given)}' has no name of its own to call the archive by. Name a folder in it, or choose a "
        "name with --as NAME.",
        code="source-nameless",
    )


def _chosen(name: str) -> str:
    if name in ("", ".", "..") or any(sign in name for sign in ("/", "\0", os.sep)):
        raise UsageError(f"{name!r} cannot name an archive. Give one plain name without slashes.")
    return name


def _status(given: str, path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116  as above
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):  # noqa: PTH114  as above
            raise _missing(f"'{shown(given)}' is a link to something that does not exist.") from error
        where = "" if os.path.isabs(given) else f" in {shown(os.getcwd())}"  # noqa: PTH109, PTH117  as above
        raise _missing(f"'{shown(given)}' not found{where}.") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise _missing(f"'{shown(given)}' cannot be a file name.") from error
        if error.errno == errno.ELOOP:
            raise _missing(f"'{shown(given)}' is a link that leads back to itself.") from error
        raise source_unreadable(given, error.strerror or str(error)) from error


def _missing(what_happened: str) -> SourceError:
    return SourceError(what_happened, code="source-missing")


def _refuse_special(given: str, own_name: str, status: os.stat_result) -> None:
    if is_system_name(own_name):
        raise SourceError(
            f"'{shown(given)}' is a system file, such as .DS_Store, and these are never uploaded. Rename it if "
            "you want it uploaded.",
            code="source-is-system-file",
        )
    kind = special_kind(status)
    if kind is not None:
        raise SourceError(
            f"'{shown(given)}' is {kind}. Only files and folders can be uploaded.",
            code="source-special",
        )


def _refuse_own_data(given: str, path: str) -> None:
    kind = own_data_at(path)
    if kind is not None:
        raise SourceError(
            f"'{shown(given)}' holds {kind}, which is never uploaded. Name what lies beside it.",
            code="source-is-own-data",
        )
