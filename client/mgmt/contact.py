"""The connection of a command that only asks: the service's routes, without this machine's journal and the storage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mgmt.events import Emit, Waiting
from mgmt.network.connection import Connections
from mgmt.network.retry import PROGRESS_BUDGET_SECONDS, Patience
from mgmt.service.api import ServiceApi, TokenProvider
from mgmt.settings import Settings
from mgmt_contract.values import Value


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
