"""What a deployment may decide, and what it is told when it decides wrongly."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import mgmt_infra.deployment as deployment_module
from mgmt_api.domain.settings import Settings
from mgmt_infra.deployment import Deployment, DeploymentError, read_deployment

LEAST = {"issuer": "https://sign-in.example", "client_id": "mgmt-command"}


def test_issuer_and_client_id_are_enough():
    deployment = read_deployment(LEAST.get)
    assert deployment.variables == {"MGMT_ISSUER": LEAST["issuer"], "MGMT_CLIENT_ID": "mgmt-command"}
    assert deployment.settings.url_life_seconds == Settings("b", "t", "r").url_life_seconds
    assert (deployment.runtime, deployment.architecture) == ("python3.13", "arm64")


def test_everything_wrong_is_named_at_once():
    wrong = {"architecture": "sparc", "request_burst": "0", "url_life_seconds": "1e9"}
    with pytest.raises(DeploymentError) as caught:
        read_deployment(wrong.get)
    for key in ("issuer", "audience or client_id", "architecture", "request_burst", "MGMT_URL_LIFE_SECONDS"):
        assert key in str(caught.value)


def test_an_issuer_that_api_gateway_would_refuse_is_refused_before():
    with pytest.raises(DeploymentError, match="issuer is 'http:"):
        read_deployment((LEAST | {"issuer": "http://sign-in.example"}).get)


@pytest.mark.parametrize("prefix", ["*", "team?", "${aws:username}", "team/*/x"])
def test_a_root_prefix_cannot_widen_the_role(prefix):
    with pytest.raises(DeploymentError, match="root_prefix"):
        read_deployment((LEAST | {"root_prefix": prefix}).get)


def test_an_audience_that_is_also_the_client_id_is_asked_for_once():
    deployment = read_deployment((LEAST | {"audience": "mgmt-command"}).get)
    assert deployment.audiences == ["mgmt-command"]


def test_scopes_may_be_a_list_in_cdk_json():
    context = LEAST | {"scopes": ["mgmt/use", "mgmt/upload"], "request_burst": 7}
    deployment = read_deployment(context.get)
    assert deployment.settings.scopes == ("mgmt/use", "mgmt/upload")
    assert deployment.request_burst == 7


def test_a_deployment_cannot_name_bucket_table_or_region():
    deployment = read_deployment((LEAST | {"bucket": "x", "table": "x", "region": "x"}).get)
    assert deployment.variables.keys().isdisjoint({"MGMT_BUCKET", "MGMT_TABLE", "MGMT_REGION"})


def test_every_key_is_documented():
    """The table in the module's docstring names all that can be given."""
    text = deployment_module.__doc__ or ""
    own = {field.name for field in dataclasses.fields(Deployment)} - {"settings", "variables"}
    theirs = {field.name for field in dataclasses.fields(Settings)} - {"bucket", "table", "region"}
    assert not {key for key in own | theirs if key not in text}


def test_the_readme_says_how_a_first_deployment_goes_in_three_lines():
    """An account that was never bootstrapped refuses to deploy."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Deploy\n+```sh\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    install, bootstrap, deploy = block[1].splitlines()
    assert "make setup" in install
    assert "cdk bootstrap" in bootstrap
    assert deploy.startswith("cdk deploy -c issuer=")
