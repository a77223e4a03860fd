"""The gateway: whom it lets through, what it hands on, and what it answers by itself."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from mgmt_local.errors import LocalBackendError
from mgmt_local.gateway.owner import own_secret
from mgmt_local.gateway.server import BODY_SIZE_MAX_BYTES, Gateway
from mgmt_local.issuer import ISSUER_PATH
from mgmt_local.issuer.endpoints import Issuer
from mgmt_local.issuer.people import Person
from mgmt_local.process.activity import Activity
from mgmt_local.process.alive import Holder, hold_open, is_alive, list_holders, read_holder
from mgmt_local.process.state import StateFolder, open_state_folder
from support.local_backend import request, wait_until
from support.sign_in import make_authorizer, make_signer, make_token


class Recorder:
    """A handler that keeps the events and answers as it is told."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.answer: Callable[[dict], object] = lambda event: {
            "statusCode": 200,
            "headers": {"Content-Type": "application/json"},
            "body": json.dumps({"path": event["rawPath"]}),
        }

    def __call__(self, event: dict, context: object) -> object:
        assert 0 < context.get_remaining_time_in_millis() <= 29_000
        self.events.append(event)
        return self.answer(event)


class Setting:
    def __init__(self, folder: StateFolder) -> None:
        self.folder = folder
        self.app = Recorder()
        self.activity = Activity(600)
        self.token = make_token(folder, "kim")
        self.issuer = Issuer(folder, make_signer(folder))
        self.gateway = Gateway(self.app, make_authorizer(folder), self.activity, issuer=self.issuer)
        self.url = self.gateway.url
        self.port = urlsplit(self.url).port

    def ask(self, method: str = "GET", path: str = "/v1/history", **more) -> tuple[int, str]:
        return request(self.url, method, path, **({"token": self.token} | more))

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        opened = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            yield opened
        finally:
            opened.close()


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(open_state_folder(tmp_path))
    yield made
    made.gateway.close()


def test_hands_a_request_on_and_the_answer_back(setting: Setting):
    setting.app.answer = lambda _: {
        "statusCode": 201,
        "headers": {"X-Kind": "made", "Content-Length": "999"},
        "cookies": ["a=1", "b=2"],
        "body": base64.b64encode(b"\x00\xff").decode(),
        "isBase64Encoded": True,
    }
    with setting.connection() as connection:
        body = json.dumps({"items": []})
        headers = {"Authorization": f"bearer {setting.token}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/uploads/start?x=1", body, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (201, b"\x00\xff")
        assert (answer.getheader("x-kind"), answer.getheader("set-cookie")) == ("made", "a=1, b=2")
        assert answer.getheader("apigw-requestid")
    (event,) = setting.app.events
    assert (event["rawPath"], event["rawQueryString"], event["body"]) == ("/v1/uploads/start", "x=1", body)
    assert event["requestContext"]["authorizer"]["jwt"]["claims"]["username"] == "kim"
    assert event["headers"]["host"] == f"127.0.0.1:{setting.port}"


def test_self_description_needs_no_token_and_carries_no_claims(setting: Setting):
    assert setting.ask("GET", "/v1/service", token=None)[0] == 200
    assert "authorizer" not in setting.app.events[0]["requestContext"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/history"),
        ("POST", "/v1/uploads/start"),
        ("POST", "/v1/service"),
        ("GET", "/v1/service/"),
        ("GET", "/v1/%73ervice"),
        ("DELETE", "/"),
        ("GET", "/.mgmt-local/alive"),
    ],
)
@pytest.mark.parametrize("token", [None, "", "wrong", "Bearer"])
def test_without_a_known_token_the_answer_is_api_gateways(setting: Setting, method: str, path: str, token: str):
    status, body = setting.ask(method, path, token=token)
    assert (status, json.loads(body)) == (401, {"message": "Unauthorized"})
    assert not setting.app.events


