import json
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mgmt.errors import (
    CancelledError,
    LoginRequiredError,
    MgmtError,
    NewerServiceError,
    RefusedError,
    SourceError,
    UnavailableError,
)
from mgmt.network import Connections
from mgmt.network.retry import Patience
from mgmt.service import ERROR_OF_PROBLEM, ServiceApi, error_of
from mgmt.session import FixedToken
from mgmt_contract.messages.history import HistoryRequest
from mgmt_contract.messages.service import Service
from mgmt_contract.messages.uploads import Part, SignItem, SignRequest
from mgmt_contract.problems import PROBLEMS, make_problem
from mgmt_contract.records import OperationRecord
from mgmt_contract.wire import to_plain
from support.scripted_server import Answer, json_answer, scripted_server

SERVICE = Service(1, 1, "0", "bucket", "region", "", 1, 1, 1, 1, 1)
GOOD = json_answer(to_plain(SERVICE))
SESAME = FixedToken("sesame")
HTML = Answer(200, b"<html>Please sign in to the hotel network</html>", {"content-type": "text/html"})


@pytest.fixture
def emitted():
    return []


@pytest.fixture
def make_api(emitted):
    connections = Connections()

    def make(url, *, budget_seconds=5.0, stop=None, token=SESAME, run_id=None):
        patience = Patience(
            stop or threading.Event(), start_budget_seconds=budget_seconds, budget_seconds=budget_seconds
        )
        return ServiceApi(url, token, connections, patience, emitted.append, run_id=run_id)

    yield make
    connections.close()


def no_such_operation(operation_id):
    return {
        "operation_id": operation_id,
        "outcome": "problem",
        "problem": to_plain(make_problem("no-such-operation", "-")),
    }


def test_an_answer_is_the_contracts_type(make_api):
    with scripted_server(GOOD) as server:
        assert make_api(server.url + "/stage/").describe() == SERVICE
        assert [asked.path for asked in server.asked] == ["/stage/v1/service"]


def test_the_token_is_asked_for_before_each_call_and_shown_only_where_needed(make_api, emitted, caplog):
    caplog.set_level("INFO", "mgmt")
    tokens = iter(["first", "second"])
    unknown = [json_answer({"results": [no_such_operation(id_)]}) for id_ in "ab"]
    with scripted_server(GOOD, *unknown) as server:
        api = make_api(server.url, token=lambda: next(tokens))
        api.describe()
        api.look_up(["a"])
        api.look_up(["b"])
        sent = [asked.headers.get("authorization") for asked in server.asked]
    assert sent == [None, "Bearer first", "Bearer second"]
    assert len(caplog.messages) == 3
    assert "first" not in repr(emitted) + caplog.text


def found(operation_id):
    record = OperationRecord(
        operation_id, "of tomorrow", "clip", datetime(2026, 11, 28, tzinfo=UTC), "failed", None, "-"
    )
    return {"operation_id": operation_id, "outcome": "record", "record": to_plain(record)}


def test_records_are_found_in_as_many_calls_as_the_service_wants_and_unknown_ones_are_left_out(make_api):
    service = json_answer(to_plain(replace(SERVICE, items_max=2)))
    pages = [
        json_answer({"results": list(results)}) for results in ((found("a"), no_such_operation("b")), [found("c")])
    ]
    with scripted_server(service, *pages) as server:
        records = make_api(server.url).find_records(["a", "b", "c"])
        assert [asked.path for asked in server.asked] == ["/v1/service", *["/v1/uploads/look-up"] * 2]
    assert list(records) == ["a", "c"]
    assert {type(each) for each in records.values()} == {OperationRecord}


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"operation_id": "a", "outcome": "sealed"}, NewerServiceError),
        (no_such_operation("a") | {"problem": to_plain(make_problem("not-allowed", "-"))}, RefusedError),
    ],
)
def test_a_record_that_the_service_does_not_tell_is_not_taken_for_an_unknown_one(make_api, result, error):
    """`mgmt cancel` removes what is left of an upload that the service does not know."""
    with scripted_server(json_answer({"results": [result]})) as server, pytest.raises(error):
        make_api(server.url).find_records(["a"])


UNAUTHORIZED = json_answer({"message": "Unauthorized"}, 401)
REFUSED = json_answer(to_plain(make_problem("login-required", "No verified token.")), 401, "application/problem+json")


