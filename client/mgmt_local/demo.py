"""Try everything on one machine: make a sample, upload it, show its record and the history, stop.

`python -m mgmt_local.demo [FILE]`. It makes everything in the folder `try` of the current directory, with a
command `try/mgmt` that works in that folder: the printed commands can be typed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path("try")
_SEED: Final = 20261122
_MTIME_SECONDS: Final = 1_790_000_000
_MB: Final = 1_000_000


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration for one file, or for the sample; return the upload's exit code."""
    command = write_command(FOLDER)
    if list(arguments) == ["--stop"]:
        return _run(command, "local", "stop", "--force")
    target = arguments[0] if arguments else os.fspath(make_sample(FOLDER / "sample"))
    if target.startswith("-") or target == "all":
        target = os.path.join(os.curdir, target)  # noqa: PTH118  pathlib drops the "./" that makes it a path
    archives = FOLDER / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    try:
        exit_code = _run(command, "--local", "upload", target, "--archive-dir", os.fspath(archives))
        if exit_code == 0:
            name = Path(os.path.abspath(target)).name  # noqa: PTH100  keeps a symlink's own name
            _run(command, "--local", "show", *(["--", name] if name.startswith("-") else [name]))
            _run(command, "--local", "history")
    finally:
        _run(command, "local", "stop")
    if exit_code == 0:
        _say(_NEXT.format(command=command))
    return exit_code


_NEXT: Final = """
Next: the same with files of your own. All of it stays here until `make clean`.

  {command} --local upload FILE...
  {command} --local history
  {command} login --local anna     (then upload: the history says by whom)
  {command} --help

For a team: "Deploy" in README.md, then `mgmt login URL`.
"""


def write_command(folder: Path) -> Path:
    """Write a command that runs mgmt with all its data in this folder.

    Settings of the person's own, such as a team's service, do not reach it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = {"MGMT_CONFIG": "config", "MGMT_STATE_DIR": "state", "MGMT_LOCAL_STATE_DIR": "backend"}
    settings = {name: os.fspath(folder.absolute() / place) for name, place in places.items()}
    path = folder / ("mgmt.cmd" if os.name == "nt" else "mgmt")
    path.write_text(_batch(settings) if os.name == "nt" else _script(settings), "utf-8")
    path.chmod(0o755)
    return path


def _script(settings: Mapping[str, str]) -> str:
    exported = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    return f"""#!/bin/sh
# mgmt, with all it keeps in this folder. Written by `make try`.
for name in $(env | sed -n 's/^\\(MGMT_[A-Z_]*\\)=.*/\\1/p'); do unset "$name"; done
export {exported} _MGMT_COMMAND="$0"
exec {shlex.quote(sys.executable)} -m mgmt "$@"
"""


def _batch(settings: Mapping[str, str]) -> str:
    lines = ["@echo off", "setlocal", "for /f \"delims==\" %%v in ('set MGMT_ 2^>nul') do set %%v="]
    lines += [f'set "{name}={value}"' for name, value in settings.items()]
    lines.append('set "_MGMT_COMMAND=%~0"')
    return "\r\n".join([*lines, f'"{sys.executable}" -m mgmt %*', ""])


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


def _run(command: Path, *arguments: str) -> int:
    """Say a command as it can be typed, and run it."""
    _say(f"\n$ {shlex.join([os.fspath(command), *arguments])}")
    program = command.absolute() if os.name == "nt" else command  # else it names itself as it was typed
    return subprocess.run([program, *arguments], check=False).returncode


def _say(text: str) -> None:
    # The pipe may be closed: then nothing more is shown, and the started processes are stopped anyway.
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
