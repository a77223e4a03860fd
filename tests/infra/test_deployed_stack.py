"""The stack bootstrapped and deployed, unchanged, to an AWS on loopback, and asked through its own API.

Real here: the CDK command, CloudFormation's resources, the zip and its imports, the function's environment and
role (each of its calls is evaluated against the role's policy), TLS, the token's signature and claims, the
presigned URL's signature and the checksum of what is sent. Not real: architecture and runtime, which are this
machine's; S3's own condition keys (test_bucket_policy.py); multipart checksums (the storage engine's tests).
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote_plus, urlsplit

import boto3
import pytest
import urllib3

from mgmt_api.domain.access import read_actor
from mgmt_contract import routes
from mgmt_contract.messages.service import Service
from mgmt_contract.parts import MIB
from mgmt_contract.records import UploadRecord
from mgmt_contract.routes import Route
from mgmt_contract.sign_in import redirect_uris
from mgmt_contract.wire import from_json
from mgmt_infra.deployment import DeploymentError, read_deployment
from mgmt_local.gateway.authorizer import RefusedError
from support.assembly import INFRA, STACK, find_deployment, make_environment, run_cdk, write_deployment
from support.certificates import make_certificate
from support.events import make_event
from support.issuer import Issuer, forge_token, run_issuer
from support.local_backend import wait_until
from support.loopback import LoopbackServer, QuietHandler
from support.ministack import ACCOUNT, REGION, Ministack, run_ministack
from support.pool import DeployedPool, deploy_pool
from support.studio import Machine, Studio, content_of, item_for, parts_of
from support.team import Laptop
from support.toolchain import LOCAL_ARCHITECTURE, LOCAL_RUNTIME
from support.trees import noise

pytestmark = [
    pytest.mark.cdk,
    pytest.mark.xdist_group("deployed"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="the function's wheels are Linux wheels"),
]

SECOND = timedelta(seconds=1)
CLIENT_ID = "mgmt-command"
SCOPE = "mgmt/use"


@dataclass
class DeployedStack:
    """The deployed service as a client sees it; stands where tests of the service have a studio."""

    api_id: str
    endpoint_url: str
    outputs: Mapping[str, str]
    issuer: Issuer
    http: urllib3.PoolManager
    objects: Any = field(init=False)

    def __post_init__(self) -> None:
        self.objects = self

    def make_token(self, **claims: Any) -> str:
        """Make a token that the API accepts, but for the claims given here."""
        usual = {
            "sub": "sub-ada",
            "username": "ada",
            "client_id": CLIENT_ID,
            "scope": f"openid {SCOPE}",
            "cognito:groups": ["editors"],
        }
        return self.issuer.make_token(**(usual | claims))

    def call(
        self,
        route: Route,
        token: str | None = None,
        *,
        body: str | None = None,
        query: Any = None,
        run_id: str | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Call the API under its own host name."""
        headers = {"Host": f"{self.api_id}.execute-api.localhost", "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if run_id is not None:
            headers[routes.RUN_ID_HEADER] = run_id
        url = self.endpoint_url + route.path
        if route.method == "GET":
            return self.http.request("GET", url, fields=query, headers=headers)
        return self.http.request(route.method, url, body=body, headers=headers)

    def app(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Send what a test of the service would hand to the function as an event."""
        method, path = event["routeKey"].split(" ")
        claims = event["requestContext"]["authorizer"]["jwt"]["claims"]
        answer = self.call(
            Route(method, path),
            self.make_token(sub=claims["sub"], username=claims["username"]),
            body=event.get("body"),
            query=event.get("queryStringParameters"),
            run_id=event["headers"].get(routes.RUN_ID_HEADER),
        )
        return {"statusCode": answer.status, "body": answer.data.decode()}

    def put_part(self, request: Any, body: bytes) -> int:
        """Send a part to its presigned URL."""
        return self.put(request, body)

    def put(self, request: Any, body: bytes) -> int:
        """Send bytes to a presigned URL."""
        return self.http.request("PUT", request.url, body=body, headers=request.headers).status

    def person(self, name: str) -> Machine:
        """Sit a person down at a machine of their own."""
        return Studio.person(cast("Studio", self), name)


@dataclass(frozen=True)
class Account:
    """An AWS account, bootstrapped, with an issuer beside it."""

    folder: Path
    issuer: Issuer
    ministack: Ministack
    environment: Mapping[str, str]
    http: urllib3.PoolManager

    def client(self, service: str) -> Any:
        """Connect to a service of the account as its admin."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # any of them
            region_name=REGION,
            endpoint_url=self.ministack.endpoint_url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            verify=str(self.ministack.certificate.certificate_path),
        )


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("deployed")
    certificate = make_certificate(folder)
    with ExitStack() as stack:
        issuer = stack.enter_context(run_issuer(certificate))
        ministack = stack.enter_context(run_ministack(folder, certificate))
        environment = make_environment(folder) | ministack.admin_environment()
        run_cdk(["bootstrap", f"aws://{ACCOUNT}/{REGION}"], environment, cwd=folder)
        pool = urllib3.PoolManager(ca_certs=str(certificate.certificate_path), retries=False, timeout=60)
        yield Account(folder, issuer, ministack, environment, stack.enter_context(pool))


@pytest.fixture(scope="module")
def deployed(account: Account) -> DeployedStack:
    outputs = deploy(account.folder, account.environment, account.issuer)
    api_id = (urlsplit(outputs["ApiUrl"]).hostname or "").partition(".")[0]
    return DeployedStack(api_id, account.ministack.endpoint_url, outputs, account.issuer, account.http)


@pytest.fixture(scope="module")
def pooled(account: Account, tmp_path_factory: pytest.TempPathFactory) -> DeployedPool:
    folder = tmp_path_factory.mktemp("pooled")
    local = {"runtime": LOCAL_RUNTIME, "architecture": LOCAL_ARCHITECTURE}
    return deploy_pool(folder, account.environment, account.ministack, account.http, **local)


def deploy(folder: Path, environment: Mapping[str, str], issuer: Issuer) -> dict[str, str]:
    """Deploy; return the stack's outputs."""
    deployment = {
        "issuer": issuer.url,
        "client_id": CLIENT_ID,
        "scopes": [SCOPE],
        "member_group": "editors",
        "root_prefix": "team",
        "runtime": LOCAL_RUNTIME,
        "architecture": LOCAL_ARCHITECTURE,
    }
    outputs_path = folder / "outputs.json"
    words = ["deploy", "--require-approval=never", f"--outputs-file={outputs_path}", f"--output={folder / 'out'}"]
    words += [f"--context=deployment={write_deployment(folder, deployment)}"]
    run_cdk(words, environment, cwd=INFRA)
    outputs: dict[str, str] = json.loads(outputs_path.read_text())[STACK]
    return outputs


def find_resources(account: Account, kind: str) -> dict[str, str]:
    """Return what the stack has of a kind, with the name of each in the template: the pool's stack is another's."""
    resources = account.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    return {each["PhysicalResourceId"]: each["LogicalResourceId"] for each in resources if each["ResourceType"] == kind}


def find_queue(account: Account) -> str:
    """Return the name of the queue of looks."""
    (queue,) = (url for url, name in find_resources(account, "AWS::SQS::Queue").items() if "Looks" in name)
    return queue.rpartition("/")[2]


def test_the_service_describes_itself_without_a_token(deployed: DeployedStack):
    answer = deployed.call(routes.DESCRIBE)
    service = from_json(Service, answer.data)
    assert answer.status == 200
    assert (service.bucket, service.region) == (deployed.outputs["BucketName"], REGION)
    assert (service.issuer, service.client_id, service.scopes) == (deployed.issuer.url, CLIENT_ID, (SCOPE,))


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        pytest.param({"client_id": "another"}, 401, id="for another client"),
        pytest.param({"iss": "https://elsewhere.example"}, 401, id="of another issuer"),
        pytest.param({"exp": 1}, 401, id="expired"),
        pytest.param({"scope": "openid"}, 403, id="without the scope"),
        pytest.param({"cognito:groups": ["visitors"]}, 403, id="of somebody who is no member"),
    ],
)
def test_a_token_that_is_not_for_this_service_is_refused(deployed: DeployedStack, claims, status):
    assert deployed.call(routes.HISTORY, deployed.make_token(**claims)).status == status


