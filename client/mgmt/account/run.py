"""Signing in and out as one run of a command does it: the organs, wired for a service's address."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from mgmt.account.login import Dialog, Means, SignedIn, Way, sign_in
from mgmt.credentials.issuer import IssuerApi
from mgmt.credentials.place import service_name
from mgmt.credentials.store import CredentialStore
from mgmt.credentials.tokens import Credentials
from mgmt.errors import LoginRequiredError, MgmtError
from mgmt.events import Emit, Waiting
from mgmt.network import Connections
from mgmt.network.retry import Patience
from mgmt.service import ServiceApi
from mgmt.session import FixedToken
from mgmt_contract.messages.service import Me
from mgmt_contract.values import Value

_PATIENCE_SECONDS: Final = 60.0
"""For a service or an issuer that answers no more; a person sits there and waits."""
_FAREWELL_SECONDS: Final = 5.0
"""For an issuer that is to end a sign-in: it is forgotten here in any case."""


class Run(Value):
    """What a run signs in or out with."""

    service_url: str
    kept_as: str
    """What the sign-in is kept for: the service's one spelling, or the name of one whose address changes."""
    ca_bundle: Path | None
    state_dir: Path
    run_id: str
    emit: Emit
    stop: threading.Event
    learn: Callable[..., None]
    """Takes every secret before it is used, so that none of them is ever shown."""


def log_in(
    run: Run,
    dialog: Dialog,
    *,
    way: Way = "browser",
    ports: Sequence[int] = (),
    login_hint: str | None = None,
) -> SignedIn:
    """Sign a person in for the run's service and keep the sign-in.

    Raises:
        MgmtError: See `sign_in`; and LocalStateError if the sign-in cannot be kept.
    """
    service_url = service_name(run.service_url)
    store = CredentialStore(run.state_dir, run.emit)
    patience = _patience(run, _PATIENCE_SECONDS)
    with closing(Connections(ca_bundle=run.ca_bundle)) as connections:

        def open_service(token: str) -> ServiceApi:
            return ServiceApi(service_url, FixedToken(token), connections, patience, run.emit, run_id=run.run_id)

        def identify(token: str) -> Me:
            run.learn(token)
            return open_service(token).me()

        service = open_service("").describe()
        means = Means(IssuerApi(connections, patience, run.emit), identify, dialog, run.stop)
        signed_in = sign_in(
            service, service_url, means, known=store.list_known(), way=way, ports=ports, login_hint=login_hint
        )
    run.learn(*signed_in.credentials.tokens.secrets)
    credentials = replace(signed_in.credentials, service_url=run.kept_as)
    store.save(credentials)
    return SignedIn(credentials, signed_in.me)


class SignedOut(Value):
    """What became of a sign-in that was given up."""

    was_signed_in: bool
    is_revoked: bool
    why_not: str | None = None
    """Why the issuer did not end it, where there was something to end."""


def log_out(run: Run) -> SignedOut:
    """Have the issuer end the sign-in, where it can, and forget it in any case.

    Raises:
        LocalStateError: If it cannot be forgotten.
        UnavailableError: If another process has been changing it for too long.
        CancelledError: If the command is stopped meanwhile; once it is this one's turn, it is forgotten all the same.
    """
    store = CredentialStore(run.state_dir, run.emit)
    if store.version(run.kept_as) is None:
        return SignedOut(was_signed_in=False, is_revoked=False)
    with store.locked(run.kept_as, run.stop):  # a renewal meanwhile would leave a token that nobody has ended
        try:
            why_not = _revoke(run, store.load(run.kept_as))
        except LoginRequiredError as error:  # it cannot be read
            why_not = error.message
        finally:
            store.delete(run.kept_as)
    return SignedOut(was_signed_in=True, is_revoked=why_not is None, why_not=why_not)


def _revoke(run: Run, credentials: Credentials | None) -> str | None:
    """Have the issuer end a sign-in; return why it did not."""
    if credentials is None:
        return None
    run.learn(*credentials.tokens.secrets)
    refresh_token = credentials.tokens.refresh_token
    token = refresh_token or credentials.tokens.access_token
    if credentials.revocation_endpoint is None:
        return f"{credentials.issuer} offers no way to end one"
    kind = "refresh_token" if refresh_token else "access_token"
    with _calling_issuer(run) as issuer:
        try:
            issuer.revoke(credentials.revocation_endpoint, token, credentials.client_id, kind=kind)
        except MgmtError as error:
            if run.stop.is_set():
                raise
            return error.message
    return None


@contextmanager
def _calling_issuer(run: Run) -> Iterator[IssuerApi]:
    with closing(Connections(ca_bundle=run.ca_bundle)) as connections:
        yield IssuerApi(connections, _patience(run, _FAREWELL_SECONDS), run.emit)


def _patience(run: Run, seconds: float) -> Patience:
    return Patience(
        run.stop,
        start_budget_seconds=min(seconds, 20.0),
        budget_seconds=seconds,
        on_wait=lambda why: run.emit(Waiting(why)),
    )
