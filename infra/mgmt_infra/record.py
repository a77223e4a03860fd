"""The values of the last deployment, and which changes since then have to be confirmed.

The stack states its guarded values as an output, and `cdk deploy` writes the outputs of a deployment that has succeeded
into a file beside the deployment file (`outputsFile` in `cdk.json`). So the record is what was deployed, not what
somebody meant to deploy; it is read without a network, and is kept under version control with the deployment file.
It holds no secret. A missing file is refused rather than taken for "never deployed": `{}` says that.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from mgmt_infra.deployment import Deployment, DeploymentError, explain_unknown
from mgmt_infra.keys import GUARDED, KEYS

OUTPUT: Final = "DeployedValues"
"""The name of the stack's output."""
_STACK_NAME: Final = "stack_name"


def path_of_record(deployment_path: Path) -> Path:
    """Name the record of a deployment file: `deployment.toml` has `deployment.deployed.json`."""
    return deployment_path.with_suffix(".deployed.json")


def write_values(deployment: Deployment) -> str:
    """Write the guarded values, as the output has them: what was not given is left out."""
    return json.dumps({name: deployment.values[name] for name in GUARDED if name in deployment.values}, sort_keys=True)


def check_changes(deployment: Deployment, record_path: Path, confirmed: Iterable[str]) -> None:
    """Refuse changes since the last deployment that would do harm, and that nobody has confirmed.

    Raises:
        DeploymentError: If there are such changes, or the record is missing or none.
    """
    confirmed = set(confirmed)
    unknown = [explain_unknown(name, (*GUARDED, _STACK_NAME)) for name in sorted(confirmed - {*GUARDED, _STACK_NAME})]
    if unknown:
        raise DeploymentError(f"confirm: {'; '.join(unknown)}")
    risks = _find_risks(deployment, _read_record(record_path), record_path)
    open_risks = {name: risk for name, risk in risks.items() if name not in confirmed}
    if open_risks:
        told = "\n".join(f"  {name}: {risk}" for name, risk in open_risks.items())
        raise DeploymentError(
            f"{record_path.name} says that this differs from the last deployment:\n{told}\n"
            f"If that is what you want, confirm it: -c confirm={','.join(open_risks)}"
        )


def _read_record(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Read the values of each stack that the record has."""
    try:
        stacks = json.loads(path.read_text(encoding="utf-8"))
        return {name: json.loads(outputs[OUTPUT]) for name, outputs in stacks.items()}
    except FileNotFoundError as error:
        raise DeploymentError(
            f"{path} is missing, so it is not known what the last deployment was. Take it from version control, or "
            'from the stack as docs/admin.md says. If nothing was deployed yet, write "{}" into it.'
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeploymentError(f"{path} is no record of a deployment ({error!r})") from error


def explain_recovery(stack_name: str, record_path: Path) -> str:
    """Write the command that takes a record from its stack."""
    found = f'Stacks[0].Outputs[?OutputKey==`"{OUTPUT}"`].OutputValue | [0]'
    query = f'{{"{stack_name}": {{{OUTPUT}: {found}}}}}'
    return (
        f"aws cloudformation describe-stacks --stack-name {stack_name} --output json --query {shlex.quote(query)} "
        f"> {shlex.quote(str(record_path))}"
    )


def _find_risks(deployment: Deployment, record: Mapping[str, Mapping[str, Any]], record_path: Path) -> dict[str, str]:
    """Say of each guarded value that has changed for the worse what it was, what it is to be, and what that does."""
    if not record:
        return {}
    if deployment.stack_name not in record:
        return {_STACK_NAME: _explain_other_stack(deployment.stack_name, record, record_path)}
    last, now = record[deployment.stack_name], json.loads(write_values(deployment))
    return {
        name: f"{_spell(last.get(name))} becomes {_spell(now.get(name))}: {KEYS[name].risk}"
        for name in GUARDED
        if _is_risky(name, last.get(name), now.get(name))
    }


def _explain_other_stack(stack_name: str, record: Iterable[str], record_path: Path) -> str:
    return (
        f"this is the record of the stack {' and '.join(record)}, not of {stack_name}. If {stack_name} is deployed "
        "already, the record was overwritten by a deployment without its own --outputs-file: take it from version "
        f"control, or from the stack:\n    {explain_recovery(stack_name, record_path)}\n"
        f"  If {stack_name} is to be another service, with an empty bucket of its own, give it a file of its own"
    )


def _is_risky(name: str, last: Any, now: Any) -> bool:
    key = KEYS[name]
    if key.guard == "lowered":
        return int(now or key.default) < int(last or key.default)
    if key.guard == "widened":
        if key.kind == "list":
            return not set(now or ()) <= set(last or ())
        widest = key.default.strip("`")
        return (now or widest) == widest != (last or widest)
    return (sorted(last) != sorted(now)) if isinstance(last, list) and isinstance(now, list) else last != now


def _spell(value: Any) -> str:
    return "nothing" if value in (None, [], "") else " ".join(value) if isinstance(value, list) else str(value)
