"""Folders with mgmt's own data, recognised by their content: they stay out of archives.

The embedded backend's and those of sign-ins hold tokens, and a journal changes while it is read. Recognised by content,
because there are others than those in use now: `make try` has its own, and a folder can be copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

_SECRET_NAME: Final = b"token.json"
_BESIDE_A_SECRET: Final = (b"issuer-key.json", b"control.lock", b"records.sqlite")
_JOURNAL_NAME: Final = b"journal.sqlite"
_BESIDE_A_JOURNAL: Final = (b"machine-id", b"locks", b"log")
_OF_A_SIGN_IN: Final = (b"sign-in.json", b"sign-in.lock")


def own_data_kind(holds: Callable[[bytes], bool]) -> str | None:
    """Name mgmt's use of a folder; None where it is not mgmt's.

    Args:
        holds: Tells whether the folder has an entry of that name.
    """
    if holds(_SECRET_NAME) and any(map(holds, _BESIDE_A_SECRET)):
        return "the embedded backend's own data, with its token"
    if holds(_JOURNAL_NAME) and any(map(holds, _BESIDE_A_JOURNAL)):
        return "mgmt's own journal and logs"
    if all(map(holds, _OF_A_SIGN_IN)):
        return "mgmt's own sign-in, with its tokens"
    return None


def own_data_at(path: str) -> str | None:
    """Name mgmt's use of the folder at a path; None where it is not mgmt's."""
    return own_data_kind(lambda name: os.path.lexists(os.path.join(os.fsencode(path), name)))  # noqa: PTH118