def test_a_refused_token_is_answered_as_api_gateway_does(setting: Setting):
    """The sentence stands in a header; the body is the same for every reason."""
    signer = make_signer(setting.folder)
    scoped = signer.sign_access_token(Person("kim"), ["openid"])
    expired = signer.sign_access_token(Person("kim"), life_seconds=-1)
    challenge = 'Bearer scope="mgmt-local/use" error="{}" error_description="{}"'
    for token, status, message, said in (
        (expired, 401, "Unauthorized", challenge.format("invalid_token", "the token has expired")),
        (scoped, 403, "Forbidden", challenge.format("insufficient_scope", "the token has none of the scopes")),
        (None, 401, "Unauthorized", "Bearer"),
    ):
        with setting.connection() as connection:
            connection.request("GET", "/v1/history", headers={"authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())) == (status, {"message": message})
            assert answer.getheader("www-authenticate") == said
    assert not setting.app.events


def test_of_two_tokens_neither_counts(setting: Setting):
    with setting.connection() as connection:
        connection.putrequest("GET", "/v1/history")
        for _ in range(2):
            connection.putheader("authorization", f"Bearer {setting.token}")
        connection.endheaders()
        assert connection.getresponse().status == 401


def test_the_handler_finds_the_token_that_was_checked(setting: Setting):
    setting.ask()
    assert setting.app.events[0]["headers"]["authorization"] == f"Bearer {setting.token}"


def test_the_issuer_answers_at_the_same_address(setting: Setting, tmp_path: Path):
    status, body = setting.ask("GET", f"{ISSUER_PATH}/keys", token=None)
    assert (status, json.loads(body)) == (200, make_signer(setting.folder).publish())
    form = {"content-type": "application/x-www-form-urlencoded"}
    asked = b"client_id=mgmt-local&grant_type=refresh_token&refresh_token=x"
    assert setting.ask("POST", f"{ISSUER_PATH}/token", token=None, body=asked, headers=form)[0] == 400
    assert setting.ask("GET", f"{ISSUER_PATH}/keys", token=None, headers={"host": "evil.example"})[0] == 421
    assert (
        setting.ask("GET", f"{ISSUER_PATH}/authorize", token=None, headers={"sec-fetch-site": "cross-site"})[0] == 403
    )
    assert not setting.app.events


def test_an_issuer_that_cannot_write_is_an_internal_error(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise LocalBackendError("no space left")

    monkeypatch.setattr(setting.issuer, "answer", fail)
    assert setting.ask("POST", f"{ISSUER_PATH}/token", token=None, body=b"")[0] == 500


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
def test_a_token_counts_as_bearer_only(setting: Setting, scheme: str):
    header = {"authorization": f"{scheme} {setting.token}".strip()}
    assert setting.ask(token=None, headers=header)[0] == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "[::1]:{port}", "localhost:{port}.evil.example"]
)
def test_a_name_that_leads_here_from_elsewhere_is_refused(setting: Setting, host: str):
    """A site is refused even if its name resolves to 127.0.0.1."""
    header = {"host": host.format(port=setting.port)}
    assert setting.ask(headers=header)[0] == 421
    assert setting.ask("GET", "/v1/service", headers=header)[0] == 421
    assert not setting.app.events


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}"])
def test_its_own_names_are_served(setting: Setting, host: str):
    assert setting.ask(headers={"host": host.format(port=setting.port)})[0] == 200


def test_two_hosts_or_none_are_refused(setting: Setting):
    with setting.connection() as connection:
        connection.putrequest("GET", "/v1/service", skip_host=True)
        connection.endheaders()
        assert connection.getresponse().status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:{port}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_browser_is_refused_on_behalf_of_any_site(setting: Setting, headers: dict[str, str], method: str):
    sent = {name: value.format(port=setting.port) for name, value in headers.items()}
    assert setting.ask(method, headers=sent)[0] == 403
    assert not setting.app.events


def test_a_body_up_to_the_limit_passes_and_a_byte_more_is_refused(setting: Setting):
    setting.app.answer = lambda event: {"statusCode": 200, "body": str(len(base64.b64decode(event["body"])))}
    assert setting.ask("POST", body=bytes(BODY_SIZE_MAX_BYTES)) == (200, str(BODY_SIZE_MAX_BYTES))
    status, body = setting.ask("POST", body=bytes(BODY_SIZE_MAX_BYTES + 1))
    assert (status, json.loads(body)) == (413, {"message": "Request Entity Too Large"})
    assert len(setting.app.events) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-length": "-1"}, 400),
        ({"content-length": "1_0"}, 400),
        ({"content-length": "²"}, 400),
        ({"transfer-encoding": "chunked"}, 411),
    ],
)
def test_an_unclear_length_is_refused_and_ends_the_connection(setting: Setting, headers: dict[str, str], status: int):
    with setting.connection() as connection:
        connection.putrequest("POST", "/v1/history")
        for name, value in headers.items():
            connection.putheader(name, value.encode("utf-8"))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("connection")) == (status, "close")
        assert answer.read()


def test_absolute_targets_are_refused(setting: Setting):
    with setting.connection() as connection:
        connection.request("GET", "http://evil.example/v1/service", headers={"host": f"127.0.0.1:{setting.port}"})
        assert connection.getresponse().status == 400


