"""A SQLite file that a test looks into, or changes, behind the back of what it belongs to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open it; changes are kept where nothing fails, and it is closed: a connection alone does not do that."""
    with closing(sqlite3.connect(path)) as database, database:
        yield database
