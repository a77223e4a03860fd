"""Shows what is in a stored archive: as a table, as comma-separated values, or as JSON lines."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mgmt.archive.index import IndexedMember
from mgmt.events import Finished
from mgmt.layout import MemberKind, decode_path
from mgmt.show import Output
from mgmt.show.tables import Column, lay_out_csv, lay_out_table
from mgmt.show.underway import Kind, Stage, Transfer
from mgmt.team.contents import Contents
from mgmt.text import count_in_words, moment_in_words, shown, size_in_words, spell_path
from mgmt_contract.wire import format_time

_READING: Final = Kind(
    stages={"fetching": Stage("green", is_transfer=True)},
    plural="archives",
    moved="received",
    ended="read",
    nothing="There is nothing to list.",
    after_failures="Fix the errors above and run the command again.",
    list_failures="`mgmt history --mine --type download --status failed` lists what was recorded",
)
CONTENTS_COLUMNS: Final = (
    Column("MODE", drop_order=2),
    Column("SIZE", is_number=True),
    Column("MODIFIED", drop_order=3),
    Column("DIGEST", drop_order=1),
    Column("PATH"),
)
CSV_FIELDS: Final = ("path", "kind", "size", "mode", "modified_at", "digest", "target")
"""The header of `contents --csv`: the fields of the JSON lines."""
_TYPES: Final[dict[MemberKind, int]] = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "hardlink": stat.S_IFREG,
}
_WORDS: Final = (
    ("file", "file", "files"),
    ("directory", "folder", "folders"),
    ("symlink", "symlink", "symlinks"),
    ("hardlink", "hard link", "hard links"),
)


class ContentsView:
    """Writes the members of an archive to stdout as they come."""

    kind = _READING

    def __init__(self, output: Output) -> None:
        self._output = output

    def show_json(self, contents: Contents) -> None:
        """Write a line for each member, and one about all of them."""
        for member in contents:
            self._output.json({"type": "member", **_describe(member)})
        upload = contents.upload
        self._output.json(
            {
                "type": "contents",
                "operation_id": upload.operation_id,
                "s3_object_key": upload.s3_object_key,
                "members": contents.counts.total(),
                "files": contents.counts["file"],
                "size": contents.size_bytes,
                "content_digest": upload.content_digest,
            }
        )

    def show_csv(self, contents: Contents) -> None:
        """Write a header, and a row for each member."""
        with self._output.lines_end_with("\r\n"):
            for line in lay_out_csv(CSV_FIELDS, map(_csv_row, contents)):
                self._output.line(line)

    def show_table(self, contents: Contents) -> None:
        """Write a table as it comes, and say what is in it all together."""
        output = self._output
        for line in lay_out_table(CONTENTS_COLUMNS, _rows(contents), width=output.width, paint=output.paint):
            output.line(line)
        output.aside(f"{_describe_counts(contents)}: {size_in_words(contents.size_bytes)}")

    def show_points(self, contents: Contents, place: Path) -> None:
        """Say where the index for other programs was written."""
        if self._output.style.as_json:
            key = contents.upload.s3_object_key
            self._output.json({"type": "gzidx", "path": spell_path(os.fspath(place)), "s3_object_key": key})
        else:
            self._output.sentence(f"{shown(os.fspath(place))} → for indexed_gzip and rapidgzip")

    def show(self, finished: Finished, transfer: Transfer | None, *, is_alone: bool) -> None:
        """Show nothing: an archive is read for its list alone."""

    def json(self, finished: Finished) -> dict[str, object]:  # noqa: ARG002  the view's port
        """Show nothing."""
        return {}

    def sums(self, elapsed_seconds: float) -> str:  # noqa: ARG002  the view's port
        """Say nothing."""
        return ""


def _describe_counts(contents: Contents) -> str:
    counts = contents.counts
    return ", ".join(count_in_words(counts[kind], one, many) for kind, one, many in _WORDS if counts[kind])


def _rows(contents: Contents) -> Iterator[Sequence[str]]:
    for member in contents:
        moment = _moment(member)
        arrow = f" → {decode_path(member.target)}" if member.target else ""
        yield (
            _spell_mode(member),
            size_in_words(member.size_bytes) if member.kind == "file" else "-",
            moment_in_words(moment),
            member.digest.hex() if member.digest is not None else "-",
            decode_path(member.path) + arrow,
        )


def _csv_row(member: IndexedMember) -> Sequence[str]:
    return ["" if value is None else str(value) for value in _describe(member, is_one_line=True).values()]


def _describe(member: IndexedMember, *, is_one_line: bool = False) -> dict[str, object]:
    moment = _moment(member)
    described = {
        "path": spell_path(member.path, is_one_line=is_one_line),
        "kind": member.kind,
        "size": member.size_bytes,
        "mode": f"{member.mode:04o}",
        "modified_at": format_time(moment) if moment is not None else None,
        "digest": f"blake3:{member.digest.hex()}" if member.digest is not None else None,
        "target": spell_path(member.target, is_one_line=is_one_line) if member.target else None,
    }
    return {name: described[name] for name in CSV_FIELDS}


def _spell_mode(member: IndexedMember) -> str:
    spelled = stat.filemode(_TYPES[member.kind] | stat.S_IMODE(member.mode))
    return f"h{spelled[1:]}" if member.kind == "hardlink" else spelled


def _moment(member: IndexedMember) -> datetime | None:
    """Return a member's time; None for one that no calendar has."""
    try:
        moment = datetime.fromtimestamp(member.mtime_seconds, UTC)
        moment.astimezone()  # the local time of the first and the last day may lie in no year
    except (ValueError, OverflowError, OSError):
        return None
    return moment
