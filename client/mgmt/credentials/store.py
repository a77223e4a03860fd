"""Keeps sign-ins, one for each service: in the system's keyring, else in a file that its user alone can read.

A folder for each service lies in the state folder, below one that is closed to others, with two files. `sign-in.json`
holds the sign-in, or says where in the keyring it is: so a command whose sign-in is in the file never imports a
keyring, and any other process sees by the file's status alone that something has changed. `sign-in.lock` is held while
a sign-in is changed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mgmt.credentials.place import FILE_NAME, FOLDER, file_of, service_name
from mgmt.credentials.tokens import Credentials
from mgmt.errors import INTERRUPTED, CancelledError, LocalStateError, LoginRequiredError, UnavailableError
from mgmt.machine.files import close_to_others, make_private_folder, remove_file, write_private
from mgmt_contract.values import Value
from mgmt_contract.wire import MessageError, from_json, to_json

if TYPE_CHECKING:  # names for annotations only
    from mgmt.credentials.system_keyring import Entry
    from mgmt.events import Emit

_LOCK_NAME: Final = "sign-in.lock"
LOCK_PATIENCE_SECONDS: Final = 90.0
"""A holder asks an issuer once, which takes 40 s at most, and writes a file."""
_LOCK_POLL_SECONDS: Final = 0.02


class _Held(threading.local):
    """The locks that a thread holds."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()


_HELD: Final = _Held()


_VERSION: Final = 1
"""Of the file; a change that an older mgmt would read wrongly takes the next number."""


class _Stored(Value):
    """The content of `sign-in.json`: the sign-in, or its place in the keyring."""

    service_url: str
    credentials: Credentials | None = None
    keyring_entry: str | None = None
    keyring_pieces: int = 0
    issuer: str | None = None
    """As in the sign-in, like the next two: a new one is compared with them, also while the keyring is locked."""
    subject: str | None = None
    name: str | None = None
    version: int = _VERSION

    @property
    def entry(self) -> Entry | None:
        """The place in the keyring; None where the file holds all."""
        if self.keyring_entry is None:
            return None
        from mgmt.credentials.system_keyring import Entry

        return Entry(self.keyring_entry, self.keyring_pieces)


class Known(Value):
    """What is no secret of a sign-in that there is: a new one is compared with it."""

    service_url: str
    issuer: str
    subject: str | None = None
    name: str | None = None


