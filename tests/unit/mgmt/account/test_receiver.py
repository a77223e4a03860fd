"""The loopback address to which the browser returns: what ends the wait, and what does not."""

import http.client
import re
import socket
import threading
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest

from mgmt.account import page
from mgmt.account.authorization import Attempt, read_answer
from mgmt.account.receiver import WAIT_SECONDS, open_receiver
from mgmt.credentials.issuer import Metadata
from mgmt.errors import CancelledError, LoginRequiredError

ISSUER = "https://login.example.com"
METADATA = Metadata(ISSUER, f"{ISSUER}/token", authorization_response_iss_parameter_supported=True)
ATTEMPT = Attempt("verifier", "state", "nonce")
PATH = "/callback/login.example.com"
GOOD = {"code": "c0de", "state": "state", "iss": ISSUER}


class Answer:
    """What a browser got."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read().decode()


def ask(port, target, *, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True)
        for each in [f"127.0.0.1:{port}"] if host is None else host:
            connection.putheader("Host", each)
        connection.endheaders()
        return Answer(connection.getresponse())
    finally:
        connection.close()


@contextmanager
def browsing(port, target):
    """A browser that asks for an address meanwhile, and gets its answer in the end."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(port, target)))
    thread.start()
    yield answers
    thread.join(timeout=30)


@pytest.fixture
def receiver(port):
    with open_receiver([port], ISSUER) as listening:
        listening.expect(lambda query: read_answer(query, ATTEMPT, METADATA))
        yield listening


def right(**changes):
    return f"{PATH}?{urlencode({**GOOD, **changes})}"


def test_the_browsers_code_is_given_out_and_the_browser_sees_what_became_of_it(port, receiver):
    with browsing(port, right()) as answers:
        assert receiver.wait(threading.Event()) == "c0de"
        receiver.show(page.signed_in("All is well."))
    [answer] = answers
    assert answer.status == 200
    assert "You are signed in" in answer.body
    assert "All is well." in answer.body
    assert "close this window" in answer.body


FORGED = [
    (PATH, {}, "no answer at all"),
    (f"{PATH}?code=x&state=wrong", {}, "a wrong state"),
    (f"{PATH}?error=access_denied&state=wrong", {}, "an error with a wrong state"),
    (right().replace("?", "/?"), {}, "another path"),
    (right().replace(PATH, "/callback"), {}, "no issuer's path"),
    (right().replace(PATH, "/callback/other.example.com"), {}, "another issuer's path"),
    ("/favicon.ico", {}, "a browser's own request"),
    ("/", {}, "the root"),
    (f"http://127.0.0.1{right()}", {}, "a proxy's request"),
    (right(), {"host": ["evil.example"]}, "another host's name for this address"),
    (right(), {"host": ["localhost:1"]}, "another port"),
    (right(), {"host": []}, "no host"),
    (right(), {"host": ["127.0.0.1", "evil.example"]}, "two hosts"),
    (right(), {"method": "POST"}, "a form"),
    (right(), {"method": "HEAD"}, "a look"),
    (right(), {"method": "OPTIONS"}, "a question of another page"),
    ("http://[/callback", {}, "no address"),
]


@pytest.mark.parametrize(("target", "more", "what"), FORGED, ids=[what for *_, what in FORGED])
def test_what_is_not_the_answer_is_refused_and_the_wait_goes_on(port, receiver, target, more, what):
    assert ask(port, target, **more).status == 400
    with browsing(port, right()) as answers:
        assert receiver.wait(threading.Event()) == "c0de"
        receiver.show(page.signed_in(""))
    assert answers[0].status == 200


def test_garbage_and_silence_do_not_end_the_wait(port, receiver):
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as other:
        other.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")  # a browser that tries TLS
        with browsing(port, right()) as answers:
            assert receiver.wait(threading.Event()) == "c0de"
            receiver.show(page.signed_in(""))
    assert answers[0].status == 200


def test_an_answer_before_it_is_expected_is_refused(port):
    with open_receiver([port], ISSUER):
        assert ask(port, right()).status == 400


def test_a_page_that_is_loaded_again_shows_the_same_outcome(port, receiver):
    with browsing(port, right()) as first, browsing(port, right(code="other")) as second:
        assert receiver.wait(threading.Event()) in ("c0de", "other")
        receiver.show(page.signed_in("Once."))
    assert {answer.body.count("Once.") for answer in first + second} <= {0, 1}
    assert any("Once." in answer.body for answer in first + second)


