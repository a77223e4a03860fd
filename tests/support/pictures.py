"""Pictures of a real upload for the README, drawn from a real terminal before the embedded backend.

`python tests/support/pictures.py` writes docs/pictures/*.svg: light and dark, wide and narrow.
"""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from mgmt.text import display_width
from support.screen import Screen, screen_of
from support.team import Laptop

PICTURES: Final = Path(__file__).parents[2] / "docs" / "pictures"
SIZES: Final = {"wide": (88, 14), "narrow": (46, 18)}
_MB: Final = 1_000_000
_SEED: Final = 20261122
_CELL_WIDTH: Final = 8.4
_LINE_HEIGHT: Final = 19
_FONTS: Final = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_MARGIN: Final = 14


_FOREGROUNDS: Final = frozenset(map(str, range(30, 40)))
_DEFAULTS: Final = dict.fromkeys(_FOREGROUNDS, _FOREGROUNDS) | {"1": frozenset("0"), "2": frozenset("0")}
"""What a code takes the place of; any other takes the place of everything."""


class Palette(NamedTuple):
    """The colours of one kind of terminal, by their SGR number."""

    background: str
    text: str
    dim: str
    colors: Mapping[str, str]


PALETTES: Final = {
    "light": Palette(
        "#ffffff", "#1f2328", "#818b98",
        {"31": "#cf222e", "32": "#1a7f37", "34": "#0969da", "35": "#8250df", "36": "#1b7c83"},
    ),
    "dark": Palette(
        "#0d1117", "#e6edf3", "#6e7681",
        {"31": "#ff7b72", "32": "#3fb950", "34": "#58a6ff", "35": "#bc8cff", "36": "#39c5cf"},
    ),
}  # fmt: skip


def draw_svg(screens: Sequence[str], palette: Palette, columns: int) -> str:
    """Draw screens with ANSI colours one below the other as an SVG that needs no font of its own."""
    lines = [line for screen in screens for line in [*screen.splitlines(), ""]][:-1]
    width = round(columns * _CELL_WIDTH + 2 * _MARGIN)
    height = len(lines) * _LINE_HEIGHT + 2 * _MARGIN
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<rect width="100%" height="100%" rx="8" fill="{palette.background}" stroke="{palette.dim}"/>',
        f'<g font-family="{_FONTS}" font-size="14" fill="{palette.text}" xml:space="preserve">',
    ]
    for number, line in enumerate(lines):
        drawn += _draw_line(line, _MARGIN + (number + 0.75) * _LINE_HEIGHT, palette)
    return "\n".join([*drawn, "</g>", "</svg>", ""])


def _draw_line(line: str, y: float, palette: Palette) -> Iterator[str]:
    column = 0
    for style, text in _runs_of(line):
        width = display_width(text)
        if text.strip():
            # The length is given, so that columns stay aligned in whatever font is there.
            place = f'x="{_MARGIN + column * _CELL_WIDTH:.1f}" y="{y:.1f}" textLength="{width * _CELL_WIDTH:.1f}"'
            yield f"<text {place}{_attributes(style, palette)}>{escape(text)}</text>"
        column += width


def _runs_of(line: str) -> Iterator[tuple[frozenset[str], str]]:
    """Split a line into pieces of one style; long blanks are left out of them."""
    style: frozenset[str] = frozenset()
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        if piece.startswith("\x1b"):
            codes = piece[2:-1].split(";")
            style = (style - _DEFAULTS.get(codes[0], style)) | frozenset(codes)
        elif piece:
            yield from ((style, part) for part in re.split(r"(  +)", piece) if part)


def _attributes(style: frozenset[str], palette: Palette) -> str:
    found = [palette.colors[code] for code in sorted(style) if code in palette.colors]
    fill = found[0] if found else palette.dim if "2" in style else None
    return (f' fill="{fill}"' if fill else "") + (' font-weight="bold"' if "1" in style else "")


def make_footage(folder: Path) -> None:
    """Make what a small camera team might have, the same every time."""
    chance = random.Random(_SEED)  # noqa: S311  a sample is no secret
    sizes = {"A001_C001_0826.mov": 14, "A001_C002_0826.mov": 11, "DCIM/IMG_0001.jpg": 8, "interview.mov": 48}
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size * _MB))
    words = ["scene", "take", "slate", "lens", "iris", "focus", "sound", "roll"]
    lines = (f"{' '.join(chance.choices(words, k=12))}\n" for _ in range(60_000))
    (folder / "continuity.txt").write_text("".join(lines), encoding="utf-8")


def take_pictures(folder: Path, size: tuple[int, int]) -> list[str]:
    """Upload footage in a terminal of a size; return the screen in the middle of it and at its end."""
    work = folder / "footage"
    make_footage(work)
    names = {"MGMT_CONFIG": "config", "MGMT_STATE_DIR": "state", "MGMT_LOCAL_STATE_DIR": "backend"}
    environment = {name: os.fspath(folder / place) for name, place in names.items()}
    laptop = Laptop(folder, work, environment)
    assert laptop.run("local", "start").exit_code == 0
    arguments = ["--local", "upload", "--prefix", "day1", "--limit-rate", "9M", "all"]
    surroundings = {**environment, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    try:
        with screen_of([sys.executable, "-m", "mgmt", *arguments], size, work, surroundings) as screen:
            return list(_look_twice(screen, "$ mgmt upload --prefix day1 all"))
    finally:
        laptop.run("local", "stop")


def _look_twice(screen: Screen, typed: str) -> Iterator[str]:
    screen.wait_until(lambda text: text.count("uploading") == 3 and re.search(r"\b[45]\d %", text))
    yield f"{typed}\n{_without_blank_lines(screen.colored())}"
    assert screen.wait_for_end() == 0, screen.text()
    yield f"{typed}\n{_without_blank_lines(screen.colored())}"


def _without_blank_lines(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip())


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for shape, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            screens = take_pictures(Path(folder), size)
        for name, palette in PALETTES.items():
            (PICTURES / f"upload-{shape}-{name}.svg").write_text(draw_svg(screens, palette, size[0]), encoding="utf-8")


if __name__ == "__main__":
    main()
