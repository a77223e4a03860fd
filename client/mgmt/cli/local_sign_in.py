"""Signing in to the embedded backend: the same sign-in as with a team, where the command itself is the browser."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from mgmt.cli.backend import backend_account_run, import_local_control, local_errors
from mgmt.errors import LoginRequiredError

if TYPE_CHECKING:  # names for annotations only
    import urllib3

    from mgmt.account.device import DeviceCode
    from mgmt.account.login import Meeting
    from mgmt.account.person import Person
    from mgmt.cli.invocation import Invocation

_PAGE_SECONDS: Final = 10.0
_ANY_PORT: Final = (0,)


def play(invocation: Invocation, name: str, *, is_admin: bool) -> Person:
    """Sign a person of this name in to the embedded backend, and say who it is.

    Raises:
        UsageError: If this cannot be a person's name.
        MgmtError: If nobody is signed in in the end.
    """
    from mgmt.account.person import describe_credentials
    from mgmt.account.run import log_in
    from mgmt.show.waiting import WaitingRenderer

    control = import_local_control()
    with local_errors(control):
        ticket = control.make_ticket(name, admin=is_admin)
    with WaitingRenderer(invocation.output) as renderer, backend_account_run(invocation, renderer.emit) as run:
        run.learn(ticket)
        signed_in = log_in(run, _OwnBrowser(), ports=_ANY_PORT, login_hint=ticket)
    return describe_credentials(signed_in.credentials)


class _OwnBrowser:
    """Follows the issuer's redirect back to this process; there is nothing to show, and nobody to ask."""

    def agree(self, meeting: Meeting) -> None:
        """Agree: both hosts are the one that has just proven to be this user's own backend."""

    def agree_to_person(self, service_host: str, former: str, name: str) -> None:
        """Agree: to play somebody else is what this sign-in is for."""

    def show_address(self, address: str, *, opens: bool) -> None:
        """Show nothing: the address has a ticket in it, and no person opens it."""

    def open_browser(self, address: str) -> None:
        """Ask the issuer, and carry its answer to the receiver of this process.

        Raises:
            LoginRequiredError: If the issuer sends nobody back.
        """
        import urllib3

        pool = urllib3.PoolManager(retries=False, timeout=_PAGE_SECONDS)
        try:
            location = pool.request("GET", address, redirect=False).headers.get("location", "")
        except urllib3.exceptions.HTTPError as error:
            raise _no_answer() from error
        if not location.startswith("http://127.0.0.1:"):
            raise _no_answer()
        # The receiver answers when all is done, so this process does not wait for it here.
        threading.Thread(target=_visit, args=(pool, location), name="browser", daemon=True).start()

    def ask_for_answer(self, why: str | None) -> str:  # noqa: ARG002  a real dialog says why
        """Raise: there is no other browser."""
        raise _no_answer()

    def show_code(self, code: DeviceCode) -> None:
        """Show nothing: the backend has no device codes."""


def _visit(pool: urllib3.PoolManager, location: str) -> None:
    import urllib3

    try:
        pool.request("GET", location, redirect=False)
    except urllib3.exceptions.HTTPError:  # the command has ended meanwhile
        return


def _no_answer() -> LoginRequiredError:
    return LoginRequiredError(
        "The embedded backend's issuer does not answer as it should. Run `mgmt local stop`, then the same command "
        "again.",
        code="no-local-sign-in",
    )
