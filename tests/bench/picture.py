"""Pictures for the README, drawn from the results: `python -m bench.picture RESULTS.json FOLDER`.

A group of bars per scene, each scene to a scale of its own: what counts is the ratio within a run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

_WIDTH: Final = 760
_LABEL_WIDTH: Final = 190
_BAR_WIDTH: Final = 440
_BAR_HEIGHT: Final = 16
_BAR_STEP: Final = 21
_TITLE_HEIGHT: Final = 30
_GROUP_GAP: Final = 12
_HEAD_HEIGHT: Final = 58
_FOOT_HEIGHT: Final = 34
_MARGIN: Final = 20
_OURS_COLOR: Final = "#1a7f5a"
_THEIRS_COLOR: Final = "#a9b4be"
_STYLE: Final = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2933; }
  .head { font-size: 17px; font-weight: 600; }
  .scene { font-weight: 600; }
  .quiet { fill: #66727f; font-size: 12px; }
  .ours { font-weight: 600; }
"""

Scenes = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Picture:
    """A picture: its file, its title, and the scenes whose names begin so."""

    file_name: str
    title: str
    prefix: str


PICTURES: Final = (
    Picture("bench-pack.svg", "Packing, seconds (shorter is better)", "pack "),
    Picture("bench-upload.svg", "Packing and uploading, seconds (shorter is better)", "upload "),
)


def draw_pictures(results: Path, folder: Path) -> list[Path]:
    """Draw every picture there are scenes for, and return the files."""
    found = json.loads(results.read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for picture in PICTURES:
        scenes = {name: costs for name, costs in found["scenes"].items() if name.startswith(picture.prefix)}
        if scenes:
            path = folder / picture.file_name
            path.write_text(draw(picture.title, scenes, _footnote(found)), "utf-8")
            drawn.append(path)
    return drawn


def draw(title: str, scenes: Scenes, footnote: str) -> str:
    """Draw the scenes one below the other."""
    lines = [_text(_MARGIN, 34, title, "head")]
    top = _HEAD_HEIGHT
    for name, costs in scenes.items():
        lines += _draw_scene(name, costs, top)
        top += _TITLE_HEIGHT + _BAR_STEP * len(costs) + _GROUP_GAP
    lines.append(_text(_MARGIN, top + 8, footnote, "quiet"))
    height = top + _FOOT_HEIGHT
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" role="img"'
    head += f' viewBox="0 0 {_WIDTH} {height}" aria-label="{escape(title)}">'
    ground = f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", ground, *lines, "</svg>", ""])


def _draw_scene(name: str, costs: Mapping[str, Mapping[str, Any]], top: int) -> Sequence[str]:
    longest = max(cost["wall_seconds"] for cost in costs.values())
    lines = [_text(_MARGIN, top + 14, name, "scene")]
    for index, (who, cost) in enumerate(sorted(costs.items(), key=lambda item: float(item[1]["wall_seconds"]))):
        seconds = float(cost["wall_seconds"])
        width = max(2.0, _BAR_WIDTH * seconds / longest)
        y = top + _TITLE_HEIGHT + index * _BAR_STEP - 4
        is_ours = who.startswith("mgmt")
        color, kind = (_OURS_COLOR, "ours") if is_ours else (_THEIRS_COLOR, "")
        lines.append(_text(_MARGIN, y + 12, who, kind))
        lines.append(
            f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{_BAR_HEIGHT}" rx="2" fill="{color}"/>'
        )
        lines.append(_text(_LABEL_WIDTH + width + 6, y + 12, _seconds(seconds), kind))
    return lines


def _text(x: float, y: float, text: str, kind: str) -> str:
    kinds = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{kinds}>{escape(text)}</text>'


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def _footnote(found: Mapping[str, Any]) -> str:
    machine, versions = found["machine"], found["versions"]
    return (
        f"{machine['processors']} processors, Python {versions['python']}, mgmt {versions['mgmt']}; "
        f"seed {found['seed']}, {found['scale']} scale, {found['date'][:10]}; medians"
    )


def main() -> None:
    """Draw from the named results into the named folder."""
    for path in draw_pictures(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
