"""Extracting archives in tests: whole ones, and member by member as a download by ranges does."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from mgmt.archive import PackedArchive, pack
from mgmt.archive.extraction import Extraction
from mgmt.archive.index import Index, IndexedMember, IndexWriter
from mgmt.archive.rules import Rules
from mgmt.archive.unpacking import Unpacked, unpack
from mgmt.source import look

TOKEN = "0f12ab34"


def extract(archive: Path | bytes, place: Path, rules: Rules | None = None, **options: Any) -> Unpacked:
    """Extract a whole archive."""
    data = archive if isinstance(archive, bytes) else archive.read_bytes()
    with Extraction(place, token=TOKEN, rules=rules, **options) as extraction:
        found = unpack(io.BytesIO(data), extraction)
        extraction.publish()
    return found


def without_special_bits(found: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """Take setuid, setgid and sticky bits from what `describe` says."""
    return {path: (kind, int(str(mode)) & 0o777, *facts) for path, (kind, mode, *facts) in found.items()}


def members_of(source: Path, folder: Path) -> tuple[PackedArchive, list[IndexedMember]]:
    with IndexWriter(folder) as writer:
        packed = pack(look(source), folder / "x.tar.gz", index=writer)
        with (folder / "index.gz").open("wb") as target:
            writer.write(target)
    return packed, list(Index(folder / "index.gz").members())


def bring(extraction: Extraction, source: Path, member: IndexedMember, fetched: list[bytes]) -> None:
    """Bring one member from the source's folder; each time that content is asked for, its path is noted."""
    if member.kind != "file":
        extraction.add(member)
        return
    with extraction.begin_file(member) as target:
        digest = None
        while digest is None:
            if not target.is_whole:
                fetched.append(member.path)
                target.write((source.parent / os.fsdecode(member.path)).read_bytes()[target.done_bytes :])
            digest = target.finish()
