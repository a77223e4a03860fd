import re

import pytest

from mgmt.events import Begun, Progress
from mgmt.show.bars import LINES_MAX, SETTLED_SECONDS, STILL_SECONDS, draw_lines
from mgmt.show.underway import SPEED_WINDOW_SECONDS, UnderWay
from mgmt.show.uploads import UPLOADS
from mgmt.text import display_width

WIDTHS = [18, 28, 38, 58, 78, 98, 118, 198]
MB = 1_000_000
LONG = "A001_C003_0826BQ_interview_with_a_long_name.mov"


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def underway(clock):
    return UnderWay(UPLOADS, clock)


def drawn(underway, width=78, height=24):
    return ["".join(text for text, _ in line).rstrip() for line in draw_lines(underway, width, height)]


def unknown(count):
    """So many targets, none of which anybody has looked at."""
    return {f"target {index}": None for index in range(count)}


def begin(underway, clock, count, *, size=10 * MB, stage="uploading"):
    """Begin so many uploads, half of each done, long enough ago to be shown."""
    for index in range(count):
        underway.note(Progress(f"id-{index}", f"{index} {LONG}", stage, 0, size))
    clock.seconds += 1
    for index in range(count):
        underway.note(Progress(f"id-{index}", f"{index} {LONG}", stage, size // 2, size))


def test_one_upload_shows_stage_name_percent_speed_and_time_left(underway, clock):
    begin(underway, clock, 1)
    [line] = drawn(underway)
    assert line.startswith("uploading  0 A001")
    assert line.endswith("50 % 5.00 MB/s    0:01")
    assert "━━━━" in line
    assert "────" in line


def test_packing_and_uploading_are_both_visible_where_they_overlap(underway):
    underway.note(Progress("id", "huge.mov", "packing", 50, 100))
    underway.note(Progress("id", "huge.mov", "uploading", 10, 100))
    assert [line.split()[0] for line in drawn(underway)] == ["packing", "uploading"]


def test_a_stage_that_is_over_is_gone_and_confirming_ends_all_others(underway, clock):
    underway.note(Progress("id", "clip", "packing", 100, 100))
    assert drawn(underway) == []
    underway.note(Progress("id", "clip", "uploading", 10, 100))
    underway.note(Progress("id", "clip", "confirming", 0, 100))
    clock.seconds += 75
    [line] = drawn(underway)
    assert line.split()[0] == "confirming"
    assert line.endswith("1:15")


def test_confirming_shows_that_something_happens(underway, clock):
    underway.note(Progress("id", "clip", "confirming", 0, 100))
    frames = set()
    for _ in range(8):
        clock.seconds += 1 / 8
        frames.add(re.sub(r"\d", "", drawn(underway)[0]))
    assert len(frames) > 3


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 3, 100])
@pytest.mark.parametrize("stage", ["packing", "uploading", "confirming"])
def test_no_line_is_wider_than_the_terminal_and_no_screen_is_filled(underway, clock, width, count, stage):
    underway.expect(unknown(count))
    begin(underway, clock, count, stage=stage)
    underway.wait_for("映画 " * 50)
    clock.seconds += STILL_SECONDS
    lines = drawn(underway, width)
    assert max(map(display_width, lines)) <= width
    assert len(lines) <= LINES_MAX + 3
    assert len(drawn(underway, width, height=6)) <= 6


def test_names_are_shortened_in_the_middle(underway, clock):
    begin(underway, clock, 1)
    assert re.search(r"0 A001\S*…\S*\.mov", drawn(underway)[0])


def test_at_twenty_columns_one_upload_keeps_its_numbers_and_several_their_names(underway, clock):
    begin(underway, clock, 1)
    assert drawn(underway, 18) == ["uploading 50% 0:01"]
    underway.expect(unknown(3))
    begin(underway, clock, 2)
    lines = drawn(underway, 18)
    assert lines[0].startswith("0 A001")
    assert lines[0].endswith(" 50 %")
    assert lines[-1].startswith("0 of 3")


def test_many_at_once_are_cut_to_a_number_a_person_can_read(underway, clock):
    underway.expect(unknown(100))
    begin(underway, clock, 100)
    lines = drawn(underway)
    assert len(lines) == LINES_MAX + 1
    assert lines[-2].split() == ["and", "93", "more"]
    assert lines[-1].startswith("all        0 of 100 done")


def test_what_is_over_at_once_gets_no_line_where_there_are_many(underway, clock):
    underway.expect(unknown(300))
    underway.note(Progress("id", "small.jpg", "uploading", 1, 2))
    assert [line.split()[0] for line in drawn(underway)] == ["all"]
    clock.seconds += SETTLED_SECONDS * 1.1
    assert [line.split()[0] for line in drawn(underway)] == ["uploading", "all"]


