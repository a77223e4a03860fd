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


def find_tokens(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    emit: Emit,
    stop: threading.Event,
    learn: Learn,
    patience_seconds: float = PROGRESS_BUDGET_SECONDS,
) -> TokenProvider:
    """Return what gives the service's calls their tokens.

    Args:
        settings: With the service's address.
        environment: Where the state folder is named.
        emit: Gets notices and waits.
        stop: Ends every wait.
        learn: Takes each secret before it is used.
        patience_seconds: How long an issuer may be out of reach, once the run is under way.

    Raises:
        NotConfiguredError: If no service is configured.
        LoginRequiredError: If there is no sign-in for it, or none that can be read.
        UsageError: If a client has no secret, or a secret no client.
    """
    if settings.token is not None:
        learn(settings.token)
        return FixedToken(settings.token)
    from mgmt.credentials.provider import ClientToken, StoredToken
    from mgmt.credentials.store import CredentialStore
    from mgmt.credentials.tokens import service_name

    service_url = settings.require_api_url()
    patience = Patience(stop, budget_seconds=patience_seconds, on_wait=lambda why: emit(Waiting(why)))

    @contextmanager
    def open_issuer() -> Iterator[IssuerApi]:
        from mgmt.credentials.issuer import IssuerApi

        with closing(Connections(ca_bundle=settings.ca_bundle)) as connections:
            yield IssuerApi(connections, patience, emit, tries_once=True)

    def describe() -> tuple[str | None, tuple[str, ...]]:
        with closing(Connections(ca_bundle=settings.ca_bundle)) as connections:
            service = ServiceApi(service_url, FixedToken(""), connections, patience, emit).describe()
        return service.issuer, service.scopes

    if settings.client_id is not None or settings.client_secret is not None:
        if settings.client_id is None or settings.client_secret is None:
            raise UsageError(
                "MGMT_CLIENT_ID and MGMT_CLIENT_SECRET belong together, and only one of them is set.", code="bad-client"
            )
        return ClientToken(
            settings.client_id, settings.client_secret, describe, open_issuer, patience=patience, learn=learn
        )
    try:
        store = CredentialStore(state_directory(environment), emit)
    except LocalStateError:  # a user without a home has logged in nowhere
        raise settings.no_sign_in() from None
    if store.version(service_url) is None:
        raise settings.no_sign_in()
    return StoredToken(store, service_name(service_url), open_issuer, patience=patience, emit=emit, learn=learn)
