"""Sign-ins are kept for their user alone, whole or not at all, and a broken one says how to mend it."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import keyring.core
import pytest
from keyring.backends import fail, null

from mgmt.credentials import store as store_module
from mgmt.credentials.place import file_of
from mgmt.credentials.store import CredentialStore, Known
from mgmt.errors import CancelledError, LocalStateError, LoginRequiredError, UnavailableError
from mgmt.events import Notice
from mgmt.source.walk import own_data_at
from support.kept_sign_in import SERVICE_URL, make_credentials

posix = pytest.mark.skipif(os.name == "nt", reason="Windows' folders are closed by their own lists")


@pytest.fixture
def credentials(issuer, clock):
    return make_credentials(issuer, received_at=clock())


def files_of(state_dir):
    return sorted(path for path in state_dir.rglob("*") if path.is_file())


def kept_file(state_dir):
    [path] = state_dir.rglob("sign-in.json")
    return path


def modes(state_dir):
    return {stat.S_IMODE(path.stat().st_mode) for path in (state_dir / "sign-ins").rglob("*") if path.is_dir()}, {
        stat.S_IMODE(path.stat().st_mode) for path in files_of(state_dir)
    }


def test_a_sign_in_comes_back_as_it_was_saved(store, credentials):
    assert store.load(SERVICE_URL) is None
    store.save(credentials)
    assert store.load(SERVICE_URL) == credentials
    assert store.load("HTTPS://API.example:443/stage/") == credentials, "one service, however its address is written"
    assert store.load("https://api.example") is None
    assert [each.service_url for each in store.list_known()] == [SERVICE_URL]


def test_each_service_has_a_sign_in_of_its_own(store, credentials):
    other = replace(credentials, service_url="https://other.example", subject="bert")
    store.save(credentials)
    store.save(other)
    store.delete(SERVICE_URL)
    store.delete(SERVICE_URL)
    assert store.load(SERVICE_URL) is None
    assert store.load("https://other.example") == other


def addresses_of_one_checksum():
    """Find two addresses whose CRC-32 is the same, as anybody can."""
    found = {}
    for number in range(1_000_000):
        address = f"https://{hashlib.sha256(str(number).encode()).hexdigest()[:16]}.example"
        other = found.setdefault(zlib.crc32(address.encode()), address)
        if other != address:
            return other, address
    raise AssertionError("none")


SHORTENED = "https://api.example/" + "x" * 200
ALIKE = [
    addresses_of_one_checksum(),
    ("https://api.example/stage", "https://api.example/Stage"),
    ("https://api.example/stage", "https://api.example/stage."),
    ("https://api.example/a/b", "https://api.example/a%2fb"),
    ("https://api.example/%2f", "https://api.example/%252f"),
    (SHORTENED, SHORTENED + "x"),
    (SHORTENED, "https://" + unquote(file_of(Path(), SHORTENED).parent.name).partition("://")[2]),
]


@pytest.mark.parametrize("addresses", ALIKE, ids=lambda pair: pair[0][:30])
def test_no_address_can_be_chosen_so_that_it_takes_the_sign_in_of_another(store, state_dir, credentials, addresses):
    first, second = (replace(credentials, service_url=address) for address in addresses)
    store.save(first)
    store.save(second)
    assert [store.load(address) for address in addresses] == [first, second]
    store.delete(second.service_url)
    assert store.load(first.service_url) == first
    names = [file_of(state_dir, address).parent.name.casefold().rstrip(". ") for address in addresses]
    assert names[0] != names[1], "also on file systems that take these for the same"
    assert max(map(len, names)) <= 130


@posix
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_nobody_else_can_read_it_whatever_the_users_mask(store, state_dir, credentials, mask):
    before = os.umask(mask)
    try:
        store.save(credentials)
    finally:
        os.umask(before)
    assert modes(state_dir) == ({0o700}, {0o600})


@posix
def test_what_was_opened_to_others_is_closed_again_when_it_is_read_or_written(store, state_dir, credentials):
    store.save(credentials)
    path = kept_file(state_dir)
    path.chmod(0o644)
    assert store.load(SERVICE_URL) == credentials
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.parent.chmod(0o755)
    store.save(credentials)
    assert modes(state_dir) == ({0o700}, {0o600})


def test_the_place_of_a_sign_in_in_a_file_is_told_once(store, events, state_dir, credentials):
    for _ in range(3):
        store.save(credentials)
    [notice] = events
    assert isinstance(notice, Notice)
    assert str(kept_file(state_dir)) in notice.message
    assert "keyring" in notice.message
    assert credentials.tokens.access_token not in notice.message


DAMAGE = [b"", b"{", b"[]", b'{"service_url": "https://api.example/stage"}', b"\xff\xfe", b"null", b'{"a":' * 100_000]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_the_next_login_mends_it(store, state_dir, credentials, damage):
    store.save(credentials)
    path = kept_file(state_dir)
    path.write_bytes(damage)
    with pytest.raises(LoginRequiredError, match="Run `mgmt login`, which replaces it") as caught:
        store.load(SERVICE_URL)
    assert str(path) in caught.value.message
    store.save(credentials)
    assert store.load(SERVICE_URL) == credentials
    path.write_bytes(damage)
    store.delete(SERVICE_URL)
    assert store.load(SERVICE_URL) is None


def test_a_file_of_a_newer_version_is_told_as_such_and_stays(store, state_dir, credentials):
    store.save(credentials)
    path = kept_file(state_dir)
    path.write_text(json.dumps({"version": 2, "sign_in": "in a form of tomorrow"}))
    with pytest.raises(LoginRequiredError, match=r"by a newer mgmt\. Update mgmt"):
        store.load(SERVICE_URL)
    assert json.loads(path.read_text())["version"] == 2


def test_what_is_found_in_a_damaged_file_is_not_told(store, state_dir, credentials):
    store.save(credentials)
    path = kept_file(state_dir)
    text = json.loads(path.read_text())
    text["credentials"]["tokens"]["received_at"] = "refresh-secret"
    path.write_text(json.dumps(text))
    with pytest.raises(LoginRequiredError) as caught:
        store.load(SERVICE_URL)
    assert "refresh-secret" not in caught.value.message


def test_a_sign_in_that_was_copied_to_another_service_is_not_used(store, state_dir, credentials):
    """Its tokens would go to a service that they were not got for."""
    store.save(credentials)
    content = kept_file(state_dir).read_bytes()
    store.save(replace(credentials, service_url="https://other.example"))
    for path in state_dir.rglob("sign-in.json"):
        path.write_bytes(content)
    with pytest.raises(LoginRequiredError, match="not of this service"):
        store.load("https://other.example")


@posix
def test_a_folder_that_cannot_be_written_is_named(somebody, events, credentials):
    somebody.chmod(0o500)
    with pytest.raises(LocalStateError, match=r"cannot be kept in .*MGMT_STATE_DIR"):
        CredentialStore(somebody / "state", events.append).save(credentials)
    somebody.chmod(0o700)


def test_every_change_shows_in_the_version(store, credentials):
    seen = [store.version(SERVICE_URL)]
    for _ in range(3):
        store.save(credentials)
        seen.append(store.version(SERVICE_URL))
    store.delete(SERVICE_URL)
    assert store.version(SERVICE_URL) is None
    assert len(set(seen)) == len(seen)


def test_a_crash_while_writing_leaves_the_former_sign_in(store, state_dir, credentials):
    store.save(credentials)
    code = """
