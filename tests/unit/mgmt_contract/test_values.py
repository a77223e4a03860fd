"""A value of the contract is a frozen dataclass in everything but what it costs to import."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from dataclasses import dataclass, field

import pytest
from pydantic import TypeAdapter, ValidationError

from mgmt_contract.messages.history import HistoryRequest
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part
from mgmt_contract.values import Value


class Card(Value):
    name: str
    key: str = field(repr=False)
    marks: list[int] = field(default_factory=list)
    note: str | None = None


class SignedCard(Card):
    by: str = ""


@dataclass(frozen=True)
class Usual:
    name: str
    key: str = field(repr=False)
    marks: list[int] = field(default_factory=list)
    note: str | None = None


def test_nothing_of_it_can_be_changed_added_or_taken_away():
    card = Card("a", "k")
    for name in ("name", "note", "unknown"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            setattr(card, name, "b")
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            delattr(card, name)
    assert card == Card("a", "k")


def test_two_are_the_same_where_class_and_fields_are():
    assert Card("a", "k", [1]) == Card("a", "k", [1])
    assert Card("a", "k", [1]) != Card("a", "k", [2])
    assert SignedCard("a", "k") != Card("a", "k")
    assert Card("a", "k") != Usual("a", "k")
    assert len({Part(1, 2, "c"), Part(1, 2, "c"), Part(2, 2, "c")}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Card("a", "k", [1]))


def test_it_is_shown_as_the_standard_library_shows_one():
    """And without what is not to be shown: the signature in a URL."""
    usual = repr(Usual("a", "secret", [1])).removeprefix("Usual")
    assert repr(Card("a", "secret", [1])).removeprefix("Card") == usual
    assert "secret" not in repr(SignedRequest("https://host/?secret", {}, 1))


def test_it_is_made_as_the_standard_library_makes_one():
    for wrong in ((), ("a", "k", [], None, "too many")):
        with pytest.raises(TypeError):
            Card(*wrong)
    with pytest.raises(TypeError, match="unknown: other"):
        Card("a", "k", other=1)
    with pytest.raises(TypeError, match=r"missing: key; unknown: other$"):  # as many as there are fields
        Card("a", other=1)
    with pytest.raises(TypeError, match="given twice: name"):
        Card("a", "k", name="b")
    with pytest.raises(TypeError, match=r"missing: name, key$"):
        Card(note="n")
    first, second = Card("a", "k"), Card("b", "k")
    assert first.marks == []
    assert first.marks is not second.marks
    assert SignedCard("a", "k", by="b").by == "b"


def test_it_counts_as_a_dataclass():
    assert dataclasses.is_dataclass(Card)
    assert [each.name for each in dataclasses.fields(Card)] == ["name", "key", "marks", "note"]
    assert dataclasses.replace(Card("a", "k"), note="n") == Card("a", "k", note="n")
    match Card("a", "k"):
        case Card(name, key):
            assert (name, key) == ("a", "k")


def test_copies_are_the_same():
    part = Part(1, 2, "c")
    assert copy.copy(part) == copy.deepcopy(part) == pickle.loads(pickle.dumps(part)) == part  # noqa: S301  its own


def test_pydantic_builds_one_and_refuses_what_it_does_not_know():
    adapter = TypeAdapter(HistoryRequest)
    assert adapter.validate_json(json.dumps({"mine": True, "limit": 7})) == HistoryRequest(mine=True, limit=7)
    with pytest.raises(ValidationError, match="unknown"):
        adapter.validate_python({"unknown": 1})
