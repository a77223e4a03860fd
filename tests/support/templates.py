"""The order in which CloudFormation makes a template's resources: what each needs before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.policies import as_list


def needs_of(template: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return for each resource those that it refers to or waits for."""
    resources: Mapping[str, Any] = template["Resources"]
    return {name: _needed(resource) & resources.keys() for name, resource in resources.items()}


def closure(needs: Mapping[str, set[str]], name: str) -> set[str]:
    """Return a resource and all that must be there before it."""
    found: set[str] = set()
    new = {name}
    while new:
        found |= new
        new = set().union(*(needs[each] for each in new)) - found
    return found


def _needed(part: Any) -> set[str]:
    if isinstance(part, list):
        return set().union(*map(_needed, part))
    if not isinstance(part, dict):
        return set()
    found = set().union(*map(_needed, part.values()))
    named = [as_list(part[key])[0] for key in ("Ref", "Fn::GetAtt") if key in part]
    return found | set(named) | set(as_list(part.get("DependsOn", [])))
