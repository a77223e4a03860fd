"""A ticket proves access to the private folder, once."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from mgmt_local.errors import BadNameError
from mgmt_local.issuer import tickets
from mgmt_local.issuer.people import Person, check_person
from mgmt_local.issuer.tickets import make_ticket, take_ticket
from mgmt_local.process.state import StateFolder, open_state_folder


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return open_state_folder(tmp_path)


def test_stands_for_one_person_once(folder: StateFolder):
    people = [Person("anna"), Person("bert", is_admin=True)]
    made = [make_ticket(folder, person) for person in people]
    assert [take_ticket(folder, ticket) for ticket in made] == people
    assert [take_ticket(folder, ticket) for ticket in made] == [None, None]


def test_of_many_takers_one_gets_it(folder: StateFolder):
    ticket = make_ticket(folder, Person("anna"))
    taken: list[Person | None] = []
    takers = [threading.Thread(target=lambda: taken.append(take_ticket(folder, ticket))) for _ in range(8)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sorted(map(bool, taken)) == [False] * 7 + [True]


def test_is_good_for_a_minute(folder: StateFolder, monkeypatch: pytest.MonkeyPatch):
    ticket = make_ticket(folder, Person("anna"))
    now = tickets.time.time()
    monkeypatch.setattr(tickets.time, "time", lambda: now + tickets.TICKET_LIFE_SECONDS + 1)
    assert take_ticket(folder, ticket) is None


def test_those_that_nobody_took_are_removed(folder: StateFolder):
    make_ticket(folder, Person("anna"))
    (left,) = folder.tickets.iterdir()
    os.utime(left, (1, 1))
    make_ticket(folder, Person("anna"))
    assert not left.exists()
    assert len(list(folder.tickets.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_nobody_else_can_read_it_and_its_file_does_not_tell_it(folder: StateFolder):
    ticket = make_ticket(folder, Person("anna"))
    (file,) = folder.tickets.iterdir()
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(folder.tickets.stat().st_mode)) == (0o600, 0o700)
    assert ticket not in file.name + file.read_text()


@pytest.mark.parametrize("ticket", ["", "x", "../token", "\x00", "\udcff", "a" * 10_000])
def test_what_is_no_ticket_is_none(folder: StateFolder, ticket: str):
    assert take_ticket(folder, ticket) is None
    make_ticket(folder, Person("anna"))
    assert take_ticket(folder, ticket) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": 1, "until": 9e9}', '{"name": "a", "until": "x"}'])
def test_a_damaged_one_stands_for_nobody(folder: StateFolder, content: str):
    ticket = make_ticket(folder, Person("anna"))
    (file,) = folder.tickets.iterdir()
    file.write_text(content)
    assert take_ticket(folder, ticket) is None


def test_the_same_name_is_the_same_person():
    assert Person("anna").subject == Person("anna", is_admin=True).subject != Person("bert").subject
    assert Person("anna", is_admin=True).groups == ("members", "admins")


@pytest.mark.parametrize("name", ["", " ", " kim", "kim\n", "a\x1b[0m", "k" * 129])
def test_what_cannot_be_a_name_is_refused(name: str):
    with pytest.raises(BadNameError, match="cannot be a person's name"):
        check_person(name)