def test_no_token_and_a_forged_one_are_refused(deployed: DeployedStack):
    now = int(time.time())
    claims = {"iss": deployed.issuer.url, "exp": now + 60, "client_id": CLIENT_ID, "scope": SCOPE, "sub": "eve"}
    assert deployed.call(routes.HISTORY).status == 401
    assert deployed.call(routes.HISTORY, forge_token(claims)).status == 401


def test_an_upload_goes_from_start_to_history(deployed: DeployedStack):
    """The actor in the record is the one the token names, the run the one that the client's header names."""
    ada, body = replace(deployed.person("ada"), run_id="run-1"), b"footage" * 1000
    started = ada.start(item_for("clip.mp4", body, tags={"project": "film"}))
    assert started.s3_object_key == "team/clip.mp4.tar.gz"
    assert ada.send(started, body) == 200
    completed = ada.complete(started, content_of(body))
    assert completed.outcome == "done", completed
    (found,) = ada.history(name="clip.mp4").records
    assert (found.operation_id, found.status, found.actor) == (started.operation_id, "success", "ada")
    assert found.run_id == "run-1"


def test_an_upload_is_deleted_its_name_taken_and_the_upload_brought_back(deployed: DeployedStack):
    """One transaction of three items for each, and a replacement that names the deleted object."""
    ada, bob, old, new = deployed.person("ada"), deployed.person("bob"), b"old" * 1000, b"new" * 1000
    first = ada.start(item_for("deleted.mp4", old))
    ada.send(first, old)
    assert ada.complete(first, content_of(old)).outcome == "done"
    deleted = ada.delete(first.operation_id)
    assert (deleted.outcome, deleted.upload.deleted_by) == ("done", "ada")
    assert (deleted.record.recoverable_until - deleted.record.started_at).days == 30
    assert bob.delete(first.operation_id).problem.code == "not-allowed"
    second = bob.start(item_for("deleted.mp4", new))
    assert bob.send(second, new) == 200
    assert bob.complete(second, content_of(new)).outcome == "done"
    back = ada.undelete(first.operation_id)
    assert (back.outcome, back.upload.deleted_at, back.newer.actor) == ("done", None, "bob")
    types = [record.operation_type for record in ada.history(name="deleted.mp4").records]
    assert sorted(types) == ["delete", "delete", "undelete", "upload", "upload"]