class Tokens:
    """Gives first one token, then the other; where there is none, a person has to log in."""

    def __init__(self, *tokens):
        self.left = list(tokens)
        self.refused = []

    def __call__(self, refused=None):
        if refused is not None:
            self.refused.append(refused)
            if len(self.left) == 1:
                raise LoginRequiredError("Sign in again.")
            self.left.pop(0)
        return self.left[0]


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, REFUSED])
def test_a_token_that_the_service_refuses_is_replaced_once_for_each_call(make_api, refusal):
    tokens = Tokens("revoked", "renewed")
    with scripted_server(refusal, json_answer({"records": [], "cursor": None})) as server:
        assert make_api(server.url, token=tokens).history(HistoryRequest()).records == []
        assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer revoked", "Bearer renewed"]
    assert tokens.refused == ["revoked"]


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, REFUSED])
def test_a_service_that_refuses_every_token_is_not_asked_for_ever(make_api, refusal):
    tokens = Tokens("a", "b", "c", "d")
    with scripted_server(refusal) as server, pytest.raises(LoginRequiredError, match="does not accept the sign-in"):
        make_api(server.url, token=tokens).history(HistoryRequest())
    assert tokens.refused == ["a"]


@pytest.mark.parametrize("tokens", [Tokens("a", "b"), Tokens("only")])
def test_a_wrong_clock_is_named_where_a_sign_in_is_refused(make_api, tokens):
    answer = replace(UNAUTHORIZED, headers={**UNAUTHORIZED.headers, "date": "Fri, 02 Jan 2026 10:00:00 GMT"})
    with scripted_server(answer) as server, pytest.raises(LoginRequiredError) as caught:
        make_api(server.url, token=tokens).history(HistoryRequest())
    assert "This machine's clock is " in caught.value.message
    assert "ahead of that of 127.0.0.1" in caught.value.message


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_token_never_follows_a_redirect(make_api, status):
    with scripted_server(GOOD) as other:
        with scripted_server(Answer(status, b"", {"location": other.url})) as server, pytest.raises(UnavailableError):
            make_api(server.url).history(HistoryRequest())
        assert not other.asked


def test_every_call_names_the_run_that_makes_it(make_api):
    """Also one that is repeated, and the one that needs no sign-in."""
    passing = json_answer(to_plain(make_problem("internal-error", "A bug.")), 500, "application/problem+json")
    with scripted_server(GOOD, passing, json_answer({"results": [no_such_operation("a")]})) as server:
        api = make_api(server.url, run_id="run-1")
        api.describe()
        api.look_up(["a"])
        assert [asked.headers.get("mgmt-run-id") for asked in server.asked] == ["run-1"] * 3


def test_a_fault_of_the_service_is_told_with_the_run_to_quote(make_api, emitted):
    problem = replace(make_problem("internal-error", "The service failed."), run_id="run-1")
    failing, quoted = json_answer(to_plain(problem), 500, "application/problem+json"), r"failed\. \(run run-1\)"
    with scripted_server(failing) as server, pytest.raises(UnavailableError, match=quoted):
        make_api(server.url, budget_seconds=0.0).describe()


PART = {"number": 1, "request": {"url": "", "headers": {}, "expires_in_seconds": 900}}
SIGNED = {"operation_id": "a", "outcome": "signed", "lease": {"epoch": 1, "expires_in_seconds": 60}, "parts": [PART]}


@pytest.mark.parametrize(("host", "fits"), [("bucket.s3.eu-west-1.amazonaws.com", True), ("storage.example", False)])
def test_the_parts_of_a_run_that_has_started_nothing_go_to_the_bucket_too(make_api, host, fits):
    """It asks the service which bucket that is."""
    PART["request"]["url"] = f"https://{host}/k"
    request = SignRequest("m", [SignItem("a", 1, [Part(1, 5, "AAAAAAAAAAA=")])])
    described = json_answer(to_plain(replace(SERVICE, region="eu-west-1")))
    with scripted_server(described, json_answer({"results": [SIGNED]}), described) as server:
        api = make_api(server.url)
        if fits:
            assert api.sign(request).results[0].outcome == "signed"
        else:
            with pytest.raises(UnavailableError, match="no address of the bucket"):
                api.sign(request)


