"""By what a person or a system interrupts a command, as far as this system knows it."""

from __future__ import annotations

import signal

INTERRUPTS = [number for number in signal.Signals if number.name in ("SIGINT", "SIGTERM", "SIGHUP")]
