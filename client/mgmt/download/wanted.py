"""One requested download: the upload, the place, and the options."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mgmt.archive.names_here import refuse_for_system
from mgmt.archive.rules import LeftOutList
from mgmt.download.results import REPORT_MAX_SECONDS
from mgmt.download.unfinished import lock_path, make_token
from mgmt.errors import RefusedError, SourceError
from mgmt.events import Notice, Progress
from mgmt.layout import NANOSECONDS, archive_file_name
from mgmt.machine.lock_files import hold_file
from mgmt.session import Session
from mgmt.stored.recorded import size_of
from mgmt.text import show_path, shown
from mgmt_contract.names import ARCHIVE_SUFFIX
from mgmt_contract.records import DownloadRecord, UploadRecord
from mgmt_contract.values import Value


class DownloadOptions(Value):
    """How to download."""

    folder: Path
    """Where archives, or their trees, are put."""
    extracts: bool = False
    only: tuple[str, ...] = ()
    """Globs of the members that are wanted; all of them without any."""
    replaces: bool = False
    lifts_limits: bool = False
    """Archives of any count, size and ratio are extracted."""
    jobs: int | None = None
    version_id: str | None = None
    """Which version of a name is meant; None for the one that is stored."""
    given_seconds: float | None = None
    """When an earlier command said all this, in seconds since 1970; None for the command that says it now."""

    @property
    def replaces_before_ns(self) -> int | None:
        """Up to when what is to be replaced may have changed: an earlier command meant what was there then."""
        return None if self.given_seconds is None else int(self.given_seconds * NANOSECONDS)

    @property
    def is_unpacked(self) -> bool:
        """Whether what is in the archive comes, and not the archive itself."""
        return self.extracts or bool(self.only)


class Wanted:
    """One upload that is to be downloaded.

    Args:
        name: What the user named.
        upload: The upload that this means.
        options: How to download.
        session: The wired organs.
        shown_base: Folder that paths in the team's records are relative to.
        is_last: Whether the command ends with it.

    Raises:
        SourceError: If no file here can have its name.
        LocalStateError: The same, on this system alone.
    """

    def __init__(
        self,
        name: str,
        upload: UploadRecord,
        options: DownloadOptions,
        session: Session,
        shown_base: Path,
        *,
        is_last: bool,
    ) -> None:
        self.name = name
        self.upload = upload
        self.options = options
        self.session = session
        self._is_last = is_last
        self.size = size_of(upload)
        self.archive_name, self.tree_name = _local_names(upload)
        self.archive_place = options.folder / self.archive_name
        self.tree_place = options.folder / self.tree_name
        self.place = self.tree_place if options.is_unpacked else self.archive_place
        self.target_path = show_path(os.fspath(self.place), shown_base)

    def has_place_of(self, upload: UploadRecord, options: DownloadOptions) -> bool:
        """Tell whether another upload, downloaded so into the same folder, would come to the same place."""
        is_same_name = _tree_name(upload) == self.tree_name
        return is_same_name and options.is_unpacked == self.options.is_unpacked

    def token(self, what: str) -> str:
        """Make the part of an unfinished file's name that tells which upload it belongs to."""
        return make_token(what, self.upload.operation_id)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Lock these places against other runs: of this user, of others, and of machines that share the folder.

        Raises:
            RefusedError: If one is at work there.
        """
        with ExitStack() as held:
            for place in dict.fromkeys((self.archive_place, self.place)):
                try:
                    held.enter_context(self.session.journal.hold(os.fspath(place), place.name))
                except RefusedError as error:
                    raise _make_busy_error("Another mgmt on this machine", place) from error
            try:
                held.enter_context(hold_file(lock_path(self.archive_place)))
            except BlockingIOError as error:
                raise _make_busy_error("The mgmt of another user or machine", self.place) from error
            yield

    def hurry_report(self) -> None:
        """Limit the time for reporting the last end: the command waits for nothing else."""
        if self._is_last:
            self.session.patience.hurry(REPORT_MAX_SECONDS)

    def note(
        self,
        operation_id: str,
        stage: str,
        done_bytes: int,
        carried_over_bytes: int = 0,
        total_bytes: int | None = None,
    ) -> None:
        """Show the progress; the total is the archive's size unless another one is given."""
        total_bytes = self.size if total_bytes is None else total_bytes
        self.session.emit(Progress(operation_id, self.target_path, stage, done_bytes, total_bytes, carried_over_bytes))

    def tell_left_out(self, left_out: LeftOutList, operation_id: str) -> None:
        """Show a note about symlinks that were not made, with the first of them."""
        if not left_out.count:
            return
        first = left_out.kept[0]
        link = f"'{first.path}' to '{first.target}'"
        if left_out.count == 1:
            said = f"the symlink {link} was left out, because it leads out of it or cannot be made here."
        else:
            said = f"{left_out.count} symlinks were left out, because they lead out of it or cannot be made here, "
            said += f"such as {link}."
        self.session.emit(Notice(f"{self.target_path}: {said}", "links-left-out", operation_id))

    def earlier_record(self, operation_id: str) -> DownloadRecord:
        """Describe a download whose end an earlier run could not report."""
        upload = self.upload
        return DownloadRecord(
            operation_id=operation_id,
            operation_type="download",
            target_path=self.target_path,
            started_at=upload.started_at,
            status="pending",
            result_path=None,
            error_message=None,
            upload_id=upload.operation_id,
            s3_bucket=upload.s3_bucket,
            s3_object_key=upload.s3_object_key,
            version_id=upload.version_id,
            size=self.size,
        )


def _make_busy_error(who: str, place: Path) -> RefusedError:
    return RefusedError(
        f"{who} is at work on '{shown(os.fspath(place))}' right now. Wait for it to end, or choose another folder with "
        "--to.",
        code="busy-here",
    )


def _local_names(upload: UploadRecord) -> tuple[str, str]:
    """Name the archive's file and the tree in it: by the key, so by the name that it was uploaded under."""
    tree_name = _tree_name(upload)
    if tree_name in ("", ".", "..") or "\0" in tree_name or os.sep in tree_name:
        raise SourceError(f"No file here can have the name of the key {upload.s3_object_key}.", code="no-name")
    archive_name = archive_file_name(tree_name)
    for name in (archive_name, tree_name):
        refuse_for_system(os.fsencode(name), [os.fsencode(name)])
    return archive_name, tree_name


def _tree_name(upload: UploadRecord) -> str:
    return upload.s3_object_key.rpartition("/")[2].removesuffix(ARCHIVE_SUFFIX)