class Late:
    """A browser that begins when it is told to."""

    def __init__(self, port, target):
        self.port, self.got = port, []
        self._thread = threading.Thread(target=lambda: self.got.append(ask(port, target)))

    def receive(self, then=None):
        """Have it come back to a sign-in, which then fails."""
        with open_receiver([self.port], ISSUER) as receiver:
            receiver.expect(lambda query: read_answer(query, ATTEMPT, METADATA))
            self._thread.start()
            receiver.wait(threading.Event())
            raise then

    @property
    def page(self):
        self._thread.join(timeout=30)
        return self.got[0].body


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"error": "access_denied"}, "was declined"),
        ({"iss": "https://other.example.com"}, "does not come from"),
        ({"code": ""}, "without a code"),
    ],
)
def test_an_answer_that_says_no_ends_the_wait_and_the_page_says_what_failed(port, change, said):
    browser = Late(port, right(**change))
    with pytest.raises(LoginRequiredError, match=said):
        browser.receive()
    assert said in browser.page
    assert "You are not signed in" in browser.page


def test_a_failure_after_the_answer_is_shown_in_the_browser_as_well(port):
    browser = Late(port, right())
    with pytest.raises(LoginRequiredError):
        browser.receive(LoginRequiredError("The <token> is for another service."))
    assert "The &lt;token&gt; is for another service." in browser.page


def test_ctrl_c_while_the_browser_waits_leaves_it_with_a_page(port):
    browser = Late(port, right())
    with pytest.raises(KeyboardInterrupt):
        browser.receive(KeyboardInterrupt())
    assert "interrupted" in browser.page


def test_ten_minutes_of_nothing_end_the_wait_with_a_sentence(receiver):
    times = iter([0.0, WAIT_SECONDS - 0.001, WAIT_SECONDS - 0.001, WAIT_SECONDS, WAIT_SECONDS, WAIT_SECONDS])
    with pytest.raises(LoginRequiredError, match=r"did not come back within 10 minutes.*mgmt login --no-browser"):
        receiver.wait(threading.Event(), lambda: next(times))


def test_a_command_that_is_stopped_does_not_wait(receiver):
    stop = threading.Event()
    stop.set()
    times = iter([0.0, WAIT_SECONDS, 1.0])
    with pytest.raises(CancelledError):
        receiver.wait(stop, lambda: next(times))


# --- ports ---------------------------------------------------------------------------------------------


@contextmanager
def taken(*addresses):
    sockets = [socket.socket() for _ in addresses]
    try:
        for each, address in zip(sockets, addresses, strict=True):
            each.bind(address)
            each.listen()
        yield
    finally:
        for each in sockets:
            each.close()


def test_where_a_port_is_taken_the_next_one_is_used(port):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()[1]
    with taken(("127.0.0.1", port)), open_receiver([port, other], ISSUER) as receiver:
        assert receiver.redirect_uri == f"http://127.0.0.1:{other}{PATH}"


def test_where_all_are_taken_one_sentence_names_them_and_the_ways_out(port):
    with (
        taken(("127.0.0.1", port)),
        pytest.raises(LoginRequiredError, match=rf"{port}.* in use.*--port.*--no-browser"),
        open_receiver([port], ISSUER),
    ):
        pass


def test_only_this_machine_is_listened_to_and_the_port_is_free_again_at_once(port):
    for _ in range(2):
        with open_receiver([port], ISSUER), socket.socket() as other:
            assert other.connect_ex(("127.0.0.2", port)) != 0


# --- the page ------------------------------------------------------------------------------------------


def test_the_page_loads_nothing_runs_nothing_and_gives_nothing_away(port, receiver):
    answer = ask(port, "/other")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "python" not in answer.headers.get("server", "").lower()
    assert not re.search(r"<script|https?://|src=|@import|url\(", answer.body)
    assert "prefers-color-scheme: dark" in answer.body


@pytest.mark.parametrize("make", [page.signed_in, page.failed, page.not_ours])
def test_whatever_a_page_says_is_text(make):
    body = make("<script>alert(1)</script>\ud800").to_bytes().decode()
    assert "<script" not in body
    assert "&lt;script&gt;" in body


def test_the_style_is_the_one_that_the_policy_names():
    import base64
    import hashlib

    [style] = re.findall("<style>(.*?)</style>", page.signed_in("").to_bytes().decode(), re.DOTALL)
    named = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{named}'" in page.HEADERS["Content-Security-Policy"]
