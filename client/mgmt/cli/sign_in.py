"""A sign-in as a person sees it: two parties, an address, a browser; for `mgmt login`, and where one is needed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from mgmt.cli.asking import ask_text, ask_yes_or_no
from mgmt.errors import CancelledError, LoginRequiredError
from mgmt.text import describe_unasked, printable

if TYPE_CHECKING:  # names for annotations only
    from mgmt.account.device import DeviceCode
    from mgmt.account.login import Meeting
    from mgmt.show import Output

_NOBODY: Final = "Cancelled; nobody is signed in."
_NOT_AGREED: Final = "You did not agree, so nobody was signed in."
_OUT_AND_IN: Final = "type `mgmt logout`, then the same command again"


class SignInDialog:
    """What a sign-in says to the person at this terminal, or to the program that runs it."""

    def __init__(
        self,
        output: Output,
        environment: Mapping[str, str],
        why_not_asked: str | None = None,
        *,
        may_change: bool = True,
    ) -> None:
        self._output = output
        self._environment = environment
        self._why_not_asked = why_not_asked
        """Why no question is asked, as a sentence goes on after "because"; None where questions are asked."""
        self._may_change = may_change
        """Whether another issuer than the last one's may be agreed to."""

    def agree(self, meeting: Meeting) -> None:
        """Show both parties and whose page opens, and ask where this pair was not agreed to before.

        Raises:
            LoginRequiredError: If the person says no, or has to be asked and cannot be.
        """
        self._output.aside(printable(f"Service: {meeting.service_host}"))
        self._output.aside(printable(f"Sign-in: {meeting.issuer}"))
        self._output.aside(printable(f"Page:    {meeting.page_host}"))
        if meeting.former_issuer is not None:
            self._agree_to_change(meeting)
        elif meeting.other_services:
            self._agree_to_second_service(meeting)
        elif not meeting.is_known and self._why_not_asked is None:
            self._confirm("Are both your team's?", default=meeting.is_first)

    def _agree_to_change(self, meeting: Meeting) -> None:
        said = (
            f"The service at {meeting.service_host} now names {meeting.issuer} for the sign-in; so far it was "
            f"{meeting.former_issuer}."
        )
        if not self._may_change:
            raise LoginRequiredError(
                f"{said} If your admin has announced that, run `mgmt login`.", code="issuer-differs"
            )
        self._require_somebody_to_ask(
            said, "whether your admin has announced that", f"If that is so, {_OUT_AND_IN}", code="issuer-differs"
        )
        self._output.note(said)
        self._confirm("Has your admin announced that?", default=False)

    def _agree_to_second_service(self, meeting: Meeting) -> None:
        others = " and ".join(meeting.other_services)
        said = (
            f"{meeting.issuer} has signed you in for {others} so far. A token for {meeting.service_host} may be "
            "good there as well, so a stranger's service could use it in your name."
        )
        self._require_somebody_to_ask(
            said,
            "whether your team runs both",
            "If it does, type `mgmt login` in a terminal, and agree to it",
            code="second-service",
        )
        self._output.note(said)
        self._confirm(f"Does your team run {meeting.service_host}?", default=False)

    def agree_to_person(self, service_host: str, former: str, name: str) -> None:
        """Ask whether somebody else is to be signed in from now on.

        Raises:
            LoginRequiredError: If the person says no, or cannot be asked.
        """
        said = f"You have signed in as {name}; so far {former} was signed in to {service_host} here."
        self._require_somebody_to_ask(
            said, f"whether to go on as {name}", f"If that is right, {_OUT_AND_IN}", code="other-person"
        )
        self._output.note(printable(said))
        self._confirm(f"Go on as {printable(name)}?", default=False)

    def show_address(self, address: str, *, opens: bool) -> None:
        """Show the address, whole and on a line of its own, also where it is opened."""
        if self._output.style.as_json:
            self._output.json({"type": "address", "url": address})
            return
        if not opens:
            self._output.aside("Open this address in any browser, also on another machine, and sign in:")
        elif self._has_browser():
            self._output.aside("Your browser opens this address; if it does not, open it yourself:")
        else:
            self._output.aside(
                "No browser can be opened here. Open this address on this machine; for a browser on another one, end "
                "this with Ctrl-C and run `mgmt login --no-browser`:"
            )
        self._output.whole(address)

    def open_browser(self, address: str) -> None:
        """Open the address beside the wait: some browsers return only when they are closed."""
        if self._has_browser():
            threading.Thread(target=self._open, args=(address,), name="browser", daemon=True).start()

    def _open(self, address: str) -> None:
        import webbrowser

        try:
            is_open = webbrowser.open(address)
        except (webbrowser.Error, OSError, ValueError):  # ValueError: BROWSER is no command line
            is_open = False
        if not is_open:
            self._output.note("No browser could be opened: open the address yourself.")

    def _has_browser(self) -> bool:
        """Tell whether a browser can be expected; on Linux without a screen only text browsers would open."""
        if self._environment.get("BROWSER") or not sys.platform.startswith("linux"):
            return True
        return bool(self._environment.get("DISPLAY") or self._environment.get("WAYLAND_DISPLAY"))

    def ask_for_answer(self, why: str | None) -> str:
        """Ask for the address on which the browser has ended.

        Raises:
            LoginRequiredError: If the last one was wrong and nobody is there to be asked again.
            CancelledError: If there is no answer.
        """
        if why is not None:
            said = f"That is not the answer of this sign-in. {why}"
            self._require_somebody_to_ask(
                said, "for the address again", "For another try, type the same command again", code="wrong-answer"
            )
            self._output.note(said)
        else:
            self._output.aside(
                "The browser then ends on a page that it cannot show, which is right. Copy that page's whole address."
            )
        _read_long_lines()
        try:
            return ask_text("Its address")
        except UnicodeDecodeError:
            return ""  # which is no answer either
        except click.Abort as error:
            raise CancelledError(_NOBODY) from error

    def show_code(self, code: DeviceCode) -> None:
        """Show where to enter which code."""
        if self._output.style.as_json:
            self._output.json({"type": "device_code", "url": code.address, "user_code": code.user_code})
            return
        self._output.aside("Open this address in any browser, on this machine or another:")
        self._output.whole(code.whole_address or code.address)
        self._output.aside(printable(f"and compare or enter this code: {code.user_code}"))

    def _require_somebody_to_ask(self, said: str, question: str, instead: str, *, code: str) -> None:
        """End the sign-in where a question has to be asked, and none is."""
        if self._why_not_asked is not None:
            unasked = describe_unasked(question, self._why_not_asked, "nothing was changed", instead)
            raise LoginRequiredError(f"{said} {unasked}", code=code)

    def _confirm(self, question: str, *, default: bool) -> None:
        try:
            is_agreed = ask_yes_or_no(question, default=default)
        except click.Abort as error:
            raise CancelledError(_NOBODY) from error
        if not is_agreed:
            raise LoginRequiredError(_NOT_AGREED, code="not-agreed")


def agree_to_sign_in(output: Output, error: LoginRequiredError) -> None:
    """Ask the person of a command that needs a sign-in whether to begin one.

    Raises:
        LoginRequiredError: This one, if not.
        CancelledError: If there is no answer.
    """
    output.aside(printable(error.message.partition(". Run `mgmt login`")[0].rstrip(".") + "."))
    try:
        is_agreed = ask_yes_or_no("Sign in now?", default=True)
    except click.Abort as abort:
        raise CancelledError(_NOBODY) from abort
    if not is_agreed:
        raise error


def _read_long_lines() -> None:
    """Have prompts read through readline, if there is one: a terminal's own lines end after 1,024 bytes on macOS."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  its import is its effect
