"""What a deployment may decide, and what it is told when it decides wrongly."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import jmespath
import pytest

from mgmt_api.domain.settings import Settings
from mgmt_contract.sign_in import redirect_uris
from mgmt_infra.deployment import Deployment, DeploymentError, read_deployment, read_file
from mgmt_infra.keys import GUARDED, KEYS, describe_pattern
from mgmt_infra.record import OUTPUT, explain_recovery, path_of_record, write_values
from support.assembly import INFRA, find_deployment, write_deployment

DESCRIBE = ["aws", "cloudformation", "describe-stacks", "--stack-name"]
DOCS = INFRA.parent / "docs"
LEAST = {"issuer": "https://sign-in.example", "client_id": "mgmt-command", "scopes": ["mgmt/use"]}
FULL = LEAST | {"member_group": "editors", "root_prefix": "team", "feed_shards": 8}


# --- the values ----------------------------------------------------------------------------------------


def test_an_issuer_needs_a_client_and_what_makes_a_member():
    deployment = read_deployment(LEAST)
    assert deployment.variables == {
        "MGMT_ISSUER": LEAST["issuer"],
        "MGMT_CLIENT_ID": "mgmt-command",
        "MGMT_SCOPES": "mgmt/use",
    }
    assert deployment.settings.url_life_seconds == Settings("b", "t", "r").url_life_seconds
    assert (deployment.runtime, deployment.architecture, deployment.makes_pool) == ("python3.13", "arm64", False)


def test_nothing_at_all_is_a_deployment_with_a_user_pool():
    deployment = read_deployment({})
    assert deployment.makes_pool
    assert (deployment.settings.member_group, deployment.settings.scopes) == ("members", ("mgmt/use",))
    pooled = deployment.with_sign_in("https://pool.example", "client")
    assert pooled.audiences == ["client"]
    assert pooled.variables["MGMT_ISSUER"] == "https://pool.example"
    assert pooled.makes_pool


def test_everything_wrong_is_named_at_once():
    wrong = {"issuer": "x", "architecture": "sparc", "request_burst": 0, "lease_seconds": "soon", "scopes": "mgmt/use"}
    with pytest.raises(DeploymentError) as caught:
        read_deployment(wrong)
    for name in wrong:
        assert name in str(caught.value)


def test_a_number_that_the_function_would_refuse_is_refused_before():
    with pytest.raises(DeploymentError, match="MGMT_URL_LIFE_SECONDS is '3601'"):
        read_deployment(LEAST | {"url_life_seconds": 3601})


def test_what_a_value_must_look_like_is_said_in_words():
    for key in KEYS.values():
        assert key.pattern is None or re.fullmatch(r"[\w -./:]+", describe_pattern(key.pattern)), key.pattern
    with pytest.raises(DeploymentError, match=r"first_admins is 'anna', expected an e-mail address$"):
        read_deployment({"first_admins": {"anna": "anna"}})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param({"issuer": LEAST["issuer"]}, "audience or client_id is missing", id="any token of the issuer"),
        pytest.param({"issuer": LEAST["issuer"], "client_id": "x"}, "member_group or scopes is missing", id="anybody"),
        pytest.param(LEAST | {"scopes": ["openid"]}, "scopes has openid", id="a scope that everybody has"),
        pytest.param(
            LEAST | {"read_scopes": ["mgmt/read", "openid"]}, "read_scopes has openid", id="everybody reads the history"
        ),
        pytest.param(
            {k: v for k, v in LEAST.items() if k != "scopes"}
            | {"member_group": "editors", "read_scopes": ["mgmt/read"]},
            "read_scopes needs scopes",
            id="members who could only read",
        ),
        pytest.param(
            LEAST | {"member_group": "team", "admin_group": "team"}, "admin_group is member_group too", id="all admins"
        ),
        pytest.param(LEAST | {"member_group": "admins"}, "admin_group is member_group too", id="all admins by default"),
        pytest.param({"url_life_seconds": 901}, "url_life_seconds is more than 900", id="longer than half an hour"),
        pytest.param(LEAST | {"machine_clients": ["mgmt-command"]}, "machine_clients has", id="people as machines"),
        pytest.param({"client_id": "x"}, "client_id describes a sign-in of your own", id="client without issuer"),
        pytest.param({"scopes": ["x/y"]}, "scopes describes a sign-in of your own", id="scopes without issuer"),
        pytest.param(
            LEAST | {"first_admins": {"a": "a@b.c"}}, "first_admins is for the user pool", id="admins of no pool"
        ),
        pytest.param({"first_admins": {"Anna B": "a@b.c"}}, "'Anna B' is no name", id="no name to sign in with"),
        pytest.param({"first_admins": {"anna": "anna"}}, "first_admins is 'anna'", id="no address"),
        pytest.param(LEAST | {"replace_others": "nobody"}, "replace_others is 'nobody'", id="no such choice"),
    ],
)
def test_what_does_not_go_together_is_refused(values, told):
    with pytest.raises(DeploymentError, match=re.escape(told)):
        read_deployment(values)


def test_a_key_at_the_end_of_the_shipped_file_is_told_to_stand_above_its_table(tmp_path: Path):
    """TOML takes it for a part of the table, and what is said of such a table is no help."""
    shipped = (INFRA / "deployment.toml").read_text(encoding="utf-8")
    path = tmp_path / "deployment.toml"
    for line, name in (('machine_clients = ["4rj2"]', "machine_clients"), ('root_prefix = "team"', "root_prefix")):
        path.write_text(f"{shipped}\n{line}\n", encoding="utf-8")
        with pytest.raises(DeploymentError, match=rf"{name} stands below \[first_admins\].* write it above"):
            read_file(path)


def test_every_example_in_the_shipped_file_can_be_uncommented_where_it_stands(tmp_path: Path):
    shipped = (INFRA / "deployment.toml").read_text(encoding="utf-8")
    path = tmp_path / "deployment.toml"
    path.write_text(re.sub(r"^# (\w+ = )", r"\1", shipped, flags=re.MULTILINE), encoding="utf-8")
    deployment = read_file(path)
    assert deployment.settings.machine_clients
    assert deployment.first_admins


def test_an_issuer_of_ones_own_decides_how_long_urls_live():
    assert read_deployment(LEAST | {"url_life_seconds": 3600}).settings.url_life_seconds == 3600


def test_an_issuer_that_api_gateway_would_refuse_is_refused_before():
    with pytest.raises(DeploymentError, match="issuer is 'http:"):
        read_deployment(LEAST | {"issuer": "http://sign-in.example"})


@pytest.mark.parametrize("prefix", ["*", "team?", "${aws:username}", "team/*/x"])
def test_a_root_prefix_cannot_widen_the_role(prefix):
    with pytest.raises(DeploymentError, match="root_prefix"):
        read_deployment(LEAST | {"root_prefix": prefix})


def test_an_audience_that_is_also_the_client_id_is_asked_for_once():
    deployment = read_deployment(LEAST | {"audience": "mgmt-command"})
    assert deployment.audiences == ["mgmt-command"]


def test_where_an_audience_is_named_tokens_made_for_the_client_itself_do_not_fit():
    """Such as ID tokens: their audience is the client."""
    machines = {"machine_clients": ["ci"]}
    assert read_deployment(LEAST | machines | {"audience": "mgmt"}).audiences == ["mgmt"]
    assert read_deployment(LEAST | machines).audiences == ["mgmt-command", "ci"]


@pytest.mark.parametrize(
    ("name", "nearest"), [("scope", "scopes"), ("feed_shard", "feed_shards"), ("admin-group", "admin_group")]
)
def test_an_unknown_key_is_refused_with_the_nearest_one(name, nearest):
    with pytest.raises(DeploymentError, match=f"{name} is unknown; did you mean {nearest}"):
        read_deployment(LEAST | {name: "x"})


@pytest.mark.parametrize("name", ["bucket", "table", "region"])
def test_a_deployment_cannot_name_bucket_table_or_region(name):
    with pytest.raises(DeploymentError, match=f"{name} is unknown"):
        read_deployment(LEAST | {name: "x"})


def test_every_key_is_in_the_table_and_nothing_else():
    """From which the documents are made."""
    own = {field.name for field in dataclasses.fields(Deployment)} - {"settings", "values"}
    theirs = {field.name for field in dataclasses.fields(Settings)}
    theirs -= {"bucket", "table", "region", "joins_queue_url", "looks_queue_url"}
    theirs -= {"restores_archived", "storage_classes"}
    assert KEYS.keys() == own | theirs


# --- the file ------------------------------------------------------------------------------------------


def test_the_values_stand_in_a_file_and_are_read_from_there(tmp_path: Path):
    found = find_deployment({"deployment": str(write_deployment(tmp_path, FULL))})
    assert found == read_deployment(FULL)


def test_the_file_that_comes_with_the_project_can_be_deployed():
    assert find_deployment({}) == read_file(INFRA / "deployment.toml")


def test_a_value_on_the_command_line_is_refused_because_the_next_deployment_would_forget_it():
    with pytest.raises(DeploymentError, match=r"issuer is given with -c. Write it into deployment\.toml"):
        find_deployment({"issuer": "https://sign-in.example"})


@pytest.mark.parametrize(
    ("name", "nearest"), [("confrim", "confirm"), ("deploymnet", "deployment"), ("isuer", "issuer")]
)
def test_a_mistyped_word_on_the_command_line_is_refused_with_the_nearest_one(name, nearest):
    with pytest.raises(DeploymentError, match=f"-c {name} is unknown; did you mean {nearest}"):
        find_deployment({name: "x"})


def test_what_the_cdk_command_itself_puts_into_the_context_is_left_alone(tmp_path: Path):
    context = json.loads((INFRA / "cdk.json").read_text())["context"]
    context |= {"aws:cdk:enable-path-metadata": True, "cli-telemetry": False, "acknowledged-issue-numbers": [34892]}
    assert find_deployment(context | {"deployment": str(write_deployment(tmp_path, FULL))})


def test_a_file_that_is_no_toml_is_named(tmp_path: Path):
    path = write_deployment(tmp_path, {})
    path.write_text("issuer = https://sign-in.example")
    with pytest.raises(DeploymentError, match=r"deployment\.toml cannot be read as TOML"):
        find_deployment({"deployment": str(path)})


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DeploymentError, match=r"^there is no file .*team-b\.toml"):
        find_deployment({"deployment": str(tmp_path / "team-b.toml")})


# --- what has changed since the last deployment --------------------------------------------------------


def deploy_again(folder: Path, last: dict[str, Any], now: dict[str, Any], confirm: str = "") -> Deployment:
    """Find a deployment beside the record that the last one has left."""
    record = {read_deployment(last).stack_name: {"ApiUrl": "https://x", OUTPUT: write_values(read_deployment(last))}}
    path = write_deployment(folder, now, json.dumps(record))
    return find_deployment({"deployment": str(path), "confirm": confirm})


WITHOUT_GROUP = {name: value for name, value in FULL.items() if name != "member_group"}
READ = FULL | {"read_scopes": ["mgmt/read"]}
ADMINS_REPLACE = FULL | {"replace_others": "admins"}
HARMFUL = [
    pytest.param(FULL, FULL | {"scopes": []}, "scopes", id="scopes dropped"),
    pytest.param(FULL, FULL | {"scopes": ["mgmt/use", "email/read"]}, "scopes", id="another scope is enough"),
    pytest.param(FULL, WITHOUT_GROUP, "member_group", id="group dropped"),
    pytest.param(FULL, FULL | {"member_group": "everybody"}, "member_group", id="another group"),
    pytest.param(FULL, FULL | {"admin_group": "everybody"}, "admin_group", id="another admin group"),
    pytest.param(FULL, FULL | {"groups_claim": "roles"}, "groups_claim", id="another claim"),
    pytest.param(FULL, FULL | {"root_prefix": ""}, "root_prefix", id="role widened"),
    pytest.param(FULL, FULL | {"root_prefix": "other"}, "root_prefix", id="role moved"),
    pytest.param(FULL, FULL | {"feed_shards": 3}, "feed_shards", id="shards lowered"),
    pytest.param(FULL, {k: v for k, v in FULL.items() if k != "feed_shards"}, "feed_shards", id="shards forgotten"),
    pytest.param(FULL, FULL | {"issuer": "https://other.example"}, "issuer", id="another issuer"),
    pytest.param(FULL, FULL | {"client_id": "other"}, "client_id", id="another client"),
    pytest.param(FULL, FULL | {"audience": "other"}, "audience", id="another audience"),
    pytest.param(FULL, FULL | {"actor_claim": "email"}, "actor_claim", id="other names"),
    pytest.param(FULL, FULL | {"read_scopes": ["mgmt/read"]}, "read_scopes", id="a scope for reading"),
    pytest.param(READ, READ | {"read_scopes": ["mgmt/read", "x"]}, "read_scopes", id="another scope for reading"),
    pytest.param(ADMINS_REPLACE, FULL, "replace_others", id="members replace what is others' by default"),
    pytest.param(ADMINS_REPLACE, FULL | {"replace_others": "members"}, "replace_others", id="members replace again"),
    pytest.param(FULL, {}, "issuer", id="pool in place of the issuer"),
    pytest.param({}, FULL, "issuer", id="issuer in place of the pool"),
    pytest.param(FULL, FULL | {"stack_name": "mgmt-2"}, "stack_name", id="another stack"),
]


@pytest.mark.parametrize(("last", "now", "name"), HARMFUL)
def test_a_change_that_does_harm_is_found_and_has_to_be_confirmed(tmp_path: Path, last, now, name):
    with pytest.raises(DeploymentError, match="differs from the last deployment") as caught:
        deploy_again(tmp_path, last, now)
    told = re.search(r"-c confirm=(\S+)$", str(caught.value))
    assert told is not None
    names = told[1].split(",")
    assert name in names
    assert all(f"\n  {each}: " in str(caught.value) for each in names)
    assert deploy_again(tmp_path, last, now, told[1]) == read_deployment(now)


def test_confirming_one_change_does_not_confirm_another(tmp_path: Path):
    now = FULL | {"feed_shards": 1, "root_prefix": ""}
    with pytest.raises(DeploymentError, match=r"confirm=root_prefix$"):
        deploy_again(tmp_path, FULL, now, "feed_shards")
    assert deploy_again(tmp_path, FULL, now, "root_prefix, feed_shards")


def test_a_mistyped_confirmation_is_refused_with_the_nearest_key(tmp_path: Path):
    with pytest.raises(DeploymentError, match="confirm: feed_shard is unknown; did you mean feed_shards"):
        deploy_again(tmp_path, FULL, FULL, "feed_shard")


@pytest.mark.parametrize(
    ("last", "now"),
    [
        pytest.param(FULL, FULL, id="the same"),
        pytest.param(FULL, FULL | {"feed_shards": 16}, id="shards raised"),
        pytest.param(FULL, FULL | {"request_burst": 7, "url_life_seconds": 60}, id="what does no harm"),
        pytest.param(FULL, FULL | {"machine_clients": ["ci"]}, id="a machine more"),
        pytest.param(READ, FULL, id="no scope for reading any more"),
        pytest.param(FULL, ADMINS_REPLACE, id="members replace only their own from now on"),
        pytest.param(FULL, FULL | {"replace_others": "members"}, id="the default written out"),
    ],
)
def test_other_changes_need_no_word(tmp_path: Path, last, now):
    assert deploy_again(tmp_path, last, now)


def test_a_record_that_is_missing_is_not_taken_for_a_first_deployment(tmp_path: Path):
    """A clone without it would change the stack silently; how it is got back is said."""
    path = write_deployment(tmp_path, FULL)
    path_of_record(path).unlink()
    with pytest.raises(DeploymentError, match=r"deployed\.json is missing.*write \"\{\}\" into it"):
        find_deployment({"deployment": str(path)})


@pytest.mark.parametrize("record", ["", "[]", '{"mgmt": {}}', '{"mgmt": {"DeployedValues": "x"}}', '{"mgmt": 1}'])
def test_a_damaged_record_is_refused(tmp_path: Path, record):
    path = write_deployment(tmp_path, FULL, record)
    with pytest.raises(DeploymentError, match="is no record of a deployment"):
        find_deployment({"deployment": str(path)})


def query_stack(command: str, stack_name: str, values: str) -> str:
    """Do what the AWS command does: ask CloudFormation's answer about the stack, and write the result as JSON."""
    words = shlex.split(command)
    assert words[: words.index("--query")] == [*DESCRIBE, stack_name, "--output", "json"]
    outputs = [{"OutputKey": "ApiUrl", "OutputValue": "https://x"}, {"OutputKey": OUTPUT, "OutputValue": values}]
    answer = {"Stacks": [{"StackName": stack_name, "Outputs": outputs}]}
    return json.dumps(jmespath.search(words[words.index("--query") + 1], answer))


