"""Restoring archived objects: the storage is asked once for the whole team, and the history says by whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, cast

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import answer_each
from mgmt_api.calls.versions import Version, look_at, require_stored
from mgmt_api.domain.checks import check_days, check_operation_id
from mgmt_api.domain.entities import Actor, HistoryQuery, Operation, Restore
from mgmt_api.downloads.call import Call
from mgmt_api.ports import NotArchivedError, StoredObject, TierUnavailableError
from mgmt_contract.messages.objects import RestoreItem, RestoreRequest, RestoreResponse, RestoreResult
from mgmt_contract.problems import Problem, ProblemError
from mgmt_contract.records import Phase, RestoreRecord
from mgmt_contract.restoring import PRICES_OF, TERMS, ArchiveKind, RestoreTerms, RestoreTier, price_of, seconds_of

_EARLIER_MAX: Final = 20
"""Restores of one name that are looked through for the one that is under way."""


def restore_objects(
    backends: Backends, actor: Actor, request: RestoreRequest, run_id: str | None = None
) -> RestoreResponse:
    """Ask the storage to make archived objects readable.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    call = _Restoring.prepare(backends, actor, request.items, run_id)
    return RestoreResponse(answer_each(request.items, call.restore, _refuse))


def _refuse(operation_id: str, problem: Problem) -> RestoreResult:
    return RestoreResult(operation_id, "problem", problem=problem)


class _Restoring(Call):
    """One call to restore."""

    def restore(self, item: RestoreItem) -> RestoreResult:
        """Answer how one object's restore stands; ask for it where nobody has."""
        check_operation_id(item.operation_id)
        check_days(item.days)
        known = self.ahead.restore(item.operation_id)
        if known is not None and (known.record.actor_id, known.record.upload_id) != (self.actor.id, item.upload_id):
            raise ProblemError("operation-differs", f"Operation {known.id} is another restore. Take a new id.")
        upload = require_stored(self.ahead.operation(item.upload_id), item.upload_id)
        version = look_at(self.backends, upload)
        if version.standing != "there":
            return RestoreResult(
                item.operation_id,
                version.standing,
                stored=version.describe(),
                problem=version.make_problem(item.operation_id),
            )
        if version.reading == "archived":
            return self._ask(item, version, known)
        return self._answer_underway(item, version, self._find_teams(version, known))

    def _ask(self, item: RestoreItem, version: Version, known: Restore | None) -> RestoreResult:
        """Record the restore, then ask for it: a call that dies in between is made again, and asks."""
        if known is not None and known.phase != "carrying":
            raise ProblemError(
                "operation-failed", f"Restore {known.id} has ended, and the object is archived again. Take a new id."
            )
        kind = _kind_of(version)
        terms = _terms_of(kind, item.tier)
        days = item.days if kind in ("GLACIER", "DEEP_ARCHIVE") else None
        restore = known or self._begin(item, version.upload, terms, days)
        record = restore.record
        try:
            self.backends.objects.restore_object(record.s3_object_key, record.version_id, item.tier, days)
        except NotArchivedError:
            return self._answer_asked_before(item, look_at(self.backends, version.upload), restore)
        except TierUnavailableError as error:
            raise self._refuse_tier(restore, item.tier) from error
        self.backends.metrics.count("RestoresAsked")
        return RestoreResult(
            item.operation_id,
            "asked",
            record=record,
            stored=version.describe(),
            price_dollars=price_of(terms, record.size),
            prices_of=PRICES_OF,
        )

    def _answer_asked_before(self, item: RestoreItem, version: Version, own: Restore) -> RestoreResult:
        """Answer whose restore is under way: somebody else's whose call was faster, or else the caller's own.

        It is the caller's own where the storage was asked and its answer was lost: the same request is then sent twice.
        """
        others = self._find_earlier(version, but=own.id)
        if others is None:
            return self._answer_underway(item, version, own)
        self._end(own, "failed", error_code="asked-already", error_message="Somebody else has asked first.")
        return self._answer_underway(item, version, others)

    def _refuse_tier(self, restore: Restore, tier: RestoreTier) -> ProblemError:
        """Record that the storage has no capacity, and return what is answered."""
        sentence = f"S3 has no capacity for {tier} restores just now, and restores nothing. Take another tier, or wait."
        self._end(restore, "failed", error_code="tier-unavailable", error_message=sentence)
        return ProblemError("tier-unavailable", sentence)

    def _begin(self, item: RestoreItem, upload: Operation, terms: RestoreTerms, days: int | None) -> Restore:
        record, now = upload.record, self.backends.now()
        size = upload.content.size if upload.content is not None else 0
        restore = RestoreRecord(
            operation_id=item.operation_id,
            operation_type="restore",
            target_path=record.s3_object_key,
            started_at=now,
            status="pending",
            result_path=None,
            error_message=None,
            upload_id=upload.id,
            s3_bucket=record.s3_bucket,
            s3_object_key=record.s3_object_key,
            version_id=record.version_id,
            size=size,
            tier=item.tier,
            days=days,
            ready_at=now + timedelta(seconds=seconds_of(terms, size)),
            phase="carrying",
            actor=self.actor.name,
            actor_id=self.actor.id,
            run_id=self.run_id,
        )
        return self.backends.records.create_operation(Restore(restore))

    def _answer_underway(self, item: RestoreItem, version: Version, restore: Restore | None) -> RestoreResult:
        is_readable = version.reading == "readable"
        if is_readable and restore is not None and restore.phase == "carrying":
            restore = self._end(restore, "done", result_path=restore.record.s3_object_key)
        return RestoreResult(
            item.operation_id,
            "readable" if is_readable else "restoring",
            record=restore.record if restore is not None else None,
            stored=version.describe(),
        )

    def _end(self, restore: Restore, phase: Phase, **changes: object) -> Restore:
        return self.backends.records.update_operation(
            restore.advance(phase, finished_at=self.backends.now(), **changes)
        )

    def _find_teams(self, version: Version, known: Restore | None) -> Restore | None:
        """Return the caller's own restore unless it has failed; then, or without one, the team's latest."""
        return known if known is not None and known.phase != "failed" else self._find_earlier(version)

    def _find_earlier(self, version: Version, but: str | None = None) -> Restore | None:
        """Find the latest restore of this very version, other than one, that may be why it is as it is now.

        One that has ended is why it can be read; it is not why the storage is restoring it again.
        """
        upload = version.upload
        phases = ("carrying",) if version.reading == "restoring" else ("carrying", "done")
        query = HistoryQuery(
            _EARLIER_MAX,
            base_name=upload.base_name,
            key=upload.record.s3_object_key,
            operation_type="restore",
        )
        found = self.backends.records.find_operations(query).operations
        restores = (each for each in found if isinstance(each, Restore) and each.phase in phases)
        return next((each for each in restores if each.record.upload_id == upload.id and each.id != but), None)


def _kind_of(version: Version) -> ArchiveKind:
    stored = cast("StoredObject", version.stored)
    return cast("ArchiveKind", stored.archive_tier or stored.storage_class)


def _terms_of(kind: ArchiveKind, tier: RestoreTier) -> RestoreTerms:
    terms = TERMS.get((kind, tier))
    if terms is None:
        possible = ", ".join(each for known, each in TERMS if known == kind) or "none"
        raise ProblemError("invalid-request", f"tier {tier} does not exist for {kind.lower()}. Possible: {possible}.")
    return terms
