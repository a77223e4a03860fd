"""What `make faults` keeps, counts and says of its pieces."""

import json
import os
import subprocess
import sys
from xml.sax.saxutils import quoteattr

import pytest

from support.breaking.__main__ import break_everything
from support.breaking.kept import Kept, name_of_code
from support.breaking.pieces import Amounts, Piece, join, plan_pieces
from support.breaking.report import GUARANTEES, find_faults, guarantees_table, lines_of
from support.breaking.soak import find_growth
from support.breaking.suites import Suite, count, plan_suites, run_suite

SOAKED = {
    "uploads": 2000, "downloads": 100, "deletions": 50, "undeletions": 25,
    "requests": 4000, "broken_requests": 80, "lost": 0, "doubled": 0, "stuck": 0,
    "own_5xx": 0, "run_again": 3, "resent_bytes": 17, "faults": [],
    "series": {
        f"{who}_{what}": [300.0] * 30 for who in ("service", "commands") for what in ("memory_mb", "open_files")
    },
}  # fmt: skip
REPORT = {
    "asked": {"code": "abc", "seed": 1},
    "seconds": 1200,
    "kills": {
        "points": 5,
        "steps": {"upload-small": 50},
        "killed_in": {"upload-small": 5},
        "at_random_times": 2,
        "parts_sent_again": {"jobs 1": 0.504, "jobs 3": 2.0, "jobs 4": 3.0},
        "own_5xx": 0,
        "faults": ["upload-small, killed at step 5: clip: a record is pending"],
    },
    "cases": {
        "cases": 7, "broken_requests": 9, "uploads": 6, "got_over": 5, "exit_codes": {"0": 5}, "own_5xx": 0,
        "faults": [],
    },
    "soak": SOAKED,
    "requests": {
        "requests": 20_000, "by_route": {"GET /v1": 9, "POST /v1/uploads/start": 9}, "own_5xx": 1, "undocumented": 0,
        "leaks": 0, "faults": [],
    },
    "suites": {
        "any order 1": {"tests": 2, "seconds": 9, "faults": [], "tried": {"walks": 500, "walks in SQLite": 83}},
        "safe": {"tests": 34, "seconds": 9, "faults": [], "tried": {"faults": 1000}},
        "presigned URLs": {"tests": 47, "seconds": 6, "faults": []},
    },
}  # fmt: skip


def test_every_guarantee_has_its_line_made_of_what_was_counted(tmp_path):
    (tmp_path / "faults.json").write_text(json.dumps(REPORT))
    table = guarantees_table(tmp_path / "faults.json")
    assert len(table.splitlines()) == 2 + len(GUARANTEES) == 13
    for words in (
        "5 kills over the 50 steps of 1 commands and kinds of the worker's work, then run again: 1 not as promised; ",
        "2 of the kills at random times",
        "at most 0.5 parts sent again with one at a time, 2 with three; 7 fault cases",
        "11 broken or killed uploads",
        "583 walks of up to 50 calls",
        "1,000 faults in cards",
        "47 tests change each part of each kind of presigned URL",
        "20,000 fuzzed requests to 2 routes: 1 answered with 500 or more",
        "not tried in that run",
    ):
        assert words in table


def test_a_run_that_was_ended_says_so(tmp_path):
    (tmp_path / "faults.json").write_text(json.dumps(REPORT | {"pieces": {"planned": 9, "done": 8}}))
    assert guarantees_table(tmp_path / "faults.json").endswith("\nThe run was ended after 8 of its 9 pieces.")


def test_every_suite_has_a_name_that_the_table_names():
    planned = {suite.name.removesuffix(" 1") for suite in plan_suites(seed=1, walks=1, faults=1)}
    named = {word for each in GUARANTEES.values() for word in each.suites.split("`")[1::2]}
    assert named == planned


def test_a_report_names_all_that_was_not_as_promised():
    assert find_faults(REPORT) == REPORT["kills"]["faults"]
    assert [line for line in lines_of(REPORT) if line.startswith("WRONG")] == [f"WRONG: {find_faults(REPORT)[0]}"]
    failed = REPORT["suites"]["safe"] | {"faults": ["test_injected: called safe"]}
    assert len(find_faults(REPORT | {"suites": {"safe": failed}})) == 2


def test_a_run_that_was_ended_goes_on_with_what_is_missing(tmp_path):
    done, path, asked = [], tmp_path / "kept.jsonl", {"code": "abc", "seed": 1}

    def work(name, faults=()):
        return lambda: done.append(name) or {"faults": list(faults)}

    Kept(path, asked).do("first", work("first", ["of before"]))
    with path.open("a") as file:
        file.write('{"piece": "second", "res')  # killed while this was written
    again = Kept(path, asked)
    assert again.do("first", work("first")) == {"faults": ["of before"], "codes": ["abc"]}
    again.do("second", work("second"))
    assert Kept(path, asked).results.keys() == {"first", "second"}
    assert done == ["first", "second"]
    again.close()
    again.do("third", work("third"))
    assert "third" not in Kept(path, asked).results, "it was interrupted"
    assert Kept(path, asked | {"seed": 2}).results == {}, "another run begins anew"