def test_the_record_of_another_service_is_told_from_a_new_service_and_the_own_one_is_got_back(tmp_path: Path):
    """It is overwritten where another file is deployed without its own --outputs-file; this service is there still."""
    now = FULL | {"stack_name": "mgmt-2"}
    with pytest.raises(DeploymentError, match="the record of the stack mgmt, not of mgmt-2") as caught:
        deploy_again(tmp_path, FULL, now)
    (command,) = re.findall(r"^ *(aws .*)$", str(caught.value), re.MULTILINE)
    assert shlex.split(command)[-2:] == [">", str(tmp_path / "deployment.deployed.json")]
    record = query_stack(command, "mgmt-2", write_values(read_deployment(now)))
    assert find_deployment({"deployment": str(write_deployment(tmp_path, now, record))})
    with pytest.raises(DeploymentError, match="confirm=feed_shards"):
        find_deployment({"deployment": str(write_deployment(tmp_path, now | {"feed_shards": 1}, record))})


def test_the_cdk_command_keeps_the_record_where_it_is_read():
    """Of deployments that have succeeded, with the outputs of the stack."""
    kept = INFRA / json.loads((INFRA / "cdk.json").read_text())["outputsFile"]
    assert kept == path_of_record(INFRA / "deployment.toml")


def test_the_record_is_short_and_names_no_person():
    """An output of a stack is seen by everybody who may look at the account."""
    values = read_deployment({"first_admins": {"anna": "anna@example.com"}, "feed_shards": 4})
    assert set(json.loads(write_values(values))) <= set(GUARDED)
    assert "anna" not in write_values(values)


