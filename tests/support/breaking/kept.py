"""What the pieces of a run came to, kept piece by piece: a run that was ended goes on with what is missing."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final

PROJECT: Final = Path(__file__).parents[3]


class Kept:
    """A file of JSON lines: what was asked for, then each piece that is done, with its result.

    Args:
        path: Where the file is.
        asked: What makes two runs the same: the state of the code, by its name, the seed, how much of everything. A
            file of another run is begun anew.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any]) -> None:
        self._path = path
        self._code = asked["code"]
        self._lock = Lock()
        self._is_closed = False
        self.results: dict[str, dict[str, Any]] = {}
        lines = _whole_lines(path)
        if lines and lines[0] == asked:
            self.results = {line["piece"]: line["result"] for line in lines[1:]}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:  # also without the half line of a killed run
            for line in [asked, *({"piece": name, "result": result} for name, result in self.results.items())]:
                file.write(json.dumps(line) + "\n")

    def do(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do a piece that is not done yet, and return its result."""
        if name not in self.results:
            result = {**work(), "codes": [self._code]}
            if self._is_closed:
                return result
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"piece": name, "result": result}) + "\n")
                self.results[name] = result
        return self.results[name]

    def close(self) -> None:
        """Keep nothing from now on."""
        self._is_closed = True


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # the last one, of a run that was killed
            break
    return lines


def name_of_code() -> str:
    """Return the commit of the working tree, and a digest of what was changed since; of no clone, "unknown"."""
    commit = _ask_git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return "unknown"
    changes = _ask_git("diff", "HEAD", "--", "client", "lambda", "infra", "tests", "requirements", "pyproject.toml")
    return commit.strip() + (f"+{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else "")


def _ask_git(*arguments: str) -> str | None:
    try:
        run = subprocess.run(
            ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True, errors="replace"
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout
