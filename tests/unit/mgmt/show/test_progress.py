import doctest
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mgmt import text as wording
from mgmt.errors import IntegrityError, SourceError
from mgmt.events import Answered, Begun, Expected, Finished, Notice, Progress, Renewed, Waiting
from mgmt.show import PLAIN_PROGRESS_SECONDS, Output, Style, tables, uploads
from mgmt.show.history import describe_record, describe_version, version_line
from mgmt.show.progress import TaskRenderer
from mgmt.show.underway import Transfer
from mgmt.show.uploads import UploadView, describe_success
from mgmt.show.waiting import WaitingRenderer
from mgmt.text import display_width, moment_in_words, printable
from mgmt.upload.results import AlreadyThere
from mgmt_contract.records import FileRecord, UploadRecord

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MOMENT = "2026-01-02T03:04:05.000Z"


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


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds

    def move(self, seconds):
        self.seconds += seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Screen:
    def __init__(self, stream=io.StringIO, **style):
        self.stdout, self.stderr = stream(), stream()
        self.output = Output(Style(**style), self.stdout, self.stderr)
        self.clock = Clock()

    def show(self, *events, seconds_apart=0.0):
        with TaskRenderer(self.output, UploadView(self.output), clock=self.clock) as renderer:
            for event in events:
                renderer.emit(event)
                self.clock.move(seconds_apart)
        self.renderer = renderer
        return self.stdout.getvalue(), self.stderr.getvalue()

    @property
    def json_lines(self):
        return [json.loads(line) for line in self.stdout.getvalue().splitlines()]


def test_the_examples_in_the_docstrings_hold():
    for module in (wording, tables, uploads):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


def uploading(done, total=100_000_000, carried_over=0):
    return Progress("id-1", "clip.mp4", "uploading", done, total, carried_over)


def test_a_success_says_key_sizes_ratio_time_and_speed():
    """The speed is the source's bytes over the time that the record also has: `show` says the same."""
    events = [uploading(0), uploading(50_000_000), uploading(100_000_000), Finished(make_record())]
    said, aside = Screen().show(*events, seconds_apart=5)
    assert said == "✓ clip.mp4 → s3://bucket/p/clip.mp4.tar.gz  200 MB → 100 MB (50 % smaller) in 10 s, 20.0 MB/s\n"
    assert aside == ""


def test_the_speed_after_a_resume_counts_neither_what_was_there_nor_the_pause():
    """The record began ten seconds before it ended; this run took four, and sent ten megabytes of the hundred."""
    events = [uploading(90_000_000, carried_over=90_000_000), uploading(100_000_000, carried_over=90_000_000)]
    said, _ = Screen().show(*events, Finished(make_record()), seconds_apart=2)
    assert said.endswith(", the last 20.0 MB in 4.0 s, 5.00 MB/s\n")


def test_an_upload_that_is_begun_anew_took_all_the_time_since_it_was_begun_first():
    """Its speed is that of what stayed: forty of the megabytes were sent in vain."""
    events = [uploading(0), uploading(40_000_000), Renewed("id-1", "id-2")]
    events += [replace(uploading(done), operation_id="id-2") for done in (0, 100_000_000)]
    said, _ = Screen().show(*events, Finished(make_record(operation_id="id-2")), seconds_apart=5)
    assert said.endswith(" in 25 s, 8.00 MB/s\n")


@pytest.mark.parametrize("seconds", [0.153, 0.96, 3.44, 64.9])
@pytest.mark.parametrize("size", [1_371_000, 49_800_000, 3_000_000_000])
def test_a_result_can_be_computed_again_from_what_it_says(size, seconds):
    """Within what rounding takes away; `show` says the same figures."""
    stored = FileRecord("a", "a", "s3", size + 128, is_directory=False, status="completed")
    record = make_record(s3_file_record=stored, uncompressed_size=size, finished_at=BEGAN + timedelta(seconds=seconds))
    said = describe_success(record, Transfer(seconds + 1, 1.0))
    found = re.search(r"  (\S+ \w?B), no smaller, in (.+), (\S+ \w?B)/s$", said)
    assert found, said
    assert size_of(found[3]) == pytest.approx(size_of(found[1]) / seconds_of(found[2]), rel=0.05)
    assert dict(describe_record(record))["finished"].endswith(f"after {found[2]}, {found[3]}/s")


