"""Reading a source for its content digest alone: to compare it with the stored content, without an archive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing

from mgmt.archive.codec import Piece
from mgmt.archive.digest import ContentDigest
from mgmt.archive.pipeline import Pipeline
from mgmt.archive.stream import TarStream
from mgmt.errors import INTERRUPTED, CancelledError
from mgmt.members import Packable, frame


def compute_content_digest(
    source: Packable, *, on_progress: Callable[[int], None] | None = None, stop: threading.Event | None = None
) -> str:
    """Compute the digest that packing a source would give; nothing is written.

    Args:
        source: The source, as `look` returned it.
        on_progress: Gets the bytes of the source's files read so far, about once per block.
        stop: Ends reading soon after it was set.

    Raises:
        SourceError: source-changed or source-unreadable.
        CancelledError: If `stop` was set.
    """
    digest = ContentDigest()

    def deliver(_: memoryview, __: Sequence[Piece]) -> None:
        if stop is not None and stop.is_set():
            raise CancelledError(INTERRUPTED)
        if on_progress is not None:
            on_progress(stream.content_bytes)

    with Pipeline(encode=lambda _: (), digest=digest.add, deliver=deliver, workers=1) as pipeline:
        stream = TarStream(pipeline)
        with closing(source.members()) as members:
            for member in members:
                stream.add(member, frame(member))
        stream.close()
        pipeline.finish()
    return digest.text()
