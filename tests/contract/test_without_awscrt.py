"""The function carries no awscrt: everything that touches a checksum works without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from mgmt_local.engine.seaweedfs import REGION, StorageEngine

SCRIPT = """
import json, sys

sys.modules["awscrt"] = None  # any import of it fails

from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import NewObject, WriteCondition
from mgmt_contract.messages.uploads import Part
from support.engine import send
from support.fakes import crc64nvme

given = json.load(sys.stdin)
store = S3ObjectStore(make_s3_client(**given["client"]), given["bucket"])
body, checksum, create_only = b"footage", crc64nvme(b"footage"), WriteCondition()

put = store.presign_put(
    NewObject("put", "operation-1"), size=7, crc64nvme=checksum, condition=create_only, expires_in_seconds=60
)
statuses = [send(put, body)]
upload_id = store.create_multipart_upload(NewObject("parts", "operation-2"))
statuses.append(send(store.presign_part("parts", upload_id, Part(1, 7, checksum), expires_in_seconds=60), body))
store.complete_multipart_upload(
    "parts",
    upload_id,
    store.list_parts("parts", upload_id),
    size=7,
    crc64nvme=checksum,
    condition=create_only,
    within_seconds=20,
)
heads = [store.head_object(key) for key in ("put", "parts")]
json.dump([statuses, [[head.size, head.crc64nvme == checksum, head.operation_id] for head in heads]], sys.stdout)
"""


def test_urls_and_completion_need_no_awscrt(engine: StorageEngine, bucket: str):
    client = {
        "region": REGION,
        "endpoint_url": engine.endpoint_url,
        "access_key": engine.access_key,
        "secret_key": engine.secret_key,
    }
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps({"client": client, "bucket": bucket}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == [[200, 200], [[7, True, "operation-1"], [7, True, "operation-2"]]]
