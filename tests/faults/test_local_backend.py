"""The embedded backend killed, crashed and forgotten: what it kept is there, and nothing is left over."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import urllib3

from mgmt_contract.messages.history import HistoryResponse
from mgmt_contract.messages.uploads import StartItem, StartRequest, StartResponse, StartResult
from mgmt_contract.parts import PART_SIZE_DEFAULT_BYTES
from mgmt_contract.routes import DESCRIBE, HISTORY, START
from mgmt_local import control
from mgmt_local.control import Endpoint
from support.local_backend import (
    Person,
    backend_in_use,
    engine_process,
    gateway_process,
    local_backend,
    processes_in,
    request,
    wait_until,
)
from support.sign_in import ask_for_tokens, log_in
from support.studio import content_of, item_for, part_of

BODY = os.urandom(300_000)
FIRST_PART, LAST_PART = os.urandom(PART_SIZE_DEFAULT_BYTES), b"the end"


def history(person: Person) -> dict[str, str]:
    records = person.call(HISTORY, HistoryResponse).records
    return {record.source_file_record.name: record.status for record in records}


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=30)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    control.stop(tmp_path)
    assert processes_in(tmp_path) == []


def test_a_whole_upload_ends_in_the_history(state_dir: Path):
    with local_backend(state_dir) as endpoint:
        person = Person(endpoint)
        assert person.upload("clip.mp4", BODY).outcome == "done"
        assert person.start(item_for("clip.mp4", BODY)).outcome == "already_there"
        assert history(person) == {"clip.mp4": "success"}


@pytest.mark.parametrize("victims", [("gateway",), ("engine",), ("gateway", "engine")], ids="+".join)
def test_everything_survives_a_kill(state_dir: Path, victims: tuple[str, ...]):
    """Objects, records, leases and an open multipart upload with its part; the next start works as ever."""
    person = Person(control.start(state_dir))
    assert person.upload("before.mp4", BODY).outcome == "done"
    whole = FIRST_PART + LAST_PART
    item = item_for("large.mov", None, upper_bound=2 * PART_SIZE_DEFAULT_BYTES)
    started = person.start(item)
    assert person.send_part(started, part_of(1, FIRST_PART), FIRST_PART) == 200

    doomed = {"gateway": gateway_process(state_dir), "engine": engine_process(state_dir)}
    kill(*(doomed[name] for name in victims))
    if victims == ("engine",):
        wait_until(lambda: engine_runs(state_dir))

    person = Person(control.start(state_dir))
    assert len(processes_in(state_dir)) == 2, "no stray process"
    assert history(person) == {"before.mp4": "success", "large.mov": "pending"}
    again = start_once_ready(person, item)
    assert again.multipart.received_parts == (1,), "the part was kept"
    assert person.send_part(again, part_of(2, LAST_PART), LAST_PART, content_of(whole)) == 200
    wait_until(lambda: person.complete(again, content_of(whole)).outcome == "done")
    assert person.start(item_for("before.mp4", BODY)).outcome == "already_there"


def test_a_login_survives_a_kill(state_dir: Path):
    """The key and the logins are in the folder; the port in the tokens' issuer is another one after the next start."""
    endpoint = control.start(state_dir)
    tokens = log_in(endpoint.url, control.make_ticket("anna", state_dir=state_dir))
    assert Person(endpoint).upload("clip.mp4", BODY).outcome == "done"
    kill(gateway_process(state_dir))

    again = control.start(state_dir)
    assert history(Person(Endpoint(again.url, tokens["access_token"]))) == {"clip.mp4": "success"}
    status, refreshed = ask_for_tokens(again.url, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert status == 200
    assert history(Person(Endpoint(again.url, refreshed["access_token"]))) == {"clip.mp4": "success"}
    assert ask_for_tokens(again.url, grant_type="refresh_token", refresh_token=tokens["refresh_token"])[0] == 400


def start_once_ready(person: Person, item: StartItem) -> StartResult:
    """Start as soon as the storage can be asked: its port is open before all of it answers."""
    started: list[StartResult] = []

    def is_started() -> bool:
        started[:] = person.call(START, StartResponse, StartRequest(person.machine_id, [item])).results
        return started[0].problem is None or started[0].problem.code != "storage-unavailable"

    wait_until(is_started)
    assert started[0].problem is None, started[0].problem
    return started[0]


def engine_runs(state_dir: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, psutil.Error), socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", s3_port(engine_process(state_dir)))) == 0
    return False


def s3_port(engine: psutil.Process) -> int:
    options = dict(option.split("=", 1) for option in engine.cmdline() if "=" in option)
    return int(options["-s3.port"])


def test_a_crashed_engine_comes_back_under_the_same_address(state_dir: Path):
    """URLs handed out before the crash are good after it."""
    person = Person(control.start(state_dir))
    started = person.start(item_for("clip.mp4", BODY))
    former = engine_process(state_dir)
    kill(former)
    wait_until(lambda: engine_runs(state_dir) and engine_process(state_dir).pid != former.pid)
    wait_until(lambda: send_or_not(person, started) == 200)
    assert person.complete(started, content_of(BODY)).outcome == "done"


def send_or_not(person: Person, started: StartResult) -> int | None:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return person.send(started.request, BODY)
    return None


def test_an_engine_that_will_not_stay_ends_the_backend_in_order(state_dir: Path):
    """Killed at any moment, even while it starts: the fourth end is the last."""
    control.start(state_dir)
    gateway = gateway_process(state_dir)
    victims: set[int] = set()
    wait_until(lambda: has_ended(gateway) or kill_next_engine(state_dir, victims))
    assert len(victims) == 4
    assert not (state_dir / "endpoint.json").exists()
    assert processes_in(state_dir) == []
    assert "ended 4 times" in (state_dir / "backend.log").read_text("utf-8")
    assert history(Person(control.start(state_dir))) == {}


def kill_next_engine(state_dir: Path, victims: set[int]) -> None:
    with contextlib.suppress(FileNotFoundError, psutil.Error):
        victim = engine_process(state_dir)
        if victim.pid not in victims:
            victims.add(victim.pid)
            kill(victim)


def has_ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_termination_signal_ends_it_in_order(state_dir: Path, number: int):
    control.start(state_dir)
    gateway = gateway_process(state_dir)
    gateway.send_signal(number)
    gateway.wait(30)
    assert processes_in(state_dir) == []
    assert {path.name for path in state_dir.iterdir()}.isdisjoint({"endpoint.json"})
    assert not (state_dir / "engine" / "engine.json").exists()


def test_unused_it_ends_by_itself(state_dir: Path):
    control.start(state_dir, idle_seconds=2)
    wait_until(lambda: processes_in(state_dir) == [])
    assert not (state_dir / "endpoint.json").exists()
    assert not control.status(state_dir).running
    assert Person(control.start(state_dir)).call(HISTORY, HistoryResponse).records == []


def test_with_its_folder_thrown_away_it_ends(state_dir: Path):
    """Even with a connection open that would keep it busy."""
    control.start(state_dir, idle_seconds=5)
    gateway, engine = gateway_process(state_dir), engine_process(state_dir)
    connection = socket.create_connection(("127.0.0.1", s3_port(engine)))
    (state_dir / "endpoint.json").unlink()
    gateway.wait(30)
    engine.wait(30)
    connection.close()


@pytest.mark.skipif(os.name != "posix", reason="Windows moves no folder in which files are open")
@pytest.mark.parametrize("is_kept", [True, False], ids=["moved", "removed"])
def test_with_its_folder_elsewhere_it_answers_no_more_and_leaves_the_new_one_alone(tmp_path: Path, is_kept: bool):
    """Both wrote the address of theirs again and again: uploads went to one or the other, and were lost with it."""
    state_dir, elsewhere = tmp_path / "backend", tmp_path / "elsewhere"
    with local_backend(state_dir, idle_seconds=5) as former:
        gateway = gateway_process(state_dir)
        state_dir.rename(elsewhere)
        if not is_kept:
            shutil.rmtree(elsewhere)
        assert request(former.url, *DESCRIBE[:2])[0] == 503
        with local_backend(state_dir) as endpoint:
            gateway.wait(30)
            engine = json.loads((state_dir / "engine" / "engine.json").read_text("utf-8"))
            assert engine["pid"] == engine_process(state_dir).pid
            assert control.start(state_dir) == endpoint != former
            assert Person(endpoint).upload("clip.mp4", BODY).outcome == "done"
            assert history(Person(endpoint)) == {"clip.mp4": "success"}
    assert processes_in(tmp_path) == []


def assert_stays(gateway: psutil.Process, state_dir: Path) -> None:
    """Look on for twice the idle time of a second, in which it neither ends nor begins to."""
    with pytest.raises(psutil.TimeoutExpired):
        gateway.wait(2)
    assert (state_dir / "endpoint.json").exists()


def test_a_long_part_on_its_way_to_the_engine_is_use(state_dir: Path):
    """The bytes of a part never pass the gateway; that they flow keeps it alive, and once they end it ends."""
    hold, holding = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield BODY[:1000]
        holding.set()
        hold.wait(30)
        yield BODY[1000:]

    with urllib3.PoolManager(retries=False, timeout=60) as pool:
        answers: list[int] = []

        def put() -> None:
            sent = pool.request("PUT", started.request.url, body=slowly(), headers=started.request.headers)
            answers.append(sent.status)

        sender = threading.Thread(target=put)
        with backend_in_use(state_dir, idle_seconds=1) as endpoint:  # until the part is on its way
            gateway = gateway_process(state_dir)
            started = Person(endpoint).start(item_for("clip.mp4", BODY))
            sender.start()
            assert holding.wait(30)
        assert_stays(gateway, state_dir)
        hold.set()
        sender.join(30)
    assert answers == [200]
    gateway.wait(30)
    person = Person(control.start(state_dir))
    assert person.complete(started, content_of(BODY)).outcome == "done"


HOLD = """
import sys
from pathlib import Path
from support.local_backend import backend_in_use
with backend_in_use(Path(sys.argv[1]), idle_seconds=1):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_command_that_packs_for_longer_than_the_idle_time_finds_its_backend(state_dir: Path):
    """The command makes no request while it packs. After its end, even by a kill, the backend becomes idle and ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state_dir)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout.readline() == "held\n"
        gateway = gateway_process(state_dir)
        assert_stays(gateway, state_dir)
        command.kill()
    gateway.wait(30)
