"""Where a scene plays: a storage, the service in front of it, and a link that leads to both."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import Server, serving

BUCKET = "bench"
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Link:
    """How far away everything is."""

    bytes_per_second: float = 0
    round_trip_seconds: float = 0


DIRECT = Link()


@dataclass(frozen=True)
class Stage:
    """Addresses and keys of a running storage and service, seen through the link."""

    storage_url: str
    service_url: str
    token: str = field(repr=False)
    keys: Mapping[str, str] = field(repr=False)
    """Environment with keys for the storage, for contenders that need them."""
    service: Server

    def count_calls(self) -> int:
        """Return how many calls the service has answered so far."""
        return int(self.service.tell()["calls"])


@contextlib.contextmanager
def discarding_stage(folder: Path, link: Link = DIRECT) -> Iterator[Stage]:
    """Set up a storage that throws everything away."""
    keys = make_keys()
    with serving("bench.discard") as storage, _stage(folder, storage, keys, link) as stage:
        yield stage


@contextlib.contextmanager
def keeping_stage(folder: Path) -> Iterator[Stage]:
    """Set up a storage that keeps what it is sent, and gives it back as fast as the kernel can."""
    keys = make_keys()
    kept = folder / "kept"
    kept.mkdir()
    with (
        serving("bench.discard", "keep", str(kept)) as storage,
        _stage(folder, storage, keys, DIRECT) as stage,
    ):
        yield stage


@contextlib.contextmanager
def engine_stage(folder: Path) -> Iterator[Stage]:
    """Set up SeaweedFS, which checks and stores everything."""
    keys = make_keys()
    with (
        serving("bench.engine", str(folder / "engine"), environment=keys) as storage,
        _stage(folder, storage, keys, DIRECT) as stage,
    ):
        yield stage


def make_keys() -> dict[str, str]:
    """Make keys for a storage that lives for a minute."""
    return {
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextlib.contextmanager
def _stage(folder: Path, storage: Server, keys: Mapping[str, str], link: Link) -> Iterator[Stage]:
    storage_port = int(storage.tell()["port"])
    with contextlib.ExitStack() as running:
        near_port, relays = storage_port, None
        if link != DIRECT:
            relays = running.enter_context(
                serving("bench.link", str(link.bytes_per_second), str(link.round_trip_seconds))
            )
            near_port = relays.tell(port=storage_port, renames_host=False)["port"]
        addresses = [_url(storage_port), _url(near_port)]
        service = running.enter_context(serving("bench.service", str(folder / "service"), *addresses, environment=keys))
        told = service.tell()
        service_port = told["port"]
        if relays is not None:
            service_port = relays.tell(port=service_port, renames_host=True)["port"]
        yield Stage(_url(near_port), _url(service_port), told["token"], keys, service)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
