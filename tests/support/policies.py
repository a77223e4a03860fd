"""Just enough of how AWS evaluates policies to ask a synthesized template what it allows and what it denies.

Source: AWS IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements: Condition operators", read
2026-11. An operator that is not known here fails the test instead of being skipped.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]

_OPERATORS: Mapping[str, Callable[[str | None, str], bool]] = {
    "Null": lambda actual, expected: (actual is None) == (expected == "true"),
    "Bool": lambda actual, expected: actual is not None and actual.lower() == expected.lower(),
    "StringEquals": lambda actual, expected: actual == expected,
    "ArnNotEquals": lambda actual, expected: actual != expected,
    "NumericGreaterThan": lambda actual, expected: actual is not None and float(actual) > float(expected),
    "ForAnyValue:StringLike": lambda actual, expected: any(
        fnmatch.fnmatchcase(each, expected) for each in (actual or "").split(",") if each
    ),
    "NumericLessThan": lambda actual, expected: actual is not None and float(actual) < float(expected),
}


@dataclass(frozen=True)
class Request:
    """One call as a policy sees it."""

    action: str
    resource: str
    keys: Mapping[str, str] = field(default_factory=dict)
    """Condition keys that the call carries, several values with commas between; one that is not there is absent."""


def resolve(value: Any, names: Mapping[str, str]) -> str:
    """Write a template's value as text; `names` holds what logical ids and pseudo parameters stand for."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), "Arn"]}:
            return names[name]
        case {"Fn::Join": [str(separator), list(parts)]}:
            return separator.join(resolve(part, names) for part in parts)
        case str():
            return value
        case _:
            raise ValueError(f"{value!r} cannot be written as text")


def read_statements(policy: Mapping[str, Any], names: Mapping[str, str]) -> list[Statement]:
    """Return a policy document's statements, every element a list of plain texts."""
    return [
        {
            **statement,
            "Action": as_list(statement["Action"]),
            "Resource": [resolve(resource, names) for resource in as_list(statement["Resource"])],
            "Condition": _resolve_tests(statement.get("Condition", {}), names),
        }
        for statement in policy["Statement"]
    ]


def _resolve_tests(tests: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        operator: {
            key: [resolve(value, names) if isinstance(value, dict) else value for value in as_list(values)]
            for key, values in by_key.items()
        }
        for operator, by_key in tests.items()
    }


def find_matches(statements: Iterable[Statement], effect: str, request: Request) -> list[Statement]:
    """Return the statements of this effect that apply to a request."""
    return [statement for statement in statements if statement["Effect"] == effect and _applies(statement, request)]


def as_list(value: Any) -> list[Any]:
    """Return what stands in a policy for one or several as several."""
    return value if isinstance(value, list) else [value]


def _applies(statement: Statement, request: Request) -> bool:
    if not any(fnmatch.fnmatchcase(request.action, action) for action in statement["Action"]):
        return False
    if not any(fnmatch.fnmatchcase(request.resource, resource) for resource in statement["Resource"]):
        return False
    return all(
        any(_OPERATORS[operator](request.keys.get(key), str(value)) for value in as_list(values))
        for operator, tests in statement.get("Condition", {}).items()
        for key, values in tests.items()
    )