def test_what_is_too_small_to_have_a_speed_has_none():
    """It goes with a hundred others, and the time it took is theirs."""
    record = make_record(uncompressed_size=371_000)
    assert describe_success(record, Transfer(12, 1.0)).endswith(" in 10 s")
    assert dict(describe_record(record))["finished"].endswith("after 10 s")


def size_of(words):
    number, unit = words.split()
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def seconds_of(words):
    return sum(float(number) * (60 if unit == "min" else 1) for number, unit in re.findall(r"([\d.]+) (min|s)", words))


@pytest.mark.parametrize("width", [18, 38, 78, 98, 118])
@pytest.mark.parametrize("name", ["clip.mp4", "A001_C003_0826BQ_interview_with_a_long_name.mov", "映画 テイク.mov"])
def test_one_of_several_results_fits_the_terminal(width, name):
    record = make_record(target_path=name, s3_object_key=f"shoots/day1/{name}.tar.gz")
    said = describe_success(record, Transfer(75, 1.0), width)
    assert display_width(said) <= width
    assert name[:3] in said or name[-3:] in said


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
    screen.show(Finished(AlreadyThere("id-2", "a", "k", "anna", None)), Notice("n", "code"))
    TaskRenderer(screen.output, UploadView(screen.output)).summarize(1, 2, 3)
    assert [line["type"] for line in screen.json_lines] == ["already_there", "notice", "summary"]
    assert screen.json_lines[-1] == {"type": "summary", "succeeded": 1, "failed": 2, "skipped": 3}


def test_without_a_terminal_progress_is_rare_and_has_no_escape_codes():
    """The first progress of an upload is not shown: whatever is short needs none."""
    _, aside = Screen().show(*[Progress("id-1", "clip.mp4", "packing", done, 1000) for done in range(1000)])
    assert aside == ""


def test_progress_after_a_while_is_one_plain_line():
    """At most one in half a minute, however many uploads there are."""
    events = [uploading(done, 4_000_000) for done in (0, 1_000_000, 2_000_000)]
    _, aside = Screen().show(*events, seconds_apart=PLAIN_PROGRESS_SECONDS / 2)
    assert aside == "clip.mp4: uploading, 2.00 MB of 4.00 MB, 66.7 kB/s, 0:30 left\n"


def test_progress_of_several_uploads_is_one_plain_line_over_all():
    all_of_them = Expected({"a": 4_000_000, **{str(index): 0 for index in range(59)}})
    first = Progress("id-1", "a", "uploading", 3_000_000, 4_000_000)
    others = [Progress(f"other-{index}", "b", "packing", 1, 2) for index in range(50)]
    _, aside = Screen().show(all_of_them, Begun("a", "id-1", 4_000_000), first, *others, seconds_apart=1)
    assert aside.startswith("0 of 60 done, 3.00 MB sent, 74 %")
    assert aside.count("\n") == 1


def test_waiting_is_said_where_it_takes_long_and_nothing_moves():
    waiting = [Waiting("the storage is joining parts")] * 3
    _, aside = Screen().show(*waiting, seconds_apart=PLAIN_PROGRESS_SECONDS * 0.6)
    assert aside == "waiting 0:36: the storage is joining parts\n"


def test_a_command_that_only_asks_says_what_it_waits_for_once():
    screen = Screen()
    with WaitingRenderer(screen.output, after_seconds=0) as renderer:
        for _ in range(3):
            renderer.emit(Waiting("an answer"))
            renderer._timer.join()
        renderer.emit(Answered())
    assert screen.stderr.getvalue() == "note: waiting: an answer\n"


def test_a_command_that_is_answered_in_time_says_nothing():
    screen = Screen()
    with WaitingRenderer(screen.output) as renderer:
        renderer.emit(Waiting("an answer"))
        renderer.emit(Answered())
        renderer._timer.join()
    assert screen.stderr.getvalue() == ""


def test_quiet_shows_errors_only():
    error = SourceError("Gone.")
    said, aside = Screen(verbosity=-1).show(
        Notice("n", "c"),
        Finished(AlreadyThere("id-2", "a", "k", None, None)),
        Finished(make_record()),
        Finished(make_record(), error),
    )
    assert said == ""
    assert aside == "mgmt: Gone.\n"


def test_already_there_says_once_who_uploaded_it_and_when():
    said, _ = Screen().show(Finished(AlreadyThere("id-2", "clip.mp4", "p/clip.mp4.tar.gz", "anna", MOMENT)))
    local = moment_in_words(datetime.fromisoformat(MOMENT))
    assert said == f"= clip.mp4 is already there as p/clip.mp4.tar.gz, uploaded by anna on {local}\n"
    assert Screen().show(Finished(AlreadyThere("id-2", "a", "k", None, None)))[0] == "= a is already there as k\n"


