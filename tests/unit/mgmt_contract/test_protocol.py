"""PROTOCOL.md's examples are messages of the contract, and its tables are the code's."""

import json
import re
from importlib.resources import files

import pytest

from mgmt.archive import current_codec
from mgmt_contract import routes
from mgmt_contract.messages import downloads, history, objects, removal, service, uploads
from mgmt_contract.records import DOWNLOAD_TRANSITIONS, REMOVAL_TRANSITIONS, STATUS_OF_PHASE, TRANSITIONS
from mgmt_contract.wire import from_plain, to_plain

PROTOCOL = files("mgmt_contract").joinpath("PROTOCOL.md").read_text(encoding="utf-8")
MESSAGES = {
    name: each
    for module in (downloads, history, objects, removal, service, uploads)
    for name, each in vars(module).items()
}
EXAMPLES = re.findall(r"<!-- example: (\w+) -->\n```json\n(.*?)```", PROTOCOL, re.DOTALL)


def test_every_json_block_is_a_named_example():
    assert len(EXAMPLES) == PROTOCOL.count("```json") > 8


@pytest.mark.parametrize(("kind", "text"), EXAMPLES, ids=[kind for kind, _ in EXAMPLES])
def test_an_example_is_the_message_it_says_and_loses_nothing(kind, text):
    data = json.loads(text)
    message = from_plain(MESSAGES[kind], data)
    assert _contains(to_plain(message), data)


def test_every_route_is_in_the_table():
    for route in routes.ROUTES:
        assert f"| `{route.method} {route.path}` |" in PROTOCOL


def test_the_states_are_the_tables():
    for phase, following in TRANSITIONS.items():
        row = re.search(rf"^\| {phase or re.escape('(none)')} \|([^|]*)\|([^|]*)\|", PROTOCOL, re.MULTILINE)
        assert row is not None
        assert set(row[1].strip().split(", ")) == following
        assert row[2].strip() == (STATUS_OF_PHASE[phase] if phase else "")


def test_the_states_of_a_download_are_its_table():
    assert "it begins as carrying, and ends as done or as failed." in PROTOCOL
    assert {
        None: {"carrying"},
        "carrying": {"carrying", "done", "failed"},
        "done": set(),
        "failed": set(),
    } == DOWNLOAD_TRANSITIONS


def test_the_states_of_a_deletion_are_its_table():
    assert "it begins as done, or as failed where it was refused." in PROTOCOL
    assert {None: {"done", "failed"}, "done": set(), "failed": set()} == REMOVAL_TRANSITIONS


def test_the_examples_name_codecs_as_the_client_does():
    """Format, deflate and machine; numbers grow, and machines differ."""

    def shape(codec):
        *words, machine = codec.split(", ")
        return [re.sub(r"[\d.]+", "0", word) for word in words], bool(machine)

    codecs = set(re.findall(r'"codec": "([^"]*)"', PROTOCOL))
    assert [shape(codec) for codec in codecs] == [shape(current_codec())] * len(codecs) != []


def _contains(whole, part):
    """Every field of the example survived reading and writing."""
    if isinstance(part, dict):
        return all(key in whole and _contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(_contains, whole, part))
    return whole == part
