"""The client's error tree and its exit codes.

    MgmtError
    ├── UsageError            2   the command line
    ├── SourceError           4   the source cannot be uploaded, or there is no such thing
    ├── LoginRequiredError    5   no valid token
    ├── RefusedError          6   the service says no
    │   └── NewerServiceError     or says what this version does not know
    ├── UnavailableError      7   run again, it resumes
    │   └── RestoringError        S3 is restoring an archived object; later it can be read
    ├── IntegrityError        8   bytes disagree
    ├── LocalStateError       9   local disk or state
    │   ├── StorageFullError      the disk of the embedded backend is full
    │   └── TargetExistsError     something lies where a download is to go
    ├── NotConfiguredError   10   no service known
    └── CancelledError      130   Ctrl-C or a termination signal; resumable

Exit code 1 is a bug, 3 means that some of several targets failed for reasons of their own, 11 that the answer is no.
Every sentence says what happened, what was expected, and what to do next.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Final

from mgmt.text import shown

EXIT_OK: Final = 0
EXIT_BUG: Final = 1
EXIT_PARTLY_FAILED: Final = 3
EXIT_NO: Final = 11

INTERRUPTED: Final = "Interrupted. Nothing is lost; run the same command to resume."

_PATH_SHOWN_BYTES: Final = 200
_OR_EXCLUDE: Final = ", or leave it out with --exclude"
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EISDIR})
"""Errors of opening a file or folder that has just vanished or changed its kind."""


def is_interrupt(error: BaseException | None) -> bool:
    """Tell whether an error is Ctrl-C, or came of it: Python wraps one that hits it while a class is made."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class MgmtError(Exception):
    """Something a user can understand and act on."""

    exit_code: ClassVar[int] = EXIT_BUG
    default_code: ClassVar[str] = "error"
    stops_everything: ClassVar[bool] = True
    """False where only the one target is concerned and the others go on."""

    def __init__(self, message: str, *, code: str | None = None, operation_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.operation_id = operation_id
        self.details: tuple[str, ...] = ()
        """Lines that a person sees below the message, such as a table."""


class UsageError(MgmtError):
    """The command line asks for something that has no meaning."""

    exit_code = 2
    default_code = "usage"


class SourceError(MgmtError):
    """The source cannot be uploaded, or there is no such thing."""

    exit_code = 4
    default_code = "source"
    stops_everything = False


class LoginRequiredError(MgmtError):
    """There is no token, or the service does not accept it."""

    exit_code = 5
    default_code = "login-required"


class RefusedError(MgmtError):
    """The service has understood and says no."""

    exit_code = 6
    default_code = "refused"
    stops_everything = False


class NewerServiceError(RefusedError):
    """The service answers what this version does not know: whatever was begun is left as it is."""

    default_code = "versions-differ"


class UnavailableError(MgmtError):
    """The service or the storage could not be reached for too long; the same command resumes."""

    exit_code = 7
    default_code = "unavailable"


class RestoringError(UnavailableError):
    """S3 is restoring an archived object: the same command goes on when it can be read."""

    default_code = "restoring"
    stops_everything = False


class IntegrityError(MgmtError):
    """Bytes disagree, and sending them again did not help."""

    exit_code = 8
    default_code = "integrity"
    stops_everything = False


class LocalStateError(MgmtError):
    """The local disk or mgmt's own state does not allow it."""

    exit_code = 9
    default_code = "local-state"


class StorageFullError(LocalStateError):
    """The embedded backend has no room on its disk: the same command goes on once there is some."""

    default_code = "storage-full"


class TargetExistsError(LocalStateError):
    """Something lies already where a download is to go: the other downloads of the command go on."""

    default_code = "target-exists"
    stops_everything = False


class NotConfiguredError(MgmtError):
    """No service is configured, or it is not the expected one."""

    exit_code = 10
    default_code = "not-configured"


class CancelledError(MgmtError):
    """Interrupted by the user or by the system; nothing is lost."""

    exit_code = 130
    default_code = "interrupted"


def source_changed(path: bytes | str) -> SourceError:
    """Make the error for a file or folder that did not stay as it was."""
    return SourceError(
        f"'{shown(path)}' changed while it was read. Wait until nothing writes there, then run the same command again.",
        code="source-changed",
    )


def source_unreadable(path: bytes | str, cause: str) -> SourceError:
    """Make the error for a file or folder that cannot be read."""
    return SourceError(
        f"'{shown(path)}' cannot be read: {cause}. Make it readable{_OR_EXCLUDE}.",
        code="source-unreadable",
    )


def written_by_newer(what: str) -> LocalStateError:
    """Make the error for what a newer mgmt has written on this machine: it is neither damaged nor to be removed."""
    return LocalStateError(
        f"{what} was written by a newer mgmt than this one. Nothing of it was changed or removed. Update mgmt on this "
        "machine, then run the same command again.",
        code="written-by-newer",
    )


def path_too_long(path: bytes, size_max_bytes: int) -> SourceError:
    """Make the error for a file or folder whose path, with that of what it links to, is too long for an archive."""
    return SourceError(
        f"The path '{shown(path[:_PATH_SHOWN_BYTES])}…' is too long: it has {len(path):,} bytes, and an archive takes "
        f"{size_max_bytes:,}, with the path that it may be a link to. Rename its folders or move it up{_OR_EXCLUDE}.",
        code="path-too-long",
    )


def without_excluding(message: str) -> str:
    """Take the hint at --exclude out of a sentence about a source, for commands that have no such option."""
    return message.replace(_OR_EXCLUDE, "")


def archive_unreadable(path: bytes | str, cause: str) -> LocalStateError:
    """Make the error for an archive that does not last until its upload is confirmed."""
    return LocalStateError(
        f"The archive '{shown(path)}' cannot be read: {cause}. Fix that or delete the file, then run the same "
        "command again: a missing archive is packed again.",
        code="archive-unreadable",
    )


def is_gone(error: OSError) -> bool:
    """Tell whether opening or reading failed because the file or folder has just vanished, or is another one now."""
    return error.errno in _GONE


def source_failure(path: bytes | str, error: OSError) -> SourceError:
    """Turn a system error about a source into a sentence: it is gone, or it cannot be read."""
    if is_gone(error):
        return source_changed(path)
    return source_unreadable(path, error.strerror or str(error))
