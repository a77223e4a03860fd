"""Obstacles to taking a name, only read: starting and previewing an upload check them alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.domain.access import Caller
from mgmt_api.domain.checks import check_count, check_machine_id, check_start_item, check_texts, make_key
from mgmt_api.domain.entities import Name, Operation, PendingUpload
from mgmt_contract.messages.uploads import StartItem
from mgmt_contract.names import fold_key
from mgmt_contract.problems import ProblemError


def check_request(backends: Backends, machine_id: str, item_count: int, expected_bucket: str | None) -> None:
    """Refuse a whole list that cannot be meant for this service.

    Raises:
        ProblemError: bucket-differs or invalid-request.
    """
    check_count("items", item_count)
    check_machine_id(machine_id)
    check_texts(expected_bucket, "expected_bucket")
    bucket = backends.settings.bucket
    if expected_bucket not in (None, bucket):
        raise ProblemError(
            "bucket-differs",
            f"The service stores into {bucket}, this client expects {expected_bucket}. "
            "Correct MGMT_BUCKET or the service's address with `mgmt config`.",
        )


class AskedNames:
    """The names that one call's items ask for, and their records, read ahead."""

    def __init__(self, backends: Backends, caller: Caller, items: list[StartItem]) -> None:
        self._backends = backends
        self._caller = caller
        self._first_by_name: dict[str, tuple[str, str]] = {}
        for operation_id, key in self._find_keys(items):
            self._first_by_name.setdefault(fold_key(key), (operation_id, key))
        self.ahead = ReadAhead(backends)
        ids = (item.operation_id for item in items)
        names = self.ahead.read(ids, (key for _, key in self._first_by_name.values()))
        self.ahead.read_operations(name.pending.operation_id for name in names if name.pending is not None)

    def check(self, item: StartItem) -> str:
        """Return the key an item asks for.

        Raises:
            ProblemError: invalid-request, too-large, invalid-name, or that an earlier item has the name.
        """
        check_start_item(item, self._backends.settings.storage_classes)
        key = make_key(self._backends.settings, item)
        operation_id, first_key = self._first_by_name[fold_key(key)]
        if operation_id != item.operation_id:
            code = "name-reserved" if first_key == key else "name-differs-in-case"
            raise ProblemError(
                code,
                f"{first_key} comes before {key} in the same list. Give one of them another name with --as.",
            )
        return key

    def find_holder(self, claim: PendingUpload, key: str) -> Operation | None:
        """Find the operation that reserved a name; None if it was interrupted before it was recorded."""
        holder = self.ahead.upload(claim.operation_id)
        return holder if holder is not None and holder.record.s3_object_key == key else None

    def refuse_reserved(self, claim: PendingUpload, holder: Operation | None, key: str, name: Name) -> None:
        """Refuse a name under which somebody else is uploading; the lease is read from the operation.

        Raises:
            ProblemError: name-reserved or name-differs-in-case.
        """
        if holder is not None:
            claim = dataclasses.replace(claim, machine_id=holder.machine_id, lease_expires_at=holder.lease_expires_at)
        left_seconds = int((claim.lease_expires_at - self._backends.now()).total_seconds())
        own = (claim.machine_id, claim.actor_id) == (self._caller.machine_id, self._caller.actor.id)
        if left_seconds <= 0 or (own and name.key == key):
            return
        code = "name-reserved" if name.key == key else "name-differs-in-case"
        raise ProblemError(
            code,
            f"{claim.actor} is uploading {name.key} now. Wait until that has ended, or give yours another "
            f"name with --as. Unless they go on, the name is free in {left_seconds} seconds.",
        )

    def _find_keys(self, items: list[StartItem]) -> Iterator[tuple[str, str]]:
        for item in items:
            try:
                check_texts(item)  # first, because bringing a text of a megabyte into NFC can take minutes
                yield item.operation_id, make_key(self._backends.settings, item)
            except ProblemError:
                continue  # answered when its turn comes


def refuse_twin(backends: Backends, key: str, name: Name) -> None:
    """Refuse a key that differs from a stored one only by case or normalization.

    Raises:
        ProblemError: name-differs-in-case.
    """
    if name.key == key or name.current is None:
        return
    if backends.objects.head_object(name.key) is not None:
        raise ProblemError(
            "name-differs-in-case",
            f"{name.key} is stored, by {name.current.actor}; {key} differs from it only by case or "
            "normalization. Use that spelling, or another name with --as.",
        )
