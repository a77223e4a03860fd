"""Says which options of a command changed nothing, where they could have been expected to."""

from __future__ import annotations

from mgmt.events import Emit, Notice
from mgmt.upload.job import UploadOptions


def say_unapplied(options: UploadOptions, already_there_count: int, emit: Emit) -> None:
    """Say that what is already there keeps its storage class and tags: nothing of it is sent."""
    asked = [f"--storage-class {options.storage_class}"] if options.storage_class else []
    asked += [f"--tag {key}={value}" for key, value in options.tags.items()]
    if asked and already_there_count:
        message = (
            f"What is already there keeps the storage class and tags it was stored with; {' and '.join(asked)} "
            "changed nothing of it."
        )
        emit(Notice(message, "option-not-applied"))
