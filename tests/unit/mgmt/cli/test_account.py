"""`mgmt login`, `logout` and `whoami` as a person runs them: real processes, a real gateway, a script as browser."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from mgmt.cli.account import accept_address
from mgmt_contract.sign_in import redirect_uri
from support.guarded import find_free_port, guarded_service
from support.medians import assert_median_at_most
from support.odd_issuer import OddIssuer, where_it_ends


@pytest.fixture
def issuer(parties):
    issuer, _ = parties
    address = issuer.url
    issuer.reset()
    assert issuer.url == address
    return issuer


@pytest.fixture
def login(laptop, url):
    """Signs in with the browser, at a port that no other test uses."""
    return lambda *more, **environment: laptop.run(
        "login", *(more or (url,)), "--port", str(find_free_port()), **environment
    )


def page_of(laptop):
    return (laptop.folder / "page.html").read_text("utf-8")


def files_of(laptop):
    return {path: path.read_bytes() for path in laptop.folder.rglob("*") if path.is_file()}


# --- signing in ----------------------------------------------------------------------------------------


def test_one_command_with_the_address_is_all_the_setup_there_is(laptop, login, issuer, url):
    run = login()
    host = urlsplit(url).netloc
    assert (run.exit_code, run.stdout) == (0, f"Signed in to {host} as anna (member).\n")
    assert laptop.run("history").exit_code == 0
    assert laptop.run("config", "get", "MGMT_API_URL").stdout.strip() == url


def test_both_hosts_and_the_whole_address_are_shown_also_where_a_browser_opens(login, issuer, url):
    said = login().stderr
    assert f"Service: {urlsplit(url).netloc}" in said
    assert f"Sign-in: {urlsplit(issuer.url).netloc}" in said
    assert f"Page:    {urlsplit(issuer.url).netloc}" in said
    [address] = re.findall(rf"^{issuer.url}/authorize\?\S+$", said, re.MULTILINE)
    assert said.index("Sign-in:") < said.index(address)


def test_the_browser_ends_on_a_page_that_says_who_is_signed_in(laptop, login, issuer):
    assert login().exit_code == 0
    page = wait_for_page(laptop)
    assert "You are signed in" in page
    assert "as anna" in page


def wait_for_page(laptop):
    """The browser's own process writes it, and may end after the command."""
    import threading

    for _ in range(200):
        if (laptop.folder / "page.html").exists():
            break
        threading.Event().wait(0.05)
    return page_of(laptop)


def test_the_next_time_no_address_is_needed(login, laptop, issuer, url):
    login()
    again = laptop.run("login", "--port", str(find_free_port()))
    assert again.exit_code == 0
    assert "The address is kept" not in again.stderr


@pytest.mark.parametrize("spelling", ["{url}/", "{url}"])
def test_an_address_is_kept_in_one_spelling(laptop, login, issuer, url, spelling):
    login(spelling.format(url=url))
    assert laptop.run("config", "get", "MGMT_API_URL").stdout.strip() == url


def test_a_program_gets_lines_of_json(laptop, issuer, url):
    run = laptop.run("--json", "login", url, "--port", str(find_free_port()))
    address, signed_in = run.lines
    assert address["type"] == "address"
    assert address["url"].startswith(f"{issuer.url}/authorize?")
    assert signed_in == {"type": "signed_in", "service": url, "name": "anna", "role": "member"}


def test_no_secret_of_the_sign_in_is_shown_or_logged_or_in_the_process_list(laptop, login, issuer, url):
    run = laptop.run("-v", "login", url, "--port", str(find_free_port()))
    assert run.exit_code == 0
    [(_, form)] = issuer.forms
    stored = json.loads(next(laptop.folder.rglob("sign-in.json")).read_text())
    tokens = stored["credentials"]["tokens"]
    secrets = [form["code"], form["code_verifier"], tokens["access_token"], tokens["refresh_token"]]
    assert tokens["id_token"] is None
    kept = b"".join(body for path, body in files_of(laptop).items() if path.name != "sign-in.json").decode()
    for secret in secrets:
        assert secret not in run.stdout + run.stderr + kept


