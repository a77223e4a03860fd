"""A loopback HTTP server that answers from a script and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.loopback import LoopbackServer, QuietHandler


@dataclass(frozen=True)
class Answer:
    """One scripted answer; `breaks` cuts the connection instead, before or after the body was read."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False


def json_answer(value: Any, status: int = 200, content_type: str = "application/json") -> Answer:
    """Answer a JSON body."""
    return Answer(status, json.dumps(value).encode(), {"content-type": content_type})


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer(LoopbackServer):
    """Answers one after the other; the last one again and again."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.asked: list[Asked] = []
        self._answers = list(answers)
        super().__init__(self._make_handler())

    def script(self, *answers: Answer) -> None:
        """Answer these from now on."""
        self._answers = list(answers)

    def next_answer(self) -> Answer:
        """Take the next answer of the script."""
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def _make_handler(self) -> type[QuietHandler]:
        script = self

        class Handler(QuietHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                script.asked.append(Asked(self.command, self.path, headers, body))
                answer = script.next_answer()
                if answer.breaks:
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815  the names http.server looks for

        return Handler


@contextmanager
def scripted_server(*answers: Answer) -> Iterator[ScriptedServer]:
    """Run a server with this script."""
    with closing(ScriptedServer(answers)) as server:
        yield server