def test_history_filters_are_query_parameters(make_api):
    with scripted_server(json_answer({"records": [], "cursor": None})) as server:
        since = datetime(2026, 1, 2, tzinfo=UTC)
        make_api(server.url).history(HistoryRequest(actor="anna & co", mine=True, since=since, limit=7))
        assert (
            server.asked[0].path == "/v1/history?actor=anna+%26+co&mine=true&since=2026-01-02T00%3A00%3A00.000Z&limit=7"
        )


@pytest.mark.parametrize(
    "passing",
    [
        Answer(503, b"", {}),
        Answer(429, b"{}", {"content-type": "application/json"}),
        Answer(504, b'{"message":"Endpoint request timed out"}', {"content-type": "application/json"}),
        json_answer(to_plain(make_problem("storage-unavailable", "busy")), 503, "application/problem+json"),
        json_answer(to_plain(make_problem("changed-meanwhile", "busy")), 409, "application/problem+json"),
        Answer(breaks=True),
    ],
)
def test_what_may_pass_is_asked_again(make_api, passing):
    with scripted_server(passing, passing, GOOD) as server:
        assert make_api(server.url).describe() == SERVICE
        assert len(server.asked) == 3


@pytest.mark.parametrize("code", ["storage-unavailable", "internal-error", "changed-meanwhile"])
def test_of_a_list_only_what_may_pass_is_asked_again(make_api, code):
    def result(operation_id, **more):
        return {"operation_id": operation_id, "outcome": "problem", "problem": to_plain(make_problem(**more))}

    gone = result("a", code="no-such-operation", detail="no")
    first = json_answer({"results": [gone, result("b", code=code, detail="busy")]})
    with scripted_server(first, json_answer({"results": [gone | {"operation_id": "b"}]})) as server:
        results = make_api(server.url).look_up(["a", "b"]).results
        assert [json.loads(asked.body)["operation_ids"] for asked in server.asked] == [["a", "b"], ["b"]]
    assert [result.operation_id for result in results] == ["a", "b"]
    assert {result.problem.code for result in results} == {"no-such-operation"}


@pytest.mark.parametrize("code", [code for code, kind in PROBLEMS.items() if not kind.retryable])
def test_a_problem_that_waiting_cannot_mend_ends_with_its_own_error(make_api, code):
    problem = make_problem(code, "what happened; what to do")
    with scripted_server(json_answer(to_plain(problem), problem.status, "application/problem+json")) as server:
        with pytest.raises(ERROR_OF_PROBLEM[code], match="what happened; what to do") as caught:
            make_api(server.url).describe()
        assert len(server.asked) == 1
    assert caught.value.code == code


def test_every_problem_has_an_exit_code_and_a_new_one_is_a_refusal():
    assert set(ERROR_OF_PROBLEM) == set(PROBLEMS)
    newer = make_problem("not-allowed", "no")
    error = error_of(newer.__class__(**{**vars(newer), "code": "of-tomorrow"}))
    assert type(error) is NewerServiceError
    assert (error.exit_code, error.code, error.message) == (RefusedError.exit_code, "of-tomorrow", "no")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(401, b'{"message":"Unauthorized"}', {"content-type": "application/json"}), LoginRequiredError),
        (Answer(403, b'{"message":"Forbidden"}', {"content-type": "application/json"}), RefusedError),
        (HTML, UnavailableError),
        (Answer(404, b"<html>", {"content-type": "text/html"}), UnavailableError),
        (Answer(302, b"", {"location": "http://portal.example"}), UnavailableError),
        (Answer(511, b"<html>", {"content-type": "text/html"}), UnavailableError),
        (json_answer({"hello": "world"}), UnavailableError),
        (json_answer(["hello"]), UnavailableError),
        (json_answer({"message": "no such page"}, 404), UnavailableError),
    ],
)
def test_what_is_no_answer_of_the_service_is_said_at_once(make_api, answer, error):
    with scripted_server(answer) as server:
        with pytest.raises(error) as caught:
            make_api(server.url).describe()
        assert len(server.asked) == 1
    assert caught.value.exit_code == error.exit_code
    assert "hotel" not in caught.value.message


def test_a_service_that_stays_away_ends_the_wait_with_the_reason(make_api):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=r"refuses the connection.*same command again"):
            make_api(url, budget_seconds=0.3).describe()


