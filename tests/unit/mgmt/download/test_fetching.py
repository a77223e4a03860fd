"""Fetching an archive's ranges: what the command does while others work for it."""

import threading
from types import SimpleNamespace

from mgmt.download import fetching
from mgmt.download.fetching import Fetching


def test_a_command_that_waits_for_the_check_alone_looks_whether_it_was_stopped(monkeypatch):
    """On Windows Ctrl-C gets through between two waits only, and the check of a large archive takes an hour."""
    has_looked = threading.Event()
    wanted = SimpleNamespace(
        session=SimpleNamespace(patience=SimpleNamespace(check_stopped=has_looked.set)),
        target_path="clip",
        size=0,
    )
    unfinished = SimpleNamespace(missing=lambda: iter(()), done_bytes=0)
    monkeypatch.setattr(fetching, "Ranges", lambda *_: None)
    monkeypatch.setattr(Fetching, "_fetch_all", lambda *_: None)
    monkeypatch.setattr(fetching, "_LOOK_SECONDS", 0.001)
    was_looked = []
    Fetching(wanted, "id", unfinished, None, lambda: None).run(1, lambda _: was_looked.append(has_looked.wait(5)))
    assert was_looked == [True]
