"""The worker's queue on SQS: two queues, because a join may take minutes and a look moments.

Action used: sqs:SendMessage.
"""

from __future__ import annotations

from typing import Protocol

from botocore.exceptions import ClientError

from mgmt_api.adapters.clients import LOST_ANSWERS, UNREACHED
from mgmt_api.domain.work import Work, write_work
from mgmt_api.ports import QueueUnavailableError


class Sender(Protocol):
    """The one call that is made of SQS."""

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> object:  # noqa: N803  boto3's
        """Send a message."""


class SQSWorkQueue:
    """Sends work to the queue of its kind; may be used from several threads.

    Args:
        client: From `make_sqs_client`.
        joins_url: The queue of `settle`.
        looks_url: The queue of everything else.
    """

    def __init__(self, client: Sender, joins_url: str, looks_url: str) -> None:
        self._client = client
        self._joins_url = joins_url
        self._looks_url = looks_url

    def send(self, work: Work, *, delay_seconds: int = 0) -> bool:
        """Send a message, and return False. The delay is always given: without one, the queue's own would apply."""
        url = self._joins_url if work.task == "settle" else self._looks_url
        try:
            self._client.send_message(QueueUrl=url, MessageBody=write_work(work), DelaySeconds=delay_seconds)
        except (*LOST_ANSWERS, *UNREACHED, ClientError) as error:
            raise QueueUnavailableError(f"SQS did not take the work: {error}") from error
        return False
