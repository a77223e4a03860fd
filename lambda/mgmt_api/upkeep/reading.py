"""Reading the records of many objects at once, so that one that cannot be read hides none of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from mgmt_api.ports import RecordsUnavailableError

logger = logging.getLogger(__name__)

ReadT = TypeVar("ReadT")


def read_ahead(read: Callable[[], dict[str, ReadT]]) -> dict[str, ReadT]:
    """Read records; nothing where one of them cannot be read: then each is read for itself, when its turn comes.

    Raises:
        RecordsUnavailableError: If the records do not answer.
    """
    try:
        return read()
    except RecordsUnavailableError:
        raise
    except Exception:  # one record that cannot be read must not stop a round
        logger.exception("reading ahead failed; each is read for itself")
        return {}