def send(underway, clock, operation_id, done, total, *, seconds=1, carried_over=0):
    clock.seconds += seconds
    underway.note(Progress(operation_id, operation_id, "uploading", done, total, carried_over))


def test_the_line_over_all_counts_the_bytes_of_all_sources(underway, clock):
    """Four equal uploads of which two have ended and one is half sent: five eighths are done."""
    underway.expect(dict.fromkeys("abcd", 8 * MB))
    for name in "abc":
        underway.begin(Begun(name, name, 8 * MB))
        for done in (0, 2 * MB, 4 * MB) if name == "c" else (0, 4 * MB, 8 * MB):
            send(underway, clock, name, done // 2, 4 * MB)
        if name != "c":
            underway.end(name)
    overall = underway.overall()
    assert (overall.count, overall.ended_count, overall.transferred_bytes) == (4, 2, 10 * MB)
    assert (overall.fraction, overall.is_all_known) == (5 / 8, True)
    assert overall.left_seconds == pytest.approx(12 / 20 * 8, rel=0.1)


def test_a_large_one_among_tiny_ones_is_nearly_all_of_it(underway, clock):
    """Of a card of 419 MB and four tiny folders 98 % are sent, at 20 MB/s: 98 % of all is done, and 0:00 is left."""
    card = 419 * MB
    underway.expect({"card": None, "1": None, "2": None, "3": None, "4": None})
    underway.begin(Begun("card", "card", card))
    for name in "1234":
        underway.note_size(name, 3000)
    for seconds in range(21):
        send(underway, clock, "card", seconds * 394 * MB // 20, 400 * MB)
    line = drawn(underway)[-1]
    assert line.startswith("all        0 of 5 done")
    assert line.endswith("98 % 19.7 MB/s    0:00")


def test_where_what_is_known_is_done_the_line_says_that_more_comes(underway, clock):
    """Not "at least 0:00", which says nothing."""
    underway.expect({"clip": 10 * MB, "DCIM": None})
    underway.begin(Begun("clip", "clip", 10 * MB))
    for done in (0, 5 * MB, 10 * MB - 1):
        send(underway, clock, "clip", done, 10 * MB)
    assert drawn(underway)[-1].endswith("MB/s more to come")


def test_the_bar_over_all_never_goes_back_where_sizes_are_learned_one_after_the_other(underway, clock):
    """As in a download of several: of the bytes known so far all are nearly done each time."""
    underway.expect(dict.fromkeys("abcd"))
    seen = []
    for name in "abcd":
        underway.begin(Begun(name, name, 8 * MB))
        for done in (0, 4 * MB, 8 * MB):
            send(underway, clock, name, done, 8 * MB)
            seen.append(underway.overall().fraction)
        underway.end(name)
    assert seen == sorted(seen)
    assert seen[:6] == [0, 1 / 8, 1 / 4, 1 / 4, 3 / 8, 1 / 2]


def test_until_everything_was_looked_at_the_line_says_at_least(underway, clock):
    underway.expect({"clip": 10 * MB, "DCIM": None})
    underway.begin(Begun("clip", "clip", 10 * MB))
    for done in (0, 1 * MB, 2 * MB):
        send(underway, clock, "clip", done, 10 * MB)
    for width in WIDTHS:
        line = drawn(underway, width)[-1]
        assert display_width(line) <= width
        assert "%" not in line, "of what?"
        assert line.endswith("at least 0:08") or width < 30
    underway.note_size("DCIM", 30 * MB)
    assert "at least" not in drawn(underway)[-1]
    assert drawn(underway)[-1].endswith("5 % 1.00 MB/s    0:38")


def test_what_was_there_already_is_done_and_no_speed(underway, clock):
    """One was skipped, half of another had been sent by an earlier run: what is left goes as fast as the rest did."""
    underway.expect({"skipped": 80 * MB, "clip": 20 * MB})
    underway.begin(Begun("skipped", "skipped", 80 * MB))
    underway.end("skipped")
    underway.begin(Begun("clip", "clip", 20 * MB))
    send(underway, clock, "clip", 10 * MB, 20 * MB, carried_over=10 * MB)
    for done in (11, 12):
        send(underway, clock, "clip", done * MB, 20 * MB, carried_over=10 * MB)
    overall = underway.overall()
    assert overall.fraction == pytest.approx(0.92)
    assert overall.left_seconds == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize(
    ("megabytes", "left"),
    [(35_002, "9:43:20"), (36_100, "10 h"), (350_000, "97 h"), (864_000, "10 days"), (99_000_000, "99 days")],
)
def test_a_long_time_left_fits_its_column(underway, clock, megabytes, left):
    underway.note(Progress("id", "clip", "uploading", 0, megabytes * MB))
    for done in (1, 2):
        clock.seconds += 1
        underway.note(Progress("id", "clip", "uploading", done * MB, megabytes * MB))
    [line] = drawn(underway)
    assert display_width(line) == 78
    assert line.endswith(f" {left}")


def test_nothing_is_done_to_the_full_before_it_is_confirmed(underway, clock):
    underway.expect({"a": MB, "b": MB})
    for name in "ab":
        underway.begin(Begun(name, name, MB))
        send(underway, clock, name, MB, MB)
    assert underway.overall().fraction == 0.99
    for name in "ab":
        underway.end(name)
    assert underway.overall().fraction == 1


def test_a_target_that_was_named_before_or_cannot_be_uploaded_is_nothing_to_wait_for(underway, clock):
    underway.expect({"clip": 10 * MB, "./clip": 10 * MB, "locked": None})
    underway.begin(Begun("clip", "clip", 10 * MB))
    underway.drop("./clip")
    underway.note_size("locked", 0)
    underway.end("")
    underway.note_size("clip", 99 * MB)
    send(underway, clock, "clip", 5 * MB, 10 * MB)
    overall = underway.overall()
    assert (overall.count, overall.ended_count, overall.source_bytes) == (2, 1, 10 * MB)
    assert overall.fraction == 0.5


def test_an_upload_that_is_begun_anew_is_one_upload(underway, clock):
    """Its former stages are gone from the screen, and what was sent in vain counts once."""
    underway.expect({"clip": 8 * MB, "other": 8 * MB})
    underway.begin(Begun("clip", "id-0", 8 * MB))
    begin(underway, clock, 1, size=8 * MB)
    underway.renew("id-0", "id-new")
    assert underway.tracks() == []
    underway.note(Progress("id-0", "clip", "uploading", 5 * MB, 8 * MB))
    assert underway.tracks() == [], "a part of the former one that was still moving"
    clock.seconds += 1
    underway.note(Progress("id-new", "clip", "uploading", 8 * MB, 8 * MB))
    overall = underway.overall()
    assert (overall.ended_count, overall.transferred_bytes) == (0, 8 * MB)
    assert overall.fraction == pytest.approx(1 / 2)
    assert underway.end("id-new").seconds == 2


def test_waiting_is_shown_until_something_moves(underway, clock):
    underway.wait_for("the service does not answer")
    assert drawn(underway) == [], "a short wait is none"
    clock.seconds += 3
    assert drawn(underway) == ["waiting 0:03: the service does not answer"]
    underway.note(Progress("id", "clip", "uploading", 1, 2))
    underway.wait_for("the storage joins parts")
    clock.seconds += STILL_SECONDS * 0.9
    assert "waiting" not in "".join(drawn(underway)), "there is a bar to look at"
    clock.seconds += STILL_SECONDS
    assert drawn(underway)[-1].endswith("the storage joins parts")


def test_a_speed_is_that_of_the_last_seconds(underway, clock):
    for _ in range(100):
        clock.seconds += 1
        underway.note(Progress("id", "clip", "uploading", int(clock.seconds - 1000) * MB, 1000 * MB))
    clock.seconds += 1
    underway.note(Progress("id", "clip", "uploading", 200 * MB, 1000 * MB))
    [track] = underway.tracks()
    assert track.speed.bytes_per_second(clock.seconds) == pytest.approx(11 * MB, rel=0.15)
    clock.seconds += SPEED_WINDOW_SECONDS
    assert track.speed.bytes_per_second(clock.seconds) is None, "nothing moves any more"


def test_parts_that_an_earlier_run_had_sent_are_no_speed(underway, clock):
    underway.note(Progress("id", "clip", "uploading", 0, 100 * MB))
    clock.seconds += 1
    underway.note(Progress("id", "clip", "uploading", 90 * MB, 100 * MB, 90 * MB))
    clock.seconds += 1
    underway.note(Progress("id", "clip", "uploading", 92 * MB, 100 * MB, 90 * MB))
    [track] = underway.tracks()
    assert track.fraction == pytest.approx(0.92)
    assert track.speed.bytes_per_second(clock.seconds) == pytest.approx(1 * MB)
    assert underway.overall().transferred_bytes == 2 * MB


def test_names_cannot_speak_to_the_terminal(underway):
    underway.note(Progress("id", "a\x1b[31m\n\u202eb", "uploading", 1, 2))
    underway.wait_for("c\x1b[2J")
    assert not {"\x1b", "\n", "\u202e"} & set("".join(drawn(underway, 198)))
