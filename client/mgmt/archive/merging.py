"""Merges an extracted folder into one that exists: each file replaces the one of its name, the others stay."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from contextlib import closing
from pathlib import Path
from typing import IO, Final

from mgmt.errors import LocalStateError, TargetExistsError
from mgmt.machine.filling import Filling, Look, drop, open_filling
from mgmt.text import shown
from mgmt_contract.parts import MIB

_UNCHANGED: Final = Look(None, None)
_READ_SIZE_BYTES: Final = MIB


def merge(
    parent: Path, source: bytes, target: bytes, *, replaces: bool = True, replaces_before_ns: int | None = None
) -> None:
    """Move all that is in one folder into another one in the same `parent`, and remove the first.

    Every file is replaced in one step, so that a run that is killed leaves old files and new ones, all of them whole.
    Nothing is moved before it is known that no file has to replace a folder, or a folder a file, that no other disk is
    mounted in the second, and that its folders may be written. Without `replaces` a file that comes to lie there in
    between is not replaced either, where the disk knows hard links.

    Args:
        parent: The folder that both lie in.
        source: Ours.
        target: The user's own.
        replaces: Whether files are replaced.
        replaces_before_ns: As `Rules` has it. A killed run has moved files itself: those are the same as ours.

    Raises:
        LocalStateError: not-writable, if a folder takes nothing.
        TargetExistsError: If one would have to, or a file is there and is not to be replaced; nothing was moved.
        OSError: What the disk met with.
    """
    with closing(open_filling(parent)) as new, closing(open_filling(parent)) as old:
        for moves in (False, True):
            before_ns = None if moves else replaces_before_ns  # what is in the way was found before anything is moved
            merging = _Merging(new, old, os.fsencode(parent), moves=moves, replaces=replaces, before_ns=before_ns)
            merging.merge(source, target)
        new.remove_folder(source)


class _Merging:
    """Walks two trees side by side: one that is ours, and the user's own."""

    def __init__(
        self, new: Filling, old: Filling, parent: bytes, *, moves: bool, replaces: bool, before_ns: int | None
    ) -> None:
        self._new = new
        self._old = old
        self._parent = parent
        self._moves = moves
        self._replaces = replaces
        self._before_ns = before_ns

    def merge(self, source: bytes, target: bytes) -> None:
        looks: list[Look] = []
        try:
            self._merge(source, target, looks)
        except BaseException:  # another run goes on with it, and needs the modes
            with contextlib.suppress(OSError):
                while looks:
                    self._new.step_out(looks.pop())
            raise

    def _merge(self, source: bytes, target: bytes, looks: list[Look]) -> None:
        """Merge; `looks` are those of the folders of ours that the walk is in."""
        path = [target]
        looks.append(self._enter(source, path))
        waiting = [self._new.names()]
        while waiting:
            name = next(waiting[-1], None)
            if name is not None:
                if self._place(name, [*path, name]):
                    path.append(name)
                    looks.append(self._enter(name, path))
                    waiting.append(self._new.names())
                continue
            waiting.pop()
            self._new.step_out(looks.pop())
            self._old.step_out(_UNCHANGED)
            left = path.pop()
            if self._moves and path:
                self._new.remove_folder(left)

    def _enter(self, source: bytes, path: list[bytes]) -> Look:
        try:
            self._old.step_in(path[-1], is_ours=False)
        except PermissionError as error:
            raise self._refuse_closed(path, error) from error
        return self._new.step_in(source)

    def _place(self, name: bytes, path: list[bytes]) -> bool:
        """Move an entry to its place; True where it is a folder that must be walked for that."""
        found, was = self._new.status(name), None
        with contextlib.suppress(FileNotFoundError):
            was = self._old.status(name)
        is_folder, was_folder = stat.S_ISDIR(found.st_mode), was is not None and stat.S_ISDIR(was.st_mode)
        if was is not None and was_folder != is_folder:
            raise refuse_other_kind(b"/".join(path), was.st_mode)
        if is_folder and was_folder:
            if was is not None and was.st_dev != found.st_dev:
                raise on_other_disk(b"/".join(path))
            return True
        if was is not None and not self._replaces and not os.path.samestat(found, was):
            raise _taken(path)
        is_there = was is not None and os.path.samestat(found, was)
        if was is not None and _is_newer(was, self._before_ns) and not (is_there or self._is_same(name, was)):
            raise _changed_since(b"/".join(path))
        if self._moves:
            self._move(name, path, is_folder=is_folder, is_there=is_there)
        elif not is_there and not self._old.takes_names():
            raise self._refuse_closed(path[:-1], PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        return False

    def _is_same(self, name: bytes, was: os.stat_result) -> bool:
        """Tell whether an entry of the user's folder has the content of ours."""
        found = self._new.status(name)
        if stat.S_ISLNK(found.st_mode) and stat.S_ISLNK(was.st_mode):
            return self._new.link_target(name) == self._old.link_target(name)
        if not (stat.S_ISREG(found.st_mode) and stat.S_ISREG(was.st_mode)) or found.st_size != was.st_size:
            return False
        with _reading(self._new, name) as new, _reading(self._old, name) as old:
            while data := new.read(_READ_SIZE_BYTES):
                if old.read(_READ_SIZE_BYTES) != data:
                    return False
        return True

    def _move(self, name: bytes, path: list[bytes], *, is_folder: bool, is_there: bool) -> None:
        if is_there:  # a second name of the same file, from a run that was killed before it took the first away
            self._new.remove(name)
            return
        look = None
        if is_folder:
            # A folder that its own mode makes read-only cannot change its parent.
            look = self._new.step_in(name)
            self._new.step_out(_UNCHANGED)
        anchor = self._old.anchor()
        try:
            if is_folder or self._replaces:
                self._new.move(name, anchor, name)
            else:
                self._new.move_to_free(name, anchor, name)
        except FileExistsError as error:
            raise _taken(path) from error
        except PermissionError as error:  # such as of a network disk, which said otherwise when it was asked
            raise self._refuse_closed(path[:-1], error) from error
        finally:
            drop(anchor)
        if look is not None:
            self._old.step_in(name)
            self._old.step_out(look)

    def _refuse_closed(self, path: list[bytes], error: PermissionError) -> LocalStateError:
        """Make the error for a folder that nothing can be moved into."""
        folder = b"/".join([self._parent, *path])
        return LocalStateError(
            f"Nothing can be put into the folder '{shown(folder)}': {error.strerror}. Make that folder writable "
            "(chmod u+rwx), or choose another one with --to, then run the same command again.",
            code="not-writable",
        )


def refuse_other_kind(path: bytes | Path, mode: int) -> TargetExistsError:
    """Make the error for a folder where a file has to be, or the other way round; `mode` is that of what is there."""
    kind = "folder" if stat.S_ISDIR(mode) else "symlink" if stat.S_ISLNK(mode) else "file"
    return TargetExistsError(
        f"'{shown(os.fspath(path))}' exists already as a {kind}, and cannot be replaced by anything else. Rename or "
        "remove it, then run the same command again."
    )


def refuse_changed_since(path: Path, status: os.stat_result, before_ns: int | None) -> None:
    """Refuse to replace a file that an earlier command cannot have meant.

    Raises:
        TargetExistsError: If it was changed, or came, after that.
    """
    if not stat.S_ISDIR(status.st_mode) and _is_newer(status, before_ns):
        raise _changed_since(path)


def _is_newer(status: os.stat_result, before_ns: int | None) -> bool:
    return before_ns is not None and max(status.st_mtime_ns, status.st_ctime_ns) > before_ns


def _changed_since(path: bytes | Path) -> TargetExistsError:
    return TargetExistsError(
        f"'{shown(os.fspath(path))}' came, or was changed, after the `mgmt download --replace` that is to be resumed. "
        "Run that command again if it is to be replaced all the same."
    )


def _reading(folder: Filling, name: bytes) -> IO[bytes]:
    return open(folder.open_file(name, os.O_RDONLY), "rb")  # noqa: PTH123  a descriptor


def on_other_disk(path: bytes | Path) -> TargetExistsError:
    """Make the error for a folder that a file cannot be moved into, as another disk is mounted there."""
    return TargetExistsError(
        f"'{shown(os.fspath(path))}' exists already, and is on another disk than the folder that it lies in: nothing "
        "can be moved into it. Unmount that disk, or choose another folder with --to."
    )


def _taken(path: list[bytes]) -> TargetExistsError:
    return TargetExistsError(
        f"'{shown(b'/'.join(path))}' exists already. Choose another folder, or replace it with --replace."
    )
