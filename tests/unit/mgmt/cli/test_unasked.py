"""What commands say that would ask a question where none is asked: the question, why it was not asked, what to type."""

import json
import re

import pytest

from mgmt.account.login import Meeting
from mgmt.cli.main import main
from mgmt.cli.sign_in import SignInDialog
from mgmt.errors import LoginRequiredError
from mgmt.show import Output, Style

pytestmark = pytest.mark.usefixtures("machine_without_settings")

SENTENCE = re.compile(
    r"(?P<before>.* )?mgmt asks .+, and could not ask because (?P<why>.+), so nothing was .+\. (To|For|If) .+\.\n?"
)
"""Each of them has this shape, and the word after "type" or "add" is what goes on without a question."""

WHY = {
    (): "there is no terminal",
    ("--json",): "--json is given",
    ("--no-input",): "--no-input is given",
    ("--json", "--no-input"): "--no-input is given",
}


@pytest.mark.parametrize("options", WHY)
@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("delete", "clip.mov"), "add --yes."),
        (("undelete", "clip.mov"), "add --yes."),
        (("cancel", "clip.mov"), "add --yes."),
        (("config",), "type `mgmt config set NAME VALUE`."),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_a_command_says_what_it_would_have_asked_why_it_did_not_and_what_to_type(capsys, options, words, instead):
    assert main([*options, *words]) == 2
    said = capsys.readouterr().err
    if "--json" in options:
        error = json.loads(said)
        assert error["code"] == "nobody-to-ask"
        said = error["message"]
    found = SENTENCE.fullmatch(said)
    assert found is not None, said
    assert found["why"] == WHY[options]
    assert said.rstrip().endswith(instead)


def dialog() -> SignInDialog:
    return SignInDialog(Output(Style()), {}, "there is no terminal")


def meet(**facts) -> None:
    meeting = {"is_first": True, "is_known": False, "former_issuer": None, "other_services": ()} | facts
    dialog().agree(Meeting(service_host="mgmt.example", issuer="https://b.example", page_host="b.example", **meeting))


@pytest.mark.parametrize(
    ("code", "instead", "ask"),
    [
        ("issuer-differs", "`mgmt logout`", lambda: meet(former_issuer="https://a.example")),
        ("second-service", "`mgmt login`", lambda: meet(other_services=("other.example",))),
        ("other-person", "`mgmt logout`", lambda: dialog().agree_to_person("mgmt.example", "anna", "bert")),
        ("wrong-answer", "the same command again", lambda: dialog().ask_for_answer("It has no code.")),
    ],
)
def test_a_sign_in_says_the_same(code, instead, ask):
    with pytest.raises(LoginRequiredError) as refused:
        ask()
    found = SENTENCE.fullmatch(refused.value.message)
    assert found is not None, refused.value.message
    assert (refused.value.code, found["why"]) == (code, "there is no terminal")
    assert found["before"]  # what makes the question necessary
    assert instead in refused.value.message
