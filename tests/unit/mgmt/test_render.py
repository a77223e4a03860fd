import doctest
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from mgmt import wording
from mgmt.errors import IntegrityError, SourceError
from mgmt.events import AlreadyThere, Finished, Notice, Progress, Trace
from mgmt.render import Output, Style, UploadRenderer, describe_record, make_table
from mgmt.wording import printable
from mgmt_contract.records import FileRecord, UploadRecord

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_record(**changes):
    fields = {
        "operation_id": "id-1",
        "operation_type": "upload",
        "target_path": "clip.mp4",
        "started_at": BEGAN,
        "status": "success",
        "result_path": "p/clip.mp4.tar.gz",
        "error_message": None,
        "compression_type": "gzip",
        "compressed_file_path": "clip.mp4.tar.gz",
        "s3_bucket": "bucket",
        "s3_object_key": "p/clip.mp4.tar.gz",
        "source_file_record": FileRecord("clip.mp4", "clip.mp4", "local", 200, is_directory=False, status="completed"),
        "compressed_file_record": FileRecord(
            "a", "clip.mp4.tar.gz", "local", 100, is_directory=False, status="deleted"
        ),
        "s3_file_record": FileRecord(
            "a", "p/clip.mp4.tar.gz", "s3", 100_000_000, is_directory=False, status="completed"
        ),
        "uncompressed_size": 200_000_000,
        "member_count": 1,
        "finished_at": BEGAN + timedelta(seconds=10),
        "actor": "anna",
        "tags": {"project": "x"},
        "storage_class": "STANDARD_IA",
    }
    return UploadRecord(**{**fields, **changes})


class Screen:
    def __init__(self, **style):
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.output = Output(Style(**style), self.stdout, self.stderr)

    def show(self, *events):
        with UploadRenderer(self.output) as renderer:
            for event in events:
                renderer.emit(event)
        return self.stdout.getvalue(), self.stderr.getvalue()

    @property
    def json_lines(self):
        return [json.loads(line) for line in self.stdout.getvalue().splitlines()]


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(wording)
    assert result.attempted >= 5
    assert not result.failed


def test_a_success_says_key_sizes_ratio_time_and_speed():
    said, aside = Screen().show(Finished(make_record()))
    assert said == "✓ clip.mp4 → s3://bucket/p/clip.mp4.tar.gz  100 MB (50 % of 200 MB) in 10 s, 10.0 MB/s\n"
    assert aside == ""


def test_a_failure_is_a_sentence_on_stderr_and_nothing_on_stdout():
    record = make_record(status="failed")
    said, aside = Screen().show(Finished(record, IntegrityError("Bytes disagree. Do this.")))
    assert said == ""
    assert aside == "mgmt: Bytes disagree. Do this.\n"


def test_json_has_a_record_with_the_documents_fields_and_an_error_line():
    screen = Screen(as_json=True)
    error = SourceError("Gone.", code="source-missing", operation_id="id-1")
    _, aside = screen.show(Finished(make_record(status="failed"), error))
    [line] = screen.json_lines
    assert line["type"] == "record"
    assert line["source_file_record"] == {
        "name": "clip.mp4", "path": "clip.mp4", "location": "local", "size": 200, "is_directory": False,
        "status": "completed",
    }  # fmt: skip
    assert line["started_at"] == "2026-01-02T03:04:05.000Z"
    assert json.loads(aside) == {
        "type": "error", "exit_code": 4, "code": "source-missing", "message": "Gone.", "operation_id": "id-1",
    }  # fmt: skip


def test_json_of_everything_else_is_one_line_each():
    screen = Screen(as_json=True)
    screen.show(AlreadyThere("id-2", "a", "k", "anna", None), Notice("n", "code"), Trace("t"))
    UploadRenderer(screen.output).summarize(1, 2, 3)
    assert [line["type"] for line in screen.json_lines] == ["already_there", "notice", "summary"]
    assert screen.json_lines[-1] == {"type": "summary", "succeeded": 1, "failed": 2, "skipped": 3}


