"""Lists: one result per item, in order; a failing item does not affect the others."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from mgmt_api.domain.checks import check_texts
from mgmt_api.ports import ConflictError, RecordsFullError, RecordsUnavailableError, StorageError, StorageFullError
from mgmt_contract.problems import Problem, ProblemError, make_problem
from mgmt_contract.texts import fit_text

logger = logging.getLogger(__name__)

ITEMS_AT_A_TIME: Final = 16
"""Fewer than the connections that the clients of the stores keep."""
DECISIONS_MAX: Final = 5
"""How often a decision is made again because a conditional write was lost to another call."""


class Item(Protocol):
    """Anything in a list that concerns one operation."""

    @property
    def operation_id(self) -> str:
        """The operation's id."""


ItemT = TypeVar("ItemT", bound=Item)
ResultT = TypeVar("ResultT")


def answer_each(
    items: Sequence[ItemT],
    answer: Callable[[ItemT], ResultT],
    refuse: Callable[[str, Problem], ResultT],
) -> list[ResultT]:
    """Answer every item, or refuse it with the problem it met.

    Several at a time: an item waits for the stores most of its time. All that they share has to be thread-safe.
    """
    if len(items) == 1:
        return [_answer(items[0], answer, refuse)]
    with ThreadPoolExecutor(ITEMS_AT_A_TIME) as pool:
        return list(pool.map(lambda item: _answer(item, answer, refuse), items))


def _answer(item: ItemT, answer: Callable[[ItemT], ResultT], refuse: Callable[[str, Problem], ResultT]) -> ResultT:
    try:
        check_texts(item)
        return decide(lambda: answer(item))
    except ProblemError as error:
        problem = error.problem
    except (RecordsUnavailableError, StorageError) as error:
        logger.warning("a store does not answer", extra={"operation_id": item.operation_id, "reason": str(error)})
        problem = make_unavailable_problem(error)
    except Exception:  # the edge of an item: the others keep their answers, whatever the error
        logger.exception("the service failed at an item", extra={"operation_id": item.operation_id})
        problem = make_fault_problem()
    id_ = fit_text(item.operation_id)  # one that is refused for its length or its characters is not repeated whole
    return refuse(id_, dataclasses.replace(problem, operation_id=id_))


def decide(decision: Callable[[], ResultT]) -> ResultT:
    """Make a decision from what is stored; again, where a conditional write was lost meanwhile.

    Raises:
        ProblemError: changed-meanwhile, where other calls win every time.
    """
    for _ in range(DECISIONS_MAX):
        try:
            return decision()
        except ConflictError as error:
            logger.info("decided again", extra={"reason": str(error)})
    raise ProblemError(
        "changed-meanwhile", "Other calls keep changing the same record. Ask again.", retry_after_seconds=1
    )


def make_unavailable_problem(error: Exception) -> Problem:
    """Fill the problem of a store that does not answer, or has no room."""
    if isinstance(error, (RecordsFullError, StorageFullError)):
        return make_problem("storage-full", str(error))
    return make_problem(
        "storage-unavailable", "The storage does not answer just now. Ask again.", retry_after_seconds=2
    )


def make_fault_problem() -> Problem:
    """Fill the problem of a fault in the service; its cause is in the log only."""
    return make_problem("internal-error", "The service failed. Nothing is lost; the same call may be made again.")