def test_times_in_a_services_sentence_are_shown_as_a_persons_own():
    _, aside = Screen().show(Finished(make_record(), SourceError(f"Uploaded by bert at {MOMENT}.")))
    assert aside == f"mgmt: Uploaded by bert at {moment_in_words(datetime.fromisoformat(MOMENT))}.\n"


def test_colours_are_for_terminals_only():
    notice = Notice("n", "c")
    assert Screen(stream=Terminal, colors=True).show(notice)[1] == "\x1b[35mnote:\x1b[0m n\n"
    assert Screen(stream=Terminal).show(notice)[1] == "note: n\n"
    assert Screen(colors=True).show(notice)[1] == "note: n\n"


def test_a_terminal_without_our_signs_gets_others_of_the_same_width():
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="iso-8859-1", errors="backslashreplace")
    output = Output(Style(), stdout, io.StringIO())
    with TaskRenderer(output, UploadView(output)) as renderer:
        renderer.emit(Finished(make_record()))
    assert stdout.buffer.getvalue().startswith(b"+ clip.mp4 > s3://bucket/")


@pytest.mark.parametrize("style", [{}, {"colors": True, "stream": Terminal}])
def test_names_cannot_speak_to_the_terminal(style):
    evil = "a\x1b]0;pwned\x07\r\n\u202egpj.exe"
    said, aside = Screen(**style).show(Finished(make_record(target_path=evil, s3_object_key=evil)), Notice(evil, "c"))
    ours = (said + aside).replace("\x1b[32m", "").replace("\x1b[35m", "").replace("\x1b[0m", "")
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(ours)
    assert printable("👩‍🎤 Café") == "👩‍🎤 Café"


def test_a_closed_pipe_silences_the_output_and_nothing_else():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    stderr = io.StringIO()
    output = Output(Style(), Closed(), stderr)
    with TaskRenderer(output, UploadView(output)) as renderer:
        renderer.emit(Finished(make_record()))
        renderer.emit(Finished(make_record(), SourceError("Still said.")))
    assert "Still said." in stderr.getvalue()


def test_several_uploads_end_with_a_sum():
    screen = Screen()
    screen.show(Finished(make_record()), Finished(make_record(operation_id="id-2")), seconds_apart=2)
    screen.renderer.summarize(2, 1, 3)
    said = screen.stderr.getvalue().splitlines()
    assert said[0] == "2 uploaded, 3 already there, 1 failed: 400 MB → 200 MB (50 % smaller) in 4.0 s"
    assert "Fix the errors above and run the command again; finished uploads are skipped." in said[1]


def test_a_sum_of_a_few_bytes_has_no_speed():
    screen = Screen()
    small = make_record(uncompressed_size=3)
    screen.show(
        uploading(0), uploading(10**8), Finished(small), Finished(replace(small, operation_id="b")), seconds_apart=0.5
    )
    screen.renderer.summarize(2, 0, 0)
    assert "/s" not in screen.stderr.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("carried_over", "said"),
    [(0, "2 uploaded: 400 MB → 200 MB (50 % smaller) in 8.0 s, 50.0 MB/s"),
     (75_000_000, "2 uploaded: 400 MB → 200 MB (50 % smaller), 100 MB of it sent in 8.0 s, 12.5 MB/s")],
)  # fmt: skip
def test_the_sum_can_be_computed_again_from_what_it_says(carried_over, said):
    """What an earlier run had sent is no speed of this one, and neither is what failed."""
    screen = Screen()
    events = [
        replace(event, operation_id=name)
        for name in ("a", "b")
        for event in (uploading(carried_over, carried_over=carried_over), uploading(10**8, carried_over=carried_over))
    ]
    failed = replace(uploading(90_000_000), operation_id="c")
    ends = [Finished(make_record(operation_id=name)) for name in ("a", "b")]
    screen.show(*events, failed, *ends, Finished(make_record(operation_id="c"), SourceError("no")), seconds_apart=1)
    screen.renderer.summarize(2, 0, 0)
    assert screen.stderr.getvalue().splitlines()[-1] == said


