"""`python -m bench`: make the data, play the scenes, print the table, write JSON and picture.

Everything lies in one temporary folder, which is removed in the end; only 127.0.0.1 is spoken to.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.comparison import Bench
from bench.contenders import ANCESTOR, AWS, RCLONE, Arena, find_peers
from bench.material import SCALES, Material, Scale
from bench.picture import draw_pictures
from bench.processes import BenchError, bare_environment
from bench.report import Report, gather_facts
from bench.scenes import LONG_RUNS_ONLY, SCENES

PROJECT: Final = Path(__file__).resolve().parents[2]
RUNS: Final = {"full": (3, 1), "quick": (2, 1), "tiny": (1, 1)}
"""How often the quick contenders run, and how often the others."""
RIVALS: Final = {"full": (ANCESTOR, AWS, RCLONE), "quick": (ANCESTOR, RCLONE), "tiny": (ANCESTOR, AWS, RCLONE)}
_ROOM_FACTOR: Final = 3.2
"""Beside the data itself: an archive of it, the storage's copy, and the trees that are kept to the end."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 where a scene could not be measured."""
    chosen = _parse(words)
    try:
        return _run(chosen)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def _run(chosen: argparse.Namespace) -> int:
    peers = find_peers()
    report = Report(gather_facts(peers, chosen.seed, chosen.scale))
    began = time.monotonic()
    with _folder(chosen.folder, SCALES[chosen.scale]) as folder:
        bench = _prepare(folder, Arena(peers, _made(folder / "work")), report, chosen)
        for name in chosen.scenes or _scenes_of(chosen.scale):
            _play(bench, name)
    report.facts["seconds"] = round(time.monotonic() - began, 1)
    report.summarize()
    report.write(chosen.json)
    written = [chosen.json, *draw_pictures(chosen.json, chosen.pictures)]
    report.say(f"written: {', '.join(map(str, written))}\n")
    return 1 if report.failures else 0


def _scenes_of(scale: str) -> list[str]:
    return [name for name in SCENES if scale == "full" or name not in LONG_RUNS_ONLY]


def _prepare(folder: Path, arena: Arena, report: Report, chosen: argparse.Namespace) -> Bench:
    report.begin(f"making the data (seed {chosen.seed}, scale {chosen.scale})")
    material = Material(_made(folder / "data"))
    words = ["make", str(material.root), str(chosen.seed), chosen.scale]
    subprocess.run([sys.executable, "-m", "bench.material", *words], env=bare_environment(), check=True)
    # As pip does; otherwise the first run of every command would pay for it.
    compiled = [str(PROJECT / folder) for folder in ("client", "lambda", "tests/bench", "tests/support")]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *compiled], check=True)
    often, seldom = RUNS[chosen.scale]
    return Bench(
        material=material,
        scale=SCALES[chosen.scale],
        arena=arena,
        report=report,
        folder=folder / "scenes",
        often=often,
        seldom=seldom,
        rivals=RIVALS[chosen.scale],
    )


def _play(bench: Bench, name: str) -> None:
    """Play a scene; one that cannot be played does not stop the others."""
    began = time.monotonic()
    bench.report.begin(name)
    try:
        SCENES[name](bench)
    except BenchError as error:
        bench.report.fail(name, str(error))
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    bench.report.say(f"  ({time.monotonic() - began:.0f} s)\n")


@contextlib.contextmanager
def _folder(parent: Path | None, scale: Scale) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mgmt-bench-", dir=parent) as name:
        data_bytes = scale.footage_bytes + scale.text_bytes + 2 * scale.mixed_bytes + scale.sound_bytes
        wanted_bytes = int(data_bytes * _ROOM_FACTOR)
        free_bytes = shutil.disk_usage(name).free
        if free_bytes < wanted_bytes:
            raise BenchError(
                f"{name} has {free_bytes / 1e9:.1f} GB free, and the benchmark needs {wanted_bytes / 1e9:.1f}. "
                "Name a folder elsewhere with --folder, or run the short form (QUICK=1)."
            )
        yield Path(name)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("scenes", nargs="*", choices=[*SCENES, []], metavar="SCENE", help="only these; all by default")
    parser.add_argument("--scale", choices=SCALES, default="full", help="how much data (default: full)")
    parser.add_argument("--seed", type=int, default=1, help="what the data is made from (default: 1)")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, default=Path("build/bench/results.json"), help="where the results go")
    parser.add_argument("--pictures", type=Path, default=Path("build/bench"), help="where the pictures go")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
