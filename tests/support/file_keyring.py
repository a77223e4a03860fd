"""A system keyring for tests: PYTHON_KEYRING_BACKEND=support.file_keyring.Keyring keeps passwords in a folder.

TEST_KEYRING names the folder; a file `locked` in it makes it refuse, and `forgetful` keep nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class Keyring(KeyringBackend):
    """Keeps each password in a file."""

    priority = 5

    def get_password(self, service: str, username: str) -> str | None:
        """Return a password."""
        path = self._path(service, username)
        return json.loads(path.read_text())[2] if path.exists() else None

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a password."""
        path = self._path(service, username)
        if not (path.parent / "forgetful").exists():
            path.write_text(json.dumps([service, username, password]))

    def delete_password(self, service: str, username: str) -> None:
        """Forget a password."""
        try:
            self._path(service, username).unlink()
        except FileNotFoundError as error:
            raise PasswordDeleteError(service) from error

    def _path(self, service: str, username: str) -> Path:
        folder = Path(os.environ["TEST_KEYRING"])
        if (folder / "locked").exists():
            raise KeyringLocked("the keychain is locked")
        return folder / hashlib.sha256(f"{service}\0{username}".encode()).hexdigest()[:16]
