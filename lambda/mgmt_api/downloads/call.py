"""One call about objects that somebody wants back: its caller, and the records of its items read ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.domain.checks import check_count
from mgmt_api.domain.entities import Actor
from mgmt_contract.messages.downloads import DownloadItem
from mgmt_contract.messages.objects import RestoreItem
from mgmt_contract.values import Value


class Call(Value):
    """One call to open downloads, or to restore; what it does with an item is said by the class derived from this."""

    backends: Backends
    actor: Actor
    run_id: str | None
    ahead: ReadAhead

    @classmethod
    def prepare(
        cls, backends: Backends, actor: Actor, items: Sequence[DownloadItem | RestoreItem], run_id: str | None
    ) -> Self:
        """Read ahead the operations of the items, and the uploads that they are about.

        Raises:
            ProblemError: invalid-request, where the list is too long or empty.
        """
        check_count("items", len(items))
        ahead = ReadAhead(backends)
        ahead.read_operations(item.operation_id for item in items)
        ahead.read_operations(item.upload_id for item in items)
        return cls(backends, actor, run_id, ahead)
