"""The function's code: `lambda/` as it stands and its pinned requirements, bundled without docker."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda as lambda_

from mgmt_infra.deployment import WHEEL_PLATFORMS, Deployment

_PROJECT = Path(__file__).resolve().parents[2]
_SOURCE = _PROJECT / "lambda"
_REQUIREMENTS = _PROJECT / "requirements" / "lambda.txt"
_LEFT_OUT = ("__pycache__", "*.pyc")


def bundle_service(deployment: Deployment) -> lambda_.Code:
    """Bundle the service for the deployment's runtime and architecture, on any machine.

    The asset's hash is that of `lambda/`, of the pinned requirements and of the platform: an equal asset is not
    uploaded again.
    """
    command = _pip_command(deployment)
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()
    return lambda_.Code.from_asset(
        str(_SOURCE),
        exclude=list(_LEFT_OUT),
        ignore_mode=cdk.IgnoreMode.GIT,
        bundling=cdk.BundlingOptions(
            image=lambda_.Runtime.PYTHON_3_13.bundling_image,  # never run: the local bundling answers first
            command=[*command, digest],
            local=_LocalBundling(command),
        ),
    )


def _pip_command(deployment: Deployment) -> list[str]:
    return [
        *("pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--require-hashes"),
        *("--only-binary=:all:", "--platform", WHEEL_PLATFORMS[deployment.architecture]),
        *("--implementation", "cp", "--python-version", deployment.runtime.removeprefix("python")),
        *("--requirement", _REQUIREMENTS.relative_to(_PROJECT).as_posix()),
    ]


@jsii.implements(cdk.ILocalBundling)
class _LocalBundling:
    def __init__(self, command: list[str]) -> None:
        self._command = command

    def try_bundle(self, output_dir: str, *_options: Any, **_more_options: Any) -> bool:
        subprocess.run([sys.executable, "-m", *self._command, "--target", output_dir], cwd=_PROJECT, check=True)
        shutil.rmtree(Path(output_dir, "bin"), ignore_errors=True)  # the requirements' commands: never called
        shutil.copytree(_SOURCE, output_dir, ignore=shutil.ignore_patterns(*_LEFT_OUT), dirs_exist_ok=True)
        return True