def test_failures_are_named_again_where_they_may_have_scrolled_away():
    failed = [
        Finished(make_record(operation_id=f"f{i}"), SourceError(f"{i} is gone since {MOMENT}.")) for i in range(25)
    ]
    screen = Screen()
    _, before = screen.show(*failed)
    screen.renderer.summarize(0, 25, 0)
    again = screen.stderr.getvalue().removeprefix(before).splitlines()
    assert again[0] == "Failed:"
    assert again[1] == f"  clip.mp4: 0 is gone since {moment_in_words(datetime.fromisoformat(MOMENT))}."
    assert again[21].startswith("  and 5 more: `mgmt history")
    assert again[22].startswith("25 failed in ")


def test_few_failures_are_named_once():
    screen = Screen()
    _, before = screen.show(Finished(make_record(), SourceError("Gone.")))
    screen.renderer.summarize(3, 1, 0)
    assert "Gone." not in screen.stderr.getvalue().removeprefix(before)


def test_a_record_is_told_whole():
    told = dict(describe_record(make_record()))
    assert told["object"] == "s3://bucket/p/clip.mp4.tar.gz (100 MB, completed)"
    assert told["source"] == "clip.mp4 (200 B, completed)"
    assert told["tags"] == "project=x"
    assert told["finished"] == f"{moment_in_words(BEGAN + timedelta(seconds=10))}, after 10 s, 20.0 MB/s"
    empty = make_record(
        source_file_record=None, s3_file_record=None, finished_at=None, tags={}, member_count=None, status="pending"
    )
    assert dict(describe_record(empty))["content"] == "-"


def test_a_replacement_says_whose_upload_it_replaces():
    told = dict(describe_record(make_record(replaces="op-1", replaces_actor="anna")))
    assert told["replaces"] == "the upload of anna, operation op-1"
    pending = dict(describe_record(make_record(replaces="op-1", replaces_actor="anna", status="pending")))
    assert pending["replaces"] == "if it succeeds, the upload of anna, operation op-1"
    assert "replaces" not in dict(describe_record(make_record()))


def test_what_the_service_found_out_without_the_client_is_told():
    assert not {"found out by", "arrived", "index"} & set(dict(describe_record(make_record())))
    told = dict(describe_record(make_record(settled_by="worker", index_missing=True, late_at=BEGAN)))
    assert told["found out by"] == "the service, without its client"
    assert told["arrived"] == f"{moment_in_words(BEGAN)}, after the upload had failed; adopted"
    assert told["index"] == "missing; the archive itself is whole"
    assert dict(describe_record(make_record(index_size=1432)))["index"] == "1.43 kB"
    late = dict(describe_record(make_record(status="failed", late_at=BEGAN, late_version_id="v7")))
    assert late["arrived"].endswith("not adopted: version v7")


def test_what_was_proven_is_told_from_what_was_claimed():
    """S3 states size and checksum; the digest was computed by the uploader's client alone."""
    told = dict(describe_record(make_record(content_digest="blake3:00")))
    assert told["proven"].startswith("size and crc64nvme")
    assert "digest" in told["claimed"]
    assert "anna" in told["claimed"]
    for status in ("pending", "failed"):
        told = dict(describe_record(make_record(content_digest="blake3:00", status=status)))
        assert told["proven"].startswith("nothing")


def test_a_failed_record_says_why():
    record = make_record(status="failed", error_message="The disk is full.", error_code="disk-full")
    assert dict(describe_record(record))["status"] == "failed: The disk is full. (disk-full)"
    assert dict(describe_record(make_record(status="pending", phase="carrying")))["status"] == "pending, carrying"


def test_a_version_is_told_in_a_line_and_to_a_program():
    record = make_record(version_id="v1")
    assert describe_version(record).endswith("by anna, 100 MB, operation id-1")
    line = version_line(record)
    assert (line["version_id"], line["size"], line["finished_at"]) == ("v1", 100_000_000, "2026-01-02T03:04:15.000Z")


def test_bars_show_on_a_terminal_and_leave_nothing_behind():
    stderr = Terminal()
    output = Output(Style(bars=True), io.StringIO(), stderr)
    with TaskRenderer(output, UploadView(output)) as renderer:
        for stage in ("packing", "uploading", "confirming"):
            renderer.emit(Progress("id-1", "clip.mp4", stage, 1, 2))
        renderer.emit(Finished(make_record()))
        renderer.emit(Progress("id-1", "clip.mp4", "uploading", 1, 2))  # a part that was still under way
        assert not renderer._underway.tracks()
    assert "clip.mp4" in output.stdout.getvalue()
    assert stderr.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is shown again"