class CredentialStore:
    """The sign-ins of this machine's user; for any thread and any number of processes."""

    def __init__(self, state_dir: Path, emit: Emit) -> None:
        self._state_dir = state_dir
        self._emit = emit

    def load(self, service_url: str) -> Credentials | None:
        """Return the sign-in for a service; None where there is none.

        Raises:
            LoginRequiredError: If what is kept cannot be read.
        """
        stored = self._read(service_url)
        if stored is None:
            return None
        credentials = stored.credentials
        if stored.entry is not None:
            credentials = self._fetch(service_url, stored.entry)
        if credentials is None or credentials.service_url != service_name(service_url):
            raise _unreadable(self._file(service_url), "is not of this service")
        return credentials

    def version(self, service_url: str) -> object:
        """Return a value that differs once the sign-in has changed; costs no more than a look at a file's status."""
        try:
            status = self._file(service_url).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def save(self, credentials: Credentials) -> None:
        """Keep a new sign-in in the place of the former one, and say once where it is if that is a file.

        Raises:
            LocalStateError: If it cannot be written.
        """
        url = credentials.service_url
        with self.locked(url):
            was_in_file = self.version(url) is not None and self._entry_in(url) is None
            stored, why = _enter(credentials)
            self._write(stored)
        if why is not None and not was_in_file:
            from mgmt.events import Notice

            self._emit(
                Notice(
                    f"The sign-in is kept in {self._file(url)}, readable by you alone, and not in the system's keyring "
                    f"({why}).",
                    "sign-in-in-file",
                )
            )

    def update(self, credentials: Credentials) -> None:
        """Keep renewed tokens where the former ones are; the lock is held by the caller.

        Raises:
            LocalStateError: If they cannot be written.
        """
        former = self._read(credentials.service_url)
        is_in_keyring = former is not None and former.entry is not None
        stored = _enter(credentials)[0] if is_in_keyring else _Stored(credentials.service_url, credentials)
        self._write(stored)

    def delete(self, service_url: str) -> None:
        """Forget the sign-in for a service; nothing happens where there is none.

        Raises:
            LocalStateError: If it cannot be removed.
        """
        path = self._file(service_url)
        if self.version(service_url) is None:
            return
        with self.locked(service_url), _translate_errors(path):
            entry = self._entry_in(service_url)
            remove_file(path, lambda _: True)
            if entry is not None:
                _remove(service_url, entry)

    def list_known(self) -> list[Known]:
        """Tell of each sign-in whose it is and where it was made; no keyring is asked, which may be locked."""
        found = []
        for path in sorted((self._state_dir / FOLDER).glob(f"*/{FILE_NAME}")):
            try:
                stored = from_json(_Stored, path.read_bytes())
            except (OSError, MessageError):
                continue
            told = stored.credentials or stored
            if told.issuer is not None:
                found.append(Known(stored.service_url, told.issuer, told.subject, told.name))
        return found

    @contextmanager
    def locked(
        self,
        service_url: str,
        stop: threading.Event | None = None,
        patience_seconds: float = LOCK_PATIENCE_SECONDS,
    ) -> Iterator[None]:
        """Keep other processes and threads from changing a sign-in; may be taken again by its holder.

        Raises:
            LocalStateError: If the folder cannot be written.
            CancelledError: If the command is stopped meanwhile.
            UnavailableError: If another process holds it for so long; by default, longer than anything takes.
        """
        import filelock

        path = self._file(service_url).with_name(_LOCK_NAME)
        if path in _HELD.paths:
            yield
            return
        lock = filelock.FileLock(path, mode=0o600)
        is_stopped: Callable[[], bool] = stop.is_set if stop is not None else lambda: False
        with _translate_errors(path):
            _make_folder(path)
            try:
                lock.acquire(patience_seconds, _LOCK_POLL_SECONDS, cancel_check=is_stopped)
            except filelock.Timeout as error:
                if is_stopped():
                    raise CancelledError(INTERRUPTED) from error
                raise UnavailableError(
                    f"Another mgmt has been changing the sign-in for {patience_seconds:.0f} s (it holds {path}). "
                    "End it, then run the same command again.",
                    code="sign-in-locked",
                ) from error
        _HELD.paths.add(path)
        try:
            yield
        finally:
            _HELD.paths.discard(path)
            lock.release()

    def _file(self, service_url: str) -> Path:
        return file_of(self._state_dir, service_url)

    def _read(self, service_url: str) -> _Stored | None:
        path = self._file(service_url)
        try:
            close_to_others(path)
            data = path.read_bytes()
            if _is_newer(data):
                raise _unreadable(path, "it was written by a newer mgmt. Update mgmt on this machine")
            stored = from_json(_Stored, data)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from error
        except MessageError as error:  # its sentence may hold what it has found there
            raise _unreadable(path, "is damaged") from error
        if stored.service_url != service_name(service_url):
            raise _unreadable(path, "is not of this service")
        return stored

    def _fetch(self, service_url: str, entry: Entry) -> Credentials:
        from mgmt.credentials.system_keyring import KeyringFailedError, read_entry

        try:
            return from_json(Credentials, read_entry(service_url, entry))
        except KeyringFailedError as error:
            raise _unreadable_keyring(str(error)) from error
        except MessageError as error:
            raise _unreadable_keyring("what it holds is damaged") from error

    def _write(self, stored: _Stored) -> None:
        """Write the file, which makes the new sign-in the one that counts; then the former's entry may go."""
        path = self._file(stored.service_url)
        former = self._entry_in(stored.service_url)
        with _translate_errors(path):
            _make_folder(path)
            write_private(path, to_json(stored))
        if former is not None:
            _remove(stored.service_url, former)

    def _entry_in(self, service_url: str) -> Entry | None:
        try:
            stored = self._read(service_url)
        except LoginRequiredError:  # damaged: a new sign-in takes its place
            return None
        return stored.entry if stored is not None else None


def _make_folder(path: Path) -> None:
    """Make the folder of a file of a sign-in; nobody else can see for which services there are some."""
    make_private_folder(path.parent.parent)
    make_private_folder(path.parent)


def _enter(credentials: Credentials) -> tuple[_Stored, str | None]:
    """Put a sign-in into the keyring, else into what the file will hold; with the reason for that."""
    from mgmt.credentials.system_keyring import KeyringFailedError, write_entry

    url = credentials.service_url
    try:
        entry = write_entry(url, to_json(credentials))
    except KeyringFailedError as error:
        return _Stored(url, credentials), str(error)
    issuer, subject, name = credentials.issuer, credentials.subject, credentials.name
    return _Stored(url, None, entry.name, entry.pieces, issuer, subject, name), None


def _remove(service_url: str, entry: Entry) -> None:
    from mgmt.credentials.system_keyring import remove_entry

    remove_entry(service_url, entry)


def _is_newer(data: bytes) -> bool:
    """Tell whether a newer mgmt has written a file, whatever else is in it."""
    try:
        version = json.loads(data)["version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return isinstance(version, int) and version > _VERSION


def _unreadable(path: Path, why: str) -> LoginRequiredError:
    return LoginRequiredError(
        f"The sign-in in {path} cannot be used: {why}. Run `mgmt login`, which replaces it.", code="sign-in-unreadable"
    )


def _unreadable_keyring(why: str) -> LoginRequiredError:
    return LoginRequiredError(
        f"The sign-in cannot be fetched from the system's keyring: {why}. Unlock the keyring, or run `mgmt login`.",
        code="sign-in-unreadable",
    )


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalStateError(
            f"The sign-in cannot be kept in {path}: {error.strerror or error}. Make that folder writable, or set "
            "MGMT_STATE_DIR to another.",
            code="sign-in-not-kept",
        ) from error
