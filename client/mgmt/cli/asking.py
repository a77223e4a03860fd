"""Questions to the person at the terminal: for a text, and for a yes or a no."""

from __future__ import annotations

from typing import Final

import click

_ANSWERS: Final = {"y": True, "yes": True, "n": False, "no": False}


def ask_text(question: str, *, default: str = "", shows_default: bool = False) -> str:
    """Ask for a line of text, and return it without blanks around it.

    Raises:
        click.Abort: If there is no answer, as after Ctrl-C; the question's line is ended.
        UnicodeDecodeError: If the answer is no text.
    """
    try:
        return click.prompt(question, default=default, show_default=shows_default, err=True).strip()
    except click.Abort:
        click.echo(err=True)
        raise


def ask_yes_or_no(question: str, *, default: bool) -> bool:
    """Ask until the answer is a yes, a no, or Enter alone, which stands for the default.

    Raises:
        click.Abort: If there is no answer, as after Ctrl-C; the question's line is ended.
    """
    while True:
        try:
            text = ask_text(f"{question} [{'Y/n' if default else 'y/N'}]").lower()
        except UnicodeDecodeError:
            text = "?"
        answer = _ANSWERS.get(text) if text else default
        if answer is not None:
            return answer
        click.echo(f"Please answer y or n; Enter alone means {'yes' if default else 'no'}.", err=True)
