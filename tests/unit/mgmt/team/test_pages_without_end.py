"""Pages of the history that never come to an end: the command does."""

import itertools
import uuid

import pytest

from mgmt.cli.main import main
from mgmt.team import history
from mgmt.text import fold
from support.paper_service import RECORD, paper_service


@pytest.fixture
def service(machine_without_settings, monkeypatch):
    with paper_service() as running:
        monkeypatch.setenv("MGMT_TOKEN", "sesame")
        monkeypatch.setenv("MGMT_API_URL", running.url)
        yield running


@pytest.mark.parametrize("circle", [1, 2, 3, 7])
@pytest.mark.parametrize("records", [[], [RECORD]])
@pytest.mark.parametrize("command", [("history", "--all"), ("show", "clip")])
def test_cursors_that_go_round_in_a_circle_are_noticed(service, capsys, circle, records, command):
    cursors = itertools.cycle(["before", *(f"cursor-{number}" for number in range(circle))][1:])
    service.change = lambda what, answer: {"records": records, "cursor": next(cursors)} if what == "history" else answer
    assert main([*command]) == 7
    assert "come to no end" in capsys.readouterr().err
    assert service.count("history") < 10 * circle + 10


def test_empty_pages_without_end_are_noticed(service, monkeypatch):
    monkeypatch.setattr(history, "_EMPTY_PAGES_MAX", 20)
    numbers = itertools.count()
    service.change = lambda _, __: {"records": [], "cursor": f"cursor-{next(numbers)}"}
    assert main(["history"]) == 7
    assert service.count("history") == 21


def test_show_looks_through_no_more_than_it_can_keep(service, monkeypatch, capsys):
    monkeypatch.setattr(history, "_FOUND_MAX", 300)
    numbers = itertools.count()

    def page(what, _):
        records = [RECORD | {"operation_id": str(uuid.UUID(int=next(numbers)))} for _ in range(100)]
        return {"records": records, "cursor": f"cursor-{next(numbers)}"}

    service.change = page
    assert main(["show", "clip"]) == 0
    assert service.count("history") <= 8


def test_a_name_without_end_is_folded_in_passing():
    """Each line costs what it shows, and not what is left of the name."""
    lines = fold("é" * 200_000, 80).split("\n")
    assert len(lines) == 2500
