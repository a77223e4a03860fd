"""The role allows what the service does, and nothing else.

Every call that the adapters make, or sign for a client, is recorded while people upload, replace, give up and
look; each is put to the policies of the synthesized template, and each granted permission must have been used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from mgmt_api.adapters.clients import make_dynamodb_client
from mgmt_api.adapters.dynamodb import DynamoDBRecordStore
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.adapters.table import INDEXES
from mgmt_api.calls.backends import Backends
from mgmt_api.domain.work import Work
from mgmt_api.ports import Clock, StorageError
from mgmt_api.upkeep.tasks import Worker
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import CleanUp, StartItem
from mgmt_contract.parts import MIB
from mgmt_contract.records import UploadRecord
from mgmt_local.engine.seaweedfs import StorageEngine
from support.assembly import Assembly, function_of, policy_of
from support.engine import connect, fetch, send, versioned_bucket
from support.fakes import FakeWorkQueue
from support.moto_table import REGION, create_table, moto_dynamodb
from support.permissions import requests_of
from support.policies import Request, Statement, find_matches, read_statements
from support.studio import SETTINGS, Machine, Studio, content_of, index_of, item_for, part_of, parts_of

pytestmark = [pytest.mark.cdk, pytest.mark.xdist_group("assembly")]

TABLE = "records"
PREFIX = "team/footage"
LOG = "arn:aws:logs:::log-group:service"
QUEUES = "arn:aws:sqs:eu-west-1:123456789012"
WORKER = "arn:aws:iam::123456789012:role/worker"
POLLING = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
DAY_SECONDS = 24 * 3600


class Recorder:
    """Writes down what every call of a client would need to be allowed."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.signed: set[str] = set()
        """The operations that URLs were signed for."""

    def listen(self, client: Any) -> Any:
        client.meta.events.register("provide-client-params.*.*", self._record)
        return client

    def _record(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        if not context.get("is_presign_request"):
            service = model.service_model.service_id.hyphenize()
            self.requests += requests_of(service, model.name, params)

    def record_url(self, signed: SignedRequest) -> SignedRequest:
        """Write down what a URL was signed for, by what stands in it and in its headers."""
        operation = "UploadPart" if "partNumber=" in signed.url else "PutObject"
        if "versionId=" in signed.url:
            operation = "GetObject"
        self.signed.add(operation)
        self.requests += requests_of("s3", operation, read_request(signed))
        return signed


def read_request(signed: SignedRequest) -> dict[str, Any]:
    """Read the parameters that a policy looks at back from the request: an engine is addressed by path."""
    _, bucket, key = unquote(urlsplit(signed.url).path).split("/", 2)
    parameters = {"x-amz-tagging": "Tagging", "if-match": "IfMatch", "if-none-match": "IfNoneMatch"}
    given = {parameter: signed.headers[name] for name, parameter in parameters.items() if name in signed.headers}
    version_ids = parse_qs(urlsplit(signed.url).query).get("versionId", [])
    return {"Bucket": bucket, "Key": key, **given, **({"VersionId": version_ids[0]} if version_ids else {})}


class RecordedStore(S3ObjectStore):
    """The store, with every URL it signs written down."""

    def __init__(self, client: Any, bucket: str, recorder: Recorder) -> None:
        super().__init__(recorder.listen(client), bucket)
        self._recorder = recorder

    def presign_put(self, *words: Any, **settings: Any) -> SignedRequest:
        return self._recorder.record_url(super().presign_put(*words, **settings))

    def presign_part(self, *words: Any, **settings: Any) -> SignedRequest:
        return self._recorder.record_url(super().presign_part(*words, **settings))

    def restore_object(self, key: str, version_id: str | None, tier: Any, days: int | None) -> None:
        """Write the call down; the engine has nothing archived, and refuses it."""
        with pytest.raises(StorageError):
            super().restore_object(key, version_id, tier, days)

    def presign_get(self, *words: Any, **settings: Any) -> SignedRequest:
        return self._recorder.record_url(super().presign_get(*words, **settings))


class Sender:
    """Plays the client's part of a presigned URL against the engine."""

    def put(self, request: Any, body: bytes) -> int:
        return send(request, body)

    put_part = put


class RecordedQueue(FakeWorkQueue):
    """The worker's queue, with every message to it written down."""

    def __init__(self, clock: Clock, recorder: Recorder) -> None:
        super().__init__(clock)
        self._recorder = recorder

    def send(self, work: Work, *, delay_seconds: int = 0) -> None:
        queue = "joins" if work.task == "settle" else "looks"
        self._recorder.requests += requests_of("sqs", "SendMessage", {"QueueUrl": f"{QUEUES}:{queue}"})
        super().send(work, delay_seconds=delay_seconds)


class Deed(NamedTuple):
    """What was done, by the service and by its worker, and in which bucket."""

    bucket: str
    requests: list[Request]
    worker_requests: list[Request]


@pytest.fixture(scope="module")
def deed(engine: StorageEngine) -> Iterator[Deed]:
    """Everything that the service and its worker do."""
    recorder, worker_recorder = Recorder(), Recorder()
    with ExitStack() as stack:
        bucket = stack.enter_context(versioned_bucket(engine))
        dynamodb = stack.enter_context(moto_dynamodb())
        create_table(dynamodb, TABLE)
        studio = Studio(replace(SETTINGS, bucket=bucket, table=TABLE, root_prefix=PREFIX), has_worker=True)
        studio.queue = RecordedQueue(studio.clock, recorder)
        records = DynamoDBRecordStore(recorder.listen(dynamodb), TABLE, 1)
        studio.serve(records, RecordedStore(connect(engine), bucket, recorder))
        studio.objects = Sender()  # type: ignore[assignment]
        own_dynamodb = make_dynamodb_client(REGION, access_key="testing", secret_key="testing")
        work = Workshop(
            studio,
            DynamoDBRecordStore(worker_recorder.listen(own_dynamodb), TABLE, 1),
            RecordedStore(connect(engine), bucket, worker_recorder),
            RecordedQueue(studio.clock, worker_recorder),
        )
        do_everything(studio.person("ada"), work)
        assert recorder.signed == {"PutObject", "UploadPart", "GetObject"}
        assert worker_recorder.signed == set()
        yield Deed(bucket, recorder.requests, worker_recorder.requests)


@dataclass
class Workshop:
    """The worker beside a studio, on connections of its own."""

    studio: Studio
    records: DynamoDBRecordStore
    objects: RecordedStore
    queue: RecordedQueue

    def do(self, *work: Work) -> None:
        """Do this, what the service has handed over, and what that leads to."""
        settings, clock = self.studio.settings, self.studio.clock
        backends = Backends(settings, self.records, self.objects, clock, remaining_seconds=lambda: 900)
        worker = Worker(backends, self.queue)
        due = [*work, *self.studio.queue.take_due()]
        while due:
            for each in due:
                worker.do(each)
            due = self.queue.take_due()

    def upload(self, ada: Machine, item: StartItem, body: bytes) -> None:
        """Upload an archive in parts, which the worker joins."""
        assert ada.upload(item, body).outcome == "completing"
        self.do()
        assert ada.look_up(item.operation_id)[0].record.status == "success"


def do_everything(ada: Machine, work: Workshop) -> None:
    """Make every call of the contract and all the worker's work, with everything that takes an adapter another way."""
    small, large = b"small", bytes(17 * MIB)
    first = item_for("clip.mp4", small, tags={"project": "film"})
    assert ada.preview(first)[0].outcome == "free"
    assert ada.upload(first, small).outcome == "done"
    assert ada.preview(item_for("clip.mp4", small))[0].outcome == "taken"
    again = item_for("clip.mp4", small + b"er", replace=True)
    assert ada.upload(again, small + b"er").outcome == "done"
    assert ada.start(item_for("clip.mp4", small + b"er")).outcome == "already_there"
    work.upload(ada, item_for("reel.mov", large, tags={"project": "film"}), large)
    work.upload(ada, item_for("reel.mov", large[1:], replace=True), large[1:])
    store_with_an_index(ada, work, large[2:], b"what is in it")
    give_up_a_transfer(ada)
    assert ada.clean_up(CleanUp(first.operation_id, "completed", "deleted"))[0].outcome == "record"
    assert ada.look_up(first.operation_id)[0].outcome == "record"
    opened = ada.open_download(first.operation_id)
    assert fetch(opened.request) == (200, small), "replaced since, and read as it was"
    assert ada.end_download(opened, len(small)).outcome == "record"
    assert ada.look(first.operation_id)[0].outcome == "there"
    archived = item_for("old.mov", small, storage_class="GLACIER")
    assert ada.upload(archived, small).outcome == "done"
    assert ada.restore(archived.operation_id).outcome == "asked"
    assert ada.delete(archived.operation_id).outcome == "done"
    assert ada.undelete(archived.operation_id).outcome == "done"
    assert ada.delete(archived.operation_id).outcome == "done"
    assert ada.upload(item_for("old.mov", small + b"er"), small + b"er").outcome == "done", "the name is free"
    for query in ({}, {"name": "clip.mp4"}, {"actor": "ada"}, {"mine": "true"}, {"status": "failed"}):
        assert ada.history(**query).records, query
    leave_it_to_the_worker(ada, work)


def leave_it_to_the_worker(ada: Machine, work: Workshop) -> None:
    """Have objects confirmed, uploads ended, versions tagged and orphans searched without a client."""
    clock = work.studio.clock
    assert ada.send(ada.start(item_for("alone.mp4", b"alone")), b"alone") == 200
    work.do(Work("arrival", key=f"{PREFIX}/alone.mp4.tar.gz"))
    found = ada.history(name="alone.mp4").records
    assert [each.settled_by for each in found if isinstance(each, UploadRecord)] == ["worker"]
    carried = ada.start(item_for("joined.mov", None, upper_bound=64 * MIB))
    body = bytes(17 * MIB)
    ada.send_parts(ada.sign(carried, parts_of(body, 16 * MIB), content_of(body)), body, 16 * MIB)
    work.studio.queue.take_due()
    clock.advance(660)
    work.do(Work("pending"))
    assert ada.look_up(carried.operation_id)[0].record.status == "success"
    ada.start(item_for("abandoned.mov", None, upper_bound=64 * MIB))
    deleted = ada.upload(item_for("gone.mp4", b"gone"), b"gone")
    assert ada.delete(deleted.operation_id).outcome == "done"
    late = ada.start(item_for("late.mov", None, upper_bound=64 * MIB))
    clock.advance(60 * DAY_SECONDS + work.studio.settings.lease_seconds)
    work.do(Work("deleted"), Work("orphans"), Work("pending"))
    assert ada.look_up(deleted.operation_id)[0].record.removed_at is not None
    assert ada.look_up(late.operation_id)[0].record.error_code == "abandoned"
    Worker(
        Backends(work.studio.settings, work.records, work.objects, clock, remaining_seconds=lambda: 1), work.queue
    ).do(Work("orphans"))


def store_with_an_index(ada: Machine, work: Workshop, body: bytes, index: bytes) -> None:
    """Upload an archive with its index, and get both back."""
    started = ada.start(item_for("card", None, upper_bound=64 * MIB))
    signed = ada.sign(started, parts_of(body, 16 * MIB), content_of(body), index=index_of(index))
    assert set(ada.send_parts(signed, body, 16 * MIB)) == {200}
    assert send(signed.index_request, index) == 200
    assert send(signed.index_request, index) == 412
    assert send(signed.index_request, index[:-1] + b"!") in (400, 403, 412)
    assert ada.complete(started, content_of(body)).outcome == "completing"
    work.do()
    assert ada.complete(started, content_of(body)).record.index_size == len(index)
    opened = ada.open_download(started.operation_id)
    assert fetch(opened.index_request) == (200, index)
    assert fetch(opened.request, (0, 3)) == (206, body[:4])
    assert [seen.index for seen in ada.look(started.operation_id)] == ["there"]


def give_up_a_transfer(ada: Machine) -> None:
    """Send one part of an archive that is still being packed, look what has arrived, and give up."""
    part = bytes(16 * MIB)
    started = ada.start(item_for("unfinished.mov", None, upper_bound=64 * MIB))
    ada.send_parts(ada.sign(started, [part_of(1, part)]), part, len(part))
    parts = parts_of(part + b"end", len(part))
    assert ada.sign(started, parts[1:], content_of(part + b"end")).outcome == "signed"
    assert ada.complete(started, content_of(part + b"end")).outcome == "incomplete"
    assert ada.fail(started).outcome == "record"


@pytest.fixture(scope="module")
def requests(deed: Deed) -> list[Request]:
    return deed.requests


@pytest.fixture(scope="module")
def names(assembly: Assembly, deed: Deed) -> dict[str, str]:
    """What the template's logical ids stand for here."""
    logs = [function_of(assembly, module)["LoggingConfig"]["LogGroup"]["Ref"] for module in ("handler", "worker")]
    queues = {name: f"{QUEUES}:{kind}" for kind, name in queue_names(assembly).items()}
    return {
        next(iter(assembly.find("AWS::S3::Bucket"))): f"arn:aws:s3:::{deed.bucket}",
        next(iter(assembly.find("AWS::DynamoDB::Table"))): f"arn:aws:dynamodb:::table/{TABLE}",
        role_name(assembly, "worker"): WORKER,
        **dict.fromkeys(logs, LOG),
        **queues,
    }


def queue_names(assembly: Assembly) -> dict[str, str]:
    """Find the logical ids of both queues by the environment of the function."""
    variables = function_of(assembly, "handler")["Environment"]["Variables"]
    return {kind: variables[f"MGMT_{kind.upper()}_QUEUE_URL"]["Ref"] for kind in ("joins", "looks")}


def role_name(assembly: Assembly, module: str) -> str:
    """Return the logical id of a function's role."""
    name: str = function_of(assembly, module)["Role"]["Fn::GetAtt"][0]
    return name


@pytest.fixture(scope="module")
def role(assembly: Assembly, names) -> list[Statement]:
    return read_statements(policy_of(assembly, role_name(assembly, "handler"))["PolicyDocument"], names)


@pytest.fixture(scope="module")
def worker_role(assembly: Assembly, names) -> list[Statement]:
    return read_statements(policy_of(assembly, role_name(assembly, "worker"))["PolicyDocument"], names)


@pytest.fixture(scope="module", params=["service", "worker"])
def either(request: pytest.FixtureRequest, deed: Deed, role, worker_role) -> tuple[list[Request], list[Statement]]:
    """What one of the two has done, and its role."""
    if request.param == "service":
        return deed.requests, role
    as_worker = [replace(each, keys={**each.keys, "aws:PrincipalArn": WORKER}) for each in deed.worker_requests]
    return as_worker, worker_role


@pytest.fixture(scope="module")
def belts(assembly: Assembly, names) -> list[Statement]:
    return read_statements(assembly.only("AWS::S3::BucketPolicy")["Properties"]["PolicyDocument"], names)


@pytest.mark.parametrize("module", ["handler", "worker"])
def test_each_role_has_one_policy_and_only_lambda_may_take_it(assembly: Assembly, module):
    name = role_name(assembly, module)
    role = assembly.find("AWS::IAM::Role")[name]["Properties"]
    assert role.keys() == {"AssumeRolePolicyDocument"}
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert policy_of(assembly, name)


def test_the_two_functions_have_roles_of_their_own(assembly: Assembly):
    assert role_name(assembly, "handler") != role_name(assembly, "worker")


def test_every_call_is_allowed(either):
    requests, role = either
    assert [request for request in requests if not find_matches(role, "Allow", request)] == []


def test_no_call_is_stopped_by_the_bucket(either, belts):
    """Every write that creates an object carries a condition, whichever way it goes; the worker's tag is its alone."""
    requests, _ = either
    assert [request for request in requests if find_matches(belts, "Deny", request)] == []


def test_the_workers_tag_is_denied_to_everybody_else(deed: Deed, belts):
    tagging = [each for each in deed.worker_requests if each.action == "s3:PutObjectVersionTagging"]
    assert tagging
    assert all(find_matches(belts, "Deny", each) for each in tagging)


def test_every_permission_is_used(either):
    requests, role = either
    granted = {
        (action, resource)
        for statement in role
        for action in statement["Action"]
        for resource in statement["Resource"]
        if not action.startswith("logs:") and action not in POLLING  # used by Lambda itself
    }
    used = {
        (action, resource)
        for action, resource in granted
        for request in requests
        if find_matches([{"Effect": "Allow", "Action": [action], "Resource": [resource]}], "Allow", request)
    }
    assert granted - used == set()


def test_every_index_is_reached(requests):
    indexes = {request.resource.partition("/index/")[2] for request in requests}
    assert indexes - {""} == set(INDEXES)


def test_no_action_is_a_pattern_and_no_resource_is_everything(either):
    _, role = either
    resources = {resource for statement in role for resource in statement["Resource"]}
    assert not [action for statement in role for action in statement["Action"] if "*" in action]
    assert {resource for resource in resources if "*" in resource} == {
        resource for resource in resources if resource.endswith(f"/{PREFIX}/*")
    }


def test_nothing_can_be_destroyed(either):
    """Neither a version nor a record nor the bucket itself: there is no word for it in the policy."""
    _, role = either
    actions = {action for statement in role for action in statement["Action"]} - {"sqs:DeleteMessage"}
    assert not [action for action in actions if "Delete" in action or ("Put" in action and "Bucket" in action)]


@pytest.mark.parametrize("key", ["team/other/x.tar.gz", "x.tar.gz", f"{PREFIX}-2/x.tar.gz"])
def test_keys_outside_the_prefix_are_out_of_reach(either, deed: Deed, key):
    _, role = either
    request = Request("s3:PutObject", f"arn:aws:s3:::{deed.bucket}/{key}")
    assert find_matches(role, "Allow", request) == []
