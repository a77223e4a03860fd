"""Shows waits of commands that only ask the service: without bars, so it loads nothing of an upload's display."""

from __future__ import annotations

import threading
from typing import Self

from mgmt.events import Answered, Event, Notice, Waiting
from mgmt.show import PLAIN_PROGRESS_SECONDS, WAITING_SECONDS, Output


class WaitingRenderer:
    """Names the reason of a wait after a while."""

    def __init__(self, output: Output, *, after_seconds: float | None = None) -> None:
        self._output = output
        usual_seconds = WAITING_SECONDS if output.stderr.isatty() else PLAIN_PROGRESS_SECONDS
        self._after_seconds = usual_seconds if after_seconds is None else after_seconds
        self._said: set[str] = set()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End; nothing more is shown."""
        self._stop_timer()

    def emit(self, event: Event) -> None:
        """Show an event; may be called from any thread."""
        if isinstance(event, Waiting):
            self._stop_timer()
            self._timer = threading.Timer(self._after_seconds, self._say, [event.what])
            self._timer.daemon = True
            self._timer.start()
        elif isinstance(event, Answered):
            self._stop_timer()
        elif isinstance(event, Notice) and not self._output.style.as_json:
            self._output.note(event.message)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _say(self, what: str) -> None:
        if not self._output.style.as_json and what not in self._said:
            self._said.add(what)
            self._output.note(f"waiting: {what}")