@pytest.mark.parametrize(
    "answer",
    [None, {}, {"statusCode": "many"}, {"statusCode": 200, "body": "!", "isBase64Encoded": True}],
    ids=["nothing", "no status", "no number", "no base64"],
)
def test_a_handler_without_a_proper_answer_is_an_internal_error(setting: Setting, answer: object):
    setting.app.answer = lambda _: answer
    status, body = setting.ask()
    assert (status, json.loads(body)) == (500, {"message": "Internal Server Error"})


def test_a_handler_that_raises_or_says_too_much_is_an_internal_error(setting: Setting):
    setting.app.answer = lambda _: 1 / 0
    assert setting.ask()[0] == 500
    setting.app.answer = lambda _: {"statusCode": 200, "body": "x" * (BODY_SIZE_MAX_BYTES + 1)}
    assert setting.ask()[0] == 500
    setting.app.answer = lambda _: {"statusCode": 204}
    assert setting.ask() == (204, "")


def test_one_connection_serves_many_requests(setting: Setting):
    with setting.connection() as connection:
        for method in ("GET", "HEAD", "POST", "GET"):
            connection.request(method, "/v1/history", headers={"authorization": f"Bearer {setting.token}"})
            connected = connection.sock
            answer = connection.getresponse()
            assert answer.status == 200
            assert bool(answer.read()) is (method != "HEAD")
            assert connection.sock is connected


def test_eight_threads_get_their_own_answers_and_the_handler_one_request_at_a_time(setting: Setting):
    running, all_are_in = threading.Semaphore(1), threading.Event()

    def answer(event: dict) -> dict:
        assert running.acquire(blocking=False), "two requests in the handler at once"
        if not all_are_in.is_set():
            wait_until(lambda: setting.activity._running == 8, seconds=20)
            all_are_in.set()
        running.release()
        return {"statusCode": 200, "body": event["rawPath"]}

    setting.app.answer = answer

    def ask_fifty(worker: int) -> list[bool]:
        with setting.connection() as connection:
            right = []
            for number in range(50):
                path = f"/v1/{worker}/{number}"
                connection.request("GET", path, headers={"authorization": f"Bearer {setting.token}"})
                answer = connection.getresponse()
                right.append((answer.status, answer.read().decode()) == (200, path))
            return right

    with ThreadPoolExecutor(8) as workers:
        assert all(all(right) for right in workers.map(ask_fifty, range(8)))
    assert len(setting.app.events) == 400


def test_a_token_issued_meanwhile_is_known_at_once(setting: Setting):
    assert setting.ask()[0] == 200
    other = make_token(setting.folder, "ada", admin=True)
    assert setting.ask(token=other)[0] == 200
    claims = setting.app.events[-1]["requestContext"]["authorizer"]["jwt"]["claims"]
    assert (claims["username"], claims["cognito:groups"]) == ("ada", "[members admins]")


def test_log_names_neither_tokens_nor_queries(setting: Setting, caplog: pytest.LogCaptureFixture):
    setting.app.answer = lambda _: 1 / 0
    with caplog.at_level(logging.DEBUG):
        setting.ask("GET", "/v1/history?X-Amz-Signature=f00d\r\n")
        setting.ask("GET", "/v1/history", token="wrong-token")
        setting.gateway.close()  # a request's line follows its answer; closing waits for it
    lines = [record for record in caplog.records if record.name.startswith("mgmt_local")]
    logged = "\n".join(logging.Formatter().format(record) for record in lines)
    assert logged.count("GET '/v1/history'") == 2
    for secret in (setting.token, "wrong-token", "f00d", setting.gateway.secret):
        assert secret not in logged


def test_proves_that_it_is_the_one_with_the_secret(setting: Setting):
    assert is_alive(setting.url, setting.gateway.secret, 5)
    assert not is_alive(setting.url, "another secret", 5)


def test_is_in_use_as_long_as_somebody_holds_it_open(setting: Setting):
    setting.activity.idle_seconds = 0
    with hold_open(setting.url, setting.token, 5):
        wait_until(setting.activity.holders, seconds=10)
        assert not setting.activity.close_if_idle()
        assert setting.ask("GET", "/v1/history")[0] == 200
    wait_until(setting.activity.close_if_idle, seconds=10)
    assert len(setting.app.events) == 1, "the service hears nothing of it"


def test_nobody_holds_it_open_without_a_token(setting: Setting):
    assert setting.ask("GET", "/.mgmt-local/hold", token="wrong")[0] == 401
    with hold_open(setting.url, "wrong", 5):
        setting.activity.idle_seconds = 0
        wait_until(setting.activity.close_if_idle, seconds=10)


