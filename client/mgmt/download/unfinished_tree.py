"""The list of a tree's unpacked members and its checkpoints, from which a later run continues.

Two files lie beside the tree's final place, under names of unfinished archives. One has a line for each member that is
whole. The other has the download's id and the checkpoints, each written only after all members before it were synced.
Members that are noted after the last checkpoint do not count.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Final, Self

from mgmt.archive import sync_folder
from mgmt.archive.blocks import BlockStart
from mgmt.archive.checkpoints import Checkpoint, Mark
from mgmt.archive.extraction import LeftDifferentError
from mgmt.archive.index import LINE_MAX_BYTES, IndexedMember, parse_member, write_member
from mgmt.download.unfinished import Opened, identity_of, make_token, refuse_newer, write_line
from mgmt.errors import IntegrityError
from mgmt.layout import temporary_name
from mgmt.machine.files import open_regular, remove_file, sync
from mgmt_contract.parts import MIB

_LIST_FORMAT: Final = "mgmt checkpoints 1"
STEP_BYTES: Final = 32 * MIB
"""Bytes of the archive between two checkpoints at least: so much is fetched again after a crash."""
_LIST_LINE_MAX_BYTES: Final = 2 * LINE_MAX_BYTES
"""A checkpoint has a member's line as text, in which each character is escaped once more at most."""
_MODE: Final = 0o600
_FLAGS: Final = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class UnfinishedTree:
    """The list and the checkpoints of one tree; used by one thread.

    Args:
        folder: Where the tree will be.
        tree_name: The tree's final name.
        upload_id: The upload that is fetched.
        size: The archive's size in bytes; 0 where no checkpoints are to be kept.

    Raises:
        OSError: What the disk met with; from every method too.
        LocalStateError: written-by-newer, where a newer mgmt has begun it.
    """

    def __init__(self, folder: Path, tree_name: str, upload_id: str, size: int) -> None:
        self._list_path, self._members_path = list_paths(folder, tree_name, upload_id)
        self._head = {"format": _LIST_FORMAT, "upload_id": upload_id, "size": size}
        self._is_worth_it = size > STEP_BYTES
        self.opened: Opened | None = None
        """The download that an earlier run has opened."""
        self._published: list[list[int]] = []
        self._checkpoint: Checkpoint | None = None
        self._members_bytes = 0
        self._list: IO[bytes] | None = None
        self._members: IO[bytes] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: Future[None] | None = None
        self._saved_offset = 0
        self._read_list()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that an earlier run has left."""
        return self._checkpoint

    @property
    def done_bytes(self) -> int:
        """Bytes of the archive that need not be fetched again."""
        return self._checkpoint.mark.offset if self._checkpoint is not None else 0

    def is_published_as(self, place: Path) -> bool:
        """Tell whether an earlier run has checked this tree and given it its name, and was killed after that."""
        try:
            return bool(self._published) and identity_of(place) in self._published
        except FileNotFoundError:
            return False

    def open(self, opened: Opened) -> None:
        """Open the lists of an earlier run, or make new ones; a second call continues under another operation."""
        self._close_files()
        is_known = self.opened is not None
        if not is_known:
            self._remove_both()
        self._list = _open(self._list_path, 0 if is_known else os.O_CREAT | os.O_EXCL)
        self._members = _open(self._members_path, os.O_CREAT)
        self._cut_members(self._members_bytes)
        lines = [] if is_known else [self._head]
        # A line that a crash has cut is none any more: the beginning of 12 must not be taken for 1.
        self._append(b"#\n" * is_known + b"".join(map(write_line, [*lines, opened._asdict()])))
        self.opened = opened
        self._saved_offset = self.done_bytes
        if not is_known:
            sync_folder(self._list_path.parent)

    def begin_anew(self) -> None:
        """Forget all members and checkpoints: the tree is not there any more."""
        self._wait()
        self._append(write_line({"checkpoint": None}))
        self._cut_members(0)
        self._checkpoint, self._members_bytes, self._saved_offset = None, 0, 0

    def members(self) -> Iterator[IndexedMember]:
        """Read the members that are whole at the checkpoint.

        Raises:
            LeftDifferentError: If they were not noted here.
        """
        with open_regular(self._members_path) as descriptor:
            if descriptor is None:
                raise LeftDifferentError
            with open(descriptor, "rb", closefd=False) as file:
                while file.tell() < self._members_bytes:
                    yield _parse(file.readline(LINE_MAX_BYTES))

    def note(self, member: IndexedMember) -> None:
        """Note a member that is whole."""
        if self._is_worth_it:
            assert self._members is not None  # noqa: S101  it was opened
            self._members.write(write_member(member))

    def is_due(self, offset: int) -> bool:
        """Tell whether enough has arrived since the last checkpoint."""
        is_far = self._is_worth_it and offset - self._saved_offset >= STEP_BYTES
        return is_far and (self._saving is None or self._saving.done())

    def save(self, checkpoint: Checkpoint, sync: Callable[[], None]) -> None:
        """Note a checkpoint in a thread of its own, while the unpacking goes on."""
        self._wait()
        assert self._members is not None  # noqa: S101  it was opened
        self._members.flush()
        self._saved_offset = checkpoint.mark.offset
        self._saving = self._pool.submit(self._save, checkpoint, self._members.tell(), sync)

    def promise(self, tree: Path) -> None:
        """List the identity of the checked tree, before it gets its final name or after."""
        self._wait()
        self._append(write_line({"published": identity_of(tree)}))

    def close(self) -> None:
        """Close both files."""
        with contextlib.suppress(OSError):  # what could not be noted is fetched again
            self._wait()
        self._pool.shutdown()
        self._close_files()

    def discard(self) -> None:
        """Remove both files, if they are there."""
        self.close()
        self._remove_both()

    def _close_files(self) -> None:
        for file in (self._list, self._members):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        self._list = self._members = None

    def _cut_members(self, size_bytes: int) -> None:
        assert self._members is not None  # noqa: S101  it was opened
        self._members.truncate(size_bytes)
        self._members.seek(size_bytes)

    def _wait(self) -> None:
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def _save(self, checkpoint: Checkpoint, members_bytes: int, sync_tree: Callable[[], None]) -> None:
        assert self._members is not None  # noqa: S101  it is closed after this
        sync_tree()
        sync(self._members.fileno())
        partial = checkpoint.partial
        plain = checkpoint._asdict() | {"partial": None if partial is None else write_member(partial).decode()}
        self._append(write_line({"checkpoint": plain, "members_bytes": members_bytes}))

    def _append(self, data: bytes) -> None:
        assert self._list is not None  # noqa: S101  it was opened
        self._list.write(data)
        self._list.flush()
        sync(self._list.fileno())

    def _read_list(self) -> None:
        """Read the list of an earlier run; one of another upload, or damaged at its beginning, does not count."""
        with contextlib.suppress(FileNotFoundError), open_regular(self._list_path) as descriptor:
            if descriptor is None:
                return
            with open(descriptor, "rb", closefd=False) as file:
                head = file.readline(_LIST_LINE_MAX_BYTES)
                refuse_newer(head, _LIST_FORMAT, self._list_path)
                if head == write_line(self._head):
                    while line := file.readline(_LIST_LINE_MAX_BYTES):
                        self._read_line(line)

    def _read_line(self, line: bytes) -> None:
        try:
            found = json.loads(line) if line.endswith(b"\n") else None
            if not isinstance(found, dict):
                return
            if "checkpoint" in found:
                self._take_checkpoint(found)
            elif "published" in found:
                self._published.append(list(found["published"]))
            else:
                self.opened = Opened(str(found["operation_id"]), str(found["target_path"]))
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            OverflowError,
            RecursionError,
            IntegrityError,
        ):  # cut by a crash
            return

    def _take_checkpoint(self, found: dict[str, Any]) -> None:
        plain = found["checkpoint"]
        if plain is None:
            self._checkpoint, self._members_bytes = None, 0
            return
        partial = plain["partial"]
        checkpoint = Checkpoint(
            int(plain["member_count"]),
            Mark(*map(int, plain["mark"])),
            BlockStart(*map(int, plain["place"])),
            None if partial is None else parse_member(partial.encode()),
            int(plain["partial_bytes"]),
        )
        self._checkpoint, self._members_bytes = checkpoint, int(found["members_bytes"])

    def _remove_both(self) -> None:
        self._checkpoint, self._members_bytes = None, 0
        remove_file(self._members_path, lambda _: True)
        # The list last: while it is there, the next run finds what is to be removed.
        remove_file(self._list_path, lambda _: True)


def list_paths(folder: Path, tree_name: str, upload_id: str) -> tuple[Path, Path]:
    """Say where the list of a tree that is not whole lies, and that of its members."""
    names = (temporary_name(tree_name, make_token(what, upload_id)) for what in ("checkpoints", "members"))
    checkpoints, members = names
    return folder / checkpoints, folder / members


def _parse(line: bytes) -> IndexedMember:
    try:
        return parse_member(line)
    except IntegrityError as error:
        raise LeftDifferentError from error


def _open(path: Path, flags: int) -> IO[bytes]:
    file = open(os.open(path, _FLAGS | flags, _MODE), "r+b")  # noqa: PTH123, SIM115  a descriptor, closed in the end
    file.seek(0, os.SEEK_END)
    return file
