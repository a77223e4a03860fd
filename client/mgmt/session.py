"""How a run reaches the service: its tokens, a contact for what only asks, and a session for what transfers files.

A contact has the service's routes. A session has this machine's journal and the storage as well. The tokens are
MGMT_TOKEN, else a client with a secret, else this machine's login.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mgmt.errors import LocalStateError, LoginRequiredError, MgmtError, UsageError
from mgmt.events import Emit, Waiting
from mgmt.network import Connections
from mgmt.network.retry import PROGRESS_BUDGET_SECONDS, Patience
from mgmt.service import ServiceApi, TokenProvider
from mgmt.settings import Settings, state_directory
from mgmt_contract.values import Value

if TYPE_CHECKING:  # names for annotations: a command that only asks does without the journal and the storage,
    from mgmt.credentials.issuer import IssuerApi
    from mgmt.credentials.provider import Learn  # and one with MGMT_TOKEN without the sign-in
    from mgmt.credentials.store import CredentialStore
    from mgmt.journal import Journal
    from mgmt.storage import Carrier, RateLimit
    from mgmt.storage.receiving import Receiver

_log: Final = logging.getLogger(__name__)


class Contact(Value):
    """The service as one run reaches it."""

    service_url: str
    api: ServiceApi
    connections: Connections
    patience: Patience


@contextmanager
def open_contact(
    settings: Settings,
    *,
    token: TokenProvider,
    emit: Emit,
    stop: threading.Event,
    patience_seconds: float = PROGRESS_BUDGET_SECONDS,
    run_id: str | None = None,
) -> Iterator[Contact]:
    """Get ready to ask the configured service, and close every connection in the end.

    `token` is asked before each call. Once the service has answered it may be out of reach for `patience_seconds`.

    Raises:
        NotConfiguredError: If no service is configured.
    """
    service_url = settings.require_api_url().rstrip("/")  # one service, however its address is written
    patience = Patience(stop, budget_seconds=patience_seconds, on_wait=lambda why: emit(Waiting(why)))
    connections = Connections(ca_bundle=settings.ca_bundle)
    try:
        api = ServiceApi(service_url, token, connections, patience, emit, run_id=run_id)
        yield Contact(service_url, api, connections, patience)
    finally:
        connections.close()


class Session(Value):
    """The organs of one run, wired."""

    settings: Settings
    service_url: str
    """The service's name in the journal: its address, or the embedded backend's folder."""
    api: ServiceApi
    connections: Connections
    rate_limit: RateLimit
    carrier: Carrier
    journal: Journal
    patience: Patience
    emit: Emit

    @property
    def stop(self) -> threading.Event:
        """Set it to end everything that is under way, soon and resumable."""
        return self.patience.stop

    @property
    def receiver(self) -> Receiver:
        """What fetches from the storage; an upload does without it."""
        from mgmt.storage.receiving import Receiver

        return Receiver(self.connections, self.stop, self.rate_limit)


@contextmanager
def open_session(  # noqa: PLR0913  everything a run is made of
    settings: Settings,
    *,
    token: TokenProvider,
    state_dir: Path,
    emit: Emit,
    stop: threading.Event,
    rate_limit_bytes_per_second: int | None = None,
    journal_name: str | None = None,
    patience_seconds: float = PROGRESS_BUDGET_SECONDS,
    run_id: str | None = None,
) -> Iterator[Session]:
    """Wire a session for the configured service and close it in the end.

    The journal calls the service by its address, or by `journal_name` where the address changes.
    `token` is asked before each call. Once the service has answered it may be out of reach for `patience_seconds`.

    Raises:
        NotConfiguredError: If no service is configured.
        LocalStateError: If the journal cannot be used.
    """
    from mgmt.journal import Journal
    from mgmt.storage import Carrier, RateLimit

    with (
        open_contact(
            settings, token=token, emit=emit, stop=stop, patience_seconds=patience_seconds, run_id=run_id
        ) as contact,
        closing(Journal(state_dir)) as journal,
    ):
        rate_limit = RateLimit(rate_limit_bytes_per_second, stop)
        api, connections = contact.api, contact.connections
        carrier = Carrier(connections, stop, rate_limit)
        name = journal_name or contact.service_url
        api.expect_optional_fields(journal.optional_fields(name))
        try:
            yield Session(settings, name, api, connections, rate_limit, carrier, journal, contact.patience, emit)
        finally:
            try:
                _remember(journal, name, api, carrier)
            except MgmtError as error:  # nothing is lost by it
                _log.info("What was learned of the service is not remembered: %s", error.message)


def _remember(journal: Journal, service: str, api: ServiceApi, carrier: Carrier) -> None:
    """Note for the next run which fields the service takes, and how fast the transfers were."""
    if api.optional_fields != journal.optional_fields(service):
        journal.note_optional_fields(service, api.optional_fields)
    speed = carrier.measured_speed()
    if speed is not None:
        journal.note_speed(service, speed)


class FixedToken:
    """A token that was made elsewhere, such as MGMT_TOKEN or the embedded backend's; it cannot be renewed."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, refused: str | None = None) -> str:
        """Give the token.

        Raises:
            LoginRequiredError: If the service has refused it.
        """
        if refused is not None:
            raise LoginRequiredError("The service does not accept the token. Put a new one into MGMT_TOKEN.")
        return self._token