def test_the_machines_user_is_told_which_commands_hold_it_and_nobody_else(setting: Setting):
    own, other_admin = own_secret(setting.folder), make_token(setting.folder, "ada", admin=True)
    with hold_open(setting.url, setting.token, 5, "mgmt --local upload 'día 1' \x1b[31m"):
        wait_until(setting.activity.holders, seconds=10)
        assert list_holders(setting.url, own, 5) == [Holder("mgmt --local upload 'día 1' ?[31m", os.getpid())]
        for token in (setting.token, other_admin):
            assert list_holders(setting.url, token, 5) == []
        assert setting.ask("GET", "/.mgmt-local/holders")[0] == 403
        assert setting.ask("GET", "/.mgmt-local/holders", token="wrong")[0] == 401
    wait_until(lambda: list_holders(setting.url, own, 5) == [], seconds=10)


@pytest.mark.parametrize("header", ["", "x", "-1 a", "1" * 5000, "² a"])
def test_a_holder_without_a_description_counts_too(header: str):
    assert read_holder(header).pid == 0


def test_a_backend_that_cannot_be_held_open_is_used_as_it_is():
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        hold_open(f"http://127.0.0.1:{deaf.getsockname()[1]}", "t", 0.1),
    ):
        pass


def test_another_program_at_the_address_is_found_out():
    """A stranger sees a challenge and no token, and cannot answer it; nor is one that never answers waited for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert not is_alive(address, "secret", 0.2)

        def answer_ok() -> None:
            accepted, _ = listener.accept()  # the one that gave up
            accepted.close()
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1024)
                accepted.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        stranger = threading.Thread(target=answer_ok)
        stranger.start()
        assert not is_alive(address, "secret", 5)
        stranger.join()


@pytest.mark.parametrize(
    "answer",
    [
        "HTTP/1.1 204 No Content\r\nmgmt-local-proof: é\r\n\r\n".encode(),
        b"HTTP/1.1 204 No Content\r\nmgmt-local-proof: \xff\xfe\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nmgmt-local-proof\r\n\r\n",
        b"HTTP/9 x\r\n" + b"a: b\r\n" * 1000,
        b"\x00" * 100_000,
        b"",
    ],
)
def test_a_stranger_that_answers_anything_at_all_is_found_out(answer: bytes):
    with stranger(lambda connection, _: connection.sendall(answer)) as address:
        assert not is_alive(address, "secret", 5)


def test_a_stranger_that_drips_is_left_in_time():
    """Every byte comes well within the time for one, and the answer would take for ever."""

    def drip(connection: socket.socket, left: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 204 No Content\r\nx: ")
        while not left.wait(0.02):
            connection.sendall(b"x")

    with stranger(drip) as address:
        began = time.monotonic()
        assert not is_alive(address, "secret", 0.3)
        assert time.monotonic() - began < 10


@contextmanager
def stranger(speak: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Listen at an address and speak to the first client, until the context or the connection ends."""
    left = threading.Event()

    def answer() -> None:
        accepted, _ = listener.accept()
        with accepted, contextlib.suppress(OSError):
            accepted.recv(1024)
            speak(accepted, left)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        left.set()
        thread.join()


def test_closing_lets_running_requests_finish(setting: Setting):
    entered, proceed = threading.Event(), threading.Event()

    def answer(_: dict) -> dict:
        entered.set()
        assert proceed.wait(10)
        return {"statusCode": 200, "body": "whole"}

    setting.app.answer = answer
    assert setting.port in own_listening_ports()
    with ThreadPoolExecutor(2) as beside:
        asked = beside.submit(setting.ask)
        assert entered.wait(10)
        closed = beside.submit(setting.gateway.close)
        proceed.set()
        assert asked.result() == (200, "whole")
        closed.result()
    assert setting.port not in own_listening_ports()


def own_listening_ports() -> set[int]:
    """Return where this very process listens: a port that it has given back may be another's at once."""
    connections = psutil.Process().net_connections("tcp")
    return {found.laddr.port for found in connections if found.status == psutil.CONN_LISTEN}


def test_once_closed_for_idleness_requests_are_turned_away(setting: Setting):
    idle = Activity(0)
    gateway = Gateway(setting.app, make_authorizer(setting.folder), idle)
    assert idle.close_if_idle()
    assert request(gateway.url, "GET", "/v1/service")[0] == 503
    assert not is_alive(gateway.url, gateway.secret, 5)
    gateway.close()
    assert not setting.app.events
