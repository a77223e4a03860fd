"""Programs for `python -c`: the real command with one thing changed, such as its clock, so that no test waits."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_RUN: Final = """
from mgmt.__main__ import run
run()
"""

PASS_PAUSES: Final = """
from mgmt.network.retry import Patience

waited_seconds = 0.0
begin = Patience.__init__

def begin_with_own_clock(self, *given, **named):
    begin(self, *given, **named)
    monotonic = self._monotonic
    self._monotonic = lambda: monotonic() + waited_seconds

def pass_time(self, seconds):
    global waited_seconds
    waited_seconds += seconds

Patience.__init__, Patience._pause = begin_with_own_clock, pass_time
"""
"""The beginning of a program whose pauses between two tries pass at once, by the clock that counts patience."""
QUICK_WAITS: Final = PASS_PAUSES + _RUN
"""The command itself with such pauses."""

LOW_LIMITS: Final = (
    """
from functools import partial

from mgmt.archive import inflating
from mgmt.download import checking, chosen, extracted

for module in (checking, chosen, extracted):
    module.Rules = partial(module.Rules, members_max=2, size_max_bytes=1_000)
inflating._RATIO_FROM_BYTES = 2**20
"""
    + _RUN
)
"""By itself, it extracts no more than two members and 1,000 bytes, and no bombs from 1 MiB on."""
OPEN_TO_ALL: Final = "import os\nos.umask(0)\n" + _RUN
"""By itself, whatever is written can be read by every user of the machine."""
TELLTALE: Final = (
    """
import os
from mgmt import logs

begin = logs.RunLog.begin

def begin_and_tell(self):
    begin(self)
    logs.LOGGER.info("the token is %s", os.environ["MGMT_TOKEN"])

logs.RunLog.begin = begin_and_tell
"""
    + _RUN
)
"""A command with a mistake: it logs its token."""
TELLS_ALL: Final = "from mgmt import logs\nlogs.Redactor.__call__ = lambda self, text: text\n" + TELLTALE
"""The same, and nothing cuts secrets out."""


def noting_memory(path: Path) -> str:
    """Write down in the end the most bytes that the command has held; `getrusage` begins with its parent's."""
    return f"""
import os, pathlib, re

end = os._exit

def note(exit_code):
    status = pathlib.Path("/proc/self/status").read_text()
    [kibibytes] = re.findall("VmHWM: +([0-9]+) kB", status.replace(chr(9), " "))
    pathlib.Path({str(path)!r}).write_text(str(int(kibibytes) * 1024))
    end(exit_code)

os._exit = note
{_RUN}"""


class OwnClock:
    """A clock of a command that a test moves on: it decides when a lease is renewed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "clock"
        self._ahead_seconds = 0.0

    @property
    def program(self) -> str:
        """The command with this clock."""
        return f"""
import pathlib, time
from mgmt.network.retry import Patience

clock = pathlib.Path({str(self._path)!r})
Patience.now = Patience.passed = lambda self: time.monotonic() + (
    float(clock.read_text()) if clock.exists() else 0.0
)
{_RUN}"""

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._ahead_seconds += seconds
        written = self._path.with_suffix(".new")
        written.write_text(str(self._ahead_seconds))
        written.replace(self._path)


def with_slow_disk(program: str, goes_on: Path) -> str:
    """Keep a program from giving its archive a name until a file is there, as where a disk is slow to sync."""
    return f"""
import pathlib, threading
from mgmt.archive.unfinished import UnfinishedArchive

publish, goes_on = UnfinishedArchive.publish, pathlib.Path({str(goes_on)!r})

def publish_late(self, *words):
    while not goes_on.exists():
        threading.Event().wait(0.05)
    publish(self, *words)

UnfinishedArchive.publish = publish_late
{program}"""
