"""The CDK app: one stack with everything the service needs.

Deploying takes Node, the CDK command and `pip install -e '.[deploy]'`; docs/admin.md goes through it. From this folder:

    cdk bootstrap
    cdk deploy

The values stand in `deployment.toml`. With `-c` only these are given:

- `deployment=FILE`: another file, for another service.
- `confirm=KEY,KEY`: changes that this deployment is meant to make, after it was refused because of them.
"""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from mgmt_infra.deployment import Deployment, DeploymentError, read_file
from mgmt_infra.keys import KEYS
from mgmt_infra.record import check_changes, path_of_record
from mgmt_infra.stack import MgmtStack

DEPLOYMENT_FILE = Path(__file__).with_name("deployment.toml")
OPTIONS = ("deployment", "confirm")


def main() -> None:
    """Synthesize the stack, checked against cdk-nag's AWS Solutions rules."""
    app = cdk.App()
    context = app.node.get_all_context()
    try:
        deployment = find_deployment(context)
    except DeploymentError as error:
        sys.exit(f"mgmt: {error}")
    stack = MgmtStack(app, deployment)
    if "deployment" in context:
        cdk.Annotations.of(stack).add_info(explain_outputs_file(Path(context["deployment"])))
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()


def find_deployment(context: Mapping[str, Any]) -> Deployment:
    """Find the deployment that the command line asks for, compared with the last one.

    Raises:
        DeploymentError: If a value is given with `-c`, or the file or a change since the last deployment is wrong.
    """
    for name in context:
        _refuse_value(name)
    path = Path(context.get("deployment") or DEPLOYMENT_FILE)
    deployment = read_file(path)
    confirmed = (name.strip() for name in str(context.get("confirm") or "").split(","))
    check_changes(deployment, path_of_record(path), filter(None, confirmed))
    return deployment


def explain_outputs_file(path: Path) -> str:
    """Say how the record of another deployment file is written: the one of `cdk.json` belongs to `deployment.toml`."""
    return f"Deploy with --outputs-file {shlex.quote(str(path_of_record(path)))}, where this service's record is kept."


def _refuse_value(name: str) -> None:
    """Refuse a value of the deployment, or what looks like one: CDK's own context holds other names as well."""
    if name in KEYS:
        raise DeploymentError(f"{name} is given with -c. Write it into {DEPLOYMENT_FILE.name}, so that it stays.")
    near = difflib.get_close_matches(name, [*OPTIONS, *KEYS], 1, cutoff=0.8)
    if name not in OPTIONS and near:
        raise DeploymentError(f"-c {name} is unknown; did you mean {near[0]}?")


if __name__ == "__main__":
    main()
