"""What every answer of the service must keep to where it tells of a problem, whichever test asked for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_SHOUTED = re.compile(r"(?<![\w/.'+=-])[A-Z]{2,}\w*(?![\w+/]*[=./])")
_ACRONYMS = {"JSON", "MGMT_BUCKET", "UTC", "UTF", "UUID"}
_SMALL_BEGINNING = re.compile(r"\. [a-z]")
_QUOTING = {"content-differs", "operation-failed", "part-differs"}
"""Codes whose sentence may quote a client's or a storage's own words."""


def check_answer(body: str) -> None:
    """Require of every problem in an answer that a person can read it and a program can place it."""
    answer = json.loads(body)
    if _is_problem(answer):
        _check_problem(answer)
    for result in answer.get("results", []):
        if result.get("problem") is not None:
            assert result["problem"]["operation_id"] == result["operation_id"], result
            _check_problem(result["problem"])


def sentence_faults(sentence: str) -> Iterator[str]:
    """Name what makes a sentence hard to read: no end, a word that stands for nothing, shouting."""
    if not sentence.endswith("."):
        yield "it has no end"
    if re.search(r"\bNone\b", sentence):
        yield "a value is missing in it"
    if _SMALL_BEGINNING.search(sentence):
        yield "a sentence in it begins small"
    shouted = set(_SHOUTED.findall(sentence)) - _ACRONYMS
    if shouted and "storage_class" not in sentence:
        yield f"it shouts {shouted}"


def _check_problem(problem: dict[str, Any]) -> None:
    faults = [] if problem["code"] in _QUOTING else list(sentence_faults(problem["detail"]))
    assert not faults, (faults, problem["detail"])


def _is_problem(answer: dict[str, Any]) -> bool:
    return {"type", "code", "detail", "status"} <= answer.keys()
