"""Bars on a terminal: a line for every stage that is under way, and one for all uploads together.

Every line fits the terminal, from twenty columns on; parts without room are left out, not wrapped. rich writes the
lines, and its progress columns would draw them: but nine lines take 0.6 ms here and 3.6 ms there, eight times a second
beside packing, which needs the same lock of the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from mgmt.show.underway import Kind, Overall, Track, UnderWay
from mgmt.text import clock_in_words, display_width, pad, printable, shorten, size_in_words
from mgmt_contract.values import Value

LINES_MAX: Final = 8
"""More lines than this cannot be read."""
FRAMES_PER_SECOND: Final = 8
SETTLED_SECONDS: Final = 0.4
"""Shorter uploads get no line of their own where there are many: it would only flicker."""
STILL_SECONDS: Final = 3.0
"""Seconds before a wait is named, where there are bars."""
_ALL: Final = "all"
_STAGE_WIDTH: Final = 10
_CLOCK_MAX_SECONDS: Final = 36_000
"""Up to here a clock takes seven columns."""


class _Cells(Value):
    """One line before it is cut to a width."""

    name: str
    fraction: float | None
    stage: str = ""
    color: str = ""
    percent: str = ""
    bytes_: str = ""
    speed: str = ""
    left: str = ""
    is_bound: bool = False
    """The time left is a minimum: not everything was looked at yet."""


def open_bars(
    underway: UnderWay, stream: TextIO, *, colors: bool, spell: Callable[[str], str] = lambda text: text
) -> AbstractContextManager[Any]:
    """Keep drawing what is under way at the bottom of a terminal; returns rich's live display.

    Leaves nothing behind, and the cursor as it was.

    Args:
        underway: What to draw.
        stream: The terminal.
        colors: Whether it may be coloured.
        spell: Replaces characters that the terminal's encoding does not have.
    """
    console = Console(file=stream, no_color=not colors, highlight=False)

    def draw() -> Group:
        # Two columns are left free for the ^C that a terminal shows: it must not begin a new line.
        lines = draw_lines(underway, console.width - 2, max(1, console.height - 2))
        painted = [[(spell(text), style if colors else "") for text, style in line] for line in lines]
        return Group(*(Text.assemble(*line, no_wrap=True, overflow="crop") for line in painted))

    return Live(console=console, get_renderable=draw, refresh_per_second=FRAMES_PER_SECOND, transient=True)


def draw_lines(underway: UnderWay, width: int, height: int) -> list[list[tuple[str, str]]]:
    """Draw the running uploads as lines of texts with styles, none wider than `width`."""
    now = underway.now()
    overall = underway.overall()
    tracks = [track for track in underway.tracks() if overall.count is None or now - track.began_at >= SETTLED_SECONDS]
    moving = [track for track in tracks if track.kind.is_measured]
    unmeasured = [track for track in tracks if not track.kind.is_measured]
    room = max(1, min(LINES_MAX, height - 2))
    rows = [_describe_track(track, now) for track in moving[:room]]
    if len(moving) > room:
        rows[-1] = _Cells(f"and {len(moving) - room + 1} more", 0.0)
    stages = dict.fromkeys(track.stage for track in unmeasured)
    same = [[track for track in unmeasured if track.stage == stage] for stage in stages]
    rows += [_describe_unmeasured(tracks, now, underway.kind) for tracks in same]
    if overall.count is not None:
        rows.append(_describe_overall(overall, underway.kind))
    lines = _lay_out(rows, width, now)
    waiting = underway.waiting()
    if waiting is not None and waiting[1] >= (STILL_SECONDS if rows else SETTLED_SECONDS):
        lines.append([(shorten(f"waiting {clock_in_words(waiting[1])}: {printable(waiting[0])}", width), "magenta")])
    return lines


def _describe_track(track: Track, now: float) -> _Cells:
    total = f" of {size_in_words(track.total_bytes)}" if track.total_bytes else ""
    return _Cells(
        printable(track.name),
        track.fraction or 0.0,
        track.stage,
        track.kind.color,
        _percent(track.fraction),
        f"{size_in_words(track.done_bytes)}{total}",
        _speed(track.speed.bytes_per_second(now)),
        _left(track.left_seconds(now)),
    )


def _describe_unmeasured(tracks: Sequence[Track], now: float, kind: Kind) -> _Cells:
    name = printable(tracks[0].name) if len(tracks) == 1 else f"{len(tracks)} {kind.plural}"
    elapsed = clock_in_words(now - min(track.began_at for track in tracks))
    return _Cells(name, None, tracks[0].stage, tracks[0].kind.color, left=elapsed)


def _describe_overall(overall: Overall, kind: Kind) -> _Cells:
    return _Cells(
        f"{overall.ended_count} of {overall.count} done",
        overall.fraction or 0.0,
        _ALL,
        "blue",
        _percent(overall.fraction) if overall.is_all_known else "",
        f"{size_in_words(overall.transferred_bytes)} {kind.moved}",
        _speed(overall.bytes_per_second),
        _left(overall.left_seconds),
        is_bound=not overall.is_all_known,
    )


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{int(100 * fraction)} %"


def _speed(bytes_per_second: float | None) -> str:
    return "" if bytes_per_second is None else f"{size_in_words(bytes_per_second)}/s"


def _left(seconds: float | None) -> str:
    """Write the time left in seven columns at most: hours need no seconds."""
    if seconds is None:
        return ""
    if round(seconds) < _CLOCK_MAX_SECONDS:
        return clock_in_words(seconds)
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 100 else f"{min(99, hours // 24)} days"


# --- columns -------------------------------------------------------------------------------------------


def _lay_out(rows: Sequence[_Cells], width: int, now: float) -> list[list[tuple[str, str]]]:
    """Give every column its width; the same in all lines of a frame, so that nothing jumps."""
    if width < 30:
        return [_lay_out_narrow(row, width, is_alone=all(each.stage != _ALL for each in rows)) for row in rows]
    sizes = (("percent", 5, 0), ("bytes_", 18, 90), ("speed", 9, 60), ("left", 7, 0))
    fixed = [(name, size) for name, size, width_min in sizes if width >= width_min]
    left_over = width - _STAGE_WIDTH - 1 - sum(1 + size for _, size in fixed)
    bar_width = min(40, left_over // 2) if width >= 50 else 0
    name_room = left_over - (bar_width + 1 if bar_width else 0)
    name_width = min(name_room, max((display_width(row.name) for row in rows), default=0))
    bar_width += name_room - name_width if bar_width else 0
    return [_lay_out_row(row, name_width, min(bar_width, 60), fixed, now) for row in rows]


def _lay_out_row(
    row: _Cells, name_width: int, bar_width: int, fixed: Sequence[tuple[str, int]], now: float
) -> list[tuple[str, str]]:
    line = [(pad(row.stage, _STAGE_WIDTH) + " ", row.color), (pad(shorten(row.name, name_width), name_width), "")]
    if bar_width:
        line += [(" ", ""), *_draw_bar(row, bar_width, now)]
    if row.is_bound:
        return [*line, (_lay_out_bound(row, sum(1 + size for _, size in fixed)), "")]
    return [*line, ("".join(" " + pad(getattr(row, name), size, right=True) for name, size in fixed), "")]


def _lay_out_bound(row: _Cells, width: int) -> str:
    """Say that it takes at least so long, with what else has room."""
    bound = f"at least {row.left}" if row.left else "still looking"
    if row.left == clock_in_words(0):  # at least nothing says nothing
        bound = "more to come"
    for said in (f"{row.bytes_}  {row.speed}  {bound}", f"{row.speed} {bound}"):
        if row.speed and len(said) < width:
            return pad(said, width, right=True)
    return pad(shorten(bound, width), width, right=True)


def _lay_out_narrow(row: _Cells, width: int, *, is_alone: bool) -> list[tuple[str, str]]:
    """Stage and numbers of a single upload; name and percent where there are several."""
    if is_alone or (row.stage and row.fraction is None):
        numbers = f"{row.percent.replace(' ', '')} {row.left}"
        return [(pad(row.stage, _STAGE_WIDTH), row.color), (numbers if len(numbers) <= width - 10 else row.percent, "")]
    numbers = row.percent or row.left
    name = row.name.removesuffix(" done")
    return [(pad(shorten(name, width - 6), width - 5), row.color), (f"{numbers:>5}", "")]


def _draw_bar(row: _Cells, width: int, now: float) -> list[tuple[str, str]]:
    if not row.stage:
        return [(" " * width, "")]
    if row.fraction is None:
        return _draw_pulse(width, row.color, now)
    filled = int(row.fraction * width)
    return [("━" * filled, row.color), ("─" * (width - filled), "dim")]


def _draw_pulse(width: int, color: str, now: float) -> list[tuple[str, str]]:
    """A piece that moves to and fro: work goes on, for an unknown time."""
    piece = max(1, width // 5)
    way = width - piece
    position = int(now * FRAMES_PER_SECOND) % (2 * way) if way else 0
    position = min(position, 2 * way - position)
    return [("─" * position, "dim"), ("━" * piece, color), ("─" * (way - position), "dim")]