import os, pathlib, sys
from mgmt.credentials.place import file_of
from mgmt.credentials.store import CredentialStore, Known
from mgmt.machine import files
files.os.fsync = lambda _: os._exit(9)
store = CredentialStore(pathlib.Path(sys.argv[1]), print)
credentials = store.load("https://api.example/stage")
with store.locked("https://api.example/stage"):
    store.update(credentials)
"""
    done = subprocess.run([sys.executable, "-c", code, state_dir], check=False)
    assert done.returncode == 9
    assert store.load(SERVICE_URL) == credentials
    with store.locked(SERVICE_URL, patience_seconds=0):
        pass  # the system has given the lock back


def test_one_holder_at_a_time_over_threads_and_again_in_the_same(store):
    with store.locked(SERVICE_URL), store.locked(SERVICE_URL):
        errors = []

        def try_it():
            try:
                with store.locked(SERVICE_URL, patience_seconds=0.0):
                    errors.append(None)
            except UnavailableError as error:
                errors.append(error)

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        assert "sign-in.lock" in errors[0].message
    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert errors[1] is None


def test_waiting_for_another_holder_ends_when_the_command_is_stopped(store):
    stop = threading.Event()
    caught = []

    def wait():
        with pytest.raises(CancelledError) as error, store.locked(SERVICE_URL, stop):
            raise AssertionError
        caught.append(error)

    with store.locked(SERVICE_URL):
        thread = threading.Thread(target=wait)
        thread.start()
        stop.set()
        thread.join()
    assert caught


def test_the_folder_is_recognised_as_mgmts_own_and_stays_out_of_archives(store, state_dir, credentials):
    store.save(credentials)
    assert own_data_at(str(kept_file(state_dir).parent)) == "mgmt's own sign-in, with its tokens"


class TestKeyring:
    """A machine with a keyring: the file says no more than the place."""

    def test_the_keyring_holds_everything_and_the_file_none_of_it(
        self, store, events, state_dir, keyring_folder, credentials
    ):
        store.save(credentials)
        assert store.load(SERVICE_URL) == credentials
        assert events == []
        text = kept_file(state_dir).read_text()
        assert not [secret for secret in credentials.tokens.secrets if secret in text]
        [entry] = keyring_folder.iterdir()
        assert json.loads(entry.read_text())[0] == f"mgmt {SERVICE_URL}", "what a person reads in the keyring's window"

    def test_renewed_tokens_take_the_former_ones_place(self, store, keyring_folder, credentials):
        store.save(credentials)
        renewed = replace(credentials, tokens=replace(credentials.tokens, access_token="renewed"))
        with store.locked(SERVICE_URL):
            store.update(renewed)
        assert store.load(SERVICE_URL) == renewed
        assert len(list(keyring_folder.iterdir())) == 1

    def test_a_keyring_that_takes_little_at_once_gets_pieces(self, store, keyring_folder, short_pieces, credentials):
        store.save(credentials)
        assert store.load(SERVICE_URL) == credentials
        assert len(list(keyring_folder.iterdir())) > 2
        store.delete(SERVICE_URL)
        assert list(keyring_folder.iterdir()) == []

    def test_a_locked_keyring_is_named_and_the_sign_in_stays(self, store, keyring_folder, credentials):
        store.save(credentials)
        (keyring_folder / "locked").touch()
        with pytest.raises(LoginRequiredError, match=r"the keychain is locked\. Unlock"):
            store.load(SERVICE_URL)
        (keyring_folder / "locked").unlink()
        assert store.load(SERVICE_URL) == credentials

    def test_an_entry_that_is_gone_or_damaged_asks_for_a_login(self, store, keyring_folder, credentials):
        store.save(credentials)
        [entry] = keyring_folder.iterdir()
        entry.write_text(json.dumps(["", "", "{"]))
        with pytest.raises(LoginRequiredError, match="damaged"):
            store.load(SERVICE_URL)
        entry.unlink()
        with pytest.raises(LoginRequiredError, match="does not hold the sign-in any more"):
            store.load(SERVICE_URL)
        store.save(credentials)
        assert store.load(SERVICE_URL) == credentials

    @pytest.mark.parametrize("fault", ["locked", "forgetful"])
    def test_what_the_keyring_does_not_take_goes_into_the_file(
        self, store, events, state_dir, keyring_folder, credentials, fault
    ):
        (keyring_folder / fault).touch()
        store.save(credentials)
        assert store.load(SERVICE_URL) == credentials
        assert len(events) == 1

    def test_tokens_that_a_locked_keyring_does_not_take_are_not_lost(self, store, keyring_folder, credentials):
        """They are the only good ones: the issuer has taken the former ones back."""
        store.save(credentials)
        renewed = replace(credentials, tokens=replace(credentials.tokens, access_token="renewed"))
        (keyring_folder / "locked").touch()
        with store.locked(SERVICE_URL):
            store.update(renewed)
        assert store.load(SERVICE_URL) == renewed

    def test_a_locked_keyring_does_not_hide_whose_sign_in_it_is_and_where_it_was_made(
        self, store, state_dir, keyring_folder, credentials
    ):
        """Another service that names the same issuer is asked about all the same."""
        store.save(credentials)
        (keyring_folder / "locked").touch()
        assert store.list_known() == [Known(SERVICE_URL, credentials.issuer, "anna", "Anna")]
        text = kept_file(state_dir).read_text()
        assert not any(secret in text for secret in credentials.tokens.secrets)

    def test_a_sign_in_in_a_file_stays_there_when_it_is_renewed(self, store, state_dir, keyring_folder, credentials):
        (keyring_folder / "locked").touch()
        store.save(credentials)
        (keyring_folder / "locked").unlink()
        with store.locked(SERVICE_URL):
            store.update(credentials)
        assert list(keyring_folder.iterdir()) == []

    @pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring])
    def test_a_machine_without_a_keyring_has_a_file(self, store, state_dir, monkeypatch, credentials, backend):
        monkeypatch.setattr(keyring.core, "_keyring_backend", backend())
        store.save(credentials)
        assert credentials.tokens.access_token in kept_file(state_dir).read_text()

    def test_a_command_whose_sign_in_is_in_a_file_imports_no_keyring(self, store, state_dir, credentials):
        store.save(credentials)
        code = """
