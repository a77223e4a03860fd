"""Each call has a token that is valid now, and each refresh token serves once, over all threads and processes."""

import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from mgmt.credentials import provider as provider_module
from mgmt.credentials.issuer import IssuerApi
from mgmt.credentials.provider import ClientToken
from mgmt.credentials.store import CredentialStore
from mgmt.errors import CancelledError, LocalStateError, LoginRequiredError, UnavailableError
from mgmt.events import Notice
from mgmt.network import Connections
from mgmt.network.retry import Patience
from mgmt.session import FixedToken
from support.kept_sign_in import SERVICE_URL, make_credentials, make_provider
from support.rotating_issuer import ROBOT, rotating_issuer

MANY = bool(os.environ.get("MGMT_MANY_RENEWALS"))
PROCESSES, DEMANDS = (20, 75) if MANY else (4, 5)


@pytest.fixture
def log_in(issuer, store, clock):
    """Log a person in, in another terminal."""

    def log_in(person="anna", **changes):
        credentials = replace(make_credentials(issuer, person, received_at=clock()), **changes)
        store.save(credentials)
        return credentials

    return log_in


@pytest.fixture
def make(state_dir, events, clock):
    """Make the provider of another process of the same user."""

    def make(**options):
        return make_provider(state_dir, events.append, **{"clock": clock, **options})

    return make


def used_twice(issuer):
    return [token for token, times in issuer.uses.items() if times > 1]


def test_a_valid_token_is_given_without_a_call(issuer, log_in, make):
    token = log_in().tokens.access_token
    provider = make()
    assert [provider() for _ in range(3)] == [token] * 3
    assert issuer.forms == []


@pytest.mark.parametrize(("life", "left"), [(3600, 300), (86_400, 300), (1500, 300), (900, 180), (300, 60)])
def test_a_token_is_renewed_five_minutes_before_its_end_or_a_fifth_of_a_short_life(
    issuer, clock, log_in, make, life, left
):
    issuer.life_seconds = life
    token = log_in().tokens.access_token
    provider = make()
    clock.move(seconds=life - left - 1)
    assert provider() == token
    clock.move(seconds=2)
    renewed = provider()
    assert renewed != token
    assert issuer.accepts(renewed)
    assert provider() == renewed


def test_a_token_without_a_stated_life_is_used_until_it_is_refused(issuer, clock, log_in, make):
    issuer.life_seconds = None
    token = log_in().tokens.access_token
    provider = make()
    clock.move(days=400)
    assert provider() == token
    assert provider(token) != token


def test_renewed_tokens_are_kept_for_the_next_run_and_never_shown(clock, events, store, log_in, make, caplog):
    log_in()
    known = []
    clock.move(hours=2)
    token = make(learn=lambda *secrets: known.extend(secrets))()
    kept = store.load(SERVICE_URL).tokens
    assert kept.access_token == token
    assert set(kept.secrets) <= set(known), "the redactor has learned all of them"
    assert not [secret for secret in known if secret in caplog.text + repr(events)]


@pytest.mark.parametrize("span", [{"days": 1}, {"days": -1}, {"hours": -1}, {"minutes": 59, "seconds": 59}])
def test_a_clock_that_was_set_forwards_or_back_costs_a_renewal_and_nothing_else(issuer, clock, log_in, make, span):
    log_in()
    provider = make()
    clock.move(**span)
    assert issuer.accepts(provider())
    assert issuer.accepts(make()())
    assert sum(issuer.uses.values()) == 1


def test_a_clock_that_was_set_back_while_the_issuer_is_gone_stops_nothing(issuer, clock, log_in, make):
    token = log_in().tokens.access_token
    issuer.scripted = [(503, b"", {})] * 9
    clock.move(days=-1)
    assert make(budget_seconds=0.0)() == token


@pytest.mark.parametrize("days", [-300, 300])
def test_a_clock_that_is_wrong_and_stays_so_changes_nothing(issuer, clock, log_in, make, days):
    clock.move(days=days)
    token = log_in().tokens.access_token
    clock.move(minutes=54)
    assert make()() == token
    clock.move(minutes=2)
    assert issuer.accepts(make()())


