"""Texts that are made to keep a pattern busy: what a secret begins with, over and over, and never its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

LONGEST_MAX_SECONDS: Final = 0.005
"""CPU time that redacting any text may take."""

HOSTILE_UNITS = (
    "a.", "a", " ", "\n", "-", "@", ":", "://", "://@", "a://", "a+b://x@", "a@/", "http://", "https://a?", "http://a:b",
    "x-amz-", "x-amz-a=", "x-amz-signature", "x-amz-signature=", "x-amz-credential%3d",
    "eyJ", "eyJ-", "eyJ.", "eyJaaaaaaaa-", "eyJaaaaaaaa.", "bearer", "bearer ", "bearer  ", "basic a", "basic ",
    "authorization", "authorization:", "authorization: a ", "authorization  ", "proxy-authorization='",
    '"', "\\", "\x1b", "\u202e", "\u00e9", "\U0001f3ac",
)  # fmt: skip


def repeat_up_to(unit: str, size_bytes: int) -> str:
    """Repeat a unit for as long as the text keeps to a size in UTF-8."""
    return unit * (size_bytes // len(unit.encode()))


def take_seconds(call: Callable[[], object]) -> float:
    """Measure the CPU time of a call: the least of three, so that nothing else of this process is counted."""
    return min(_take_once(call) for _ in range(3))


def _take_once(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began
