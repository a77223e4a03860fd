"""Restores archived objects, so that they can be downloaded: price, request, and waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, cast

from mgmt.errors import MgmtError, RestoringError, UsageError
from mgmt.events import Emit, Notice
from mgmt.journal import new_operation_id
from mgmt.network.retry import Patience
from mgmt.service import ServiceApi, error_in
from mgmt.stored.opening import NotReadableError
from mgmt.stored.recorded import size_of
from mgmt.text import duration_in_words, size_in_words
from mgmt_contract.messages.objects import RestoreItem, RestoreRequest, RestoreResult
from mgmt_contract.restoring import PRICES_OF, TERMS, ArchiveKind, RestoreTerms, RestoreTier, price_of, seconds_of
from mgmt_contract.storage import ARCHIVED_CLASSES
from mgmt_contract.values import Value
from mgmt_contract.wire import format_time

_LOOK_MIN_SECONDS: Final = 60.0
_LOOK_MAX_SECONDS: Final = 15 * 60.0
_LOOKS: Final = 10
"""Looks during the expected time, so that the shortest restores are not kept waiting for the longest pause."""


class RestoreOptions(Value):
    """How archived objects are restored."""

    tier: RestoreTier
    days: int
    """How long the readable copy stays."""


class Restore:
    """The restore of one object, asked for by this command or before."""

    def __init__(self, api: ServiceApi, archived: NotReadableError, options: RestoreOptions) -> None:
        self._api = api
        self._archived = archived
        self._item = RestoreItem(new_operation_id(), archived.upload.operation_id, tier=options.tier, days=options.days)
        self._result: RestoreResult | None = None

    def ask(self) -> None:
        """Ask for it, or how it stands where it was asked for before; the service asks the storage once.

        Raises:
            MgmtError: The service's refusal.
        """
        [result] = self._api.restore(RestoreRequest([self._item])).results
        error = error_in(result)
        if error is not None:
            raise error
        self._result = result

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for: the object can be fetched, or a download tells why it never can."""
        return self._result is not None and self._result.outcome not in ("asked", "restoring")

    @property
    def left_seconds(self) -> float:
        """Seconds until it is expected to be readable; 0 where that is over, or not known."""
        record = self._result.record if self._result is not None else None
        if record is None or record.ready_at is None:
            return 0.0
        return max(0.0, (record.ready_at - datetime.now(UTC)).total_seconds())

    def describe(self) -> str:
        """Say by whom and when it was asked for, and when it is expected to be readable."""
        key = self._archived.upload.s3_object_key
        record = self._result.record if self._result is not None else None
        if record is None:
            return f"{key}: S3 is restoring it, asked past mgmt."
        by = f"asked by {record.actor or 'somebody'} at {format_time(record.started_at)}, tier {record.tier}"
        until = f", expected to be readable at {format_time(record.ready_at)}" if record.ready_at is not None else ""
        return f"{key}: S3 is restoring it, {by}{until}."


def describe_offer(archived: Sequence[NotReadableError], options: RestoreOptions) -> str:
    """Say what restoring objects costs and how long it takes.

    Raises:
        UsageError: no-tier, where one of them has no such tier.
    """
    terms = [_terms_of(each, options.tier) for each in archived]
    sizes = [size_of(each.upload) for each in archived]
    dollars = sum(price_of(term, size) for term, size in zip(terms, sizes, strict=True))
    names = archived[0].upload.s3_object_key if len(archived) == 1 else f"{len(archived)} archives"
    kinds = ", ".join(sorted({each.kind for each in archived}))
    hours = duration_in_words(max(seconds_of(term, size) for term, size in zip(terms, sizes, strict=True)))
    return (
        f"{names}, {size_in_words(sum(sizes))}, must be restored by S3 from {kinds}: {_say_price(dollars)} at the tier "
        f"{options.tier} (prices of {PRICES_OF}, without the transfer), ready in about {hours}, "
        f"{_say_until(archived, options)}."
    )


def ask_for_restores(
    api: ServiceApi, archived: Mapping[str, NotReadableError], options: RestoreOptions, errors: dict[str, MgmtError]
) -> dict[str, Restore]:
    """Ask for the restores of objects; a refusal of one alone is put into `errors`.

    Raises:
        MgmtError: For causes that stop everything.
    """
    restores = {}
    for name, each in archived.items():
        restore = Restore(api, each, options)
        if _is_answered(name, restore, errors):
            restores[name] = restore
    return restores


def wait_for_one(restores: dict[str, Restore], patience: Patience, emit: Emit, errors: dict[str, MgmtError]) -> None:
    """Wait until at least one of these restores is over; one that is refused meanwhile moves to `errors`.

    Raises:
        CancelledError: If the command was stopped; the restores go on.
        MgmtError: For causes that stop everything.
    """
    if any(restore.is_over for restore in restores.values()):
        return
    for restore in restores.values():
        emit(Notice(f"{restore.describe()} Waiting; the same command waits on after Ctrl-C.", "restoring"))
    while restores and not any(restore.is_over for restore in restores.values()):
        left_seconds = min(restore.left_seconds for restore in restores.values())
        patience.pause(min(_LOOK_MAX_SECONDS, max(_LOOK_MIN_SECONDS, left_seconds / _LOOKS)))
        for name in [each for each, restore in restores.items() if not _is_answered(each, restore, errors)]:
            del restores[name]


def _is_answered(name: str, restore: Restore, errors: dict[str, MgmtError]) -> bool:
    """Ask for a restore, or how it stands; tell whether the service accepted that."""
    try:
        restore.ask()
    except MgmtError as error:
        if error.stops_everything:
            raise
        errors[name] = error
    return name not in errors


def still_restoring(restore: Restore) -> RestoringError:
    """Make the error for an object that cannot be read yet."""
    return RestoringError(f"{restore.describe()} Run the same command again then, or at once with --wait.")


def _say_until(archived: Sequence[NotReadableError], options: RestoreOptions) -> str:
    """Say how long what is restored can be read: INTELLIGENT_TIERING moves it, and makes no copy for some days."""
    if not any(each.kind in ARCHIVED_CLASSES for each in archived):
        return "readable from then on"
    return f"readable for {options.days} days, each of which costs as in STANDARD"


def _say_price(dollars: float) -> str:
    return "less than $0.01" if 0 < dollars < 0.01 else f"about ${dollars:.2f}"


def _terms_of(archived: NotReadableError, tier: RestoreTier) -> RestoreTerms:
    terms = TERMS.get((cast("ArchiveKind", archived.kind), tier))
    if terms is None:
        possible = ", ".join(each for kind, each in TERMS if kind == archived.kind) or "none that is known"
        raise UsageError(
            f"--tier: {archived.upload.s3_object_key} is in {archived.kind}, which has no tier {tier}. Possible: "
            f"{possible}.",
            code="no-tier",
        )
    return terms