def test_while_a_token_is_valid_an_issuer_that_is_gone_stops_nothing_and_is_not_asked_for_each_call(
    issuer, clock, log_in, make, monkeypatch
):
    credentials = log_in()
    provider = make(budget_seconds=0.0)
    clock.move(minutes=56)
    issuer.scripted = [(503, b"", {})] * 9
    assert {provider() for _ in range(5)} == {credentials.tokens.access_token}
    assert len(issuer.scripted) == 8
    now = time.monotonic() + 31
    monkeypatch.setattr(provider_module.time, "monotonic", lambda: now)
    issuer.scripted = []
    assert provider() != credentials.tokens.access_token


def test_once_the_token_has_ended_an_issuer_that_is_gone_has_the_patience_of_other_calls(issuer, clock, log_in, make):
    log_in()
    clock.move(hours=2)
    issuer.scripted = [(503, b"", {})] * 2
    assert issuer.accepts(make()())
    clock.move(hours=2)
    issuer.scripted = [(503, b"", {})] * 99
    with pytest.raises(UnavailableError, match="answers 503"):
        make(budget_seconds=0.3)()
    issuer.scripted = []
    assert issuer.accepts(make()()), "nothing was lost by it"


def test_a_run_that_is_under_way_waits_for_an_issuer_as_long_as_for_a_service(issuer, clock, log_in, state_dir, events):
    log_in()
    patience = Patience(threading.Event(), start_budget_seconds=0.0, budget_seconds=60.0)
    provider = make_provider(state_dir, events.append, clock=clock)
    provider._patience = patience
    provider()
    clock.move(hours=2)
    issuer.scripted = [(503, b"", {})]
    assert issuer.accepts(provider())


def test_waiting_for_an_issuer_ends_when_the_command_is_stopped(issuer, clock, log_in, make):
    log_in()
    clock.move(hours=2)
    stop = threading.Event()
    stop.set()
    with pytest.raises(CancelledError):
        make(stop=stop)()


def test_a_refused_renewal_is_told_once_and_never_repeated(issuer, clock, store, log_in, make):
    credentials = log_in()
    issuer.ended_sessions.add("anna")
    clock.move(hours=2)
    provider = make()
    for _ in range(3):
        with pytest.raises(LoginRequiredError, match="sign-in of Anna") as caught:
            provider()
    assert "Run `mgmt login`" in caught.value.message
    assert "is resumed" in caught.value.message
    assert credentials.tokens.refresh_token not in caught.value.message
    assert used_twice(issuer) == []
    assert store.load(SERVICE_URL).tokens.refresh_token == credentials.tokens.refresh_token


def test_a_running_command_takes_up_a_login_in_another_terminal(issuer, clock, log_in, make):
    log_in()
    provider = make()
    provider()
    issuer.ended_sessions.add("anna")
    clock.move(hours=2)
    with pytest.raises(LoginRequiredError):
        provider()
    again = log_in()
    assert provider() == again.tokens.access_token


def test_a_running_command_does_not_become_another_persons(log_in, make):
    log_in()
    provider = make()
    provider()
    log_in("bert")
    with pytest.raises(LoginRequiredError, match=r"Bert has signed in .* began as Anna"):
        provider()


def test_a_running_command_ends_with_a_logout_in_another_terminal(store, log_in, make):
    log_in()
    provider = make()
    provider()
    store.delete(SERVICE_URL)
    with pytest.raises(LoginRequiredError, match="There is no sign-in"):
        provider()


def test_a_renewal_of_another_process_is_used(issuer, clock, log_in, make):
    log_in()
    first, second = make(), make()
    first()
    second()
    clock.move(hours=2)
    assert first() == second()
    assert sum(issuer.uses.values()) == 1


def test_a_token_that_the_service_refuses_is_renewed_before_its_end(issuer, log_in, make):
    token = log_in().tokens.access_token
    first, second = make(), make()
    renewed = first(token)
    assert renewed != token
    assert second(token) == renewed, "the one that another process has got since"
    assert sum(issuer.uses.values()) == 1


def test_a_sign_in_without_a_refresh_token_ends_with_its_token(issuer, clock, store, log_in, make):
    credentials = log_in()
    store.save(replace(credentials, tokens=replace(credentials.tokens, refresh_token=None)))
    provider = make()
    assert provider() == credentials.tokens.access_token
    clock.move(hours=2)
    with pytest.raises(LoginRequiredError, match="has ended"):
        provider()
    with pytest.raises(LoginRequiredError, match="has ended"):
        make()(credentials.tokens.access_token)
    assert issuer.forms == []


