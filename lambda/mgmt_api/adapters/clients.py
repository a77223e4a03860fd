"""Connections to AWS, or to servers that stand in for it: addressing, signing, timeouts, retries.

Timeouts are short and retries few: a call to the service lasts at most 29 seconds, and the client asks
again by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore
import botocore.exceptions
import botocore.parsers
from botocore.config import Config

from mgmt_contract.version import __version__

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

UNREACHED: Final = (botocore.exceptions.ConnectionError,)
"""Errors of botocore where no connection was made."""
LOST_ANSWERS: Final = (botocore.exceptions.HTTPClientError, botocore.parsers.ResponseParserError)
"""Errors of botocore where the request was sent and no answer, or an unreadable one, came back."""

_MOST_CONNECTIONS: Final = 32
_USER_AGENT: Final = f"mgmt/{__version__} Boto3/{boto3.__version__} Botocore/{botocore.__version__}"
"""Given, because botocore would build one for every call, at a tenth of the call's cost."""


def make_dynamodb_client(
    region: str,
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
) -> DynamoDBClient:
    """Connect to DynamoDB; without keys given, with those of the environment or of the function's role.

    Parameters are not validated before each call: boto3's own serializer makes an item of typed attributes and
    refuses other values, and DynamoDB itself refuses the rest.
    """
    client: DynamoDBClient = boto3.client(
        "dynamodb",
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=session_token,
        config=Config(
            connect_timeout=2,
            read_timeout=4,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=_MOST_CONNECTIONS,
            parameter_validation=False,
            user_agent=_USER_AGENT,
        ),
    )
    return client


def make_s3_client(
    region: str,
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
) -> S3Client:
    """Connect to S3, or with `endpoint_url` to a storage engine that speaks its language.

    Signs with version 4 on the bucket's own host in its own region: boto3's defaults (version 2, the
    global host) would leave length, checksum and condition unsigned. An engine on an own endpoint is
    addressed by path, since `bucket.localhost` resolves to nothing, and past any proxy.
    """
    client: S3Client = boto3.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=session_token,
        config=Config(
            signature_version="s3v4",
            s3={
                "addressing_style": "path" if endpoint_url else "virtual",
                "us_east_1_regional_endpoint": "regional",
            },
            proxies={} if endpoint_url else None,
            connect_timeout=3,
            read_timeout=8,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=_MOST_CONNECTIONS,
            user_agent=_USER_AGENT,
        ),
    )
    return client


def make_sqs_client(
    region: str,
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
) -> Any:
    """Connect to SQS; without keys given, with those of the function's role."""
    return boto3.client(
        "sqs",
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            connect_timeout=2,
            read_timeout=4,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=_MOST_CONNECTIONS,
            user_agent=_USER_AGENT,
        ),
    )


def error_code(error: botocore.exceptions.ClientError) -> str:
    """Return the code of an error answer; the HTTP status where it has no body, as after HEAD."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_status(error: botocore.exceptions.ClientError) -> int:
    """Return the HTTP status of an error answer."""
    metadata: Any = error.response.get("ResponseMetadata", {})
    return int(metadata.get("HTTPStatusCode", 0))
