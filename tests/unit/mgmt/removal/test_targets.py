"""What names mean for `delete` and `undelete`: each upload once, and what was wrong with the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mgmt.errors import RefusedError, SourceError, UsageError
from mgmt.removal import find_targets, require_days
from mgmt_api.domain.description import describe_service
from mgmt_contract.records import OperationRecord
from support.operations import make_download, make_id, make_operation
from support.studio import SETTINGS


def test_each_upload_is_meant_once_however_often_it_is_named():
    upload = make_operation(1, phase="done").record
    targets = find_targets(["clip", "clip", make_id(1)], lambda _: upload, "delete")
    assert (targets.uploads, targets.errors) == ([upload], [])


@pytest.mark.parametrize(
    ("record", "code", "said"),
    [
        (make_operation(1, phase="failed").record, "not-stored", "cannot be deleted: it has failed"),
        (make_operation(1, phase="carrying").record, "not-stored", "Wait until it has ended."),
        (replace(make_operation(1).record, status="paused"), "not-stored", "cannot be deleted: it is paused."),
        (make_download(1).record, "no-upload", "is the id of a download"),
    ],
)
def test_what_has_stored_nothing_is_told_and_does_not_keep_the_others(record: OperationRecord, code: str, said: str):
    good = make_operation(2, phase="done").record
    targets = find_targets(["bad", "good"], lambda name: good if name == "good" else record, "delete")
    assert targets.uploads == [good]
    [error] = targets.errors
    assert (error.code, said in error.message) == (code, True), error.message


def test_a_name_that_means_nothing_is_told_and_one_that_fits_several_ends_the_command():
    def find(name: str) -> OperationRecord:
        raise SourceError("no", code="not-found") if name == "none" else UsageError("which?", code="several-keys")

    assert [each.code for each in find_targets(["none"], find, "undelete").errors] == ["not-found"]
    with pytest.raises(UsageError):
        find_targets(["none", "several"], find, "undelete")


def test_a_service_that_deletes_nothing_is_told_apart():
    service = describe_service(SETTINGS)
    assert require_days(service) == 30
    with pytest.raises(RefusedError, match="deletes nothing") as caught:
        require_days(replace(service, recoverable_days=None))
    assert caught.value.code == "versions-differ"
