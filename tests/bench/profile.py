"""Where mgmt's time goes, step by step: what the reasons for a figure that was not reached are read off.

    python -m bench.profile packing SOURCE ARCHIVE      processor seconds that each step takes
    python -m bench.profile upload WORD...              when each step of one upload has ended, on the clock

Prints them as JSON. The steps are mgmt's own functions with a stopwatch around each; a step inside another counts
for itself only. With many small files the stopwatches themselves add a little to the sum.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

_BEGAN: Final = time.perf_counter() - time.process_time()
"""Nearly: until here this process has waited for nothing."""
_STARTING: Final = "start of Python, imports"

Steps = dict[str, float]


class Stopwatch(threading.local):
    """Counts the processor seconds that each thread spends in each step."""

    def __init__(self, threads: list[Steps]) -> None:
        self._steps: Steps = defaultdict(float)
        self._inner_seconds = 0.0
        """What steps inside the present one took."""
        threads.append(self._steps)

    def time(self, step: str, work: Callable[..., Any], *words: Any, **settings: Any) -> Any:
        """Do some work and note what it took under a step."""
        before, self._inner_seconds = self._inner_seconds, 0.0
        began = time.thread_time()
        try:
            return work(*words, **settings)
        finally:
            taken = time.thread_time() - began
            self._steps[step] += taken - self._inner_seconds
            self._inner_seconds = before + taken


def profile_packing(source: str, archive: str) -> Steps:
    """Pack a source and return the processor seconds of each step."""
    look = import_module("mgmt.source").look
    packing: Any = import_module("mgmt.archive.packing")
    threads: list[Steps] = []
    watch = Stopwatch(threads)
    for holder, name, step in (
        (os, "readv", "reading"),
        (packing, "encode", "sampling and compressing"),
        (packing.ContentDigest, "add", "content digest"),
        (packing, "checksum_crc32", "checksums"),
        (packing.PartSums, "add", "checksums"),
        (packing.UnfinishedArchive, "write", "writing"),
        (os, "fsync", "syncing"),
    ):
        _watch(watch, holder, name, step)
    starting_seconds = time.process_time()
    looked = watch.time("looking", look, Path(source))
    watch.time("walking, headers, comparing", packing.pack, looked, archive)
    steps = {step: sum(thread.get(step, 0.0) for thread in threads) for thread in threads for step in thread}
    rest = time.process_time() - starting_seconds - sum(steps.values())
    return {_STARTING: starting_seconds, **steps, "between threads": rest}


def profile_upload(*words: str) -> Steps:
    """Upload something and return when each step had ended, in seconds since the process began."""
    main = import_module("mgmt.cli.main").main
    names = ("service", "storage", "upload.ending")
    service, storage, ending = (import_module(f"mgmt.{name}") for name in names)
    packing: Any = import_module("mgmt.archive.packing")
    ends = {_STARTING: _age_seconds()}
    for holder, name, step in (
        (service.ServiceApi, "start", "the service has begun it"),
        (packing.UnfinishedArchive, "publish", "packed and synced"),
        (storage.Carrier, "put", "the last part has arrived"),
        (service.ServiceApi, "complete", "the service has confirmed it"),
        (ending.Ending, "_clear_place", "the archive is deleted"),
    ):
        _note_end(ends, holder, name, step)
    status = main(["-q", "upload", *words])
    if status:
        raise SystemExit(status)
    return {**ends, "end": _age_seconds()}


def _watch(watch: Stopwatch, holder: Any, name: str, step: str) -> None:
    work = getattr(holder, name)
    setattr(holder, name, lambda *words, **settings: watch.time(step, work, *words, **settings))


def _note_end(ends: Steps, holder: Any, name: str, step: str) -> None:
    work = getattr(holder, name)

    def noted(*words: Any, **settings: Any) -> Any:
        try:
            return work(*words, **settings)
        finally:
            ends[step] = _age_seconds()

    setattr(holder, name, noted)


def _age_seconds() -> float:
    return time.perf_counter() - _BEGAN


_PROFILES: Final[dict[str, Callable[..., Steps]]] = {"packing": profile_packing, "upload": profile_upload}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(_PROFILES[sys.argv[1]](*sys.argv[2:])) + "\n")
