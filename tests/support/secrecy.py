"""Searches the logs, journals and records that tests have left for secrets: tokens, and signatures of URLs.

Every test that works in a folder of its own ends with it, so whatever a test makes a command or the service write down
is searched. Files that are there to keep a secret, such as a sign-in, have other names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MARKED: Final = "marked-secret-of-the-tests"
"""Part of every secret that the tests make up where a word can be chosen."""
SECRET: Final = re.compile(
    rb"X-Amz-Signature(?:=|%3D|\W{1,4})[0-9a-f]{64}"
    rb"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{20,}"
    rb"|" + MARKED.encode()
)
SEARCHED: Final = (".log", ".sqlite", ".sqlite-wal", ".sqlite-journal")
READ_MAX_BYTES: Final = 20_000_000
"""Of one file; no log or journal of a test is as large."""


def find_secrets(folder: Path) -> Iterator[str]:
    """Name each file below a folder that holds a secret, and the secret's beginning."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(SEARCHED):
                path = Path(parent, name)
                if path.is_file():
                    with path.open("rb") as file:
                        found = SECRET.search(file.read(READ_MAX_BYTES))
                    if found is not None:
                        yield f"{path}: {found[0][:60]!r}"