def test_an_issuer_that_does_not_rotate_keeps_its_refresh_token(issuer, clock, store, log_in, make):
    before = log_in().tokens
    body = b'{"access_token": "next", "token_type": "bearer", "expires_in": 3600}'
    issuer.scripted = [(200, body, {})]
    clock.move(hours=2)
    assert make()() == "next"
    assert store.load(SERVICE_URL).tokens.refresh_token == before.refresh_token


@pytest.mark.parametrize("refused", [True, False])
def test_many_threads_renew_once(issuer, clock, log_in, make, refused):
    token = log_in().tokens.access_token
    provider = make()
    provider()
    if not refused:
        clock.move(hours=2)
    with ThreadPoolExecutor(16) as pool:
        given = set(pool.map(lambda _: provider(token) if refused else provider(), range(64)))
    assert len(given) == 1
    assert given != {token}
    assert sum(issuer.uses.values()) == 1


def test_while_one_thread_renews_early_the_others_go_on_with_the_valid_token(issuer, clock, log_in, make):
    """An issuer that hangs must not hold up an upload whose token is good for minutes."""
    token = log_in().tokens.access_token
    provider = make()
    clock.move(minutes=56)
    with provider._renewing:  # as a thread has it that waits for the issuer
        assert provider() == token
    assert provider() != token


@pytest.fixture
def disk(monkeypatch):
    """Has the writes fail whose number is in it."""
    update, failing, count = CredentialStore.update, set(), itertools.count(1)

    def update_or_fail(self, credentials):
        if next(count) in failing:
            raise LocalStateError("the disk is full")
        update(self, credentials)

    monkeypatch.setattr(CredentialStore, "update", update_or_fail)
    return failing


def test_a_disk_that_takes_nothing_is_found_before_the_refresh_token_is_spent(issuer, clock, log_in, make, disk):
    log_in()
    clock.move(hours=2)
    provider = make()
    disk.add(1)
    with pytest.raises(LocalStateError):
        provider()
    assert not issuer.uses
    assert issuer.accepts(provider())


def test_tokens_that_could_not_be_kept_are_used_and_kept_with_the_next_renewal(
    issuer, clock, events, log_in, make, disk
):
    log_in()
    provider = make()
    clock.move(hours=2)
    disk.add(2)
    assert issuer.accepts(provider())
    assert [event.message for event in events if isinstance(event, Notice) and "disk" in event.message]
    clock.move(hours=2)
    token = provider()
    assert issuer.accepts(token)
    assert used_twice(issuer) == []
    assert make()() == token


def test_an_answer_that_is_lost_costs_a_login_at_most(issuer, clock, log_in, make):
    """The issuer has rotated the token, and takes the former one for stolen."""
    log_in()
    clock.move(hours=2)
    issuer.lost_answers = 1
    provider = make()
    with pytest.raises(LoginRequiredError, match="invalid_grant"):
        provider()
    again = log_in()
    assert provider() == again.tokens.access_token


KILLED = """
import os, pathlib, sys
from mgmt.credentials import provider
from support.kept_sign_in import make_provider
give = make_provider(pathlib.Path(sys.argv[1]), lambda _: None)
give._keep = lambda _: os._exit(9)
give(give())
"""
RENEWING = """
import pathlib, sys
from support.kept_sign_in import make_provider
give = make_provider(pathlib.Path(sys.argv[1]), lambda _: None, budget_seconds=60.0)
sys.stdin.read()
for _ in range(int(sys.argv[2])):
    give(give())
"""


def start(code, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, **options)


def test_a_process_killed_between_answer_and_disk_costs_a_login_at_most(issuer, state_dir, store, events):
    store.save(make_credentials(issuer))
    assert start(KILLED, state_dir).wait() == 9
    provider = make_provider(state_dir, events.append)
    token = provider()
    assert issuer.accepts(token), "what is valid goes on being used"
    with pytest.raises(LoginRequiredError, match="invalid_grant"):
        provider(token)
    store.save(make_credentials(issuer))
    assert issuer.accepts(provider())


