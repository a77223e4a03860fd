"""One organ of mgmt in a process of its own, to measure it without the rest.

python -m bench.drivers pack SOURCE ARCHIVE [plan=auto] [workers=2] [digest=no]
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


def carry_file(path: str, url: str, certificate: str | None = None) -> None:
    """Carry a file with one PUT and print what that took of the processor."""
    from mgmt.network import Connections
    from mgmt.storage import Carrier, PutOutcome, RateLimit
    from mgmt_contract.messages import SignedRequest

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


_ORGANS: dict[str, Callable[..., None]] = {"pack": pack_source, "carry": carry_file}

if __name__ == "__main__":
    _ORGANS[sys.argv[1]](*sys.argv[2:])
