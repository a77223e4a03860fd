"""Shows verdicts of `mgmt safe`: each folder, what is not safe and why, and SAFE TO ERASE only where all of it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from mgmt.events import Finished
from mgmt.safe import Summary, Verdict
from mgmt.safe.comparing import FoundUpload
from mgmt.safe.deciding import LOSSES, REASONS
from mgmt.safe.spool import FolderSum, Unsafe
from mgmt.show import Output
from mgmt.show.underway import Kind, Stage, Transfer
from mgmt.team.short_ids import short_id
from mgmt.text import count_in_words, duration_in_words, printable, read_path, shown, size_in_words, spell_path

_LISTED_MAX: Final = 20
"""Lines of one kind for a person; `--json` has them all."""

CHECKS: Final = Kind(
    stages={
        "reading": Stage("green", is_transfer=True),
        "comparing": Stage(is_measured=False),
        "fetching": Stage("cyan"),
    },
    plural="checks",
    moved="read",
    ended="safe",
    nothing="There is nothing to check.",
    after_failures="Upload what is missing, then run the same command again.",
    list_failures="`mgmt safe --json` lists them",
    failed="not safe",
)


class SafeView:
    """Shows the verdicts of a command as they are given."""

    kind = CHECKS

    def __init__(self, output: Output) -> None:
        self._output = output
        self._read_bytes = 0
        self._shown_count = 0

    def show(self, finished: Finished, transfer: Transfer | None, *, is_alone: bool) -> None:  # noqa: ARG002  the view's port
        """Show a person a verdict."""
        verdict: Verdict = finished.record
        self._shown_count += 1
        self._read_bytes += verdict.read.digests.read_bytes if verdict.read is not None else 0
        self._output.sentence(f"{printable(verdict.target_path)}: {_describe(verdict)}", self._mark(verdict.is_safe))
        folders = (each for each in verdict.folders() if each.path)
        for each in islice(folders, _LISTED_MAX):
            self._output.sentence(_describe_folder(verdict, each), self._mark(verdict.is_folder_safe(each)), "  ")
        self._say_rest(folders, "more folder")
        unsafe = verdict.unsafe()
        for found in islice(unsafe, _LISTED_MAX):
            self._output.sentence(f"{_path_of(verdict, found.path)}: {_describe_unsafe(found, verdict)}", indent="  ")
        self._say_rest(unsafe, "more that is not safe", "more that are not safe")
        for remark in _remarks(verdict):
            self._output.sentence(remark, indent="  ")

    def json(self, finished: Finished) -> dict[str, object]:
        """Write what is not safe and each folder, a line each; return the line of the verdict itself."""
        verdict: Verdict = finished.record
        for each in verdict.unsafe():
            upload = verdict.found[each.upload] if each.upload is not None else None
            self._output.json(
                {
                    "type": "finding",
                    "path": _spell_in(verdict, each.path),
                    "code": each.code,
                    "message": _describe_unsafe(each, verdict),
                    "upload_id": upload.record.operation_id if upload is not None else None,
                }
            )
        for folder in verdict.folders():
            if folder.path:
                is_safe = verdict.is_folder_safe(folder)
                self._output.json({"type": "folder", **_sums(verdict, folder), "is_safe": is_safe})
        return {"type": "verdict", **_verdict_fields(finished)}

    def sums(self, elapsed_seconds: float) -> str:
        """Say bytes and time of all checks together."""
        return f": {size_in_words(self._read_bytes)} read in {duration_in_words(elapsed_seconds)}"

    def conclude(self, summary: Summary) -> None:
        """Say the one thing that counts, at the very end; nothing else says that something may be erased."""
        if self._output.style.as_json or self._output.style.verbosity < 0:
            return
        if summary.unsafe or summary.unchecked or not summary.safe:
            named = ", ".join([*summary.unsafe, *summary.unchecked])
            if summary.unsafe and self._shown_count == 1:  # of several the sum before has said it
                self._output.aside(CHECKS.after_failures)
            said, color = f"NOT SAFE TO ERASE: {named}".removesuffix(": "), "red"
        else:
            said, color = f"SAFE TO ERASE: {', '.join(summary.safe)}", "green"
        self._output.verdict(said, color)

    def _mark(self, is_safe: bool) -> str:
        return self._output.paint("✓", "green") if is_safe else self._output.paint("✗", "red")

    def _say_rest(self, rest: Iterator[object], one: str, many: str | None = None) -> None:
        count = sum(1 for _ in rest)
        if count:
            self._output.line(f"  and {count_in_words(count, one, many)}; --json lists all")


def _verdict_fields(finished: Finished) -> dict[str, Any]:
    verdict: Verdict = finished.record
    read, error = verdict.read, finished.error
    return {
        **_sums(verdict, verdict.total()),
        "path": verdict.target_path,
        "is_safe": verdict.is_safe,
        "system_files": read.system_count if read is not None else None,
        "cached_files": read.digests.cached_count if read is not None else None,
        "trashes": [_spell_in(verdict, each) for each in read.trashes] if read is not None else None,
        "failure": read.failure if read is not None else None,
        "uploads": [vars(each) for each in verdict.proofs],
        "error_code": error.code if error is not None else None,
    }


def _sums(verdict: Verdict, folder: FolderSum | None) -> dict[str, Any]:
    if folder is None:
        return {"files": None, "size": None, "not_safe": None}
    return {
        "path": _spell_in(verdict, folder.path),
        "files": folder.file_count,
        "size": folder.size_bytes,
        "not_safe": folder.unsafe_count,
    }


def _describe(verdict: Verdict) -> str:
    total = verdict.total()
    if verdict.is_taken_back:
        return "NOT SAFE any more"
    if total is None:
        return "NOT SAFE; nothing was read"
    read = f"{count_in_words(total.file_count, 'file')}, {size_in_words(total.size_bytes)} read again"
    if verdict.is_safe:
        return f"{read}, all stored in {', '.join(map(_name, _uploads_of(verdict)))}"
    if verdict.read is not None and verdict.read.failure is not None:
        return (
            f"NOT SAFE; it could not be read to the end: {verdict.read.failure} If its card was pulled out, put it "
            "back and run the same command again."
        )
    are = "entry is" if total.unsafe_count == 1 else "entries are"
    return f"NOT SAFE; {read}, {total.unsafe_count} {are} not safe"


def _describe_folder(verdict: Verdict, folder: FolderSum) -> str:
    said = f"{_path_of(verdict, folder.path)}  {count_in_words(folder.file_count, 'file')}, "
    said += size_in_words(folder.size_bytes)
    unsafe = count_in_words(folder.unsafe_count, "entry", "entries")
    return f"{said}; {unsafe} not safe" if folder.unsafe_count else said


def _describe_unsafe(unsafe: Unsafe, verdict: Verdict) -> str:
    upload = verdict.found[unsafe.upload] if unsafe.upload is not None else None
    if unsafe.code in LOSSES:
        where = _name(upload) if upload is not None else "an upload"
        problem = f" ({printable(upload.problem)})" if upload is not None and upload.problem is not None else ""
        is_compared = verdict.spool is not None or verdict.is_taken_back
        what = "stored only in" if is_compared else "nothing to compare with but"
        return f"{what} {where}, {LOSSES[unsafe.code]}{problem}"
    said = REASONS[unsafe.code]
    if upload is not None:
        said += f", in {_name(upload)}"
    return f"{said}: {printable(unsafe.reason)}" if unsafe.reason else said


def _remarks(verdict: Verdict) -> Iterator[str]:
    if verdict.why is not None and verdict.why.code == "not-stored":
        yield (
            "No upload of that name was found. Name what was uploaded, not a folder in it or around it; or name its "
            "uploads: `mgmt safe PATH --against NAME`. `mgmt history` lists what is stored."
        )
    if _are_all_missing(verdict):
        yield (
            "Paths are compared from what was uploaded on. If this is only a part of that, or a folder around it, name "
            "what was uploaded."
        )
    for found in verdict.found:
        if found.problem is not None:
            yield f"{_name(found)} could not be compared: {printable(found.problem)}"
    for actor in sorted({each.actor for each in verdict.proofs if not each.is_own and each.how != "read back"}):
        yield (
            f"It rests on what {printable(actor)}'s mgmt has reported of the bytes that it stored. --read-back reads "
            "the stored bytes themselves."
        )
    if verdict.read is None:
        return
    if verdict.read.digests.cached_count:
        files = count_in_words(verdict.read.digests.cached_count, "file")
        yield f"For {files} the system's cache may have answered instead of the medium, as on network mounts."
    if verdict.read.system_count:
        yield f"{count_in_words(verdict.read.system_count, 'system file')} left out, as at every upload."
    if verdict.read.trashes:
        where = ", ".join(_path_of(verdict, each) for each in verdict.read.trashes)
        yield f"Deleted files are in {where}: these are never stored, and were not read."


def _are_all_missing(verdict: Verdict) -> bool:
    """Tell whether no file of the target is in any upload that it was compared with."""
    total = verdict.total()
    if total is None or total.unsafe_count < max(total.file_count, 1):
        return False
    return all(each.code == "not-stored" for each in verdict.unsafe())


def _uploads_of(verdict: Verdict) -> list[FoundUpload]:
    ids = {proof.operation_id for proof in verdict.proofs}
    return [each for each in verdict.found if each.record.operation_id in ids]


def _name(found: FoundUpload) -> str:
    record = found.record
    return f"{printable(record.s3_object_key)} (ID {short_id(record)}, by {printable(record.actor)})"


def _path_of(verdict: Verdict, path: bytes) -> str:
    return printable(f"{verdict.target_path.rstrip('/')}/{shown(path)}" if path else verdict.target_path)


def _spell_in(verdict: Verdict, path: bytes) -> str:
    """Write a path in a target for a program."""
    if not path:
        return verdict.target_path
    return spell_path(os.fsencode(read_path(verdict.target_path).rstrip("/")) + b"/" + path)
