"""Secrets stay secret: real commands with real secrets, and all that they and the service have written is searched."""

from __future__ import annotations

import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil  # type: ignore[import-untyped]  # its types are a distribution of their own
import pytest

from support.guarded import find_free_port, guarded_service, make_laptop
from support.odd_issuer import DEVICE_CODE, OddIssuer, odd_issuer, where_it_ends
from support.programs import OPEN_TO_ALL, TELLS_ALL, TELLTALE
from support.rotating_issuer import ROBOT, rotating_issuer
from support.secrecy import MARKED, SECRET, find_secrets
from support.team import Laptop, Run, Team

CLIENT_SECRET = f"{MARKED}-of-a-client"
COMMANDS = (
    ("-v", "upload", "card"),
    ("--json", "upload", "card"),
    ("-v", "upload", "card", "--replace"),
    ("-v", "upload", "nothing"),
    ("-v", "download", "card", "--to", "back"),
    ("--json", "download", "card", "--to", "again", "--extract"),
    ("-v", "contents", "card"),
    ("-v", "safe", "card"),
    ("-v", "history"),
    ("--json", "history", "--csv"),
    ("-v", "show", "card"),
    ("-v", "whoami"),
    ("config", "list"),
    ("config", "set", "token", "x"),
    ("-v", "delete", "card", "--yes"),
    ("-v", "undelete", "card"),
    ("--json", "delete", "no-such-name", "--yes"),
)


def secrets_of(team: Team, laptop: Laptop) -> set[str]:
    """Every secret that these runs have really used: of the token each part, of URLs the signatures and keys."""
    token = laptop.environment["MGMT_TOKEN"]
    found = {token, token[:40], token.rsplit(".", 1)[1], CLIENT_SECRET}
    sent = [each.path for each in (*team.storage.puts, *team.storage.index_puts, *team.storage.gets)]
    for path in sent:
        query = parse_qs(urlsplit(path).query)
        found |= {query[name][0] for name in ("X-Amz-Signature", "X-Amz-Credential") if name in query}
    return found


def written_in(*folders: Path) -> dict[Path, bytes]:
    """Read every file below some folders."""
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def open_to_others(*folders: Path) -> list[Path]:
    """Name each file that another user of the machine could read: its mode says so, and that of all folders above."""

    def is_open(path: Path, top: Path) -> bool:
        above = itertools.takewhile(lambda folder: folder != top.parent, path.parents)
        return all(each.stat().st_mode & 0o077 for each in (path, *above))

    return [path for top in folders for path in top.rglob("*") if path.is_file() and is_open(path, top)]


def test_no_command_writes_a_secret_anywhere(team: Team, anna: Laptop, caplog):
    """Its screen, its logs, its journal, the records, the service's and the worker's log.

    Each PUT and each GET is refused once, with an answer that tells the whole address, as S3's does.
    """
    caplog.set_level(logging.INFO)  # as the function's and the embedded backend's
    caplog.set_level(logging.DEBUG, "mgmt_api")
    (anna.work / "card").mkdir()
    (anna.work / "card" / "clip.mov").write_bytes(os.urandom(20_000_000))
    for folder in ("back", "again"):
        (anna.work / folder).mkdir()
    team.storage.fault = lambda put: "refuse" if put.attempt == 0 else "none"
    team.storage.get_fault = lambda get: "refuse" if get.attempt == 0 else "none"
    said = {}
    for command in COMMANDS:
        run = anna.run(*command, program=OPEN_TO_ALL, MGMT_CLIENT_SECRET=CLIENT_SECRET)
        said[command] = run.stdout + run.stderr
    team.go_round()
    secrets = secrets_of(team, anna)
    assert len(secrets) > 7, "several signatures were used"
    assert '"succeeded":1' in said["--json", "download", "card", "--to", "again", "--extract"]
    files = written_in(anna.folder, team.folder)
    assert any(path.suffix == ".log" for path in files)
    assert any("records" in path.name for path in files)
    found = [(command, secret) for command, text in said.items() for secret in secrets if secret in text]
    found += [(path, secret) for path, text in files.items() for secret in secrets if secret.encode() in text]
    found += [(line.name, secret) for line in caplog.records for secret in secrets if secret in str(vars(line))]
    assert not found
    assert not open_to_others(anna.folder / "state", team.folder)


