"""The service in a process of its own: the real gateway, handler and S3 adapter, with records in SQLite.

    python -m bench.service FOLDER STORAGE_URL PUBLIC_STORAGE_URL

What it asks of the storage itself goes there directly, as from a data centre; the URLs it signs lead through
the link. Every call is noted, so that calls can be counted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.processes import answer_lines
from bench.stages import BUCKET
from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.calls.backends import Backends
from mgmt_api.domain.settings import Settings
from mgmt_api.ports import NewObject, WriteCondition
from mgmt_api.upkeep.tasks import Worker
from mgmt_api.wiring import App, build_app
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part
from mgmt_local.gateway.owner import own_secret
from mgmt_local.gateway.server import Gateway
from mgmt_local.issuer.signing import SCOPE
from mgmt_local.process.activity import Activity
from mgmt_local.process.state import open_state_folder
from mgmt_local.records import SQLiteRecordStore
from mgmt_local.worker import WORK_SECONDS, LocalQueue, WorkerThread
from support.sign_in import make_authorizer

REGION = "us-east-1"
_NEVER_IDLE_SECONDS = 1e9


class LinkedObjectStore(S3ObjectStore):
    """Signs URLs that lead through the link, and makes its own calls directly."""

    def __init__(self, direct_url: str, public_url: str) -> None:
        super().__init__(_client_for(direct_url), BUCKET)
        self._public = S3ObjectStore(_client_for(public_url), BUCKET)

    def presign_put(
        self,
        new_object: NewObject,
        *,
        size: int,
        crc64nvme: str,
        condition: WriteCondition,
        expires_in_seconds: int,
        content_md5: str | None = None,
    ) -> SignedRequest:
        """Sign the PUT of a whole object, through the link."""
        return self._public.presign_put(
            new_object,
            size=size,
            crc64nvme=crc64nvme,
            condition=condition,
            expires_in_seconds=expires_in_seconds,
            content_md5=content_md5,
        )

    def presign_part(self, key: str, multipart_upload_id: str, part: Part, *, expires_in_seconds: int) -> SignedRequest:
        """Sign the PUT of a part, through the link."""
        return self._public.presign_part(key, multipart_upload_id, part, expires_in_seconds=expires_in_seconds)

    def presign_get(self, key: str, version_id: str | None, *, expires_in_seconds: int) -> SignedRequest:
        """Sign the GET of an object, through the link."""
        return self._public.presign_get(key, version_id, expires_in_seconds=expires_in_seconds)


class CountedCalls:
    """The app, with a count of its calls."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.count = 0

    def __call__(self, event: dict[str, Any], context: object) -> Mapping[str, Any]:
        """Answer an event."""
        self.count += 1
        return self._app(event, context)


def _client_for(url: str) -> Any:
    keys = {"access_key": os.environ["AWS_ACCESS_KEY_ID"], "secret_key": os.environ["AWS_SECRET_ACCESS_KEY"]}
    return make_s3_client(REGION, endpoint_url=url, **keys)


def main() -> None:
    """Serve until the input ends; each line is answered with the address, the token and the calls so far."""
    folder = open_state_folder(Path(sys.argv[1]))
    records = SQLiteRecordStore(folder.records)
    settings = Settings(bucket=BUCKET, table="bench", region=REGION, scopes=(SCOPE,))
    objects, queue = LinkedObjectStore(sys.argv[2], sys.argv[3]), LocalQueue()
    app = build_app(settings, records, objects, _now, worker=queue)
    backends = Backends(settings, records, objects, _now, remaining_seconds=lambda: WORK_SECONDS)
    worker = WorkerThread(queue, Worker(backends, queue).do)
    calls = CountedCalls(app)
    token = own_secret(folder)
    gateway = Gateway(calls, make_authorizer(folder), Activity(_NEVER_IDLE_SECONDS))
    port = int(gateway.url.rpartition(":")[2])
    answer_lines(lambda _: {"port": port, "token": token, "calls": calls.count})
    gateway.close()
    worker.close()
    records.close()


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
