"""A sign-in at a terminal: what is asked, and commands that begin one and go on."""

import json
import re

import pytest

from mgmt_contract.sign_in import redirect_uri
from support.guarded import find_free_port, guarded_service
from support.odd_issuer import odd_issuer
from support.person import people


@pytest.fixture(autouse=True)
def issuer(parties):
    parties[0].reset()
    return parties[0]


@pytest.fixture
def person(laptop):
    with people() as sit_down:
        yield lambda *arguments, **more: sit_down(
            *arguments, environment={**laptop.whole_environment(), "TERM": "xterm", **more}, cwd=laptop.work
        )


@pytest.fixture
def own_port():
    """A port that no other test uses; commands that begin a sign-in by themselves use the registered ones."""
    return str(find_free_port())


def sign_in(laptop, url):
    assert laptop.run("login", url, "--port", str(find_free_port())).exit_code == 0


def test_the_hosts_are_shown_and_agreed_to_before_the_browser_opens(person, laptop, issuer, url, own_port):
    anna = person("login", url, "--port", own_port)
    anna.read_until("Service: ")
    anna.read_until("Sign-in: ")
    anna.read_until("[Y/n]")
    assert issuer.asked == []
    anna.answer("", "\n")
    assert anna.end() == 0
    assert "as anna (member)" in anna.seen


def test_who_says_no_asked_for_nothing(person, laptop, issuer, url, own_port):
    anna = person("login", url, "--port", own_port)
    anna.answer("[Y/n]", "n\n")
    assert anna.end() == 5
    assert issuer.asked == []
    assert not (laptop.folder / "config").exists()


def test_a_pair_of_hosts_that_was_agreed_to_is_not_asked_about_again(person, laptop, issuer, url, own_port):
    sign_in(laptop, url)
    anna = person("login", "--port", own_port)
    assert anna.end() == 0
    assert "[Y/n]" not in anna.seen


def test_a_pair_of_hosts_that_is_new_needs_a_yes_where_somebody_is_signed_in_elsewhere(
    person, laptop, issuer, url, own_port
):
    """A stranger's service may have an issuer of its own, which leads to the page that the person knows."""
    sign_in(laptop, url)
    with odd_issuer() as other_issuer, guarded_service(other_issuer) as other:
        anna = person("login", other, "--port", own_port)
        anna.answer("Are both your team's? [y/N]", "\n")
        assert anna.end() == 5
        assert other_issuer.asked == []


def test_no_input_asks_nothing(person, issuer, url, own_port):
    anna = person("--no-input", "login", url, "--port", own_port)
    assert anna.end() == 0
    assert "[Y/n]" not in anna.seen


@pytest.mark.parametrize(("said", "exit_code"), [("y\n", 0), ("\n", 5)])
def test_another_issuer_needs_a_yes(person, laptop, parties, own_port, said, exit_code):
    issuer, url = parties
    sign_in(laptop, url)
    change_issuer(laptop, issuer)
    anna = person("login", "--port", own_port)
    anna.read_until("now names")
    anna.answer("[y/N]", said)
    assert anna.end() == exit_code


def change_issuer(laptop, issuer):
    """Have the last sign-in be one at another issuer."""
    kept = next(laptop.folder.rglob("sign-in.json"))
    kept.write_text(kept.read_text().replace(f'"issuer":"{issuer.url}"', '"issuer":"https://login.example.com"'))


@pytest.mark.parametrize(("said", "exit_code"), [("y\n", 0), ("\n", 5)])
def test_a_second_service_with_the_same_issuer_needs_a_yes(person, laptop, parties, own_port, said, exit_code):
    issuer, url = parties
    sign_in(laptop, url)
    with guarded_service(issuer) as other:
        anna = person("login", other, "--port", own_port)
        anna.read_until("stranger's service")
        anna.answer("[y/N]", said)
        assert anna.end() == exit_code


@pytest.mark.parametrize("ending", [("y\n", 0, "mallory"), ("\n", 5, "anna")])
def test_somebody_else_than_before_needs_a_yes(person, laptop, parties, own_port, ending):
    (issuer, url), (said, exit_code, name) = parties, ending
    sign_in(laptop, url)
    issuer.subject, issuer.name = "sub-mallory", "mallory"
    anna = person("login", "--port", own_port)
    anna.read_until("signed in as mallory; so far anna was signed in")
    anna.answer("Go on as mallory? [y/N]", said)
    assert anna.end() == exit_code
    assert laptop.run("whoami").stdout.startswith(name)