def test_what_tells_of_paths_and_names_is_the_owners_alone_in_a_state_folder_that_is_open_to_all(anna: Laptop):
    state = anna.folder / "state"
    for folder in (state, state / "log", state / "locks"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
    (anna.work / "clip.mov").write_bytes(b"footage")
    assert anna.run("upload", "clip.mov", program=OPEN_TO_ALL).exit_code == 0
    (anna.work / "back").mkdir()
    assert anna.run("download", "clip.mov", "--to", "back", program=OPEN_TO_ALL).exit_code == 0
    assert {"journal.sqlite", "known-names"} < {path.name for path in written_in(state)}
    assert open_to_others(state) == []


def test_the_search_finds_what_a_command_tells(team: Team, anna: Laptop):
    """Else the test above would prove nothing: a command that logs its token, with nothing to cut it out, and with."""
    token = anna.environment["MGMT_TOKEN"].encode()
    assert anna.run("-v", "history", program=TELLTALE).exit_code == 0
    assert not [path for path, text in written_in(anna.folder).items() if token in text]
    said = anna.run("-v", "history", program=TELLS_ALL).stderr
    [log] = [path for path, text in written_in(anna.folder).items() if token in text]
    assert token.decode() in said
    assert log.suffix == ".log"
    assert str(log) in next(find_secrets(anna.folder)), "the search at the end of every test finds it as well"
    log.unlink()


@pytest.mark.parametrize(
    "secret",
    [
        f"GET /k?X-Amz-Signature={'0f' * 32}&x",
        f"X-Amz-Signature%3D{'0f' * 32}",
        f'"X-Amz-Signature": "{"0f" * 32}"',
        "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg",
        f"refresh_token={MARKED}-x",
    ],
)
@pytest.mark.parametrize("name", ["state/logs/run.log", "journal.sqlite", "records.sqlite-wal"])
def test_the_search_at_the_end_of_every_test_finds_each_kind_of_secret(secret: str, name: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("X-Amz-Signature=… and eyJ… are cut out")
        assert not list(find_secrets(Path(folder)))
        path.write_text(f"{'.' * 1000}{secret}\n")
        [found] = find_secrets(Path(folder))
        assert name in found


def test_no_secret_is_in_the_list_of_processes(team: Team, anna: Laptop):
    """Where every user of the machine can read the words of a command, and of all that it starts."""
    (anna.work / "clip.mov").write_bytes(b"footage")
    seen: list[list[str]] = []

    def look(_: object) -> str:
        seen.extend(process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
        return "none"

    team.storage.fault = look  # type: ignore[assignment]
    run = anna.run("upload", "clip.mov", MGMT_CLIENT_SECRET=CLIENT_SECRET)
    assert run.exit_code == 0, run.stderr
    words = " ".join(word for command in seen for word in command)
    assert "upload clip.mov" in words
    assert not [secret for secret in secrets_of(team, anna) if secret in words]


# --- signing in ----------------------------------------------------------------------------------------


class SignInWatch:
    """An issuer that keeps every secret of its sign-ins, and looks at the list of processes at each."""

    def __init__(self, issuer: OddIssuer) -> None:
        self.secrets = {DEVICE_CODE}
        self.told_addresses: set[str] = set()
        """State and nonce: parts of the address that a person may open, so they may be shown, and not be kept."""
        self.commands: list[str] = []
        self.echoes = False
        make_tokens, answer_form, authorize = issuer.make_tokens, issuer.answer_form, issuer.authorize

        def make_and_keep(nonce: str | None = None) -> dict[str, Any]:
            tokens = make_tokens(nonce)
            self.secrets |= {tokens[name] for name in ("access_token", "refresh_token", "id_token")}
            return tokens

        def look_and_answer(path: str, form: dict[str, Any]) -> tuple[int, Any]:
            self.secrets |= {form[name] for name in ("code", "code_verifier", "refresh_token", "token") if name in form}
            for process in psutil.process_iter(["cmdline"]):
                self.commands += process.info["cmdline"] or []
            if self.echoes:
                told = " ".join(f"{name}={value} '{value}'" for name, value in form.items())
                return 400, {"error": "invalid_grant", "error_description": f"refused: {told}"}
            return answer_form(path, form)

        def authorize_and_keep(query: Any) -> str | None:
            self.told_addresses |= {query["state"], query["nonce"]}
            return authorize(query)

        issuer.make_tokens = make_and_keep  # type: ignore[method-assign]
        issuer.answer_form = look_and_answer  # type: ignore[method-assign]
        issuer.authorize = authorize_and_keep  # type: ignore[method-assign]


@contextmanager
def watched_sign_in(folder: Path) -> Iterator[tuple[SignInWatch, Laptop, str]]:
    """Run an issuer that is watched, and a service that trusts it; give somebody a laptop."""
    with odd_issuer() as issuer, guarded_service(issuer) as url:
        yield SignInWatch(issuer), make_laptop(folder), url


def end_access_token(laptop: Laptop) -> None:
    """Let the access token be over, so that the next command renews it."""
    [path] = (laptop.folder / "state").rglob("sign-in.json")
    stored = json.loads(path.read_text("utf-8"))
    tokens = stored["credentials"]["tokens"]
    tokens["expires_at"] = tokens["received_at"]
    path.write_text(json.dumps(stored), "utf-8")


def test_no_sign_in_writes_a_secret_anywhere_but_where_it_is_kept(tmp_path: Path):
    """Login, renewal, a refusal that tells the whole form, a device's code and logout; and no process is told one."""
    with watched_sign_in(tmp_path / "laptop") as (watch, laptop, url):
        runs: list[Run] = []

        def run(exit_code: int, *arguments: str) -> None:
            runs.append(laptop.run(*arguments, program=OPEN_TO_ALL))
            assert runs[-1].exit_code == exit_code, runs[-1].stderr

        run(0, "-v", "login", url, "--port", str(find_free_port()))
        run(0, "-v", "whoami")
        end_access_token(laptop)
        run(0, "-v", "history")
        end_access_token(laptop)
        watch.echoes = True
        run(5, "-v", "history")
        run(5, "--json", "login", url, "--port", str(find_free_port()))
        watch.echoes = False
        run(0, "-v", "login", url, "--device")
        assert open_to_others(laptop.folder / "state") == []
        [sign_in] = laptop.folder.rglob("sign-in.json")
        kept = sign_in.read_text("utf-8")
        run(0, "-v", "logout")
        assert not sign_in.exists()
    assert len(watch.secrets) > 10
    assert any(secret in kept for secret in watch.secrets), "that is where a sign-in is kept"
    told = "".join(run.stdout + run.stderr for run in runs)
    assert not [secret for secret in watch.secrets if secret in told]
    for path, text in written_in(laptop.folder).items():
        hidden = watch.secrets | (set() if path.name == "page.html" else watch.told_addresses)
        assert not [secret for secret in hidden if secret.encode() in text], path
    words = " ".join(watch.commands)
    assert f"login {url}" in words
    assert not [secret for secret in watch.secrets if secret in words]


def paste(laptop: Laptop, url: str, answer: Callable[[str], str]) -> Run:
    """Sign in over SSH: open the printed address elsewhere, and paste what `answer` makes of where it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN_TO_ALL, "-v", "login", url, "--no-browser"],
        cwd=laptop.work,
        env=laptop.whole_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = list[str]()
    for line in process.stderr:
        told.append(line)
        if "response_type=code" in line:
            break
    stdout, stderr = process.communicate(answer(where_it_ends(told[-1].strip())) + "\n", timeout=60)
    return Run(process.returncode, stdout, "".join(told) + stderr)


def test_no_code_that_is_pasted_is_written_anywhere(tmp_path: Path):
    """Taken, of another sign-in, or refused by an issuer that tells the whole form; nor is it among the processes."""
    with watched_sign_in(tmp_path / "laptop") as (watch, laptop, url):

        def keep(address: str) -> str:
            watch.secrets |= set(parse_qs(urlsplit(address).query)["code"])
            return address

        runs = [paste(laptop, url, keep)]
        runs.append(paste(laptop, url, lambda address: keep(address).replace("state=", "state=x")))
        watch.echoes = True
        runs.append(paste(laptop, url, keep))
        assert [run.exit_code for run in runs] == [0, 5, 5], [run.stderr for run in runs]
        assert open_to_others(laptop.folder / "state") == []
        [sign_in] = laptop.folder.rglob("sign-in.json")
        assert any(secret in sign_in.read_text("utf-8") for secret in watch.secrets)
        sign_in.unlink()
    assert len(watch.secrets) > 6, "three codes, two verifiers, and tokens"
    texts = [run.stdout + run.stderr for run in runs] + [" ".join(watch.commands)]
    assert f"login {url} --no-browser" in texts[-1]
    assert not [secret for secret in watch.secrets for text in texts if secret in text]
    for path, text in written_in(laptop.folder).items():
        assert not [secret for secret in watch.secrets | watch.told_addresses if secret.encode() in text], path


def test_a_sign_in_in_the_keyring_is_there_alone(tmp_path: Path):
    with watched_sign_in(tmp_path / "laptop") as (watch, laptop, url):
        keyring = tmp_path / "keyring"
        keyring.mkdir()
        laptop.environment |= {
            "PYTHON_KEYRING_BACKEND": "support.file_keyring.Keyring",
            "TEST_KEYRING": os.fspath(keyring),
            "PYTHONPATH": os.fspath(Path(__file__).parents[1]),
        }
        for arguments in (("login", url, "--port", str(find_free_port())), ("-v", "history")):
            assert laptop.run(*arguments).exit_code == 0
        held = b"".join(written_in(keyring).values())
        assert [secret for secret in watch.secrets if secret.encode() in held]
        for path, text in written_in(laptop.folder).items():
            assert not [secret for secret in watch.secrets if secret.encode() in text], path


def test_a_machines_secret_is_told_to_its_issuer_alone(tmp_path: Path):
    """Also where the issuer refuses it, and says what it refuses."""
    with rotating_issuer() as issuer, guarded_service(issuer) as url:  # type: ignore[arg-type]  # its address is asked for
        laptop = make_laptop(tmp_path / "laptop")
        laptop.environment |= {
            "MGMT_API_URL": url,
            "MGMT_CLIENT_ID": ROBOT[0],
            "MGMT_CLIENT_SECRET": ROBOT[1],
        }
        refusal = {"error": "invalid_client", "error_description": f"{ROBOT[1]} is not the secret"}
        issuer.scripted = [(401, json.dumps(refusal).encode(), {})] * 3
        run = laptop.run("-v", "history")
        assert run.exit_code == 5
        issuer.scripted = []
        again = laptop.run("-v", "history")
        assert "sign" in again.stderr
        assert any(form.get("grant_type") == "client_credentials" for form in issuer.forms)
    texts = [run.stdout + run.stderr, again.stdout + again.stderr]
    texts += [text.decode(errors="replace") for text in written_in(laptop.folder).values()]
    assert not [text for text in texts if MARKED in text or SECRET.search(text.encode())]
