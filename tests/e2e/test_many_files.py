"""`mgmt upload`, `safe`, `contents` and `download` of very many small files: memory stays the same.

MGMT_MANY_FILES=1000000 is the long form.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mgmt_contract.parts import MIB
from support.team import Laptop, Run

FILES: Final = int(os.environ.get("MGMT_MANY_FILES", "5000"))
FILES_IN_A_FOLDER: Final = 500
MEMORY_MAX_BYTES: Final = 64 * MIB
SECONDS_MAX: Final = 3600

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system says there what a process needed at most")

NOTING: Final = """
import os, pathlib
end = os._exit
def note_and_end(code):
    [line] = [each for each in open("/proc/self/status") if each.startswith("VmHWM")]
    pathlib.Path({path!r}).write_text(line.split()[1])
    end(code)
os._exit = note_and_end
from mgmt.__main__ import run
run()
"""
"""The command, which notes how much memory it had at most, in KiB."""


@pytest.fixture
def card(anna: Laptop) -> Iterator[Path]:
    """A card of so many files; it does not stay behind as other tests' files do."""
    card = anna.work / "CARD"
    card.mkdir()
    for number in range(FILES):
        folder, name = divmod(number, FILES_IN_A_FOLDER)
        if not name:
            (card / f"{folder:05}").mkdir()
        descriptor = os.open(card / f"{folder:05}" / f"{name:03}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, number.to_bytes(8))
        os.close(descriptor)
    yield card
    shutil.rmtree(card, ignore_errors=True)


def measure(laptop: Laptop, *arguments: str) -> tuple[Run, int]:
    """Run a command; return what it came to and how much memory it had at most, in bytes."""
    noted = laptop.folder / "memory"
    began = time.monotonic()
    run = laptop.run(*arguments, program=NOTING.format(path=str(noted)), timeout_seconds=SECONDS_MAX)
    memory_bytes = int(noted.read_text()) * 1024
    sys.stdout.write(f"{arguments}: {memory_bytes / 1e6:.1f} MB, {time.monotonic() - began:.1f} s\n")
    return run, memory_bytes


@pytest.mark.timeout(3 * SECONDS_MAX)
def test_the_memory_of_no_command_grows_with_the_number_of_files(anna, bert, card):
    uploaded, memory_bytes = measure(anna, "upload", "CARD")
    assert (uploaded.exit_code, memory_bytes < MEMORY_MAX_BYTES) == (0, True), (memory_bytes, uploaded.stderr)
    safe, memory_bytes = measure(bert, "safe", str(card))
    assert (safe.exit_code, memory_bytes < MEMORY_MAX_BYTES) == (0, True), (memory_bytes, safe.stderr)
    assert f"{FILES:,}".replace(",", " ") in safe.stdout or f"{FILES:,}" in safe.stdout or str(FILES) in safe.stdout
    listed, memory_bytes = measure(bert, "contents", "--csv", "CARD")
    assert (listed.exit_code, memory_bytes < MEMORY_MAX_BYTES) == (0, True), (memory_bytes, listed.stderr)
    assert sum(line.startswith("file,") or ",file," in line for line in listed.stdout.splitlines()) == FILES
    extracted, memory_bytes = measure(bert, "download", "--extract", "CARD")
    try:
        assert (extracted.exit_code, memory_bytes < MEMORY_MAX_BYTES) == (0, True), (memory_bytes, extracted.stderr)
        last = divmod(FILES - 1, FILES_IN_A_FOLDER)
        place = bert.work / "CARD" / f"{last[0]:05}" / f"{last[1]:03}"
        assert place.read_bytes() == (FILES - 1).to_bytes(8)
    finally:
        shutil.rmtree(bert.work / "CARD")
    (card / "00003" / "007").write_bytes(b"changed!")
    safe, memory_bytes = measure(bert, "safe", str(card))
    assert (safe.exit_code, memory_bytes < MEMORY_MAX_BYTES) == (11, True), (memory_bytes, safe.stderr)
    assert "00003/007" in safe.stdout
