"""A service of tomorrow: what an installed client does not know it shows as it is, or leaves alone, and says so."""

import json

import pytest

from mgmt.cli.main import main
from support.paper_service import RECORD, paper_service
from support.scripted_server import json_answer, scripted_server

UPLOAD = RECORD | {
    "s3_file_record": {
        "name": "clip.tar.gz",
        "path": "clip.tar.gz",
        "location": "glacier-of-tomorrow",
        "size": 9,
        "is_directory": False,
        "status": "restoring",
    },
}
TOMORROW = UPLOAD | {
    "operation_id": "01a2041b-befb-730e-9a3c-9ad5ec9c7230",
    "operation_type": "verify",
    "target_path": "day1/card",
    "status": "quarantined",
    "phase": "scanning",
    "storage_class": "EXPRESS_OF_TOMORROW",
    "colour": "red",
}


@pytest.fixture(autouse=True)
def token(machine_without_settings, monkeypatch):
    monkeypatch.setenv("MGMT_TOKEN", "sesame")


def ask(monkeypatch, answers, *arguments):
    with scripted_server(*map(json_answer, answers)) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        return main(list(arguments))


@pytest.mark.parametrize("record", [TOMORROW, TOMORROW | {"operation_type": "upload"}])
def test_a_record_of_tomorrow_does_not_hide_the_others(monkeypatch, capsys, record):
    assert ask(monkeypatch, [{"records": [record, UPLOAD]}], "history") == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert "quarantined" in first
    assert "clip.tar.gz" in second
    assert ("verify: day1/card" in first) == (record is TOMORROW)
    assert ask(monkeypatch, [{"records": [record, UPLOAD]}], "--json", "history") == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["operation_type"] for line in shown] == [record["operation_type"], "upload"]
    assert shown[0]["status"] == "quarantined"
    assert ask(monkeypatch, [{"records": [record, UPLOAD]}], "history", "--csv") == 0
    assert "quarantined" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_an_operation_of_another_type_is_shown_as_far_as_it_is_known(monkeypatch, capsys, as_json):
    result = {"operation_id": TOMORROW["operation_id"], "outcome": "record", "record": TOMORROW}
    flags = ["--json"] if as_json else []
    assert ask(monkeypatch, [{"results": [result]}], *flags, "show", TOMORROW["operation_id"]) == 0
    said = capsys.readouterr().out
    assert "verify" in said
    assert "quarantined" in said
    assert "day1/card" in said


@pytest.mark.parametrize("field", ["s3_bucket", "s3_object_key", "target_path"])
def test_nothing_that_a_service_says_of_an_upload_can_move_the_cursor(tmp_path, monkeypatch, capsys, field):
    (tmp_path / "work" / "clip").write_bytes(b"x")

    def change(what, answer):
        if what == "complete":
            answer["results"][0]["record"][field] = "\x1b[2Jgone"
        return answer

    with paper_service() as service:
        service.change = change
        monkeypatch.setenv("MGMT_API_URL", service.url)
        assert main(["upload", "clip"]) == 0
    said = capsys.readouterr()
    assert "gone" in said.out
    assert "\x1b" not in said.out + said.err


def test_a_status_of_tomorrow_cannot_move_the_cursor(monkeypatch, capsys):
    record = UPLOAD | {"status": "\x1b[2Jgone"}
    answers = [
        {"results": [{"operation_id": UPLOAD["operation_id"], "outcome": "record", "record": record}]},
        {"records": []},
    ]
    assert ask(monkeypatch, answers, "show", UPLOAD["operation_id"]) == 0
    said = capsys.readouterr().out
    assert "gone" in said
    assert "\x1b" not in said
