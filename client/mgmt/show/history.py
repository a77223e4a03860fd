"""Shows the team's operations: a row for each of many, or everything about one."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import chain
from typing import Any, Final

from mgmt.show import Output
from mgmt.show.records import path_in_record, record_line
from mgmt.show.tables import Column, lay_out_csv, lay_out_table
from mgmt.team.history import Found, Shown
from mgmt.team.short_ids import short_id
from mgmt.text import (
    count_in_words,
    duration_in_words,
    fold,
    moment_in_words,
    printable,
    ratio_in_words,
    size_in_words,
    speed_in_words,
    with_local_times,
)
from mgmt_contract.records import (
    DeleteRecord,
    FileRecord,
    OperationRecord,
    RestoreRecord,
    UndeleteRecord,
    UploadRecord,
)
from mgmt_contract.texts import may_be_cut
from mgmt_contract.wire import format_time, to_plain

_REPLACED: Final = "replaced"
_DELETED: Final = "deleted"
COLOR_OF_STATUS: Final = {"success": "green", "failed": "red", "pending": "magenta", _REPLACED: "dim", _DELETED: "dim"}
VERSION_FIELDS: Final = (
    "s3_object_key", "version_id", "uncompressed_size", "crc64nvme", "content_digest", "actor", "started_at",
    "finished_at", "deleted_at", "recoverable_until",
)  # fmt: skip
HISTORY_COLUMNS: Final = (
    Column("ID", drop_order=5),
    Column("WHEN", drop_order=4),
    Column("WHO", drop_order=3),
    Column("STATUS", color_of=COLOR_OF_STATUS.get),
    Column("SIZE", is_number=True, drop_order=2),
    Column("RATIO", is_number=True, drop_order=1),
    Column("KEY"),
)
CSV_FIELDS: Final = (
    "operation_id", "operation_type", "status", "started_at", "finished_at", "actor", "target_path", "s3_bucket",
    "s3_object_key", "size", "uncompressed_size", "member_count", "storage_class", "version_id", "crc64nvme",
    "content_digest", "error_code", "error_message", "replaced", "deleted_at", "target_path_cut",
)  # fmt: skip
"""The header of `history --csv`: fields of the records, and the object's size in bytes."""
_LABEL_COLUMNS: Final = 13
_NARROW_COLUMNS: Final = 50
"""On a narrower terminal a value stands below its label."""


class HistoryView:
    """Writes operations to stdout: as a table, as comma-separated values, as JSON lines, or one of them whole."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show_json(self, found: Found) -> None:
        """Write a line for each operation."""
        for record in found:
            self._show_record(record, {"replaced": True} if record.operation_id in found.replaced else {})

    def show_csv(self, found: Found) -> None:
        """Write a header, and a row for each operation."""
        with self._output.lines_end_with("\r\n"):
            for line in lay_out_csv(CSV_FIELDS, (csv_row(each, found.replaced) for each in found)):
                self._output.line(line)

    def show_table(self, found: Found, *, nothing: str) -> None:
        """Write a table as it arrives; `nothing` is said where there is no operation."""
        output = self._output
        rows = (history_row(each, found.replaced) for each in found)
        first = next(rows, None)
        if first is None:
            output.aside(nothing)
            return
        for line in lay_out_table(HISTORY_COLUMNS, chain([first], rows), width=output.width, paint=output.paint):
            output.line(line)
        if found.is_cut or output.width is not None:
            more = "; there may be more: --limit N or --all" if found.is_cut else ""
            output.aside(f"{count_in_words(found.count, 'operation')}{more}")

    def show(self, shown: Shown) -> None:
        """Write everything about one operation, and its object's other versions."""
        output, by = self._output, shown.replaced_by
        if output.style.as_json:
            self._show_record(
                shown.record, {"replaced": True, "replaced_by": by.operation_id} if by is not None else {}
            )
            for earlier in shown.earlier:
                output.json({"type": "version", **version_line(earlier)})
            return
        pairs = describe_record(shown.record, is_replaced=by is not None)
        pairs += [("replaced by", describe_version(by))] if by is not None else []
        pairs += [("earlier", describe_version(each)) for each in shown.earlier]
        is_narrow = output.width is not None and output.width < _NARROW_COLUMNS
        indent = "  " if is_narrow else " " * (_LABEL_COLUMNS + 1)
        for label, value in pairs:
            text = fold(indent + printable(output.with_commands(value)), output.width, indent).removeprefix(indent)
            if label == "status":
                status = printable(shown.record.status)
                color = COLOR_OF_STATUS.get(status)  # none for one of tomorrow
                text = output.paint(status, color) + text.removeprefix(status) if color else text
            shown_label = output.paint(f"{label:<{_LABEL_COLUMNS}}", "dim")
            output.line(f"{shown_label}\n{indent}{text}" if is_narrow else f"{shown_label} {text}")

    def _show_record(self, record: OperationRecord, more: dict[str, object]) -> None:
        self._output.json({**record_line(record), **more})


