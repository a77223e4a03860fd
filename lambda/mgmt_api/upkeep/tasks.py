"""The worker: does each piece of work, and asks itself for what did not fit into its time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import decide
from mgmt_api.domain.work import Task, Work
from mgmt_api.ports import WorkQueue
from mgmt_api.upkeep.arrivals import settle_arrival
from mgmt_api.upkeep.expiring import tag_expired
from mgmt_api.upkeep.orphans import find_orphans
from mgmt_api.upkeep.rounds import go_through_pending
from mgmt_api.upkeep.settling import settle_by_id

Round = Callable[[Backends, str | None], str | None]
"""Goes on from a place; returns where to go on another time, or None at the end."""

_ROUNDS: Final[dict[Task, Round]] = {  # the longest last
    "pending": go_through_pending,
    "deleted": tag_expired,
    "orphans": find_orphans,
}


def rank(work: Work) -> int:
    """Say after what other work of a batch this is done: the longer it may take, the later."""
    return [*_ROUNDS].index(work.task) + 1 if work.task in _ROUNDS else 0


class Worker:
    """Does work on one set of backends.

    Args:
        backends: The stores; the time that a piece of work may take is theirs to tell.
        queue: Takes the rest of a round, and joins that a round finds to be made.
    """

    def __init__(self, backends: Backends, queue: WorkQueue) -> None:
        self._joining = dataclasses.replace(backends, worker=None)
        self._handing_over = dataclasses.replace(backends, worker=queue)
        self._queue = queue

    def do(self, work: Work) -> None:
        """Do one piece of work.

        Raises:
            QueueUnavailableError: If the rest of a round was not taken.
            ProblemError: changed-meanwhile, where other calls win every time.
            Exception: As the stores raise; the work has to be done again.
        """
        if work.task == "settle" and work.operation_id is not None:
            decide(partial(settle_by_id, self._joining, work.operation_id))
        elif work.task == "arrival" and work.key is not None:
            decide(partial(settle_arrival, self._handing_over, work.key, work.version_id))
        elif work.task in _ROUNDS:
            after = _ROUNDS[work.task](self._handing_over, work.after)
            if after is not None:
                self._queue.send(dataclasses.replace(work, after=after))
        else:
            raise ValueError(f"no such work: {work}")
