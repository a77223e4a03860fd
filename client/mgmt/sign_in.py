"""Chooses the tokens of a run: MGMT_TOKEN, else a client with a secret, else this machine's login."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from mgmt.credentials.fixed import FixedToken
from mgmt.errors import LocalStateError, UsageError
from mgmt.events import Emit, Waiting
from mgmt.network.connection import Connections
from mgmt.network.retry import PROGRESS_BUDGET_SECONDS, Patience
from mgmt.service.api import ServiceApi, TokenProvider
from mgmt.settings import Settings, state_directory

if TYPE_CHECKING:  # names for annotations: a run with MGMT_TOKEN does without them
    from mgmt.credentials.issuer import IssuerApi
    from mgmt.credentials.provider import Learn
    from mgmt.credentials.store import CredentialStore


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
    from mgmt.credentials.store import CredentialStore

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
        if settings.client_id is None or settings.client_secret is None:
            raise UsageError(
                "MGMT_CLIENT_ID and MGMT_CLIENT_SECRET belong together, and only one of them is set.", code="bad-client"
            )
        return ClientToken(
            settings.client_id,
            settings.client_secret,
            find_issuer,
            open_issuer,
            scope=settings.client_scope,
            patience=patience,
            learn=learn,
        )
    try:
        store = CredentialStore(state_directory(environment), emit)
    except LocalStateError:  # a user without a home has signed in nowhere
        raise settings.no_sign_in() from None
    name = kept_as or service_name(service_url)
    if store.version(name) is None:
        raise settings.no_sign_in()
    return StoredToken(store, name, open_issuer, patience=patience, emit=emit, learn=learn)


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