def choices_table(records: Iterable[OperationRecord], width: int | None) -> tuple[str, ...]:
    """Lay out operations among which a person is to choose."""
    return tuple(lay_out_table(HISTORY_COLUMNS, map(history_row, records), width=width))


def history_row(record: OperationRecord, replaced: Container[str] = ()) -> Sequence[str]:
    """Put an operation into the columns for a person.

    Args:
        record: The operation.
        replaced: Ids of uploads whose object was replaced by a later one.
    """
    size = _size_of(record)
    key = getattr(record, "s3_object_key", "") or record.target_path
    return (
        short_id(record),
        moment_in_words(record.started_at),
        record.actor,
        _shown_status(record, replaced),
        size_in_words(size) if size is not None else "-",
        ratio_in_words(size, getattr(record, "uncompressed_size", None)),
        key if isinstance(record, UploadRecord) else f"{record.operation_type}: {key}",
    )


def _size_of(record: OperationRecord) -> int | None:
    """Say how large the object is that an operation was about; None where that is not known."""
    return record.object_size if isinstance(record, UploadRecord) else getattr(record, "size", None)


def _shown_status(record: OperationRecord, replaced: Container[str]) -> str:
    if getattr(record, "deleted_at", None) is not None:
        return _DELETED
    return _REPLACED if record.operation_id in replaced else record.status


def csv_row(record: OperationRecord, replaced: Container[str] = ()) -> Sequence[str]:
    """Put an operation into the columns for a spreadsheet; times are ISO-8601 in UTC."""
    values = {
        **vars(record),
        "started_at": format_time(record.started_at),
        "finished_at": format_time(record.finished_at) if record.finished_at else None,
        "size": _size_of(record),
        "replaced": "yes" if record.operation_id in replaced else None,
        "target_path_cut": "yes" if may_be_cut(record.target_path) else None,
        "deleted_at": format_time(deleted_at) if (deleted_at := getattr(record, "deleted_at", None)) else None,
    }
    return ["" if (value := values.get(name)) is None else str(value) for name in CSV_FIELDS]


def describe_record(record: OperationRecord, *, is_replaced: bool = False) -> list[tuple[str, str]]:
    """Say everything about one operation, as pairs of label and value."""
    if isinstance(record, UploadRecord):
        return _describe_upload(record, is_replaced=is_replaced)
    pairs = [
        ("operation", record.operation_id),
        ("short id", short_id(record)),
        ("type", record.operation_type),
        ("status", _describe_status(record)),
        ("target", path_in_record(record.target_path)),
        *_describe_restore(record),
        ("result", path_in_record(record.result_path or "-")),
        ("by", record.actor or "-"),
        ("started", moment_in_words(record.started_at)),
        ("finished", moment_in_words(record.finished_at)),
    ]
    if isinstance(record, (DeleteRecord, UndeleteRecord)):
        pairs.append(("upload", record.upload_id))
    if isinstance(record, DeleteRecord) and record.recoverable_until is not None:
        pairs.append(("recoverable", f"until {moment_in_words(record.recoverable_until)}, unless it is back already"))
    return pairs


def _describe_restore(record: OperationRecord) -> list[tuple[str, str]]:
    """Say at which tier an object is restored, for how long, and when it is expected to be readable."""
    if not isinstance(record, RestoreRecord):
        return []
    days = f", readable for {record.days} days" if record.days is not None else ""
    return [("tier", f"{record.tier}{days}"), ("expected", moment_in_words(record.ready_at))]


def _describe_ratio(part: int | None, whole: int | None) -> str:
    ratio = ratio_in_words(part, whole)
    return ratio if ratio == "-" else f"{ratio} of its size before packing"


def _describe_status(record: OperationRecord, *, is_replaced: bool = False) -> str:
    why = f": {with_local_times(record.error_message)}" if record.error_message else ""
    code = f" ({record.error_code})" if record.error_code else ""
    stage = f", {record.phase}" if record.status == "pending" else ", replaced since" if is_replaced else ""
    return f"{record.status}{stage}{why}{code}"


