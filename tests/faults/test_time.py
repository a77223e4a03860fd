"""Time, in a world whose one clock moves when something takes its time: hours of it pass in a moment."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mgmt.credentials.place import service_name
from mgmt.credentials.provider import StoredToken
from mgmt.credentials.store import CredentialStore
from mgmt.credentials.tokens import Credentials, TokenSet
from mgmt.network import Answer
from mgmt.network.retry import Patience
from support.one_clock import PART_BYTES, SERVICE_URL, BrokenError, one_clock
from support.studio import SETTINGS, content_of, item_for
from support.trees import noise

MINUTE_SECONDS = 60
HOUR_SECONDS = 60 * MINUTE_SECONDS
LARGE = ("upload", "big.mov", "--jobs", "1")
SMALL = ("upload", "clip.mov")
FETCH = ("download", "big.mov", "--to", "back", "--jobs", "1")
DELETE = ("delete", "--yes", "big.mov")
SIGN_IN = Credentials(
    service_url=service_name(SERVICE_URL),
    issuer="https://issuer.example",
    client_id="mgmt",
    token_endpoint="https://issuer.example/token",
    tokens=TokenSet("", datetime(2026, 11, 1, tzinfo=UTC), None, None),
    subject="anna",
    name="Anna",
)


@pytest.fixture
def at(tmp_path, monkeypatch):
    with one_clock(tmp_path, monkeypatch) as world:
        Path("big.mov").write_bytes(noise(600_000))
        Path("clip.mov").write_bytes(noise(100_000))
        Path("back").mkdir()
        yield world


def begin(at, arguments):
    """Bring about what a command needs, undisturbed."""
    if arguments[0] != "upload":
        assert at.run(*LARGE) == 0
        at.asked.clear()


def assert_stored_once(at, name):
    """One object, right to the byte, one record of success, nothing open, nothing stray."""
    [(_, body)] = at.studio.objects.versions[f"{name}.tar.gz"]
    assert len(body) > Path(name).stat().st_size
    assert at.studio.objects.uploads == {}
    ended = [each.record.status for each in at.studio.records.operations.values() if each.phase != "failed"]
    assert ended == ["success"]
    assert not list(Path.cwd().glob("*.tar.gz*"))


def parts_of(at):
    """Name the parts that were sent, in order; the index is none."""
    return [each.part_number for each in at.asked if each.part_number]


# --- asleep ------------------------------------------------------------------------------------------------


def test_two_hours_of_sleep_in_the_middle_of_a_part_cost_that_part_and_no_url_is_used_that_ended_meanwhile(at):
    """Its connection is gone on waking. URLs and lease have ended, though the clock that stands still says not."""

    def sleep(request):
        if request.part_number == 2 and at.slept_seconds == 0:
            at.sleep(2 * HOUR_SECONDS)
            raise BrokenError(after_share=0.5)

    at.on = sleep
    assert at.run(*LARGE) == 0
    assert parts_of(at) == [1, 2, 2, 3]
    assert sum(at.paused_seconds) < MINUTE_SECONDS
    assert_stored_once(at, "big.mov")


@pytest.mark.parametrize("word", ["/start", "/sign", "/complete", "/clean-up"])
def test_two_hours_of_sleep_during_a_call_cost_nothing_but_that_call(at, word):
    def sleep(request):
        if word in request.path and request.number == 0:
            at.sleep(2 * HOUR_SECONDS)
            raise BrokenError(after_share=1.0, arrives=True)

    at.on = sleep
    assert at.run(*LARGE) == 0
    assert parts_of(at) == [1, 2, 3]
    assert_stored_once(at, "big.mov")


def test_a_batch_of_small_archives_outlives_two_hours_of_sleep(at):
    photos = [f"{number}.jpg" for number in range(5)]
    for number, name in enumerate(photos):
        Path(name).write_bytes(noise(1000, number))

    def sleep(request):
        if request.is_to_storage and at.slept_seconds == 0:
            at.sleep(2 * HOUR_SECONDS)
            raise BrokenError(after_share=0.5)

    at.on = sleep
    assert at.run("upload", *photos, "--jobs", "1") == 0
    assert len(at.puts()) == 5 + 1, "none was sent to a URL that had ended"
    assert len(at.studio.objects.versions) == 5


def test_who_took_the_name_over_while_the_laptop_slept_keeps_it(at, capsys):
    bert = at.studio.person("bert")

    def sleep(request):
        if request.part_number == 2 and at.slept_seconds == 0:
            at.sleep(2 * HOUR_SECONDS)
            started = bert.start(item_for("big.mov", b"bert's"))
            bert.carry(started, b"bert's")
            assert bert.complete(started, content_of(b"bert's")).outcome == "done"
            raise BrokenError(after_share=0.5)

    at.on = sleep
    assert at.run(*LARGE) == 6
    assert "bert" in capsys.readouterr().err
    assert at.studio.objects.read("big.mov.tar.gz") == b"bert's"
    assert len(at.studio.objects.versions["big.mov.tar.gz"]) == 1


@pytest.mark.parametrize("options", [(), ("--extract",)], ids=["archive", "extracted"])
def test_two_hours_of_sleep_in_a_download_cost_a_fresh_url(at, options):
    begin(at, FETCH)

    def sleep(request):
        if request.method == "GET" and request.is_to_storage and at.slept_seconds == 0:
            at.sleep(2 * HOUR_SECONDS)
            raise BrokenError

    at.on = sleep
    assert at.run(*FETCH, *options) == 0
    assert at.count("/downloads/open") == 2
    assert sum(at.paused_seconds) < MINUTE_SECONDS


def test_two_hours_of_sleep_while_something_is_deleted_delete_it_once(at):
    begin(at, DELETE)

    def sleep(request):
        if request.path.endswith("/delete") and request.number == 0:
            at.sleep(2 * HOUR_SECONDS)
            raise BrokenError(after_share=1.0, arrives=True)

    at.on = sleep
    assert at.run(*DELETE) == 0
    kinds = [each.record.operation_type for each in at.studio.records.operations.values()]
    assert kinds.count("delete") == 1


# --- the service, or the storage, gone -----------------------------------------------------------------------


def gone_for(at, seconds, fits):
    """Be out of reach for so long, from the first request on that fits."""
    since = None

    def be_gone(request):
        nonlocal since
        if since is None and fits(request):
            since = at.passed()
        if since is not None and not request.is_to_storage and at.passed() < since + seconds:
            raise BrokenError

    return be_gone


CALLS = [
    (LARGE, "/sign"),
    (LARGE, "/complete"),
    (SMALL, "/complete"),
    (FETCH, "/downloads/open"),
    (DELETE, "/uploads/delete"),
]


@pytest.mark.parametrize(("arguments", "word"), CALLS)
def test_a_service_that_is_gone_for_ten_minutes_is_waited_for(at, arguments, word):
    begin(at, arguments)
    at.on = gone_for(at, 10 * MINUTE_SECONDS, lambda request: word in request.path)
    assert at.run(*arguments) == 0
    assert 9 * MINUTE_SECONDS < sum(at.paused_seconds) < 12 * MINUTE_SECONDS
    assert at.count(word) < 80, "no storm: half a minute between two tries"
    if arguments[0] == "upload":
        assert_stored_once(at, arguments[1])


@pytest.mark.parametrize(("arguments", "word"), CALLS)
def test_a_service_that_is_gone_for_longer_ends_the_run_and_the_same_command_goes_on(at, arguments, word, capsys):
    begin(at, arguments)
    at.on = gone_for(at, HOUR_SECONDS, lambda request: word in request.path)
    assert at.run(*arguments) == 7
    assert "No progress for 15 minutes" in capsys.readouterr().err
    assert sum(at.paused_seconds) < 16 * MINUTE_SECONDS
    at.on = lambda _: None
    at.asked.clear()
    assert at.run(*arguments) == 0
    if arguments[0] == "upload":
        assert len(parts_of(at)) == (3 if word == "/sign" else 0), "nothing that arrived is sent again"
        assert_stored_once(at, arguments[1])


@pytest.mark.parametrize("arguments", [LARGE, SMALL, FETCH, DELETE])
def test_a_service_that_never_answered_is_given_up_within_half_a_minute(at, arguments, capsys):
    begin(at, arguments)
    at.on = gone_for(at, HOUR_SECONDS, lambda request: not request.is_to_storage)
    assert at.run(*arguments) == 7
    assert "No progress for 20 s" in capsys.readouterr().err
    assert sum(at.paused_seconds) <= 30


def test_a_storage_that_is_gone_for_ten_minutes_is_waited_for_and_the_lease_lives_on(at):
    since = []

    def be_gone(request):
        if request.part_number == 2 and not since:
            since.append(at.passed())
        if request.is_to_storage and since and at.passed() < since[0] + 10 * MINUTE_SECONDS:
            raise BrokenError

    at.on = be_gone
    assert at.run(*LARGE) == 0
    assert at.count("/sign") < 80
    assert_stored_once(at, "big.mov")


# --- URLs that live ten seconds ------------------------------------------------------------------------------


@pytest.fixture
def short_lived(tmp_path, monkeypatch):
    """URLs of ten seconds, and four seconds for each transfer."""
    with one_clock(tmp_path, monkeypatch, settings=replace(SETTINGS, url_life_seconds=10)) as world:
        world.seconds_per_transfer = 4.0
        Path("big.mov").write_bytes(noise(6 * PART_BYTES))
        yield world


REFUSALS = {
    "403 expired": Answer(403, b"<Error><Code>AccessDenied</Code></Error>", {}, is_whole=True),
    "400 of the role's session": Answer(400, b"<Error><Code>ExpiredToken</Code></Error>", {}, is_whole=True),
}
"""What S3 says of a URL that has ended: by its own time, or with the session of the role that signed it."""


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("arguments", [LARGE, SMALL, FETCH, (*FETCH, "--extract")])
def test_a_url_that_was_refused_is_replaced_and_never_used_again(at, arguments, refusal):
    begin(at, arguments)
    refused = []

    def refuse(request):
        if request.is_to_storage and request.url in (refused or [request.url]):
            refused.append(request.url)
            return REFUSALS[refusal]
        return None

    at.on = refuse
    assert at.run(*arguments) == 0
    assert len(refused) == 1
    assert sum(at.paused_seconds) < 2


def test_parts_outlive_their_urls_and_none_is_refused(short_lived):
    """What each request costs is counted: a URL is asked for again before it is used, not after it was refused."""
    at = short_lived
    assert at.run(*LARGE) == 0
    assert parts_of(at) == [1, 2, 3, 4, 5, 6, 7]
    assert at.count("/sign") <= 7 + 3
    assert_stored_once(at, "big.mov")


def test_small_archives_outlive_their_urls_and_none_is_refused(short_lived):
    at = short_lived
    Path("big.mov").unlink()
    for number in range(8):
        Path(f"{number}.jpg").write_bytes(noise(1000, number))
    assert at.run("upload", "all", "--jobs", "1") == 0
    assert len(at.puts()) == 8
    assert at.count("/start") <= 1 + 8


@pytest.mark.parametrize("options", [(), ("--extract",)], ids=["archive", "extracted"])
def test_a_download_outlives_its_urls_and_none_is_refused(short_lived, options, monkeypatch):
    at = short_lived
    for module in ("mgmt.download.unfinished", "mgmt.stored.archive"):
        monkeypatch.setattr(f"{module}.RANGE_SIZE_BYTES", PART_BYTES)
    Path("back").mkdir()
    assert at.run(*LARGE) == 0
    at.asked.clear()
    assert at.run(*FETCH, *options) == 0
    assert len([each for each in at.asked if each.is_to_storage]) == 7
    assert 3 <= at.count("/downloads/open") <= 7
    assert sum(at.paused_seconds) == 0


# --- tokens ----------------------------------------------------------------------------------------------------


def test_a_token_that_ends_between_two_parts_and_cannot_be_renewed_costs_a_login_and_no_byte(at, monkeypatch, capsys):
    monkeypatch.setattr("mgmt_api.domain.description.SIGN_PARTS_MAX", 1)

    def end(request):
        if request.part_number == 2:
            at.refused_tokens.add("sesame")

    at.on = end
    assert at.run("--json", *LARGE) == 5
    assert '"exit_code":5' in capsys.readouterr().err
    monkeypatch.setenv("MGMT_TOKEN", "another")
    assert at.run(*LARGE) == 0
    assert parts_of(at) == [1, 2, 3], "each once, in the one run or the other"
    assert_stored_once(at, "big.mov")


class Issuer:
    """Renews tokens that live a minute; each refresh token serves once."""

    def __init__(self, clock):
        self.clock = clock
        self.used = []
        self.ends_at = {}

    def give(self, refresh_token):
        """Make the tokens that follow on a refresh token."""
        now, number = self.clock(), len(self.ends_at)
        self.ends_at[f"access-{number}"] = now + timedelta(seconds=60)
        return TokenSet(f"access-{number}", now, now + timedelta(seconds=60), f"refresh-{number}")

    def request_tokens(self, _, form):
        """See `IssuerApi`."""
        self.used.append(form["refresh_token"])
        return self.give(form["refresh_token"])


def test_tokens_that_live_a_minute_carry_an_upload_of_minutes_and_each_is_renewed_once(at, monkeypatch, tmp_path):
    """Under the lock between processes, before it ends: the service never sees one that has."""
    Path("big.mov").write_bytes(noise(40 * PART_BYTES))
    at.seconds_per_transfer = 5.0
    monkeypatch.setattr("mgmt_api.domain.description.SIGN_PARTS_MAX", 1)
    issuer = Issuer(at.studio.clock)
    store = CredentialStore(tmp_path / "state", lambda _: None)
    store.save(replace(SIGN_IN, tokens=issuer.give("")))
    locked = []
    lock = store.locked

    def note_lock(*given):
        locked.append(len(issuer.used))
        return lock(*given)

    monkeypatch.setattr(store, "locked", note_lock)
    patience = Patience(threading.Event())
    provider = StoredToken(
        store,
        SIGN_IN.service_url,
        lambda: nullcontext(issuer),
        patience=patience,
        emit=lambda _: None,
        learn=lambda *_: None,
        clock=at.studio.clock,
    )
    monkeypatch.setattr("mgmt.session.find_tokens", lambda *_, **__: provider)

    def check(request):
        if not request.is_to_storage and request.token:
            assert issuer.ends_at[request.token] > at.studio.clock()

    at.on = check
    assert at.run(*LARGE) == 0
    assert len(set(issuer.used)) == len(issuer.used) == len(locked)
    assert 3 <= len(issuer.used) <= 5, "forty parts of five seconds are more than three minutes"
    assert_stored_once(at, "big.mov")


# --- joining -----------------------------------------------------------------------------------------------------


class SlowlyJoining:
    """A storage that takes its time to join parts, after it was asked once."""

    def __init__(self, at, seconds):
        self.asked = 0
        self._at, self._seconds = at, seconds
        self._join, self._ready_at = None, None
        self._complete, self._head = at.studio.objects.complete_multipart_upload, at.studio.objects.head_object

    def complete_multipart_upload(self, *given, **named):
        from mgmt_api.ports import OperationInProgressError

        self.asked += 1
        self._join, self._ready_at = lambda: self._complete(*given, **named), self._at.passed() + self._seconds
        raise OperationInProgressError("still at it")

    def head_object(self, key, version_id=None):
        if self._join is not None and self._at.passed() >= self._ready_at:
            join, self._join = self._join, None
            join()
        return self._head(key, version_id)


@pytest.fixture
def slowly_joined(tmp_path, monkeypatch):
    """Parts that a worker has joined, which takes nearly ten minutes."""
    with one_clock(tmp_path, monkeypatch, has_worker=True) as world:
        Path("big.mov").write_bytes(noise(600_000))
        storage = SlowlyJoining(world, 10 * MINUTE_SECONDS - 5)
        monkeypatch.setattr(world.studio.objects, "complete_multipart_upload", storage.complete_multipart_upload)
        monkeypatch.setattr(world.studio.objects, "head_object", storage.head_object)
        world.on_pause = world.studio.work
        yield world, storage


def read_log(folder):
    [path] = (folder / "state" / "log").iterdir()
    return path.read_text()


def test_a_join_of_ten_minutes_is_waited_for_and_asked_for_once(slowly_joined, capsys, tmp_path):
    at, storage = slowly_joined
    assert at.run("--json", *LARGE) == 0
    assert '"status":"success"' in capsys.readouterr().out
    assert " confirming " in read_log(tmp_path)
    assert storage.asked == 1
    assert 9 * MINUTE_SECONDS < sum(at.paused_seconds) < 11 * MINUTE_SECONDS
    assert at.count("/complete") < 250
    assert_stored_once(at, "big.mov")


def test_a_join_that_outlives_the_command_is_found_by_the_next_one_and_not_asked_for_again(slowly_joined):
    at, storage = slowly_joined

    def interrupt():
        at.studio.work()
        if storage.asked and at.count("/complete") == 5:
            raise KeyboardInterrupt

    at.on_pause = interrupt
    assert at.run(*LARGE) == 130
    assert storage.asked == 1
    at.on_pause = at.studio.work
    assert at.run(*LARGE) == 0
    assert storage.asked == 1
    assert parts_of(at) == [1, 2, 3]
    assert_stored_once(at, "big.mov")
