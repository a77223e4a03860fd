"""Try everything on one machine: make a sample, upload it, show its record and the history, stop.

`python -m mgmt_local.demo [FILE]`. Everything it makes lies in the folder `try` of the current directory.
"""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path("try")
_SEED: Final = 20261122
_MTIME_SECONDS: Final = 1_790_000_000
_MB: Final = 1_000_000


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration for one file, or for the sample; return the upload's exit code."""
    folder = FOLDER.absolute()
    if list(arguments) == ["--stop"]:
        return _run(folder, ["local", "stop"], folder)
    target = Path(arguments[0]).absolute() if arguments else make_sample(folder / "sample")
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    try:
        upload = ["--local", "upload", target.name, "--archive-dir", os.fspath(archives)]
        exit_code = _run(folder, upload, target.parent)
        if exit_code == 0:
            _run(folder, ["--local", "show", target.name], target.parent)
            _run(folder, ["--local", "history"], target.parent)
    finally:
        _run(folder, ["local", "stop"], folder)
    return exit_code


def make_sample(folder: Path) -> Path:
    """Make a folder of some 60 MB as a camera team might have it, the same every time; keep one that is whole."""
    whole = folder.parent / "sample.whole"
    if whole.exists():
        return folder
    _say(f"making a sample folder in {folder} ...")
    for path, content in _sample_files():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (_MTIME_SECONDS, _MTIME_SECONDS))
    whole.touch()
    return folder


def _sample_files() -> Iterator[tuple[str, bytes]]:
    """Yield noise that stands for footage, text, many small files, and awkward names."""
    chance = random.Random(_SEED)  # noqa: S311  a sample is no secret
    for number in range(1, 4):
        yield f"A001/A001_C{number:03}.mov", chance.randbytes(14 * _MB)
    words = ["scene", "take", "slate", "lens", "iris", "focus", "sound", "roll", "camera", "light"]
    lines = (f"{number:06} {' '.join(chance.choices(words, k=12))}\n" for number in range(200_000))
    yield "log/continuity.txt", "".join(lines).encode()
    for number in range(400):
        yield f"stills/{number // 100}/IMG_{number:04}.jpg", chance.randbytes(chance.randrange(2_000, 8_000))
    for name in ("Café – día 1.txt", "-leading dash.txt", "🎬 take 2.txt", "it's; quoted $HOME.txt"):
        yield f"notes/{name}", f"A note with an awkward name: {name}\n".encode()
    yield "notes/empty.txt", b""


def _run(folder: Path, arguments: Sequence[str], where: Path) -> int:
    places = {
        "MGMT_CONFIG": os.fspath(folder / "config"),
        "MGMT_STATE_DIR": os.fspath(folder / "state"),
        "MGMT_LOCAL_STATE_DIR": os.fspath(folder / "backend"),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MGMT_")}
    _say(f"\n$ mgmt {shlex.join(arguments)}")
    where.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mgmt", *arguments]
    return subprocess.run(command, cwd=where, env={**inherited, **places}, check=False).returncode


def _say(text: str) -> None:
    # Whoever has closed the pipe hears no more, and what was started is stopped all the same.
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