def test_an_upload_is_read_back_looked_at_and_known_to_be_deleted(deployed: DeployedStack):
    """The way back: a presigned GET of the very version, its end, and what `safe` asks."""
    ada, bob, body = deployed.person("ada"), deployed.person("bob"), b"footage" * 3000
    started = ada.start(item_for("back.mp4", body))
    assert ada.send(started, body) == 200
    assert ada.complete(started, content_of(body)).outcome == "done"
    opened = bob.open_download(started.operation_id)
    assert opened.outcome == "opened", opened
    assert opened.request is not None
    whole = deployed.http.request("GET", opened.request.url, headers=opened.request.headers)
    assert (whole.status, whole.data) == (200, body)
    ended = bob.end_download(opened, len(body)).record
    assert ended is not None
    assert (ended.status, ended.actor) == ("success", "bob")
    (looked,) = bob.look(started.operation_id)
    assert (looked.outcome, looked.deleted_at) == ("there", None)
    assert ada.delete(started.operation_id).outcome == "done"
    (looked,) = bob.look(started.operation_id)
    assert (looked.outcome, looked.deleted_at is not None) == ("there", True)


class ApiAddress(QuietHandler):
    """The API under an address of this machine: its own has none, and the command trusts S3's here only beside it."""

    deployed: DeployedStack

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = dict(self.headers.items()) | {"Host": f"{self.deployed.api_id}.execute-api.localhost"}
        url = self.deployed.endpoint_url + self.path
        answer = self.deployed.http.request(self.command, url, body=body or None, headers=headers)
        self.send_response_only(answer.status)
        for name in ("content-type", "www-authenticate", "retry-after"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("content-length", str(len(answer.data)))
        self.end_headers()
        self.wfile.write(answer.data)

    do_GET = do_POST = _pass_on  # noqa: N815  the names http.server looks for


@pytest.fixture
def laptops(deployed: DeployedStack, account: Account, tmp_path: Path) -> Iterator[dict[str, Laptop]]:
    """Give two people of the team a laptop each, with the command on it."""
    certificate = str(account.ministack.certificate.certificate_path)
    with closing(LoopbackServer(type("Here", (ApiAddress,), {"deployed": deployed}))) as here:
        made = {}
        for name in ("ada", "bob"):
            folder = tmp_path / name
            (folder / "work").mkdir(parents=True)
            token = deployed.make_token(sub=f"sub-{name}", username=name)
            environment = {"MGMT_API_URL": here.url, "MGMT_TOKEN": token, "MGMT_CA_BUNDLE": certificate}
            folders = {"MGMT_CONFIG": "config", "MGMT_STATE_DIR": "state", "XDG_CACHE_HOME": "cache"}
            environment |= {variable: str(folder / each) for variable, each in folders.items()}
            made[name] = Laptop(folder, folder / "work", environment)
        yield made


def test_a_card_goes_to_the_deployed_stack_and_comes_back(laptops: dict[str, Laptop]):
    """The real command: upload, contents, download whole and one clip, safe, delete, undelete, show."""
    ada, bob = laptops["ada"], laptops["bob"]
    card = ada.work / "CARD_A"
    (card / "DCIM").mkdir(parents=True)
    (card / "DCIM" / "C0001.mov").write_bytes(noise(3 * MIB))
    (card / "DCIM" / "C0002.mov").write_bytes(noise(MIB + 1))
    (card / "link").symlink_to("DCIM/C0001.mov")
    run = ada.run("--json", "upload", "CARD_A")
    assert run.exit_code == 0, run.stderr
    [record] = run.records
    assert record["s3_object_key"] == "team/CARD_A.tar.gz"
    listed = [line["path"] for line in bob.run("--json", "contents", "CARD_A", "*.mov").lines if "path" in line]
    assert listed == ["CARD_A/DCIM/C0001.mov", "CARD_A/DCIM/C0002.mov"]

    run = bob.run("download", "--extract", "CARD_A")
    assert run.exit_code == 0, run.stderr
    assert subprocess.run(["diff", "-r", card, bob.work / "CARD_A"], check=False).returncode == 0
    (bob.work / "one").mkdir()
    run = bob.run("download", "--only", "C0002.mov", "--to", "one", "CARD_A")
    assert run.exit_code == 0, run.stderr
    assert [path.name for path in (bob.work / "one").rglob("*.mov")] == ["C0002.mov"]
    clips = [card / "DCIM" / "C0002.mov", bob.work / "one" / "CARD_A" / "DCIM" / "C0002.mov"]
    assert subprocess.run(["cmp", *clips], check=False).returncode == 0

    assert ada.run("safe", "CARD_A").exit_code == 0
    assert bob.run("safe", "--read-back", "CARD_A").exit_code == 0
    with (card / "DCIM" / "C0002.mov").open("r+b") as clip:
        clip.seek(1000)
        clip.write(b"!")
    run = ada.run("--json", "safe", "CARD_A")
    assert run.exit_code == 11
    assert any(line.get("path", "").endswith("C0002.mov") for line in run.lines)
    assert bob.run("delete", "--yes", "CARD_A").exit_code == 6, "it is ada's"
    assert ada.run("delete", "--yes", "CARD_A").exit_code == 0
    assert bob.run("safe", "CARD_A").exit_code == 11
    assert bob.run("download", "--to", "one", "CARD_A").exit_code == 4
    assert ada.run("undelete", "--yes", record["operation_id"]).exit_code == 0
    assert bob.run("safe", "CARD_A").exit_code == 0
    assert "team/CARD_A.tar.gz" in bob.run("show", "CARD_A").stdout
    history = bob.run("--json", "history", "CARD_A").records
    places = {each["target_path"] for each in history if each["operation_type"] == "download"}
    assert {"CARD_A", "one/CARD_A"} < places, "beside what contents and safe have read"
    others = [(each["operation_type"], each["status"]) for each in history if each["operation_type"] != "download"]
    assert others == [("undelete", "success"), ("delete", "success"), ("delete", "failed"), ("upload", "success")]


def test_a_large_upload_can_be_begun_looked_at_and_given_up(deployed: DeployedStack):
    """Everything of a multipart upload but its completion, which ministack does not verify as S3 does."""
    ada, part_size = deployed.person("ada"), 16 * MIB
    body = bytes(part_size) + b"end"
    started = ada.start(item_for("reel.mov", None, upper_bound=64 * MIB))
    first, last = parts_of(body, part_size)
    ada.send_parts(ada.sign(started, [first]), body, part_size)
    assert ada.sign(started, [last], content_of(body)).outcome == "signed"
    completed = ada.complete(started, content_of(body))
    assert (completed.outcome, completed.missing_parts) == ("incomplete", [2])
    failed = ada.fail(started).record
    assert failed is not None
    assert failed.status == "failed"


def test_the_worker_confirms_an_upload_whose_client_is_gone(deployed: DeployedStack, account: Account):
    """Queue, function, role and records are real; the message is S3's, but comes without its delay of 5 minutes."""
    ada, body = deployed.person("ada"), b"footage that nobody asks about"
    started = ada.start(item_for("alone (1).mp4", body))
    assert ada.send(started, body) == 200
    sqs = account.client("sqs")
    looks = sqs.get_queue_url(QueueName=find_queue(account))["QueueUrl"]
    stored = {"key": quote_plus(str(started.s3_object_key))}
    event = {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": stored}}]}
    sqs.send_message(QueueUrl=looks, MessageBody=json.dumps(event), DelaySeconds=0)

    def find_record() -> UploadRecord | None:
        (found,) = ada.look_up(started.operation_id)
        return found.record if isinstance(found.record, UploadRecord) and found.record.status == "success" else None

    wait_until(lambda: find_record() is not None, seconds=60)
    record = find_record()
    assert record is not None
    assert record.settled_by == "worker"
    assert ada.complete(started, content_of(body)).outcome == "done"


def test_bucket_and_schedule_feed_the_queue_of_looks(deployed: DeployedStack, account: Account):
    told = account.client("s3").get_bucket_notification_configuration(Bucket=deployed.outputs["BucketName"])
    (queue,) = told["QueueConfigurations"]
    assert queue["QueueArn"].rpartition(":")[2] == find_queue(account)
    assert queue["Events"] == ["s3:ObjectCreated:*"]
    scheduler = account.client("scheduler")
    schedules = [scheduler.get_schedule(Name=name) for name in find_resources(account, "AWS::Scheduler::Schedule")]
    assert {json.loads(each["Target"]["Input"])["task"]: each["ScheduleExpression"] for each in schedules} == {
        "pending": "rate(5 minutes)",
        "deleted": "rate(1 hour)",
        "orphans": "rate(7 days)",
    }
    assert {each["Target"]["Arn"] for each in schedules} == {queue["QueueArn"]}


def test_other_bytes_than_those_signed_for_are_refused(deployed: DeployedStack):
    ada, body = deployed.person("ada"), b"footage"
    started = ada.start(item_for("other.mp4", body))
    assert ada.send(started, b"FOOTAGE") == 400
    assert ada.complete(started, content_of(body)).outcome == "incomplete"


def test_a_url_that_was_changed_is_refused(deployed: DeployedStack):
    ada, body = deployed.person("ada"), b"footage"
    started = ada.start(item_for("changed.mp4", body))
    assert started.request is not None
    url = started.request.url.replace("changed.mp4", "clip.mp4")
    assert deployed.http.request("PUT", url, body=body, headers=started.request.headers).status == 403


def test_what_a_deployment_leaves_is_the_record_that_the_next_one_is_compared_with(
    deployed: DeployedStack, account: Account, tmp_path: Path
):
    """The file is the one that the CDK command has written, from the outputs of the stack."""
    record = (account.folder / "outputs.json").read_text()
    last = tomllib.loads((account.folder / "deployment.toml").read_text())
    assert find_deployment({"deployment": str(write_deployment(tmp_path, last, record))})
    for name in ("scopes", "member_group", "root_prefix"):
        now = {key: value for key, value in last.items() if key != name}
        with pytest.raises(DeploymentError, match=f"confirm={name}"):
            find_deployment({"deployment": str(write_deployment(tmp_path, now, record))})


# --- the sign-in that the stack makes ------------------------------------------------------------------


def claims_of(token: str) -> dict[str, Any]:
    """Read a token's claims."""
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims


def role_of(token: str) -> str:
    """Find the role that the service gives to a token of the pool."""
    event = make_event(routes.HISTORY, claims=claims_of(token), headers={"authorization": f"Bearer {token}"})
    return read_actor(event, read_deployment({}).settings).role


def test_the_pools_client_has_the_addresses_that_the_command_returns_to(pooled: DeployedPool):
    """They hold the pool's id, which is known only when the pool is there."""
    words = {"UserPoolId": pooled.pool_id, "ClientId": pooled.client_id}
    registered = pooled.api.describe_user_pool_client(**words)["UserPoolClient"]["CallbackURLs"]
    assert sorted(registered) == sorted(redirect_uris(pooled.issuer))


def test_a_person_whom_an_admin_has_made_signs_in_and_is_named_readably(pooled: DeployedPool):
    pooled.make_person("anna", "admins")
    pooled.make_person("bert", "members")
    for name, role in (("anna", "admin"), ("bert", "member")):
        tokens = pooled.sign_in(name)
        claims = claims_of(tokens["access_token"])
        assert (claims["username"], claims["exp"] - claims["iat"]) == (name, 15 * 60)
        assert role_of(tokens["access_token"]) == role
        assert role_of(tokens["id_token"]) == "nobody"


def test_a_token_of_the_pool_without_the_scope_makes_nobody_a_member(pooled: DeployedPool):
    pooled.make_person("carl", "members")
    assert role_of(pooled.sign_in("carl", "openid")["access_token"]) == "nobody"


@pytest.mark.parametrize("removed", ["disabled", "deleted"])
def test_somebody_who_is_removed_from_the_pool_is_out_within_half_an_hour(pooled: DeployedPool, removed):
    """No other token from then on; the last one until it ends, by a clock that is moved on; then the last URL."""
    name = f"was-{removed}"
    pooled.make_person(name, "members")
    tokens = pooled.sign_in(name)
    assert pooled.refresh(tokens)[0] == 200
    removed_at = datetime.now(UTC)
    words = {"UserPoolId": pooled.pool_id, "Username": name}
    if removed == "disabled":
        pooled.api.admin_disable_user(**words)
    else:
        pooled.api.admin_delete_user(**words)
    status, answer = pooled.refresh(tokens)
    assert (status, answer["error"]) == (400, "invalid_grant")
    settings = read_deployment({}).settings
    ends_at = datetime.fromtimestamp(claims_of(tokens["access_token"])["exp"], UTC)
    before, after = (pooled.authorizer(settings.scopes, lambda at=at: at) for at in (ends_at - SECOND, ends_at))
    assert before.authorize(tokens["access_token"]).claims["username"] == name
    with pytest.raises(RefusedError, match="expired"):
        after.authorize(tokens["access_token"])
    assert ends_at + timedelta(seconds=settings.url_life_seconds) - removed_at <= timedelta(minutes=30)


def test_the_gateways_check_takes_the_pools_access_token_and_no_id_token(pooled: DeployedPool):
    pooled.make_person("dora", "members")
    tokens = pooled.sign_in("dora")
    authorizer = pooled.authorizer(read_deployment({}).settings.scopes, lambda: datetime.now(UTC))
    assert "mgmt/use" in authorizer.authorize(tokens["access_token"]).scopes
    with pytest.raises(RefusedError, match="none of the scopes"):
        authorizer.authorize(tokens["id_token"])
