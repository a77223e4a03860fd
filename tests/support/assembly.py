"""The CDK app, synthesized as an admin would: by the CDK command, from `infra/`, unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgmt_infra.deployment import Deployment
from support.node import cdk_command, node_path
from support.toolchain import wheels_directory

INFRA = Path(__file__).resolve().parents[2] / "infra"
STACK = "mgmt"


class CommandFailedError(Exception):
    """A command ended with an error; the text is all it said."""


@dataclass(frozen=True)
class Assembly:
    """What `cdk synth` has made."""

    directory: Path

    @property
    def template(self) -> dict[str, Any]:
        """The stack's CloudFormation template."""
        template: dict[str, Any] = json.loads(self.template_path.read_text())
        return template

    @property
    def template_path(self) -> Path:
        """Where the template is."""
        return self.directory / f"{STACK}.template.json"

    @property
    def code_directory(self) -> Path:
        """The function's code, bundled, before it is zipped."""
        (directory,) = [path for path in self.directory.glob("asset.*") if path.is_dir()]
        return directory

    def find(self, resource_type: str) -> dict[str, dict[str, Any]]:
        """Return the resources of a type, whole, by logical id."""
        resources = self.template["Resources"].items()
        return {name: resource for name, resource in resources if resource["Type"] == resource_type}

    def only(self, resource_type: str) -> dict[str, Any]:
        """Return the one resource of a type, whole."""
        (resource,) = self.find(resource_type).values()
        return resource


def function_of(assembly: Assembly, module: str) -> dict[str, Any]:
    """Return the properties of the function whose handler is in a module of `mgmt_api`."""
    functions = (each["Properties"] for each in assembly.find("AWS::Lambda::Function").values())
    found: dict[str, Any]
    (found,) = (each for each in functions if each["Handler"] == f"mgmt_api.{module}.lambda_handler")
    return found


def policy_of(assembly: Assembly, role_name: str) -> dict[str, Any]:
    """Return the one policy of a role, by the role's logical id."""
    policies = (each["Properties"] for each in assembly.find("AWS::IAM::Policy").values())
    found: dict[str, Any]
    (found,) = (each for each in policies if each["Roles"] == [{"Ref": role_name}])
    return found


def rules_set_aside(assembly: Assembly) -> dict[str, dict[str, Any]]:
    """Return cdk-nag's report of each rule that is set aside, by its construct; no rule may be broken."""
    (report,) = json.loads((assembly.directory / "validation-report.json").read_text())["pluginReports"]
    assert report["violations"] == []
    return {each["acknowledgedAt"]: each for each in report["suppressedViolations"]}


def names_of_rules(set_aside: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the rule that is set aside for each construct, such as "AwsSolutions-S1"."""
    return {path: each["ruleName"].partition("[")[0] for path, each in set_aside.items()}


def lint_template(assembly: Assembly) -> tuple[int, str]:
    """Return cfn-lint's exit code and output, but for W3005: CDK writes dependencies that follow from references."""
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    command = [str(cfn_lint), "--ignore-checks", "W3005", "--", str(assembly.template_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def synthesize(directory: Path, home: Path, deployment: Mapping[str, Any]) -> Assembly:
    """Synthesize the app for a first deployment with these values, and nothing of this user's own settings.

    Raises:
        CommandFailedError: If the app, or a rule that checks it, refuses.
    """
    home.mkdir(exist_ok=True)
    context = f"--context=deployment={write_deployment(home, deployment)}"
    run_cdk(["synth", "--quiet", "--output", str(directory), context], make_environment(home), cwd=INFRA)
    return Assembly(directory)


def find_deployment(context: Mapping[str, Any]) -> Deployment:
    """Find the deployment as the app does.

    The app is loaded here alone: with it come the CDK's libraries and a Node process, in three seconds, and each
    process of a test run imports all test files.
    """
    import app

    return app.find_deployment(context)


def write_deployment(folder: Path, deployment: Mapping[str, Any], record: str = "{}") -> Path:
    """Write a deployment file and the record of the last deployment beside it."""
    path = folder / "deployment.toml"
    # What JSON writes of texts, numbers and lists is TOML too; tables come last.
    rows = [f"{name} = {json.dumps(value)}" for name, value in deployment.items() if not isinstance(value, dict)]
    for name, table in deployment.items():
        if isinstance(table, dict):
            rows += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path.write_text("\n".join(rows), encoding="utf-8")
    path.with_suffix(".deployed.json").write_text(record, encoding="utf-8")
    return path


def run_cdk(words: list[str], environment: Mapping[str, str], *, cwd: Path) -> str:
    """Run the CDK command and return what it said.

    Raises:
        CommandFailedError: If it ends with an error.
    """
    done = subprocess.run(
        [*cdk_command(), *words, "--no-notices"],
        env=environment,
        cwd=cwd,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise CommandFailedError(f"cdk {' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def make_environment(home: Path) -> dict[str, str]:
    """Make the environment for the CDK command: this one, without any account or setting of the user's.

    The certificates a company needs stay. Wheels come from the folder they were downloaded to, so that
    nothing is asked of a network.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_", "JSII_"))}
    return kept | {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "JSII_NODE": str(node_path()),
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(Path(sys.prefix) / "jsii"),  # unpacking takes long: only once
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels_directory()),
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CI": "true",
    }
