"""Rounds through the records: everything that is pending is looked at now and then, oldest first."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import decide
from mgmt_api.domain.entities import HistoryQuery, Name, Operation, Recorded
from mgmt_api.domain.work import ROUND_SECONDS
from mgmt_api.ports import ConflictError, RecordsUnavailableError, StorageError
from mgmt_api.upkeep.reading import read_ahead
from mgmt_api.upkeep.settling import may_be_settled, settle_by_id, settle_other, settle_upload
from mgmt_contract.names import fold_key
from mgmt_contract.problems import ProblemError

logger = logging.getLogger(__name__)

PAGE: Final = 100
"""Operations that are read at once."""
ROUND_MIN_SECONDS: Final = 30.0
"""A round stops when less time is left, and goes on in another run."""
_OFTEN: Final = timedelta(hours=1)
_SELDOM: Final = timedelta(hours=6)
"""An upload that nobody goes on with is looked at in each round at first, and four times a day after that; at one of
those it ends."""


def go_through_pending(backends: Backends, after: str | None) -> str | None:
    """Look at pending operations, oldest first; return where another run has to go on, or None at the end.

    One that cannot be settled is told, and keeps none of the others waiting.

    Raises:
        RecordsUnavailableError: If the list cannot be read.
    """
    after = after or None
    while True:
        query = HistoryQuery(PAGE, oldest_first=True, status="pending", after=after)
        page = backends.records.find_operations(query)
        due = [each for each in page.operations if may_be_settled(backends, each) and _is_due(backends, each)]
        keys = {each.record.s3_object_key for each in due if isinstance(each, Operation)}
        names = read_ahead(partial(backends.records.get_names, keys)) if keys else {}
        for operation in due:
            if backends.spare_seconds() < ROUND_MIN_SECONDS:
                return after or ""
            _settle(backends, operation, names)
            after = operation.order
        after = page.after
        if after is None:
            return None


def _is_due(backends: Backends, operation: Recorded) -> bool:
    """Tell whether it is this round's turn to look at a silent upload: each look asks the storage."""
    if not isinstance(operation, Operation) or operation.phase == "completing":
        return True
    silent = backends.now() - operation.lease_expires_at
    return silent < _OFTEN or silent % _SELDOM < 2 * timedelta(seconds=ROUND_SECONDS)


def _settle(backends: Backends, operation: Recorded, names: dict[str, Name]) -> None:
    try:
        try:
            if isinstance(operation, Operation):
                key = operation.record.s3_object_key
                settle_upload(backends, operation, names.get(fold_key(key), Name(key)))
            else:
                settle_other(backends, operation)
        except ConflictError:  # somebody was faster: what is stored now decides
            decide(lambda: settle_by_id(backends, operation.id))
    except (RecordsUnavailableError, StorageError, ProblemError) as error:
        logger.warning("not settled this time", extra={"operation_id": operation.id, "reason": str(error)})
    except Exception:  # the edge of one of many: it must not stop the round
        logger.exception("an operation cannot be settled", extra={"operation_id": operation.id})