def test_a_host_that_is_not_found_is_named(make_api):
    with pytest.raises(UnavailableError, match=r"the host of https://no\.such\.host\.invalid is not found"):
        make_api("https://no.such.host.invalid/stage", budget_seconds=0.1).describe()


def test_a_service_that_takes_the_call_and_never_answers_is_given_up_in_time(make_api):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="does not answer in time"):
            make_api(f"http://127.0.0.1:{deaf.getsockname()[1]}", budget_seconds=0.5).describe()
    assert time.monotonic() - began < 5, "a try lasts no longer than the patience"


NEWER = {**to_plain(SERVICE), "api_version_min": 2, "api_version_max": 3, "service_version": "9.1"}
OLDER = {**NEWER, "api_version_min": 0, "api_version_max": 0}


@pytest.mark.parametrize(("described", "what_to_do"), [(NEWER, "Update mgmt"), (OLDER, "ask the admin")])
def test_a_service_of_another_version_is_refused_with_what_to_update(make_api, described, what_to_do):
    with scripted_server(json_answer(described)) as server, pytest.raises(RefusedError, match=what_to_do) as caught:
        make_api(server.url).describe()
    assert caught.value.code == "versions-differ"
    assert "9.1" in caught.value.message


def test_a_later_description_that_has_changed_its_shape_still_tells_its_version(make_api):
    described = {"api_version_min": 2, "api_version_max": 2, "service_version": "9.1", "storage": {}}
    with scripted_server(json_answer(described)) as server, pytest.raises(RefusedError, match="version 2"):
        make_api(server.url).describe()


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"entries": []}),
        json_answer({"message": "Not Found"}, 404),
        json_answer(
            to_plain(make_problem("no-such-route", "There is no such route.")), 404, "application/problem+json"
        ),
    ],
)
def test_an_odd_answer_makes_one_look_at_the_version(make_api, answer):
    with scripted_server(answer, json_answer(NEWER)) as server:
        with pytest.raises(RefusedError, match="Update mgmt"):
            make_api(server.url).look_up(["a"])
        assert [asked.path for asked in server.asked] == ["/v1/uploads/look-up", "/v1/service"]
        assert "authorization" not in server.asked[1].headers


def test_an_odd_answer_of_the_right_version_is_no_answer_of_the_protocol(make_api):
    with scripted_server(json_answer({"results": 7}), GOOD) as server, pytest.raises(UnavailableError) as caught:
        make_api(server.url).look_up(["a"])
    assert caught.value.code == "bad-answer"
    assert "RecordsResponse.results is 7, expected a list" in caught.value.message


def test_json_of_somebody_else_is_no_service(make_api):
    with scripted_server(json_answer({"weather": "fine"})) as server, pytest.raises(UnavailableError) as caught:
        make_api(server.url).history(HistoryRequest())
    assert caught.value.code == "no-service"


def test_a_stopped_command_asks_nothing_more(make_api):
    stop = threading.Event()
    stop.set()
    with scripted_server(GOOD) as server:
        with pytest.raises(CancelledError):
            make_api(server.url, stop=stop).describe()
        assert server.asked == []


def test_loopback_is_never_sent_to_a_proxy_and_others_are_with_its_password(monkeypatch):
    with scripted_server(GOOD) as server:
        monkeypatch.setenv("http_proxy", server.url.replace("//", "//anna:s%40fe@"))
        monkeypatch.setenv("no_proxy", "")
        connections = Connections()
        direct = connections.pool_for("http://127.0.0.1:1/").proxy
        connections.pool_for("http://service.example/").request("GET", "http://service.example/x")
        connections.close()
        assert direct is None
        assert server.asked[0].path == "http://service.example/x"
        assert server.asked[0].headers["proxy-authorization"] == "Basic YW5uYTpzQGZl"


def test_exit_codes_are_the_documents():
    codes = {kind.exit_code: kind for kind in _all_errors()}
    assert set(codes) == {1, 2, 4, 5, 6, 7, 8, 9, 10, 130}
    only_one_target = {code for code, kind in codes.items() if not kind.stops_everything}
    assert only_one_target == {4, 6, 8}
    assert SourceError("x").operation_id is None


def _all_errors():
    return [MgmtError, *MgmtError.__subclasses__()]