def find_tokens(  # noqa: PLR0913  all that tokens are found by
    settings: Settings,
    environment: Mapping[str, str],
    *,
    emit: Emit,
    stop: threading.Event,
    learn: Learn,
    patience_seconds: float = PROGRESS_BUDGET_SECONDS,
    kept_as: str | None = None,
) -> TokenProvider:
    """Return what gives the service's calls their tokens.

    Args:
        settings: With the service's address.
        environment: Where the state folder is named.
        emit: Gets notices and waits.
        stop: Ends every wait.
        learn: Takes each secret before it is used.
        patience_seconds: How long an issuer may be out of reach, once the run is under way.
        kept_as: What a sign-in is kept for, where that is not the service's address.

    Raises:
        NotConfiguredError: If no service is configured.
        LoginRequiredError: If there is no sign-in for it, or none that can be read.
        UsageError: If a client has no secret, or a secret no client.
    """
    if settings.token is not None:
        learn(settings.token)
        return FixedToken(settings.token)
    from mgmt.credentials.place import service_name
    from mgmt.credentials.provider import ClientToken, StoredToken

    service_url = settings.require_api_url()
    patience = Patience(stop, budget_seconds=patience_seconds, on_wait=lambda why: emit(Waiting(why)))

    @contextmanager
    def open_issuer() -> Iterator[IssuerApi]:
        from mgmt.credentials.issuer import IssuerApi

        with closing(Connections(ca_bundle=settings.ca_bundle)) as connections:
            yield IssuerApi(connections, patience, emit, tries_once=True)

    def find_issuer() -> str | None:
        with closing(Connections(ca_bundle=settings.ca_bundle)) as connections:
            return ServiceApi(service_url, FixedToken(""), connections, patience, emit).describe().issuer

    if settings.client_id is not None or settings.client_secret is not None:
        client_id, client_secret = _require_client(settings)
        return ClientToken(
            client_id,
            client_secret,
            find_issuer,
            open_issuer,
            scope=settings.client_scope,
            patience=patience,
            learn=learn,
        )
    name = kept_as or service_name(service_url)
    store = _require_sign_in(settings, environment, name, emit)
    return StoredToken(store, name, open_issuer, patience=patience, emit=emit, learn=learn)


def _require_client(settings: Settings) -> tuple[str, str]:
    """Return the id and the secret of a client, such as a CI job.

    Raises:
        UsageError: If only one of them is set.
    """
    if settings.client_id is None or settings.client_secret is None:
        raise UsageError(
            "MGMT_CLIENT_ID and MGMT_CLIENT_SECRET belong together, and only one of them is set.", code="bad-client"
        )
    return settings.client_id, settings.client_secret


def _require_sign_in(settings: Settings, environment: Mapping[str, str], name: str, emit: Emit) -> CredentialStore:
    """Return where sign-ins are kept, with one of that name.

    Raises:
        LoginRequiredError: If there is none, or none that can be read.
    """
    from mgmt.credentials.store import CredentialStore

    try:
        store = CredentialStore(state_directory(environment), emit)
    except LocalStateError:  # a user without a home has signed in nowhere
        raise settings.no_sign_in() from None
    if store.version(name) is None:
        raise settings.no_sign_in()
    return store


def follow_issuer(store: CredentialStore, kept_as: str, issuer: str) -> bool:
    """Have the sign-in for a service whose address changes know where its issuer is now; False where there is none.

    The caller has proven whose address it is: the tokens go there.

    Raises:
        LoginRequiredError: If what is kept cannot be read.
    """
    from dataclasses import replace

    credentials = store.load(kept_as)
    if credentials is None:
        return False
    if credentials.issuer != issuer:
        with store.locked(kept_as):
            former = store.load(kept_as) or credentials
            ends = {name: getattr(former, name) for name in ("token_endpoint", "revocation_endpoint")}
            moved = {name: issuer + end.removeprefix(former.issuer) for name, end in ends.items() if end is not None}
            store.update(replace(former, issuer=issuer, **moved))
    return True