def test_a_failed_sign_in_keeps_nothing_and_configures_nothing(laptop, login, issuer):
    issuer.id_claims["nonce"] = "of another sign-in"
    run = login()
    assert run.exit_code == 5
    assert "nonce" in run.stderr
    assert not list(laptop.folder.rglob("sign-in.json"))
    assert not (laptop.folder / "config").exists()
    assert "You are not signed in" in wait_for_page(laptop)


def test_a_person_who_is_no_member_is_told_whom_to_ask(laptop, login, issuer):
    issuer.access_claims["scope"] = "openid"
    run = login()
    assert run.exit_code == 6
    assert "Ask the admin" in run.stderr
    assert not list(laptop.folder.rglob("sign-in.json"))


def test_an_address_that_is_no_service_gets_no_sign_in(laptop, issuer):
    run = laptop.run("login", issuer.url, "--port", str(find_free_port()))
    assert run.exit_code == 7
    assert issuer.asked == []


@pytest.mark.parametrize("address", ["http://uploads.example.com", "ftp://x", "https://user:secret@x.example"])
def test_an_address_that_cannot_be_one_is_refused_before_anything_is_asked(laptop, address):
    run = laptop.run("login", address)
    assert run.exit_code == 2
    assert "secret" not in run.stderr


@pytest.mark.parametrize("typed", ["uploads.example.com", " uploads.example.com/ ", "https://uploads.example.com"])
def test_a_host_alone_is_taken_for_one_with_tls(typed):
    assert accept_address(typed) == "https://uploads.example.com"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--no-browser", "--device"), "two ways"),
        (("--device", "--port", "9000"), "--port"),
        (("--port", "0"), "--port"),
    ],
)
def test_options_that_make_no_sense_are_refused(laptop, url, options, said):
    run = laptop.run("login", url, *options)
    assert run.exit_code == 2
    assert said in run.stderr


def test_where_nothing_is_configured_login_says_what_it_needs(laptop):
    run = laptop.run("login")
    assert run.exit_code == 10
    assert "mgmt login URL" in run.stderr


def test_a_token_in_the_environment_goes_first_and_that_is_said(login, issuer):
    assert "MGMT_TOKEN is set in the environment, which goes first" in login(MGMT_TOKEN="x.y.z").stderr


# --- other ways ----------------------------------------------------------------------------------------