def _describe_upload(record: UploadRecord, *, is_replaced: bool) -> list[tuple[str, str]]:
    pairs = [
        ("operation", record.operation_id),
        ("short id", short_id(record)),
        ("status", _describe_status(record, is_replaced=is_replaced)),
        *_describe_deletion(record),
        ("source", _describe_file(record.source_file_record)),
        ("archive", _describe_file(record.compressed_file_record)),
        ("object", _describe_object(record)),
        *_describe_index(record),
        ("content", _describe_content(record)),
        ("ratio", _describe_ratio(record.object_size, record.uncompressed_size)),
        ("crc64nvme", record.crc64nvme or "-"),
        ("digest", record.content_digest or "-"),
        ("etag", record.etag or "-"),
        ("version", record.version_id or "-"),
        ("codec", f"{record.codec or '-'}, plan {record.compression_plan or '-'}"),
        ("by", record.actor or "-"),
        ("started", moment_in_words(record.started_at)),
        ("finished", _describe_end(record)),
    ]
    if record.content_digest:
        pairs += [("proven", _describe_proof(record)), ("claimed", _describe_claims(record))]
    if record.replaces or record.replaces_actor:
        pairs.append(("replaces", _describe_replaced(record)))
    pairs += _describe_what_the_worker_found(record)
    if record.storage_class:
        pairs.append(("storage class", record.storage_class))
    if record.run_id:
        pairs.append(("run", record.run_id))
    if record.excludes:
        pairs.append(("left out", ", ".join(record.excludes)))
    if record.tags:
        pairs.append(("tags", ", ".join(f"{key}={value}" for key, value in record.tags.items())))
    return pairs


def _describe_what_the_worker_found(record: UploadRecord) -> list[tuple[str, str]]:
    """Say what the service found out by itself."""
    pairs = []
    if record.settled_by:
        pairs.append(("found out by", "the service, without its client"))
    if record.late_at:
        became = "adopted" if record.status == "success" else f"not adopted: version {record.late_version_id or '-'}"
        pairs.append(("arrived", f"{moment_in_words(record.late_at)}, after the upload had failed; {became}"))
    return pairs


def _describe_index(record: UploadRecord) -> list[tuple[str, str]]:
    """Say how large the index beside the archive is, or that it is missing; nothing where there is to be none."""
    if record.index_size is not None:
        return [("index", size_in_words(record.index_size))]
    return [("index", "missing; the archive itself is whole")] if record.index_missing else []


def _describe_deletion(record: UploadRecord) -> list[tuple[str, str]]:
    if record.deleted_at is None:
        return []
    said = f"{moment_in_words(record.deleted_at)} by {record.deleted_by or '-'}"
    if record.removed_at is not None:
        return [("deleted", f"{said}; its bytes are gone since {moment_in_words(record.removed_at)}")]
    way = f"`mgmt undelete {short_id(record)}` brings it back"
    return [("deleted", f"{said}; until {moment_in_words(record.recoverable_until)} {way}")]


def describe_version(record: UploadRecord) -> str:
    """Describe an earlier upload under the same key in a line."""
    size = size_in_words(record.object_size or 0)
    said = f"{moment_in_words(record.finished_at or record.started_at)} by {record.actor or '-'}, {size}"
    deleted = ", deleted" if record.deleted_at is not None else ""
    return f"{said}{deleted}, operation {record.operation_id}"


def version_line(record: UploadRecord) -> dict[str, Any]:
    """Say the same to a program: the fields that tell versions of one object apart."""
    plain = to_plain(record)
    chosen = {name: plain[name] for name in VERSION_FIELDS}
    return {"operation_id": record.operation_id, "size": record.object_size, **chosen}


def _describe_replaced(record: UploadRecord) -> str:
    """Say whose upload an upload replaces; one that is under way or has failed has not replaced it."""
    would = "" if record.status == "success" else "if it succeeds, "
    whose = f"the upload of {record.replaces_actor}" if record.replaces_actor else "an upload"
    return f"{would}{whose}, operation {record.replaces}" if record.replaces else f"{would}{whose}"


def _describe_file(file: FileRecord | None) -> str:
    if file is None:
        return "-"
    kind = "directory" if file.is_directory else size_in_words(file.size)
    return f"{path_in_record(file.path)} ({kind}, {file.status})"


def _describe_object(record: UploadRecord) -> str:
    if not record.s3_object_key:
        return "-"
    file = record.s3_file_record
    stored = f" ({size_in_words(file.size)}, {file.status})" if file is not None else ""
    return f"s3://{record.s3_bucket}/{record.s3_object_key}{stored}"


def _describe_content(record: UploadRecord) -> str:
    if record.uncompressed_size is None or record.member_count is None:
        return "-"
    return f"{size_in_words(record.uncompressed_size)} in {count_in_words(record.member_count, 'member')}"


def _describe_proof(record: UploadRecord) -> str:
    if record.status != "success":
        return "nothing: the service has not found the object as it was to be"
    return "size and crc64nvme of the object, as S3 stated them when the upload finished"


def _describe_claims(record: UploadRecord) -> str:
    return f"content, digest and codec, as the client of {record.actor or 'the uploader'} computed them"


def _describe_end(record: UploadRecord) -> str:
    if record.finished_at is None:
        return "-"
    seconds = (record.finished_at - record.started_at).total_seconds()
    speed = speed_in_words(record.uncompressed_size or 0, seconds) if record.status == "success" else ""
    return f"{moment_in_words(record.finished_at)}, after {duration_in_words(seconds)}{speed}"
