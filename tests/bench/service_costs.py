"""What the service takes of the processor, and how large its zip is; each in a process of its own.

    python -m bench.service_costs WHAT [WORD...]     prints one number as JSON

Calls go to the real handler, on boto3 clients whose calls are answered by `bench.discard`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgmt_api.wiring import App

PROJECT = Path(__file__).resolve().parents[2]
PART_BYTES = 16 * 1024 * 1024
PARTS = 100
CRC = "AAAAAAAAAAA="
_WARMING_CALLS = 10
_CALLS = 40
_ROUNDS = 7
_MACHINE_ID = "0192e4a0-0000-7000-8000-000000000001"


def import_baseline() -> float:
    """Import and build what any such function has: the resolver, with validation, and the two clients."""
    began = time.process_time()
    import boto3
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver

    APIGatewayHttpResolver(enable_validation=True)
    boto3.client("dynamodb")
    boto3.client("s3")
    return time.process_time() - began


def import_service() -> float:
    """Import the handler, which builds everything."""
    began = time.process_time()
    import mgmt_api.handler  # noqa: F401  the import is what is measured

    return time.process_time() - began


def start_upload() -> float:
    """Answer start requests, each for one upload, and return the median of the warm ones."""
    from mgmt_api.handler import lambda_handler
    from mgmt_contract.messages.uploads import StartRequest
    from mgmt_contract.routes import START
    from support.events import make_claims, make_event

    claims = make_claims("sub-ada", "ada")
    taken = []
    for number in range(_WARMING_CALLS + _CALLS):
        event = make_event(START, claims=claims, body=StartRequest(_MACHINE_ID, [_start_item(f"clip-{number}.mov")]))
        taken.append(_time(partial(_answer, lambda_handler, event)))
    return statistics.median(taken[_WARMING_CALLS:])


def sign_urls() -> float:
    """Sign the URLs of a hundred parts."""
    from mgmt_api.adapters.clients import make_s3_client
    from mgmt_api.adapters.s3 import S3ObjectStore
    from mgmt_contract.messages.uploads import Part

    store = S3ObjectStore(make_s3_client(os.environ["AWS_REGION"]), os.environ["MGMT_BUCKET"])

    def sign() -> None:
        for number in range(1, PARTS + 1):
            store.presign_part("team/clip.mov.tar.gz", "upload", Part(number, PART_BYTES, CRC), expires_in_seconds=900)

    return _median(sign)


def sign_request() -> float:
    """Answer a whole request for the URLs of a hundred parts, with the records in SQLite."""
    from mgmt_api.adapters.clients import make_s3_client
    from mgmt_api.adapters.s3 import S3ObjectStore
    from mgmt_api.domain.settings import read_settings
    from mgmt_api.wiring import build_app
    from mgmt_contract.messages.uploads import Part, SignItem, SignRequest, StartRequest, StartResponse
    from mgmt_contract.routes import SIGN, START
    from mgmt_contract.wire import from_json
    from mgmt_local.records import SQLiteRecordStore
    from support.events import make_claims, make_event

    settings, claims = read_settings(os.environ), make_claims("sub-ada", "ada")
    objects = S3ObjectStore(make_s3_client(settings.region, endpoint_url=os.environ["AWS_ENDPOINT_URL"]), "bench")
    with tempfile.TemporaryDirectory() as folder:
        records = SQLiteRecordStore(Path(folder, "records.sqlite"))
        app = build_app(settings, records, objects, lambda: datetime.now(UTC))
        item = replace(_start_item("long.mov"), content=None, upper_bound=PARTS * PART_BYTES)
        answer = _answer(app, make_event(START, claims=claims, body=StartRequest(_MACHINE_ID, [item])))
        [started] = from_json(StartResponse, answer["body"]).results
        assert started.lease is not None, started
        assert started.multipart is not None, started
        size = started.multipart.part_size
        parts = [Part(number, size, CRC) for number in range(1, min(PARTS, item_parts(size)) + 1)]
        body = SignRequest(_MACHINE_ID, [SignItem(item.operation_id, started.lease.epoch, parts, None)])
        event = make_event(SIGN, claims=claims, body=body)
        taken = _median(partial(_answer, app, event))
        records.close()
    return taken * PARTS / len(parts)


def item_parts(part_size_bytes: int) -> int:
    """Say how many whole parts the upload of the request has."""
    return PARTS * PART_BYTES // part_size_bytes


def zip_service() -> float:
    """Put the function's zip together as a deployment does and return its size in bytes."""
    sys.path.insert(0, str(PROJECT / "infra"))
    from mgmt_infra.deployment import WHEEL_PLATFORMS, Deployment

    with tempfile.TemporaryDirectory() as folder:
        content, made = Path(folder, "content"), Path(folder, "service.zip")
        words = ["install", "--quiet", "--disable-pip-version-check", "--no-compile", "--require-hashes"]
        words += ["--only-binary=:all:", "--platform", WHEEL_PLATFORMS[Deployment.architecture]]
        words += ["--implementation", "cp", "--python-version", Deployment.runtime.removeprefix("python")]
        words += ["--requirement", str(PROJECT / "requirements" / "lambda.txt"), "--target", str(content)]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True, stdout=sys.stderr)
        shutil.rmtree(content / "bin", ignore_errors=True)
        left_out = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(PROJECT / "lambda", content, ignore=left_out, dirs_exist_ok=True)
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(content.rglob("*")):
                archive.write(path, path.relative_to(content))
        return made.stat().st_size


def _start_item(name: str) -> Any:
    from mgmt_contract.messages.uploads import Content, Packing, StartItem
    from mgmt_contract.records import FileRecord

    return StartItem(
        operation_id=str(uuid.uuid4()),
        name=name,
        target_path=name,
        source_file_record=FileRecord(name, name, "local", 10_000_000, is_directory=False, status="pending"),
        compressed_file_path=f"{name}.tar.gz",
        packing=Packing("isal 1.8.0", "auto"),
        content=Content(10_000_000, CRC, "blake3:" + 64 * "0", 10_000_000, 1),
    )


def _answer(app: App, event: dict[str, Any]) -> dict[str, Any]:
    answer = app(event, None)
    if answer["statusCode"] != 200 or '"problem":{' in answer["body"].replace(" ", ""):
        raise SystemExit(f"the service answers {answer['statusCode']}: {answer['body'][:1000]}")
    return answer


def _median(work: Callable[[], object]) -> float:
    work()
    return statistics.median(_time(work) for _ in range(_ROUNDS))


def _time(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    what: Callable[[], float] = globals()[sys.argv[1]]
    sys.stdout.write(f"{what()}\n")
