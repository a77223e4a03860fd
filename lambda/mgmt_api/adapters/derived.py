"""Values of an upload's item that follow from others: they are left out of the item, and set again when it is read.

DynamoDB charges a write by the whole item, in steps of 1 kB, and a small upload is written several times. A value is
left out only where it equals what the rule says; any other value, None among them, is stored. So nothing is lost,
whatever an upload holds. The rules are part of how records are stored: a changed rule would change what stored
records say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from mgmt_contract.names import base_name
from mgmt_contract.records import STATUS_OF_PHASE

Item = dict[str, Any]
_Rule = Callable[[Item], Any]


def leave_out_derived(item: Item, whole: Item) -> Item:
    """Return an upload's item without the values that the rules give.

    Args:
        item: The keys and values to be stored, without those that are None.
        whole: The same with every value.
    """
    stored = {name: dict(value) if isinstance(value, dict) else value for name, value in item.items()}
    stored["record"] |= {name: dict(item["record"][name]) for name in _FILES if name in item["record"]}
    for path, name, rule in _rules():
        found = _at(whole, path)
        if found is None:
            continue
        place = _at(stored, path) or {}
        if found[name] == rule(whole):
            place.pop(name, None)
        else:
            place[name] = found[name]
    return stored


def set_derived(item: Item) -> None:
    """Set what an upload's item does not hold because a rule gives it."""
    for path, name, rule in _rules():
        place = _at(item, path)
        if place is not None and name not in place:
            place[name] = rule(item)


def _at(item: Item, path: tuple[str, ...]) -> Item | None:
    place: Any = item
    for name in path:
        place = place.get(name)
        if place is None:
            return None
    return place  # type: ignore[no-any-return]  # maps all the way


# --- the rules: each uses only what is always stored, or what a rule before it has set ------------------------


def _rules() -> Iterator[tuple[tuple[str, ...], str, _Rule]]:
    for path, rules in _RULES:
        for name, rule in rules.items():
            yield path, name, rule


def _key(item: Item) -> str:
    return str(item["record"]["s3_object_key"])


def _archive_size(item: Item) -> int:
    return int((item.get("content") or {}).get("size") or 0)


def _source_size(item: Item) -> int:
    record = item["record"]
    return 0 if record["source_file_record"]["is_directory"] else int(record.get("uncompressed_size") or 0)


def _is_done(item: Item) -> bool:
    return bool(item["record"]["phase"] == "done")


def _of_record(name: str) -> _Rule:
    return lambda item: item["record"].get(name)


_FILES: Final = ("source_file_record", "compressed_file_record", "s3_file_record")
_S3_STATUS: Final = {"done": "completed", "failed": "failed"}

_RULES: Final[tuple[tuple[tuple[str, ...], Mapping[str, _Rule]], ...]] = (
    ((), {"replaces_deleted": lambda _: False}),
    (
        ("record",),
        {
            "operation_id": lambda item: item["pk"].removeprefix("OP#"),
            "started_at": lambda item: item["order"].partition("#")[0],
            # Of items that were written while the table had an index of names; all others hold the name itself.
            "actor": lambda item: item.get("actor_pk", "").removeprefix("A#") or None,
            "actor_id": lambda item: item["actor_id_pk"].removeprefix("I#"),
            "status": lambda item: STATUS_OF_PHASE.get(item["record"]["phase"]),
            "result_path": lambda item: _key(item) if _is_done(item) else None,
            "compression_type": lambda _: "gzip",
            "compressed_file_path": lambda item: base_name(_key(item)),
            "tags": lambda _: {},
            "excludes": lambda _: [],
            "index_missing": lambda _: False,
        },
    ),
    (
        ("content",),
        {
            "crc64nvme": _of_record("crc64nvme"),
            "content_digest": _of_record("content_digest"),
            "uncompressed_size": _of_record("uncompressed_size"),
            "member_count": _of_record("member_count"),
        },
    ),
    (
        ("record", "source_file_record"),
        {
            "name": lambda item: item["record"]["target_path"].rsplit("/", 1)[-1],
            "path": _of_record("target_path"),
            "location": lambda _: "local",
            "is_directory": lambda _: False,
            "size": _source_size,
            "status": lambda item: "completed" if _is_done(item) else "pending",
        },
    ),
    (
        ("record", "compressed_file_record"),
        {
            "name": lambda item: base_name(_key(item)),
            "path": _of_record("compressed_file_path"),
            "location": lambda _: "local",
            "is_directory": lambda _: False,
            "size": _archive_size,
            "status": lambda _: "pending",
        },
    ),
    (
        ("record", "s3_file_record"),
        {
            "name": lambda item: _key(item).rsplit("/", 1)[-1],
            "path": _key,
            "location": lambda _: "s3",
            "is_directory": lambda _: False,
            "size": _archive_size,
            "status": lambda item: _S3_STATUS.get(item["record"]["phase"], "pending"),
        },
    ),
)
