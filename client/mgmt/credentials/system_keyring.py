"""The system's keyring: macOS' keychain, Windows' credential manager, Secret Service or KWallet on Linux.

Imported only where a sign-in is begun or the keyring holds one: `keyring` and a backend take half a second.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from typing import TYPE_CHECKING, Final

import keyring
import keyring.backends.fail
import keyring.errors

from mgmt_contract.values import Value

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_log: Final = logging.getLogger(__name__)

_PIECE_MAX_CHARACTERS: Final = 1200 if sys.platform == "win32" else 1_000_000
"""Windows' credential manager takes 2,560 bytes of UTF-16 (CRED_MAX_CREDENTIAL_BLOB_SIZE, wincred.h, read 2026-11),
which is less than the tokens of one sign-in. Elsewhere one piece holds all: macOS may ask its user for each."""
_PIECES_MAX: Final = 100
_FOREIGN_ERRORS: Final = (
    ("secretstorage", "SecretStorageException"),
    ("jeepney", "DBusErrorResponse"),
    ("win32ctypes.pywin32.pywintypes", "error"),
)
"""What backends let through of the libraries below them, beside KeyringError: module and name."""


class Entry(Value):
    """A place in the keyring."""

    name: str
    """Fresh for each text: so an entry is written before the one before it goes."""
    pieces: int


class KeyringFailedError(Exception):
    """There is no keyring, it is locked, or it does not keep what it is given."""


def write_entry(service_url: str, text: str) -> Entry:
    """Keep a text in the keyring.

    Raises:
        KeyringFailedError: If that is not possible.
    """
    backend = _find_backend()
    pieces = [text[at : at + _PIECE_MAX_CHARACTERS] for at in range(0, len(text), _PIECE_MAX_CHARACTERS)]
    entry = Entry(secrets.token_hex(8), len(pieces))
    try:
        for number, piece in enumerate(pieces):
            backend.set_password(_service(service_url), _name(entry, number), piece)
    except _errors() as error:
        raise _failed(error) from error
    if read_entry(service_url, entry) != text:  # a backend that keeps nothing is a way to turn the keyring off
        raise KeyringFailedError("it does not keep what it is given")
    return entry


def read_entry(service_url: str, entry: Entry) -> str:
    """Fetch a text from the keyring.

    Raises:
        KeyringFailedError: If that is not possible.
    """
    backend = _find_backend()
    try:
        pieces = [
            backend.get_password(_service(service_url), _name(entry, number))
            for number in range(min(entry.pieces, _PIECES_MAX))
        ]
    except _errors() as error:
        raise _failed(error) from error
    if None in pieces:
        raise KeyringFailedError("it does not hold the sign-in any more")
    return "".join(piece or "" for piece in pieces)


def remove_entry(service_url: str, entry: Entry) -> None:
    """Take a text out of the keyring, if it can be done."""
    for number in range(min(entry.pieces, _PIECES_MAX)):
        try:
            _find_backend().delete_password(_service(service_url), _name(entry, number))
        except _errors(KeyringFailedError):  # what is left over is spent: each renewal replaces the tokens
            _log.info("A former entry stays in the keyring")


def _service(service_url: str) -> str:
    """Name the entry as the keyring's own window shows it."""
    return f"mgmt {service_url}"


def _name(entry: Entry, number: int) -> str:
    return entry.name if entry.pieces == 1 else f"{entry.name}-{number}"


def _find_backend() -> KeyringBackend:
    try:
        backend = keyring.get_keyring()
    except _errors(ImportError, AttributeError) as error:
        raise _failed(error) from error
    # Below 1 are those that keep nothing, or keep it where anybody may read; a user may name one of the latter.
    is_chosen = "PYTHON_KEYRING_BACKEND" in os.environ and not isinstance(backend, keyring.backends.fail.Keyring)
    if backend.priority < 1 and not is_chosen:
        raise KeyringFailedError("there is none")
    return backend


def _errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    found = (getattr(sys.modules.get(module), name, None) for module, name in _FOREIGN_ERRORS)
    foreign = [each for each in found if isinstance(each, type) and issubclass(each, Exception)]
    return (keyring.errors.KeyringError, RuntimeError, OSError, *foreign, *others)


def _failed(error: BaseException) -> KeyringFailedError:
    return KeyringFailedError(str(error).partition("\n")[0][:200] or type(error).__name__)
