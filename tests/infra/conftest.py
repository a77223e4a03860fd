"""One synthesized app for all tests of the template, however many processes run them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from support.assembly import Assembly, synthesize

WITH_ISSUER: dict[str, Any] = {
    "issuer": "https://sign-in.example",
    "audience": "mgmt",
    "client_id": "mgmt-command",
    "scopes": ["mgmt/use", "mgmt/upload"],
    "read_scopes": ["mgmt/read"],
    "sign_in_scopes": ["openid", "mgmt/use"],
    "machine_clients": ["ci-1", "ci-2"],
    "replace_others": "admins",
    "root_prefix": "team/footage",
    "member_group": "editors",
    "admin_group": "producers",
    "actor_claim": "email",
    "groups_claim": "roles",
    "url_life_seconds": 600,
    "lease_seconds": 300,
    "feed_shards": 8,
    "join_patience_seconds": 900,
    "resume_days": 14,
    "recoverable_days": 45,
    "alarm_addresses": ["anna@example.com", "ops@example.com"],
    "requests_per_second": 20,
    "request_burst": 40,
    "open_requests_per_second": 3,
    "open_request_burst": 2,
}
"""Every key that a deployment with an issuer decides, none with its default; but architecture, runtime and name."""
WITH_POOL: dict[str, Any] = {
    "first_admins": {"anna": "anna@example.com"},
    "identity_providers": ["Google"],
    "machine_clients": ["ci-1"],
}
"""A deployment whose sign-in is the stack's own."""


@pytest.fixture(scope="session")
def context() -> dict[str, Any]:
    return WITH_ISSUER


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """The app for an issuer of one's own."""
    return synthesize_once(tmp_path_factory, "assembly", WITH_ISSUER)


@pytest.fixture(scope="session")
def pool_assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """The app for a sign-in that the stack makes."""
    return synthesize_once(tmp_path_factory, "pool-assembly", WITH_POOL)


def synthesize_once(factory: pytest.TempPathFactory, name: str, deployment: dict[str, Any]) -> Assembly:
    """Synthesize once per run: the first process that needs it does, the others wait for it."""
    own = factory.getbasetemp()
    shared = Path(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)
    directory, done = shared / name, shared / f"{name}-done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            synthesize(directory, shared / f"{name}-home", deployment)
            done.touch()
    return Assembly(directory)
