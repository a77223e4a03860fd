"""A record as programs and people read it: what is left of a path that was too long for a record is told as such."""

from __future__ import annotations

from typing import Final

from mgmt_contract.records import OperationRecord
from mgmt_contract.texts import may_be_cut
from mgmt_contract.wire import to_plain

_CUT: Final = "cut: too long for a record, which leaves out the middle of it, at …"


def record_line(record: OperationRecord) -> dict[str, object]:
    """Write a record for a program."""
    is_cut = {"target_path_cut": True} if may_be_cut(record.target_path) else {}
    return {"type": "record", **to_plain(record), **is_cut}


def path_in_record(path: str) -> str:
    """Write a record's path for a person."""
    return f"{path} ({_CUT})" if may_be_cut(path) else path
