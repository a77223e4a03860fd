"""The embedded backend's folder: its paths, and how private files are written."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from mgmt_local.errors import LocalBackendError

T = TypeVar("T")

STATE_DIR_VARIABLE: Final = "MGMT_LOCAL_STATE_DIR"

_LOG_SIZE_MAX_BYTES: Final = 4 * 1024 * 1024
_LOOPBACK_URL: Final = re.compile(r"http://127\.0\.0\.1:([1-9]\d{0,4})", re.ASCII)
PORT_MAX: Final = 65_535
_TRIES: Final = 40 if os.name == "nt" else 1
"""Windows keeps a file from being replaced, removed or opened for the moment in which somebody else does that."""
_PAUSE_SECONDS: Final = 0.05


class StateFolder:
    """The paths of all files that survive the background process, and of those that describe a running one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.endpoint = path / "endpoint.json"
        """Where the gateway answers; there only while it does."""
        self.own_token = path / "token.json"
        """The secret of this machine's user."""
        self.issuer_key = path / "issuer-key.json"
        self.tickets = path / "tickets"
        """A file for each login that is about to be made."""
        self.logins = path / "logins.json"
        self.records = path / "records.sqlite"
        self.engine = path / "engine"
        self.log = path / "backend.log"
        self.control_lock = path / "control.lock"
        """Held while the background process is being started or stopped."""
        self.server_lock = path / "server.lock"
        """Held by the background process until it ends, also by a crash."""
        self.own_token_lock = path / "token.lock"
        self.issuer_lock = path / "issuer.lock"


class Claim:
    """Tells whether a folder's path still leads to the folder of which this process holds the lock.

    A folder can be moved away, or removed and made anew, under a running backend; another backend may run on the new
    one. The lock's file is open as long as it is held, so no other file has its number meanwhile.
    """

    def __init__(self, folder: StateFolder) -> None:
        self._lock_path = folder.server_lock
        self._status = folder.server_lock.stat()

    def stands(self) -> bool:
        """Look; a disk that does not answer says nothing."""
        try:
            return os.path.samestat(self._lock_path.stat(), self._status)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True


def open_state_folder(state_dir: Path | None = None) -> StateFolder:
    """Return the folder, made if missing; only its owner can look into it.

    Args:
        state_dir: Instead of the one the environment names, or the user's data directory.

    Raises:
        LocalBackendError: If it belongs to somebody else, or cannot be made.
    """
    path = (state_dir or _default_path()).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            _close_to_others(path)
    except OSError as error:
        raise LocalBackendError(f"the embedded backend cannot use its folder {path}: {error.strerror}") from error
    return StateFolder(path)


def _default_path() -> Path:
    named = os.environ.get(STATE_DIR_VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    try:
        path = platformdirs.user_data_path("mgmt", appauthor=False)
    except RuntimeError:
        path = Path()
    if not path.is_absolute():  # older versions leave the ~ in
        raise LocalBackendError(
            f"this user has no home folder for the embedded backend; set HOME, or set {STATE_DIR_VARIABLE} to a folder "
            "that can be written"
        )
    return path / "local"


def _close_to_others(path: Path) -> None:
    state = path.stat()
    if sys.platform != "win32" and state.st_uid != os.geteuid():
        raise LocalBackendError(f"{path} belongs to another user; set {STATE_DIR_VARIABLE} to a folder of your own")
    if stat.S_IMODE(state.st_mode) != stat.S_IRWXU:
        path.chmod(stat.S_IRWXU)


def write_private_json(path: Path, value: object) -> None:
    """Write a file that only the user can read; readers see the old content or the new, never a part.

    Raises:
        LocalBackendError: If the disk is full, or the folder does not take it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        _insist(lambda: temporary.replace(path))
    except OSError as error:
        _forget(temporary)
        raise _not_writable(path, error) from error
    except BaseException:
        _forget(temporary)
        raise


def remove_state_file(path: Path) -> None:
    """Remove a file of the folder, if it is there."""
    _insist(lambda: path.unlink(missing_ok=True))


def _insist(do: Callable[[], T]) -> T:
    """Do something with a file that another process may be reading or replacing just now."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(PermissionError):
            return do()
        time.sleep(_PAUSE_SECONDS)
    return do()


@contextlib.contextmanager
def hold_lock(path: Path, timeout_seconds: float, if_taken: str) -> Iterator[None]:
    """Hold one of the folder's locks while the context lasts.

    Raises:
        LocalBackendError: If another process keeps it for too long, which `if_taken` says; or if it cannot be made.
    """
    # Takes a twentieth of a second to import; a command before a running backend does without.
    import filelock

    with contextlib.ExitStack() as held:
        try:
            held.enter_context(filelock.FileLock(path, timeout=timeout_seconds, mode=0o600))
        except filelock.Timeout as error:
            raise LocalBackendError(if_taken) from error
        except OSError as error:
            raise _not_writable(path, error) from error
        yield


def _not_writable(path: Path, error: OSError) -> LocalBackendError:
    return LocalBackendError(
        f"the embedded backend cannot write {path}: {error.strerror or error}. Free some space, fix its "
        f"permissions; or set {STATE_DIR_VARIABLE} to another folder"
    )


def _forget(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # a folder that cannot be written reveals nothing either
        temporary.unlink()


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a file of ours; None where there is none or it is not whole."""
    with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
        value = json.loads(_insist(lambda: path.read_text("utf-8")))
        if isinstance(value, dict):
            return value
    return None


def read_endpoint(folder: StateFolder) -> dict[str, Any] | None:
    """Return the content of the running gateway's file; None where it makes no sense."""
    endpoint = read_json(folder.endpoint) or {}
    wanted = {"url": str, "secret": str, "pid": int, "started_at": str}
    is_whole = all(isinstance(endpoint.get(name), kind) for name, kind in wanted.items())
    address = _LOOPBACK_URL.fullmatch(endpoint["url"]) if is_whole else None
    return endpoint if address and int(address[1]) <= PORT_MAX else None


def open_log(folder: StateFolder) -> IO[bytes]:
    """Open the background process's log, to append to it.

    Raises:
        LocalBackendError: If the disk is full, or the folder does not take it.
    """
    try:
        return os.fdopen(os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    except OSError as error:
        raise _not_writable(folder.log, error) from error


def trim_log(path: Path, size_max_bytes: int = _LOG_SIZE_MAX_BYTES) -> None:
    """Empty a log that has grown too large, keeping its old content beside it.

    Its writers append, and go on at its new end; lines written in between are lost.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size > size_max_bytes:
            path.with_suffix(path.suffix + ".old").write_bytes(path.read_bytes()[-size_max_bytes:])
            os.truncate(path, 0)


def find_reason(log: Path, after_bytes: int) -> str:
    """Return what a log calls an error since it had that size, or else its last line: as a traceback ends."""
    lines: list[str] = []
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(after_bytes)
        lines = [
            line for line in file.read(_LOG_SIZE_MAX_BYTES).decode("utf-8", "replace").splitlines() if line.strip()
        ]
    errors = [line.partition(" ERROR ")[2] for line in lines if " ERROR " in line]
    return (errors or lines or ["it ended without a word, as on a full disk"])[-1]


def tail_log(path: Path, lines: int = 12) -> str:
    """Return the last lines of a log, or nothing where there is none."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:])
    return ""