def test_a_wrong_paste_is_told_and_asked_for_again(person, laptop, issuer, url):
    anna = person("login", url, "--no-browser")
    anna.answer("[Y/n]", "\n")
    anna.answer("Its address: ", f"{redirect_uri(8976, issuer.url)}?code=x&state=old\n")
    anna.read_until("not the answer of this sign-in")
    anna.answer("Its address: ", f"{redirect_uri(8976, issuer.url)}?error=access_denied&state=x\n")
    anna.read_until("Its address: ")
    anna.interrupt()
    assert anna.end() == 130
    assert "nobody is signed in" in anna.seen


def test_the_address_is_one_line_however_narrow_the_terminal_is(person, issuer, url):
    """A terminal breaks the line itself, and copies it whole; a line break of ours would be copied too."""
    anna = person("login", url, "--no-browser", COLUMNS="40")
    anna.answer("[Y/n]", "\n")
    anna.read_until("Its address: ")
    assert re.search(rf"^{issuer.url}/authorize\?\S+state=\S+$", anna.seen.replace("\r", ""), re.MULTILINE)


# --- commands that need one ----------------------------------------------------------------------------


def configure(laptop, url):
    assert laptop.run("config", "set", "MGMT_API_URL", url).exit_code == 0


def test_a_command_without_a_sign_in_begins_one_and_goes_on(person, laptop, issuer, url):
    configure(laptop, url)
    anna = person("history")
    anna.read_until("You are not signed in to")
    anna.answer("Sign in now? [Y/n]", "\n")
    anna.answer("[Y/n]", "\n")
    assert anna.end() == 0
    assert "No uploads yet" in anna.seen
    assert laptop.run("whoami").exit_code == 0


def test_who_does_not_want_to_sign_in_now_gets_the_sentence_and_5(person, laptop, issuer, url):
    configure(laptop, url)
    anna = person("history")
    anna.answer("Sign in now? [Y/n]", "n\n")
    assert anna.end() == 5
    assert "Run `mgmt login`" in anna.seen
    assert issuer.asked == []


def test_ctrl_c_at_the_question_is_130(person, laptop, url, issuer):
    configure(laptop, url)
    anna = person("history")
    anna.read_until("Sign in now? [Y/n]")
    anna.interrupt()
    assert anna.end() == 130


@pytest.mark.parametrize("options", [["--no-input"], ["--json"]])
def test_where_nothing_is_to_be_asked_it_ends_with_5(person, laptop, issuer, url, options):
    configure(laptop, url)
    anna = person(*options, "history")
    assert anna.end() == 5
    assert "Sign in now?" not in anna.seen


def end_sign_in(laptop):
    """Have the token come to its end, with nothing to renew it."""
    kept = next(laptop.folder.rglob("sign-in.json"))
    content = json.loads(kept.read_text())
    tokens = content["credentials"]["tokens"]
    tokens |= {"expires_at": tokens["received_at"], "refresh_token": None}
    kept.write_text(json.dumps(content))


def test_a_sign_in_that_has_ended_is_begun_anew(person, laptop, issuer, url):
    sign_in(laptop, url)
    end_sign_in(laptop)
    anna = person("whoami")
    anna.answer("Sign in now? [Y/n]", "\n")
    assert anna.end() == 0
    assert "anna (member)" in anna.seen


def test_a_command_does_not_agree_to_another_issuer(person, laptop, issuer, url):
    sign_in(laptop, url)
    change_issuer(laptop, issuer)
    end_sign_in(laptop)
    anna = person("history")
    anna.answer("Sign in now? [Y/n]", "\n")
    assert anna.end() == 5
    assert "now names" in anna.seen
    assert "mgmt login" in anna.seen
    assert issuer.asked[1:] == []


def test_a_wrong_token_in_the_environment_begins_no_sign_in(person, laptop, issuer, url):
    configure(laptop, url)
    anna = person("history", MGMT_TOKEN="x.y.z")
    assert anna.end() == 5
    assert "Sign in now?" not in anna.seen


def test_config_asks_questions_and_so_refuses_to_ask_none(laptop):
    run = laptop.run("--no-input", "config")
    assert run.exit_code == 2
    assert "mgmt config set" in run.stderr
    assert list(laptop.work.iterdir()) == []
