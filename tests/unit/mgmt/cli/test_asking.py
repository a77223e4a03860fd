"""A question is asked until it is answered, and says how."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from mgmt.cli.asking import ask_text, ask_yes_or_no


@pytest.mark.parametrize(
    ("typed", "default", "answer"),
    [("y", False, True), ("YES ", False, True), ("n", True, False), ("No", True, False), ("", True, True)],
)
def test_a_yes_a_no_and_enter_alone_are_answers(typed, default, answer):
    @click.command()
    def sure() -> None:
        assert ask_yes_or_no("Sure?", default=default) is answer

    assert CliRunner().invoke(sure, input=f"{typed}\n").exit_code == 0


def test_anything_else_is_told_what_is_expected_and_asked_again():
    @click.command()
    def sure() -> None:
        assert not ask_yes_or_no("Sure?", default=False)

    done = CliRunner().invoke(sure, input="maybe\nyess\n\n")
    assert done.exit_code == 0
    assert done.stderr.count("Sure? [y/N]: ") == 3
    assert done.stderr.count("Please answer y or n; Enter alone means no.\n") == 2


@pytest.mark.parametrize("ask", [lambda: ask_text("Where?"), lambda: ask_yes_or_no("Sure?", default=True)])
def test_without_an_answer_the_questions_line_is_ended(ask):
    @click.command()
    def sure() -> None:
        with pytest.raises(click.Abort):
            ask()

    done = CliRunner().invoke(sure, input="")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.endswith(": \n")
