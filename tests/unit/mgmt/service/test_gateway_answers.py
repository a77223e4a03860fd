"""What API Gateway answers by itself, with its own bodies, is understood: waited for, or told as what it is.

Source of the bodies: Amazon API Gateway Developer Guide, "HTTP APIs: troubleshooting" and "throttling", read 2026-11.
"""

from __future__ import annotations

import threading

import pytest

from mgmt.errors import LoginRequiredError, RefusedError, UnavailableError
from mgmt.network import Connections
from mgmt.network.retry import Patience
from mgmt.service import ServiceApi
from mgmt.session import FixedToken
from mgmt_contract.messages.history import HistoryRequest
from mgmt_contract.messages.service import Service
from mgmt_contract.wire import to_plain
from support.scripted_server import Answer, json_answer, scripted_server

SERVICE = json_answer(to_plain(Service(1, 1, "0", "bucket", "region", "", 1, 1, 1, 1, 1)))
PAGE = json_answer({"records": [], "cursor": None})


def own(status: int, message: str) -> Answer:
    """Answer as the gateway itself does, before the function is reached."""
    body = f'{{"message":"{message}"}}'.encode()
    return Answer(status, body, {"content-type": "application/json", "apigw-requestid": "Gw4aXh="})


THROTTLED = own(429, "Too Many Requests")


@pytest.fixture
def make_api():
    connections = Connections()

    def make(url, *, start_budget_seconds=5.0):
        patience = Patience(threading.Event(), start_budget_seconds=start_budget_seconds, budget_seconds=5.0)
        return ServiceApi(url, FixedToken("sesame"), connections, patience, lambda _: None)

    yield make
    connections.close()


@pytest.mark.parametrize(
    "passing",
    [THROTTLED, own(500, "Internal Server Error"), own(503, "Service Unavailable"), own(504, "Gateway Timeout")],
)
def test_what_passes_is_waited_for(make_api, passing):
    with scripted_server(passing, PAGE) as server:
        assert make_api(server.url).history(HistoryRequest()).records == []
        assert len(server.asked) == 2


def test_a_throttle_is_an_answer_and_has_the_long_patience(make_api):
    """Of a service that does not answer a command gives up soon; one that is asked by too many is there."""
    with scripted_server(THROTTLED, THROTTLED, PAGE) as server:
        assert make_api(server.url, start_budget_seconds=0.0).history(HistoryRequest()).records == []
    with scripted_server(own(503, "Service Unavailable"), PAGE) as server, pytest.raises(UnavailableError):
        make_api(server.url, start_budget_seconds=0.0).history(HistoryRequest())


def test_a_throttle_by_somebody_else_is_none_of_the_service(make_api):
    """Such as a network's sign-in page, which is a page."""
    page = Answer(429, b"<html>", {"content-type": "text/html"})
    with scripted_server(page, PAGE) as server, pytest.raises(UnavailableError):
        make_api(server.url, start_budget_seconds=0.0).history(HistoryRequest())


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (own(401, "Unauthorized"), LoginRequiredError, "does not accept the token"),
        (own(403, "Forbidden"), RefusedError, "does not allow this with your sign-in"),
        (own(413, "Request Entity Too Large"), RefusedError, "larger than the service takes"),
    ],
)
def test_what_stays_is_told_at_once_as_what_it_is(make_api, answer, error, words):
    with scripted_server(answer, SERVICE) as server:
        with pytest.raises(error, match=words):
            make_api(server.url).history(HistoryRequest())
        assert len(server.asked) == 1


def test_the_log_names_the_request_as_the_gateways_own_log_does(make_api, caplog):
    caplog.set_level("INFO", "mgmt")
    with scripted_server(own(401, "Unauthorized")) as server, pytest.raises(LoginRequiredError):
        make_api(server.url).history(HistoryRequest())
    assert any("401" in message and "(request Gw4aXh=)" in message for message in caplog.messages)
