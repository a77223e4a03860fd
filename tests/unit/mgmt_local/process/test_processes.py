"""A process is known again; somebody else with its id is not taken for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mgmt_local.process.processes import describe_process, end_process, find_process, has_outside_connections

SLEEPER = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); sys.stdin.read()",
]


@pytest.fixture
def sleeper(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    command = getattr(request, "param", SLEEPER)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        yield process
        process.kill()


def test_a_running_process_is_found(sleeper: subprocess.Popen[bytes]):
    assert find_process(describe_process(sleeper.pid)).pid == sleeper.pid


def test_an_ended_process_is_not_found_even_before_it_is_waited_for(sleeper: subprocess.Popen[bytes]):
    description = describe_process(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert find_process(description) is None
    sleeper.wait()
    assert find_process(description) is None


def test_nothing_is_kept_of_a_process_that_has_ended_already(sleeper: subprocess.Popen[bytes]):
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert describe_process(sleeper.pid) == {}
    sleeper.wait()
    assert describe_process(sleeper.pid) == {}


def test_another_process_under_the_same_id_is_not_it(sleeper: subprocess.Popen[bytes]):
    description = describe_process(sleeper.pid) | {"created_at": 1.0, "command": ["weed", "mini"]}
    assert find_process(description) is None


def test_a_clock_that_was_set_does_not_hide_a_process(sleeper: subprocess.Popen[bytes]):
    """The system reckons the time of creation from the clock: setting that moves it."""
    described = describe_process(sleeper.pid)
    assert find_process(described | {"created_at": described["created_at"] + 86_400}) is not None


@pytest.mark.parametrize("description", [None, {}, {"pid": "x"}, {"pid": 0, "created_at": None, "command": []}])
def test_a_description_that_is_none_finds_nothing(description):
    assert find_process(description) is None


@pytest.mark.parametrize("sleeper", [SLEEPER, STUBBORN], indirect=True)
def test_ending_waits_and_insists(sleeper: subprocess.Popen[bytes]):
    end_process(find_process(describe_process(sleeper.pid)), 0.5)
    assert find_process({"pid": sleeper.pid, "created_at": 0.0, "command": sleeper.args}) is None


def test_only_connections_of_others_count():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not has_outside_connections(os.getpid(), port)
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            assert not has_outside_connections(os.getpid(), port), "its own"
        connect = (
            f"import socket, sys; s = socket.create_connection(('127.0.0.1', {port})); "
            "print('up', flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", connect]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline()
            with listener.accept()[0]:
                assert has_outside_connections(os.getpid(), port)
                other.communicate()


def test_a_process_that_is_gone_has_no_connections(sleeper: subprocess.Popen[bytes]):
    sleeper.kill()
    sleeper.wait()
    assert not has_outside_connections(sleeper.pid, 1)


@pytest.mark.skipif(os.name != "posix", reason="only there a process outlasts its end")
def test_a_process_that_its_starter_has_not_waited_for_counts_as_ended():
    """Such as a backend that is stopped while the upload that started it runs."""
    starter = f"""
import subprocess, sys
child = subprocess.Popen({SLEEPER!r}, stdin=-1, stdout=-1)
print(child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        end_process(find_process(describe_process(int(process.stdout.readline()))), 10)
        assert process.poll() is None
        process.stdin.close()
