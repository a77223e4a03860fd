"""Being interrupted, at inconvenient moments too."""

import signal
import subprocess
import sys

import pytest

from mgmt.archive import stream
from mgmt.errors import CancelledError
from mgmt.journal import Journal
from mgmt.machine import interruptible
from support.interrupts import INTERRUPTS

TWICE = """
import os, sys
from mgmt.errors import CancelledError
from mgmt.machine import interruptible
number = int(sys.argv[1])
try:
    with interruptible() as stop:
        os.kill(os.getpid(), number)
except CancelledError:
    os.kill(os.getpid(), number)
    print("tidied up", stop.is_set())
"""


@pytest.mark.parametrize("number", [number for number in INTERRUPTS if number != signal.SIGINT])
def test_who_is_told_to_end_twice_still_tidies_up(number):
    done = subprocess.run([sys.executable, "-c", TWICE, str(int(number))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "tidied up True\n")


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has Ctrl-Break itself")
def test_ctrl_break_ends_a_run_like_ctrl_c(monkeypatch):
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    with pytest.raises(CancelledError), interruptible() as stop:
        signal.raise_signal(signal.SIGUSR1)
    assert stop.is_set()


def test_an_interrupt_when_the_work_is_just_done_is_no_bug(monkeypatch):
    class Interrupted(stream.Future):
        def set_result(self, result):
            super().set_result(result)
            raise KeyboardInterrupt

    monkeypatch.setattr(stream, "Future", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream._CallingThread().submit(int)


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
def test_an_interrupt_between_two_statements_leaves_the_journal_usable(tmp_path, statement):
    journal = Journal(tmp_path)
    database, due = journal._file._database, [statement]

    class Interrupting:
        in_transaction = property(lambda _: database.in_transaction)

        def execute(self, text, *values):
            result = database.execute(text, *values)
            if due == [text]:
                due.clear()
                raise KeyboardInterrupt
            return result

        close = database.close

    journal._file._database = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        journal.note_speed("https://service.example", 5.0)
    assert not due
    journal.note_speed("https://service.example", 7.0)
    assert journal.speed("https://service.example") == 7.0
    journal.close()