# --- the documents -------------------------------------------------------------------------------------


def blocks_in_documents() -> list[Any]:
    """Find every deployment file, or part of one, that a page shows."""
    found = []
    for page in ("admin.md", "issuers.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        blocks = re.findall(r"^ *```toml\n(.*?)```", text, re.DOTALL | re.MULTILINE)
        found += [pytest.param(textwrap.dedent(block), id=f"{page}, {block.split()[0]}") for block in blocks]
    return found


@pytest.mark.parametrize("block", blocks_in_documents())
def test_what_the_pages_show_can_be_deployed(block):
    deployment = read_deployment(tomllib.loads(block))
    assert deployment.makes_pool == ("issuer" not in block)
    if not deployment.makes_pool:
        assert deployment.settings.member_group
        assert deployment.settings.audience
        assert deployment.settings.scopes


def test_the_page_for_issuers_lists_every_address_that_has_to_be_registered():
    page = (DOCS / "issuers.md").read_text(encoding="utf-8")
    assert re.findall(r"^ *(http://127\S+)$", page, re.MULTILINE) == list(redirect_uris("https://ISSUER"))


def test_the_guide_fetches_a_lost_record_as_the_stack_states_it():
    command = explain_recovery("mgmt", Path("deployment.deployed.json"))
    assert command in (DOCS / "admin.md").read_text(encoding="utf-8").replace("\\\n  ", "")
    values = write_values(read_deployment(FULL))
    assert json.loads(query_stack(command, "mgmt", values)) == {"mgmt": {OUTPUT: values}}


def test_the_readme_says_how_a_first_deployment_goes_in_three_lines():
    """An account that was never bootstrapped refuses to deploy."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Deploy\n+```sh\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    install, bootstrap, deploy = block[1].splitlines()
    assert "make setup" in install
    assert "cdk bootstrap" in bootstrap
    assert deploy.startswith("cdk deploy")
