"""The worker's Lambda function: what has to be done when no client asks. Everything is built once, at import.

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
from mgmt_api.wiring import build_worker

_settings = read_settings(os.environ)
_worker = build_worker(
    _settings,
    DynamoDBRecordStore(make_dynamodb_client(_settings.region), _settings.table, _settings.feed_shards),
    S3ObjectStore(make_s3_client(_settings.region), _settings.bucket),
    lambda: datetime.now(UTC),
    SQSWorkQueue(make_sqs_client(_settings.region), _settings.joins_queue_url, _settings.looks_queue_url),
    CloudWatchMetrics(os.environ.get("POWERTOOLS_SERVICE_NAME", "mgmt")),
)


def lambda_handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Do the work of one batch of messages from SQS."""
    return _worker(event, context)
