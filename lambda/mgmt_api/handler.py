"""The Lambda function. Everything is built once, when the module is imported.

Raises SettingsError at import if the environment does not configure the service.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mgmt_api.adapters.clients import make_dynamodb_client, make_s3_client, make_sqs_client
from mgmt_api.adapters.cloudwatch import CloudWatchMetrics
from mgmt_api.adapters.dynamodb import DynamoDBRecordStore
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.adapters.sqs import SQSWorkQueue
from mgmt_api.domain.settings import read_settings
from mgmt_api.wiring import build_app

_settings = read_settings(os.environ)
_metrics = CloudWatchMetrics(os.environ.get("POWERTOOLS_SERVICE_NAME", "mgmt"))
_objects = S3ObjectStore(
    make_s3_client(_settings.region), _settings.bucket, on_fall_back=lambda: _metrics.count("FallBacks")
)
_app = build_app(
    _settings,
    DynamoDBRecordStore(make_dynamodb_client(_settings.region), _settings.table, _settings.feed_shards),
    _objects,
    lambda: datetime.now(UTC),
    _metrics,
    worker=SQSWorkQueue(make_sqs_client(_settings.region), _settings.joins_queue_url, _settings.looks_queue_url)
    if _settings.joins_queue_url
    else None,
)


def lambda_handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request of API Gateway (HTTP API, payload format 2.0)."""
    return _app(event, context)
