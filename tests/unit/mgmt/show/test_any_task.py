"""Progress and results of a kind of task that mgmt does not have: nothing but its view knows what it is."""

import io
import json

import pytest

from mgmt.errors import SourceError
from mgmt.events import Begun, Expected, Finished, Progress, Renewed
from mgmt.show import PLAIN_PROGRESS_SECONDS, Output, Style
from mgmt.show.bars import draw_lines
from mgmt.show.progress import TaskRenderer
from mgmt.show.underway import Kind, Stage, UnderWay
from mgmt_contract.values import Value

MB = 1_000_000


class Fetched(Value):
    operation_id: str
    target_path: str
    status: str = "fetched"
    s3_object_key: str = "key"


class FetchView:
    kind = Kind(
        stages={
            "fetching": Stage("green", is_transfer=True),
            "checking": Stage("cyan"),
            "asking": Stage(is_measured=False),
        },
        plural="fetches",
        moved="received",
        ended="fetched",
        nothing="There is nothing to fetch.",
        after_failures="Fetch again.",
        list_failures="`mgmt fetches`",
    )

    def __init__(self, output):
        self._output = output
        self._shown = []

    def show(self, finished, transfer, *, is_alone):
        self._shown.append(finished.record.target_path)
        speed = f"{transfer.moved_fraction:.0%} in {transfer.seconds:.0f} s" if transfer else ""
        self._output.line(f"{'the only one' if is_alone else 'one'}: {finished.record.target_path} {speed}")

    def json(self, finished):
        return {"type": "fetched", "path": finished.record.target_path, "failed": finished.error is not None}

    def sums(self, elapsed_seconds):
        return f": {', '.join(self._shown)} in {elapsed_seconds:.0f} s"


@pytest.fixture
def clock():
    now = [1000.0]

    def tell():
        return now[0]

    tell.now = now
    return tell


def run(clock, *events, seconds_apart=1.0, **style):
    """Show events one after the other; return what both streams have got."""
    output = Output(Style(**style), io.StringIO(), io.StringIO())
    with TaskRenderer(output, FetchView(output), clock=clock) as renderer:
        for event in events:
            renderer.emit(event)
            clock.now[0] += seconds_apart
    return renderer, output.stdout, output.stderr


def fetching(name, done, total=10 * MB, carried_over=0):
    return Progress(name, name, "fetching", done, total, carried_over)


def test_stages_are_bars_on_a_terminal(clock):
    underway = UnderWay(FetchView.kind, clock)
    underway.expect({"a": 10 * MB, "b": 10 * MB, "c": None})
    for name in "ab":
        underway.begin(Begun(name, name, 10 * MB))
        underway.note(fetching(name, 0))
    clock.now[0] += 1
    underway.note(fetching("a", 5 * MB))
    underway.note(Progress("b", "b", "checking", 2 * MB, 10 * MB))
    underway.note(Progress("c", "c", "asking", 0, None))
    clock.now[0] += 1
    lines = ["".join(text for text, _ in line).rstrip() for line in draw_lines(underway, 78, 24)]
    assert [line.split()[:2] for line in lines[:4]] == [["fetching", "a"], ["fetching", "b"], ["checking", "b"],
                                                        ["asking", "c"]]  # fmt: skip
    assert lines[0].endswith(" 50 % 2.50 MB/s    0:02")
    assert lines[3].endswith("    0:01")
    assert lines[4].startswith("all        0 of 3 done")
    styles = [line[0][1] for line in draw_lines(underway, 78, 24)]
    assert styles[:4] == ["green", "green", "cyan", ""]
    assert "5.00 MB received" in "".join(text for text, _ in draw_lines(underway, 118, 24)[-1])


def test_progress_is_a_line_where_there_are_no_bars(clock):
    events = [fetching("a", done * MB) for done in (0, 1, 2)]
    _, _, stderr = run(clock, *events, seconds_apart=PLAIN_PROGRESS_SECONDS / 2)
    assert stderr.getvalue() == "a: fetching, 2.00 MB of 10.0 MB, 66.7 kB/s, 2:00 left\n"
    many = [Expected({"a": 10 * MB, "b": 10 * MB}), Begun("a", "a", 10 * MB), fetching("a", 0), fetching("a", 5 * MB)]
    _, _, stderr = run(clock, *many, seconds_apart=PLAIN_PROGRESS_SECONDS / 3)
    assert stderr.getvalue().startswith("0 of 2 done, 5.00 MB received, 25 %")


def test_progress_is_a_json_line_a_second_with_the_stages_name(clock):
    events = [fetching("a", 0), fetching("a", 2 * MB, carried_over=1 * MB), Progress("a", "a", "checking", 0, 1)]
    error = SourceError("no")
    _, stdout, _ = run(clock, *events, Finished(Fetched("a", "a"), error), as_json=True)
    [progress, result] = map(json.loads, stdout.getvalue().splitlines())
    assert progress == {
        "type": "progress", "operation_id": "a", "target_path": "a", "stage": "fetching", "done_bytes": 2 * MB,
        "total_bytes": 10 * MB, "carried_over_bytes": 1 * MB,
    }  # fmt: skip
    assert result == {"type": "fetched", "path": "a", "failed": True}


def test_results_and_sums_are_the_views_own(clock):
    events = [Expected({"a": MB, "b": MB}), fetching("a", 0), fetching("a", 10 * MB), Finished(Fetched("a", "a"))]
    events += [
        fetching("x", 0),
        Renewed("x", "b"),
        Finished(Fetched("b", "b")),
        Finished(Fetched("", "c"), SourceError("Gone.")),
    ]
    renderer, stdout, stderr = run(clock, *events)
    renderer.summarize(2, 1, 0)
    assert stdout.getvalue().splitlines() == ["one: a 100% in 2 s", "one: b 0% in 2 s"]
    assert stderr.getvalue().splitlines() == ["mgmt: Gone.", "2 fetched, 1 failed: a, b in 8 s", "Fetch again."]
    renderer, _, stderr = run(clock)
    renderer.summarize(0, 0, 0)
    assert stderr.getvalue() == "There is nothing to fetch.\n"


def test_a_failure_that_has_scrolled_away_is_named_again_with_the_kinds_own_pointer(clock):
    failed = [Finished(Fetched(str(number), str(number)), SourceError(f"{number} is gone.")) for number in range(25)]
    renderer, _, stderr = run(clock, *failed)
    renderer.summarize(0, 25, 0)
    assert "  and 5 more: `mgmt fetches`" in stderr.getvalue().splitlines()