def test_all_pieces_are_planned_and_their_results_joined(tmp_path, monkeypatch):
    amounts = Amounts(kills=500, cases=300, uploads=2000, walks=2000, safe_faults=1000)
    at_work, beside = plan_pieces(amounts)
    names = [f"{piece.kind} {piece.name}" for piece in at_work + beside]
    assert len(names) == len(set(names))
    assert {piece.kind for piece in at_work} == {"kills", "cases", "soak"}
    fuzzed = [piece.do.args[0] for piece in beside if piece.kind == "requests"]
    assert sum(fuzzed) == 20_000
    walks = [piece.do.args[0].tried["walks"] for piece in beside if piece.name.startswith("any order")]
    assert sum(walks) == 2000

    pieces = [Piece("kills", name, lambda: {"points": 2, "steps": {"all": 3}, "faults": []}) for name in "ab"]
    monkeypatch.setattr("support.breaking.__main__.plan_pieces", lambda _: (pieces, []))
    kept = Kept(tmp_path / "kept", {"code": "abc"})
    assert break_everything(amounts, ["kills"], kept, only_kept=True) == {}
    made = break_everything(amounts, ["kills"], kept)
    assert made["kills"]["points"] == 4
    assert made["kills"]["steps"] == {"all": 6}
    assert break_everything(amounts, ["kills"], kept, only_kept=True) == made


def test_a_piece_that_breaks_down_is_no_end_of_the_pieces(tmp_path, monkeypatch):
    def break_down():
        raise IndexError("of the piece")

    monkeypatch.setattr("support.breaking.__main__.plan_pieces", lambda _: ([Piece("kills", "a", break_down)], []))
    with pytest.raises(IndexError, match="of the piece"):
        break_everything(Amounts(), ["kills"], Kept(tmp_path / "kept", {"code": "abc"}))


def test_results_are_added_up_and_the_most_is_kept():
    one = {"points": 2, "by": {"a": 1}, "faults": ["x"], "parts_sent_again": {"jobs 1": 0.5}, "codes": ["a"]}
    two = {
        "codes": ["a"],
        "points": 3,
        "by": {"a": 1, "b": 4},
        "faults": [],
        "parts_sent_again": {"jobs 1": 0.25, "jobs 4": 2.0},
    }
    assert join([one, two]) == {
        "codes": ["a"],
        "points": 5,
        "by": {"a": 2, "b": 4},
        "faults": ["x"],
        "parts_sent_again": {"jobs 1": 0.5, "jobs 4": 2.0},
    }


@pytest.mark.parametrize("body", ["assert False, 'lost'", "raise OSError('lost')"])
def test_a_suite_counts_what_passed_and_names_what_did_not(tmp_path, body):
    test = tmp_path / "test_it.py"
    test.write_text(
        "import os, pytest\n"
        "def test_one(): assert os.environ['MGMT_FAULTS'] == '3'\n"
        f"def test_two(): {body}\n"
        "def test_three(): pytest.skip('not here')\n"
    )
    suite = Suite("some", (os.fspath(test), f"--rootdir={tmp_path}", "-p", "no:randomly"), {"MGMT_FAULTS": "3"})
    result = run_suite(suite)
    assert (result["tests"], result["skipped"], len(result["faults"])) == (1, 1, 1), result
    assert "test_two" in result["faults"][0]
    assert "lost" in result["faults"][0]


def test_a_suite_that_finds_no_tests_is_no_success():
    assert run_suite(Suite("none", ("tests/no/such/test_file.py",)))["faults"]


def test_a_report_of_pytest_is_counted(tmp_path):
    message = quoteattr("it broke")
    (tmp_path / "report.xml").write_text(
        f"<testsuites><testsuite><testcase classname='a' name='b' time='1.6'><failure message={message}>x</failure>"
        "</testcase><testcase name='c' time='1'/></testsuite></testsuites>"
    )
    assert count(tmp_path / "report.xml") == {"tests": 1, "skipped": 0, "seconds": 3, "faults": ["a::b: it broke"]}


def test_what_grows_in_a_soak_is_told():
    filling = [300.0] * 10 + [360.0] * 20
    assert find_growth({"service_memory_mb": filling}) == []
    leaking = [300.0] * 10 + [320.0] * 10 + [340.0] * 10
    assert find_growth({"commands_memory_mb": leaking}) == ["commands_memory_mb grew from 300 by 320 to 340"]
    assert find_growth({"service_memory_mb": [300.0] * 10 + [380.0] * 20}) != [], "more than caches"
    assert find_growth({"service_open_files": [40.0] * 20 + [60.0] * 10}) != []
    assert find_growth({"service_memory_mb": [100.0, 200.0]}) == [], "too few rounds to say"
    grown = REPORT | {"soak": SOAKED | {"series": {"service_memory_mb": leaking}}}
    assert len(find_faults(grown)) == len(find_faults(REPORT)) + 1


def test_the_code_that_was_tried_is_named():
    name = name_of_code()
    assert name == "unknown" or len(name.partition("+")[0]) == 12


def test_a_run_in_which_something_was_not_as_promised_ends_with_1(tmp_path):
    program = (
        "import sys\n"
        "from support.breaking import __main__ as made, pieces\n"
        f"made.KEPT = made.PROJECT.__class__({os.fspath(tmp_path)!r}) / 'kept'\n"
        "found = {'points': 1, 'steps': {}, 'killed_in': {}, 'faults': sys.argv[2:]}\n"
        "made.plan_pieces = lambda _: ([pieces.Piece('kills', 'a', lambda: found)], [])\n"
        "sys.argv[2:] = []\n"
        "sys.exit(made.main())\n"
    )
    for faults, exit_code in (["lost"], 1), ([], 0):
        run = subprocess.run(
            [sys.executable, "-c", program, "kills", *faults],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == exit_code, run.stderr
        assert ("WRONG: lost" in run.stdout) == bool(faults)
        (tmp_path / "kept").unlink()
