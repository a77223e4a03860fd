"""The stack bootstrapped and deployed, unchanged, to an AWS on loopback, and asked through its own API.

Real here: the CDK command, CloudFormation's resources, the zip and its imports, the function's environment and
role (each of its calls is evaluated against the role's policy), TLS, the token's signature and claims, the
presigned URL's signature and the checksum of what is sent. Not real: architecture and runtime, which are this
machine's; S3's own condition keys (test_bucket_policy.py); multipart checksums (the storage engine's tests).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import urllib3

from mgmt_contract import routes
from mgmt_contract.messages import Service
from mgmt_contract.parts import MIB
from mgmt_contract.routes import Route
from mgmt_contract.wire import from_json
from support.assembly import INFRA, STACK, make_environment, run_cdk
from support.certificates import make_certificate
from support.issuer import Issuer, forge_token, run_issuer
from support.ministack import ACCOUNT, REGION, run_ministack
from support.studio import Machine, Studio, content_of, item_for, parts_of
from support.toolchain import LOCAL_ARCHITECTURE, LOCAL_RUNTIME

pytestmark = [
    pytest.mark.cdk,
    pytest.mark.xdist_group("deployed"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="the function's wheels are Linux wheels"),
]

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
        usual = {"sub": "sub-ada", "username": "ada", "client_id": CLIENT_ID, "scope": f"openid {SCOPE}"}
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


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedStack]:
    folder = tmp_path_factory.mktemp("deployed")
    certificate = make_certificate(folder)
    with ExitStack() as stack:
        issuer = stack.enter_context(run_issuer(certificate))
        ministack = stack.enter_context(run_ministack(folder, certificate))
        environment = make_environment(folder) | ministack.admin_environment()
        outputs = deploy(folder, environment, issuer)
        pool = urllib3.PoolManager(ca_certs=str(certificate.certificate_path), retries=False, timeout=60)
        http = stack.enter_context(pool)
        api_id = (urlsplit(outputs["ApiUrl"]).hostname or "").partition(".")[0]
        yield DeployedStack(api_id, ministack.endpoint_url, outputs, issuer, http)


def deploy(folder: Path, environment: Mapping[str, str], issuer: Issuer) -> dict[str, str]:
    """Bootstrap the account and deploy; return the stack's outputs."""
    context = {
        "issuer": issuer.url,
        "client_id": CLIENT_ID,
        "scopes": SCOPE,
        "root_prefix": "team",
        "runtime": LOCAL_RUNTIME,
        "architecture": LOCAL_ARCHITECTURE,
    }
    run_cdk(["bootstrap", f"aws://{ACCOUNT}/{REGION}"], environment, cwd=folder)
    outputs_path = folder / "outputs.json"
    words = ["deploy", "--require-approval=never", f"--outputs-file={outputs_path}", f"--output={folder / 'out'}"]
    words += [f"--context={key}={value}" for key, value in context.items()]
    run_cdk(words, environment, cwd=INFRA)
    outputs: dict[str, str] = json.loads(outputs_path.read_text())[STACK]
    return outputs


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