def test_many_processes_lose_no_session_and_use_each_refresh_token_once(issuer, state_dir, store):
    """With MGMT_MANY_RENEWALS set, 1,000 renewals and more from 20 processes.

    Each demand is for another token than the one of the moment; one that another process has got meanwhile will do.
    """
    store.save(make_credentials(issuer))
    running = [start(RENEWING, state_dir, DEMANDS, stdin=subprocess.PIPE) for _ in range(PROCESSES)]
    for each in running:
        each.stdin.close()  # all at once
    assert [each.wait() for each in running] == [0] * PROCESSES
    assert used_twice(issuer) == []
    assert issuer.ended_sessions == set()
    assert sum(issuer.uses.values()) >= DEMANDS
    assert not MANY or sum(issuer.uses.values()) >= 1_000
    assert issuer.accepts(store.load(SERVICE_URL).tokens.access_token)


def test_a_fixed_token_is_what_it_is():
    fixed = FixedToken("sesame")
    assert fixed() == "sesame"
    with pytest.raises(LoginRequiredError, match="MGMT_TOKEN"):
        fixed("sesame")


class TestClient:
    """A client with a secret, such as a CI job."""

    @pytest.fixture
    def make_client(self, issuer, clock, events):
        def make(client=ROBOT, *, named=(issuer.url,), scope=None, learn=lambda *_: None, budget_seconds=5.0):
            patience = Patience(threading.Event(), start_budget_seconds=budget_seconds, budget_seconds=budget_seconds)

            @contextmanager
            def open_issuer():
                with closing(Connections()) as connections:
                    yield IssuerApi(connections, patience, events.append, clock=clock, tries_once=True)

            how = {"scope": scope, "patience": patience, "learn": learn, "clock": clock}
            return ClientToken(*client, lambda: named[0], open_issuer, **how)

        return make

    def test_it_signs_in_by_itself_for_what_its_issuer_lets_it_have(self, issuer, make_client):
        client = make_client()
        token = client()
        assert issuer.accepts(token)
        assert client() == token
        [form] = issuer.forms
        assert form == {"grant_type": "client_credentials"}

    def test_a_client_that_may_only_read_is_not_refused_for_the_scopes_of_people(self, issuer, make_client):
        """As at Cognito: what is not asked for is granted as far as the client may have it, and too much is refused."""
        issuer.client_scopes = {"mgmt/read"}
        assert issuer.accepts(make_client()())
        assert issuer.accepts(make_client(scope="mgmt/read")())
        with pytest.raises(LoginRequiredError, match=r"invalid_scope.*MGMT_CLIENT_SCOPE"):
            make_client(scope="mgmt/use")()

    def test_it_asks_again_before_the_token_ends_and_when_it_is_refused(self, issuer, clock, make_client):
        client = make_client()
        token = client()
        clock.move(minutes=56)
        second = client()
        assert second != token
        assert client(second) != second
        assert len(issuer.forms) == 3

    def test_an_issuer_that_is_gone_stops_nothing_while_the_token_is_valid(self, issuer, clock, make_client):
        client = make_client(budget_seconds=0.2)
        token = client()
        issuer.scripted = [(503, b"", {})] * 99
        clock.move(minutes=56)
        assert [client() for _ in range(3)] == [token] * 3
        assert len(issuer.scripted) == 98
        clock.move(minutes=5)
        with pytest.raises(UnavailableError):
            client()

    def test_a_wrong_secret_is_told_as_such_and_never_shown(self, make_client):
        with pytest.raises(LoginRequiredError, match=r"invalid_client.*Check MGMT_CLIENT_ID") as caught:
            make_client((ROBOT[0], "a wrong secret"))()
        assert "a wrong secret" not in caught.value.message

    def test_a_service_without_an_issuer_takes_no_client(self, issuer, make_client):
        with pytest.raises(LoginRequiredError, match="names no issuer"):
            make_client(named=[None])()
        assert issuer.forms == []

    def test_everything_secret_is_learned(self, make_client):
        known = []
        client = make_client(learn=lambda *secrets: known.extend(secrets))
        assert known == [ROBOT[1]]
        assert client() in known

    def test_the_secret_goes_to_the_issuer_that_was_named_first(self, issuer, clock, make_client):
        with rotating_issuer() as other:
            named = [issuer.url]
            client = make_client(named=named)
            client()
            named[0] = other.url
            clock.move(hours=2)
            assert issuer.accepts(client())
            assert other.forms == []


def test_the_time_before_the_end_is_as_the_documents_say():
    assert timedelta(minutes=5) == provider_module.RENEWED_BEFORE_END
