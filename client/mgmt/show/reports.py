"""Operations in words: one line, one page or one row for each."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, Final

from mgmt.show.tables import Column
from mgmt.storage.speed import MEASURED_MIN_BYTES
from mgmt.team.short_ids import short_id
from mgmt.text import (
    count_in_words,
    display_width,
    duration_in_words,
    moment_in_words,
    printable,
    ratio_in_words,
    shorten,
    size_in_words,
    with_local_times,
)
from mgmt_contract.records import FileRecord, OperationRecord, UploadRecord
from mgmt_contract.wire import format_time, to_plain

if TYPE_CHECKING:  # a name for an annotation: the history does not import it
    from mgmt.show.underway import Sent

_REPLACED: Final = "replaced"
COLOR_OF_STATUS: Final = {"success": "green", "failed": "red", "pending": "magenta", _REPLACED: "dim"}
VERSION_FIELDS: Final = (
    "s3_object_key", "version_id", "uncompressed_size", "crc64nvme", "content_digest", "actor", "started_at",
    "finished_at",
)  # fmt: skip
_KEY_WIDTH_MIN: Final = 32
_NAME_WIDTH_MIN: Final = 20
_GAP: Final = "  "


def describe_success(record: UploadRecord, sent: Sent | None, width: int | None = None) -> str:
    """Describe an upload's result in one line: key, size, ratio, time, speed.

    Args:
        record: The upload.
        sent: Its measures in this run; the record's own times also count a pause before a resume.
        width: Columns of the terminal; less important parts are left out first.
    """
    whole = f"{printable(record.target_path)} → s3://{printable(record.s3_bucket)}/{printable(record.s3_object_key)}"
    key = printable(record.s3_object_key)
    name, numbers, size = printable(record.target_path), _numbers_of(record, sent), _size_of(record)
    if width is None:
        return f"{whole}  {numbers}"
    for label, said in [(whole, numbers), (key, numbers), (key, size)]:
        room = width - display_width(said) - len(_GAP)
        if display_width(label) <= room or (label == key and room >= _KEY_WIDTH_MIN):
            return f"{shorten(label, room)}{_GAP}{said}"
    room = width - display_width(size) - len(_GAP)
    fits = display_width(name) <= room or room >= _NAME_WIDTH_MIN
    return f"{shorten(name, room)}{_GAP}{size}" if fits else shorten(name, width)


def describe_success_at_length(record: UploadRecord, sent: Sent | None) -> list[str]:
    """Say the same in two lines, for the only upload of a command on a narrow terminal."""
    whole = f"{printable(record.target_path)} → s3://{printable(record.s3_bucket)}/{printable(record.s3_object_key)}"
    return [whole, _numbers_of(record, sent)]


def describe_sizes(source_bytes: int, stored_bytes: int) -> str:
    """Say how large a source is, and how much smaller packing has made it.

    >>> describe_sizes(200_000_000, 100_000_000), describe_sizes(49_800_000, 49_815_000)
    ('200 MB → 100 MB (50 % smaller)', '49.8 MB, no smaller,')
    """
    saved_percent = round(100 * (1 - stored_bytes / source_bytes)) if source_bytes else 0
    if saved_percent <= 0:
        return f"{size_in_words(source_bytes)}, no smaller,"
    return f"{size_in_words(source_bytes)} → {size_in_words(stored_bytes)} ({saved_percent} % smaller)"


def _size_of(record: UploadRecord) -> str:
    return size_in_words(record.s3_file_record.size if record.s3_file_record else 0)


def _numbers_of(record: UploadRecord, sent: Sent | None) -> str:
    """Say the sizes, the time it took, and the speed: the source's bytes that were sent in that time.

    A small file has no speed: it goes with a hundred others, and shares their time.
    """
    stored_bytes = record.s3_file_record.size if record.s3_file_record else 0
    said = describe_sizes(record.uncompressed_size or 0, stored_bytes)
    if sent is None:
        return said.removesuffix(",")
    seconds = _wall_seconds(record, sent)
    moved_bytes = sent.moved_fraction * (record.uncompressed_size or 0)
    if 0 < sent.moved_fraction < 1:
        said = f"{said.removesuffix(',')}, the last {size_in_words(moved_bytes)}"
    said += f" in {duration_in_words(seconds)}"
    if moved_bytes >= MEASURED_MIN_BYTES and seconds > 0:
        said += f", {size_in_words(moved_bytes / seconds)}/s"
    return said


def _wall_seconds(record: UploadRecord, sent: Sent) -> float:
    """Say how long an upload took: as its record has it, unless that also counts an earlier run and the pause since."""
    if record.finished_at is None or not sent.is_in_one_go:
        return sent.seconds
    return min(sent.seconds, (record.finished_at - record.started_at).total_seconds())


# --- one operation, whole ------------------------------------------------------------------------------


def describe_record(record: OperationRecord, *, is_replaced: bool = False) -> list[tuple[str, str]]:
    """Say everything about one operation, as pairs of label and value."""
    if isinstance(record, UploadRecord):
        return _describe_upload(record, is_replaced=is_replaced)
    return [
        ("operation", record.operation_id),
        ("short id", short_id(record)),
        ("type", record.operation_type),
        ("status", _describe_status(record)),
        ("target", record.target_path),
        ("result", record.result_path or "-"),
        ("by", record.actor or "-"),
        ("started", moment_in_words(record.started_at)),
        ("finished", moment_in_words(record.finished_at)),
    ]


def _describe_status(record: OperationRecord, *, is_replaced: bool = False) -> str:
    why = f": {with_local_times(record.error_message)}" if record.error_message else ""
    code = f" ({record.error_code})" if record.error_code else ""
    stage = f", {record.phase}" if record.status == "pending" else ", replaced since" if is_replaced else ""
    return f"{record.status}{stage}{why}{code}"


def _describe_upload(record: UploadRecord, *, is_replaced: bool) -> list[tuple[str, str]]:
    size = record.s3_file_record.size if record.s3_file_record else None
    pairs = [
        ("operation", record.operation_id),
        ("short id", short_id(record)),
        ("status", _describe_status(record, is_replaced=is_replaced)),
        ("source", _describe_file(record.source_file_record)),
        ("archive", _describe_file(record.compressed_file_record)),
        ("object", _describe_object(record)),
        ("content", _describe_content(record)),
        ("ratio", ratio_in_words(size, record.uncompressed_size)),
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
    if record.storage_class:
        pairs.append(("storage class", record.storage_class))
    if record.run_id:
        pairs.append(("run", record.run_id))
    if record.tags:
        pairs.append(("tags", ", ".join(f"{key}={value}" for key, value in record.tags.items())))
    return pairs


def describe_version(record: UploadRecord) -> str:
    """Describe an earlier upload under the same key in a line."""
    said = f"{moment_in_words(record.finished_at or record.started_at)} by {record.actor or '-'}, {_size_of(record)}"
    return f"{said}, operation {record.operation_id}"


def version_line(record: UploadRecord) -> dict[str, Any]:
    """Say the same to a program: the fields that tell versions of one object apart."""
    plain = to_plain(record)
    size = record.s3_file_record.size if record.s3_file_record else None
    return {"operation_id": record.operation_id, "size": size, **{name: plain[name] for name in VERSION_FIELDS}}


def _describe_replaced(record: UploadRecord) -> str:
    """Say whose upload an upload replaces; one that is under way or has failed has not replaced it."""
    would = "" if record.status == "success" else "if it succeeds, "
    whose = f"the upload of {record.replaces_actor}" if record.replaces_actor else "an upload"
    return f"{would}{whose}, operation {record.replaces}" if record.replaces else f"{would}{whose}"


def _describe_file(file: FileRecord | None) -> str:
    if file is None:
        return "-"
    kind = "directory" if file.is_directory else size_in_words(file.size)
    return f"{file.path} ({kind}, {file.status})"


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
    size = record.uncompressed_size
    speed = ""
    if record.status == "success" and (size or 0) >= MEASURED_MIN_BYTES and seconds > 0:
        speed = f", {size_in_words((size or 0) / seconds)}/s"
    return f"{moment_in_words(record.finished_at)}, after {duration_in_words(seconds)}{speed}"


# --- many operations -----------------------------------------------------------------------------------

HISTORY_COLUMNS: Final = (
    Column("ID", drop_order=5),
    Column("WHEN", drop_order=4),
    Column("WHO", drop_order=3),
    Column("STATUS", color_of=COLOR_OF_STATUS.get),
    Column("SIZE", is_number=True, drop_order=2),
    Column("RATIO", is_number=True, drop_order=1),
    Column("KEY"),
)


def history_row(record: OperationRecord, replaced: Container[str] = ()) -> Sequence[str]:
    """Put an operation into the columns for a person.

    Args:
        record: The operation.
        replaced: Ids of uploads whose object was replaced by a later one.
    """
    s3_file = getattr(record, "s3_file_record", None)
    size = s3_file.size if s3_file else None
    key = getattr(record, "s3_object_key", "") or record.target_path
    return (
        short_id(record),
        moment_in_words(record.started_at),
        record.actor,
        _REPLACED if record.operation_id in replaced else record.status,
        size_in_words(size) if size is not None else "-",
        ratio_in_words(size, getattr(record, "uncompressed_size", None)),
        key if isinstance(record, UploadRecord) else f"{record.operation_type}: {key}",
    )


CSV_FIELDS: Final = (
    "operation_id", "operation_type", "status", "started_at", "finished_at", "actor", "target_path", "s3_bucket",
    "s3_object_key", "size", "uncompressed_size", "member_count", "storage_class", "version_id", "crc64nvme",
    "content_digest", "error_code", "error_message", "replaced",
)  # fmt: skip
"""The header of `history --csv`: fields of the records, and the object's size in bytes."""


def csv_row(record: OperationRecord, replaced: Container[str] = ()) -> Sequence[str]:
    """Put an operation into the columns for a spreadsheet; times are ISO-8601 in UTC."""
    s3_file = getattr(record, "s3_file_record", None)
    values = {
        **vars(record),
        "started_at": format_time(record.started_at),
        "finished_at": format_time(record.finished_at) if record.finished_at else None,
        "size": s3_file.size if s3_file else None,
        "replaced": "yes" if record.operation_id in replaced else None,
    }
    return ["" if (value := values.get(name)) is None else str(value) for name in CSV_FIELDS]