import pathlib, sys
from mgmt.credentials.place import file_of
from mgmt.credentials.store import CredentialStore, Known
assert CredentialStore(pathlib.Path(sys.argv[1]), print).load("https://api.example/stage")
print(*[name for name in ("keyring", "filelock") if name in sys.modules])
"""
        done = subprocess.run([sys.executable, "-c", code, state_dir], capture_output=True, text=True, check=True)
        assert done.stdout.split() == []

    def test_a_process_finds_its_keyring_as_the_user_has_set_it(self, store, state_dir, keyring_folder, credentials):
        store.save(credentials)
        code = """
import pathlib, sys
from mgmt.credentials.place import file_of
from mgmt.credentials.store import CredentialStore, Known
print(CredentialStore(pathlib.Path(sys.argv[1]), print).load("https://api.example/stage").subject)
"""
        environment = {**os.environ, "PYTHON_KEYRING_BACKEND": "support.file_keyring.Keyring"}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        done = subprocess.run(
            [sys.executable, "-c", code, state_dir], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "anna"


@posix
def test_nobody_else_sees_for_which_services_there_are_sign_ins(store, state_dir, credentials):
    """Their folders are named after them."""
    (state_dir / store_module.FOLDER).mkdir(parents=True, mode=0o755)
    store.save(credentials)
    listed = kept_file(state_dir).parent.parent
    assert listed.name == store_module.FOLDER
    assert stat.S_IMODE(listed.stat().st_mode) == 0o700
