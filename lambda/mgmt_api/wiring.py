"""The service put together: the same for AWS, for one machine and for tests, on any stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from mgmt_api.calls.backends import CALL_MAX_SECONDS, Backends
from mgmt_api.domain.answers import read_body
from mgmt_api.domain.metrics import Metrics, NoMetrics
from mgmt_api.domain.settings import Settings
from mgmt_api.domain.work import read_work
from mgmt_api.ports import Clock, ObjectStore, RecordStore, WorkQueue
from mgmt_api.routes import add_problems, add_routes, logger, mark_lines
from mgmt_api.upkeep.tasks import Worker, rank
from mgmt_contract.wire import MessageError

App = Callable[[Mapping[str, Any], Any], dict[str, Any]]
"""Takes an API Gateway event (payload format 2.0) and a Lambda context, and returns the answer."""


_FORMS: Final = ("multipart/", "application/x-www-form-urlencoded")


def build_resolver(backends: Backends) -> APIGatewayHttpResolver:
    """Make the resolver with every route and every problem."""
    resolver = APIGatewayHttpResolver(
        enable_validation=True, response_validation_error_http_code=500, json_body_deserializer=read_body
    )
    add_routes(resolver, replace(backends, remaining_seconds=lambda: _remaining_seconds(resolver.lambda_context)))
    add_problems(resolver, backends)
    return resolver


def _remaining_seconds(context: Any) -> float:
    """Say how long a call may still take, as its Lambda context tells; all of a call's time where there is none."""
    return CALL_MAX_SECONDS if context is None else min(CALL_MAX_SECONDS, context.get_remaining_time_in_millis() / 1000)


def build_app(
    settings: Settings,
    records: RecordStore,
    objects: ObjectStore,
    clock: Clock,
    metrics: Metrics | None = None,
    *,
    worker: WorkQueue | None = None,
) -> App:
    """Put the service together; without `metrics` nothing is counted, without `worker` calls join parts themselves.

    The app is not safe for threads: the resolver keeps the event in a class attribute. A server of
    several requests at once holds a lock around it.
    """
    backends = Backends(settings, records, objects, clock, metrics or NoMetrics(), worker=worker)
    resolver = build_resolver(backends)

    def answer(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        mark_lines(event)
        answered: dict[str, Any] = resolver.resolve(_refuse_forms(event), context)
        backends.metrics.flush()
        return answered

    return answer


def _refuse_forms(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Relabel a form as a type that no route reads: Powertools would parse it, and fail at a malformed one."""
    headers: Mapping[str, Any] = event.get("headers") or {}
    if not str(headers.get("content-type")).strip().startswith(_FORMS):
        return event
    return {**event, "headers": {**headers, "content-type": "application/octet-stream"}}


def _put_rounds_last(event: Mapping[str, Any]) -> dict[str, Any]:
    """Sort a batch: a round uses all the time that it finds, and has handed over its rest when it ends.

    If other work came after it, a run that is cut off there would bring the round again, beside its rest.
    """
    return {**event, "Records": sorted(event["Records"], key=lambda record: _turn_of(record["body"]))}


def _turn_of(text: str) -> int:
    try:
        return max((rank(work) for work in read_work(text)), default=0)
    except MessageError:
        return 0


def build_worker(
    settings: Settings,
    records: RecordStore,
    objects: ObjectStore,
    clock: Clock,
    queue: WorkQueue,
    metrics: Metrics | None = None,
) -> App:
    """Put the worker together: it takes batches of messages from SQS, and answers which of them are to come again.

    What it cannot do comes again by itself; what it cannot read as well, until it lies in the queue of dead letters.
    """
    contexts: list[Any] = [None]
    backends = Backends(
        settings,
        records,
        objects,
        clock,
        metrics or NoMetrics(),
        remaining_seconds=lambda: contexts[0].get_remaining_time_in_millis() / 1000,
    )
    worker = Worker(backends, queue)

    def do(record: SQSRecord) -> None:
        for work in read_work(record.body):
            worker.do(work)

    def answer(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        contexts[0] = context
        logger.append_keys(run_id=None, request_id=context.aws_request_id)
        batch = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False, logger=logging.getLogger(__name__))
        answered: Any = process_partial_response(_put_rounds_last(event), do, batch, context)
        backends.metrics.flush()
        return dict(answered)

    return answer
