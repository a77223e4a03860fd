"""One synthesized app for all tests of the template, however many processes run them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from support.assembly import Assembly, synthesize

CONTEXT = {
    "issuer": "https://sign-in.example",
    "audience": "mgmt",
    "client_id": "mgmt-command",
    "scopes": "mgmt/use mgmt/upload",
    "root_prefix": "team/footage",
    "admin_group": "producers",
    "actor_claim": "email",
    "groups_claim": "roles",
    "url_life_seconds": "600",
    "lease_seconds": "300",
    "feed_shards": "4",
    "join_patience_seconds": "900",
    "requests_per_second": "20",
    "request_burst": "40",
    "open_requests_per_second": "3",
    "open_request_burst": "2",
}
"""Every key that a deployment decides, none with its default; but architecture, runtime and name."""


@pytest.fixture(scope="session")
def context() -> dict[str, str]:
    return CONTEXT


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """The app, synthesized once per run: the first process that needs it does, the others wait for it."""
    own = tmp_path_factory.getbasetemp()
    shared = Path(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)
    directory, done = shared / "assembly", shared / "assembly-done"
    with FileLock(shared / "assembly.lock"):
        if not done.exists():
            synthesize(directory, shared / "home", CONTEXT)
            done.touch()
    return Assembly(directory)