def test_without_a_terminal_progress_is_rare_and_has_no_escape_codes():
    """The first progress of an upload is not shown: whatever is short needs none."""
    _, aside = Screen().show(*[Progress("id-1", "clip.mp4", "packing", done, 1000) for done in range(1000)])
    assert aside == ""


def test_progress_after_a_while_is_one_plain_line(monkeypatch):
    now = iter(range(0, 1000, 20))
    monkeypatch.setattr("mgmt.render.time.monotonic", lambda: next(now))
    events = [Progress("id-1", "clip.mp4", "uploading", done, 4_000_000) for done in (1_000_000, 2_000_000, 3_000_000)]
    _, aside = Screen().show(*events)
    assert aside == "clip.mp4: uploading, 3.00 MB of 4.00 MB\n"


def test_quiet_shows_errors_only():
    error = SourceError("Gone.")
    said, aside = Screen(verbosity=-1).show(
        Notice("n", "c"),
        Trace("t"),
        AlreadyThere("id-2", "a", "k", None, None),
        Finished(make_record()),
        Finished(make_record(), error),
    )
    assert said == ""
    assert aside == "mgmt: Gone.\n"


def test_only_verbose_shows_calls():
    assert Screen().show(Trace("GET /v1/service"))[1] == ""
    assert Screen(verbosity=1).show(Trace("GET /v1/service"))[1] == "GET /v1/service\n"


@pytest.mark.parametrize("style", [{}, {"colors": True}])
def test_names_cannot_speak_to_the_terminal(style):
    evil = "a\x1b]0;pwned\x07\r\n\u202egpj.exe"
    said, aside = Screen(**style).show(Finished(make_record(target_path=evil, s3_object_key=evil)), Notice(evil, "c"))
    ours = (said + aside).replace("\x1b[32m", "").replace("\x1b[33m", "").replace("\x1b[0m", "")
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(ours)
    assert printable("👩‍🎤 Café") == "👩‍🎤 Café"


def test_a_closed_pipe_silences_the_output_and_nothing_else():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    stderr = io.StringIO()
    output = Output(Style(), Closed(), stderr)
    with UploadRenderer(output) as renderer:
        renderer.emit(Finished(make_record()))
        renderer.emit(Finished(make_record(), SourceError("Still said.")))
    assert "Still said." in stderr.getvalue()


def test_several_uploads_end_with_a_sum():
    screen = Screen()
    UploadRenderer(screen.output).summarize(2, 1, 3)
    assert screen.stderr.getvalue().startswith("2 uploaded, 3 already there, 1 failed in ")


def test_a_record_is_told_whole():
    told = dict(describe_record(make_record()))
    assert told["object"] == "s3://bucket/p/clip.mp4.tar.gz"
    assert told["source"] == "clip.mp4 (200 B, completed)"
    assert told["tags"] == "project=x"
    assert told["finished"].endswith("after 10 s")
    empty = make_record(
        source_file_record=None, s3_file_record=None, finished_at=None, tags={}, member_count=None, status="pending"
    )
    assert dict(describe_record(empty))["content"] == "-"


def test_a_table_is_aligned_and_its_cells_are_escaped():
    assert make_table(("A", "KEY"), [("1", "x\ny"), ("22", "z")]) == ["A   KEY", "1   x\\ny", "22  z"]


def test_bars_show_on_a_terminal_and_leave_nothing_behind():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stderr = Terminal()
    output = Output(Style(bars=True), io.StringIO(), stderr)
    with UploadRenderer(output) as renderer:
        for stage in ("packing", "uploading", "confirming"):
            renderer.emit(Progress("id-1", "clip.mp4", stage, 1, 2))
        renderer.emit(Progress("id-1", "clip.mp4", "packing", 2, 2))
        renderer.emit(Finished(make_record()))
        renderer.emit(Progress("id-1", "clip.mp4", "uploading", 1, 2))  # a part that was still under way
        assert not renderer._tasks
    assert "clip.mp4" in output.stdout.getvalue()