def begin(laptop, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "mgmt", *arguments],
        cwd=laptop.work,
        env={**laptop.whole_environment(), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_address(process, issuer):
    return next(line.strip() for line in process.stderr if line.startswith(issuer.url))


def test_over_ssh_the_address_is_printed_and_the_browsers_pasted_back(laptop, issuer, url):
    process = begin(laptop, "login", url, "--no-browser")
    address = read_address(process, issuer)
    [back] = parse_qs(urlsplit(address).query)["redirect_uri"]
    assert back == redirect_uri(8976, issuer.url)
    stdout, _ = process.communicate(where_it_ends(address) + "\n", timeout=60)
    assert process.returncode == 0
    assert "as anna" in stdout
    assert not (laptop.folder / "page.html").exists(), "no browser was opened"


def test_a_wrong_paste_ends_a_script_with_the_reason(laptop, issuer, url):
    process = begin(laptop, "login", url, "--no-browser")
    read_address(process, issuer)
    _, said = process.communicate(f"{redirect_uri(8976, issuer.url)}?code=c&state=other\n", timeout=60)
    assert process.returncode == 5
    assert "another sign-in" in said


@pytest.mark.parametrize("mode", [{"PYTHONUTF8": "1"}, {"PYTHONIOENCODING": "utf-8:strict"}, {"LC_ALL": "C"}])
def test_a_paste_that_is_no_text_is_no_answer(laptop, issuer, url, mode):
    process = begin(laptop, "login", url, "--no-browser", **mode)
    read_address(process, issuer)
    process.stdin.flush()
    process.stdin.buffer.write(f"{redirect_uri(8976, issuer.url)}?code=c&state=\xff\n".encode("latin-1"))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 5, said
    assert "not the answer of this sign-in" in said


def test_no_paste_at_all_ends_it(laptop, url, issuer):
    assert laptop.run("login", url, "--no-browser").exit_code == 130


def test_a_device_code_is_shown_where_the_issuer_offers_one(laptop, url, issuer):
    run = laptop.run("login", url, "--device")
    assert run.exit_code == 0
    assert f"{issuer.url}/enter?code=WDJB-MJHT" in run.stderr
    assert "WDJB-MJHT" in run.stderr
    assert not (laptop.folder / "page.html").exists()


def test_ctrl_c_while_it_waits_ends_with_130(laptop, issuer, url):
    process = begin(laptop, "login", url, "--port", str(find_free_port()), BROWSER="true %s")
    read_address(process, issuer)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_browser_that_does_not_start_leaves_the_address(laptop, issuer, url):
    process = begin(laptop, "login", url, "--port", str(find_free_port()), BROWSER="false %s")
    address = read_address(process, issuer)
    assert "No browser could be opened" in next(line for line in process.stderr)
    with urllib.request.urlopen(address, timeout=30):  # noqa: S310  a loopback address
        pass
    assert process.wait(timeout=60) == 0
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


# --- who is signed in ----------------------------------------------------------------------------------


def test_whoami_asks_nobody_while_the_sign_in_is_good(laptop, parties, tmp_path):
    issuer = OddIssuer()
    try:
        with guarded_service(issuer) as address:
            assert laptop.run("login", address, "--port", str(find_free_port())).exit_code == 0
    finally:
        issuer.close()
    run = laptop.run("whoami")  # both are gone
    assert run.exit_code == 0
    assert run.stdout.splitlines()[:3] == ["anna (member)", "  groups   editors", f"  service  {address}"]
    [person] = laptop.run("--json", "whoami").lines
    assert (person["type"], person["name"], person["role"], person["groups"]) == (
        "person",
        "anna",
        "member",
        ["editors"],
    )
    assert (person["service"], person["issuer"], person["renewable"]) == (address, issuer.url, True)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", person["expires_at"])


def test_whoami_that_had_to_ask_shows_the_answer_and_keeps_it(laptop, login, issuer):
    """Somebody has become an admin since: no sign-in is needed to see that."""
    login()
    issuer.groups = ["admins", "editors"]
    end_token(laptop)
    assert laptop.run("whoami").stdout.splitlines()[:2] == ["anna (admin)", "  groups   admins, editors"]
    asked = len(issuer.forms)
    [person] = laptop.run("--json", "whoami").lines
    assert (person["role"], person["groups"], person["renewable"]) == ("admin", ["admins", "editors"], True)
    assert len(issuer.forms) == asked, "the second time nobody was asked"


def end_token(laptop):
    """Have the access token come to its end; it can be renewed."""
    kept = next(laptop.folder.rglob("sign-in.json"))
    content = json.loads(kept.read_text())
    tokens = content["credentials"]["tokens"]
    tokens["expires_at"] = tokens["received_at"]
    kept.write_text(json.dumps(content))


def test_an_admin_is_told_so(laptop, login, issuer):
    issuer.groups = ["admins", "editors"]
    login()
    assert laptop.run("whoami").stdout.startswith("anna (admin)\n")


def test_whoami_with_a_token_from_the_environment_asks_the_service(laptop, issuer, url):
    token = issuer.make_tokens()["access_token"]
    run = laptop.run("whoami", MGMT_API_URL=url, MGMT_TOKEN=token)
    assert run.exit_code == 0
    assert run.stdout.startswith("anna (member)\n")


def test_whoami_without_a_sign_in_says_what_to_do(laptop, url):
    run = laptop.run("whoami", MGMT_API_URL=url)
    assert run.exit_code == 5
    assert "mgmt login" in run.stderr


# --- signing out ---------------------------------------------------------------------------------------


def test_logout_ends_the_sign_in_where_it_was_made_and_forgets_it(laptop, login, issuer, url):
    login()
    run = laptop.run("logout")
    assert (run.exit_code, run.stdout) == (0, f"Signed out of {urlsplit(url).netloc}.\n")
    path, form = issuer.forms[-1]
    assert path == "/revoke"
    assert form["token_type_hint"] == "refresh_token"
    assert not list(laptop.folder.rglob("sign-in.json"))
    assert laptop.run("whoami").exit_code == 5


def test_an_issuer_that_does_not_do_it_does_not_keep_anybody_signed_in(laptop, login, issuer):
    login()
    issuer.refuses_to_revoke = True
    run = laptop.run("--json", "logout")
    assert run.exit_code == 0
    [line] = run.lines
    assert (line["was_signed_in"], line["revoked"]) == (True, False)
    assert "forgotten here, but may not have ended" in run.stderr
    assert not list(laptop.folder.rglob("sign-in.json"))


def test_an_issuer_that_ends_none_is_named(laptop, login, issuer):
    issuer.metadata["revocation_endpoint"] = None
    login()
    run = laptop.run("logout")
    assert run.exit_code == 0
    assert "offers no way to end one" in run.stderr


def test_logout_of_nobody_is_done_at_once(laptop, url):
    run = laptop.run("logout", url)
    assert (run.exit_code, run.stdout) == (0, f"You were not signed in to {urlsplit(url).netloc}.\n")


# --- a wrong party -------------------------------------------------------------------------------------


def test_another_issuer_for_a_known_service_is_refused_where_nobody_can_be_asked(laptop, login, issuer, url):
    login()
    kept = next(laptop.folder.rglob("sign-in.json"))
    kept.write_text(kept.read_text().replace(f'"issuer":"{issuer.url}"', '"issuer":"https://login.example.com"'))
    issuer.asked.clear()
    run = login(url)
    assert run.exit_code == 5
    assert "now names" in run.stderr
    assert "mgmt logout" in run.stderr
    assert issuer.asked == []


def test_a_second_service_that_names_the_issuer_of_the_first_is_refused_where_nobody_can_be_asked(
    laptop, login, issuer
):
    """The token would be good at the first one as well."""
    login()
    issuer.asked.clear()
    with guarded_service(issuer) as other:
        run = login(other)
    assert run.exit_code == 5
    assert "so a stranger's service could use it in your name" in run.stderr
    assert issuer.asked == []


def test_somebody_else_than_before_is_refused_where_nobody_can_be_asked(laptop, login, issuer):
    """Whoever sees the printed address can sign in as themselves: uploads would go into their name."""
    login()
    kept = next(laptop.folder.rglob("sign-in.json")).read_text()
    issuer.subject, issuer.name = "sub-mallory", "mallory"
    run = login()
    assert run.exit_code == 5
    assert "signed in as mallory; so far anna" in run.stderr
    assert "mgmt logout" in run.stderr
    assert next(laptop.folder.rglob("sign-in.json")).read_text() == kept
    assert "You are signed in" not in wait_for_page(laptop)
    assert laptop.run("logout").exit_code == 0
    assert login().exit_code == 0


@pytest.mark.parametrize("options", [(), ("--no-input",), ("--json",)])
def test_a_command_without_a_sign_in_ends_a_script_with_one_sentence(laptop, url, options):
    run = laptop.run(*options, "history", MGMT_API_URL=url)
    assert run.exit_code == 5
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert "mgmt login" in run.stderr
    assert list(laptop.work.iterdir()) == []


# --- time ----------------------------------------------------------------------------------------------


def cpu_seconds(laptop, *arguments):
    process = subprocess.Popen(
        [Path(sys.executable).with_name("mgmt"), *arguments],
        env=laptop.whole_environment(),
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_whoami_takes_at_most_half_as_much_again_as_help(laptop, login, issuer):
    """Processor time of both in turn, compared pair by pair: a machine that is busy, or slows down, is so for both."""
    login()
    assert_median_at_most(1.5, lambda: cpu_seconds(laptop, "whoami") / cpu_seconds(laptop, "--help"), 31)


def test_whoami_loads_nothing_that_talks_to_anybody(laptop, login, issuer):
    login()
    code = "import sys; from mgmt.cli.main import main; main(['whoami']); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=laptop.whole_environment(), capture_output=True, text=True, check=True
    ).stdout.split()
    assert "mgmt.account.person" in loaded
    for name in (
        "urllib3",
        "ssl",
        "joserfc",
        "cryptography",
        "keyring",
        "filelock",
        "hashlib",
        "mgmt.service",
        "logging",
    ):
        assert name not in loaded, name


def test_a_login_takes_less_than_two_seconds_beside_the_person(laptop, login, issuer):
    """Once in ten times: the others may find the processors taken."""
    times = []
    while not times or times[-1] >= 2.0:
        assert len(times) < 10, times
        began = time.monotonic()
        assert login().exit_code == 0
        times.append(time.monotonic() - began)
