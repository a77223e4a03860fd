import os
import stat
import sys

import pytest

from mgmt.machine import stay_awake

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the helper of Linux")


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A stand-in for systemd-inhibit: writes down its arguments through a pipe, then waits to be ended."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = tmp_path / "systemd-inhibit"
    script.write_text(f'#!/bin/sh\necho $$ "$@" > {pipe}\nexec tail -f /dev/null\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return pipe


def test_sleep_is_inhibited_for_as_long_as_this_process_lives_and_not_longer(helper):
    with stay_awake():
        pid, *arguments = helper.read_text().split()
        assert "--what=sleep:idle" in arguments
        assert f"--pid={os.getpid()}" in arguments
        os.kill(int(pid), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_where_there_is_no_way_nothing_happens(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with stay_awake():
        pass
