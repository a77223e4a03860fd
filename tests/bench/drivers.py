"""One organ of mgmt in a process of its own, to measure it without the rest.

python -m bench.drivers pack SOURCE ARCHIVE [plan=auto] [workers=2] [digest=no]
python -m bench.drivers unpack ARCHIVE FOLDER            into a folder that is not there
python -m bench.drivers reread SOURCE
python -m bench.drivers carry FILE URL [CERTIFICATE]     prints the processor seconds as JSON
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class NoDigest:
    """Stands in for the content digest, to see what that costs."""

    def __init__(self, on_member: object = None) -> None:
        """Take the arguments of a digest."""

    def add(self, items: Sequence[object]) -> None:
        """Take nothing in."""

    def text(self) -> str:
        """Write something of a digest's form."""
        return "blake3:" + 64 * "0"


def pack_source(source: str, archive: str, *words: str) -> None:
    """Look at a source and pack it."""
    from mgmt.archive import pack, packing
    from mgmt.source import look

    chosen = dict(word.split("=", 1) for word in words)
    if chosen.get("digest") == "no":
        setattr(packing, "ContentDigest", NoDigest)  # noqa: B010  no name of that module's own to assign to
    workers = int(chosen["workers"]) if "workers" in chosen else None
    pack(look(Path(source)), archive, plan=chosen.get("plan", "auto"), workers=workers)


def unpack_archive(archive: str, folder: str) -> None:
    """Unpack an archive and publish the tree."""
    from mgmt.archive.extraction import Extraction
    from mgmt.archive.rules import Rules
    from mgmt.archive.unpacking import unpack

    place = Path(folder).absolute()
    rules = Rules(ratio_max=2_000)
    with Path(archive).open("rb") as file, Extraction(place, token=8 * "0", rules=rules) as extraction:
        unpack(file, extraction)
        extraction.publish()


def reread_source(source: str) -> None:
    """Read files again from their medium, with a digest of each."""
    from mgmt.archive.member_digests import digest_members
    from mgmt.source.rereading import reread
    from mgmt.source.walk import Excludes, Walk

    path = Path(source)
    items = reread(Walk(source, path.name, Excludes(())))
    digests = digest_members(items, on_member=lambda _: None, on_finding=lambda _: None)
    if digests.finding_count or digests.cached_count:
        raise SystemExit(f"not all was read from the medium: {digests}")


def carry_file(path: str, url: str, certificate: str | None = None) -> None:
    """Carry a file with one PUT and print what that took of the processor."""
    from mgmt.network import Connections
    from mgmt.storage import Carrier, PutOutcome, RateLimit
    from mgmt_contract.messages.objects import SignedRequest

    stop = threading.Event()
    connections = Connections(ca_bundle=Path(certificate) if certificate else None)
    carrier = Carrier(connections, stop, RateLimit(None, stop))
    size_bytes = Path(path).stat().st_size
    began = time.process_time()
    result = carrier.put(SignedRequest(url, {}, 900), Path(path), 0, size_bytes, lambda _: None)
    taken = time.process_time() - began
    if result.outcome is not PutOutcome.STORED:
        raise SystemExit(result.reason)
    sys.stdout.write(f"{taken}\n")


_ORGANS: dict[str, Callable[..., None]] = {
    "pack": pack_source,
    "unpack": unpack_archive,
    "reread": reread_source,
    "carry": carry_file,
}

if __name__ == "__main__":
    _ORGANS[sys.argv[1]](*sys.argv[2:])
