"""An operation changes in one way only, along the table of transitions."""

from __future__ import annotations

import pytest

from mgmt_api.domain.entities import IllegalTransitionError
from mgmt_contract.records import DOWNLOAD_TRANSITIONS, STATUS_OF_PHASE, TRANSITIONS
from support.operations import make_download
from support.studio import item_for


@pytest.fixture
def operation(studio, ada):
    return studio.operation(ada.start(item_for("clip", prefix="day1")).operation_id)


PHASES = sorted(STATUS_OF_PHASE)


@pytest.mark.parametrize("after", PHASES)
@pytest.mark.parametrize("before", PHASES)
def test_only_what_the_table_holds_may_follow(operation, before, after):
    operation.record.phase = before
    if after in TRANSITIONS[before]:
        advanced = operation.advance(after, etag="x")
        assert (advanced.phase, advanced.record.status, advanced.record.etag) == (after, STATUS_OF_PHASE[after], "x")
    else:
        with pytest.raises(IllegalTransitionError):
            operation.advance(after)
    assert (operation.phase, operation.record.etag) == (before, None)


@pytest.mark.parametrize("after", PHASES)
@pytest.mark.parametrize("before", PHASES)
def test_a_download_changes_along_a_table_of_its_own(before, after):
    download = make_download()
    download.record.phase = before
    if after in DOWNLOAD_TRANSITIONS.get(before, ()):
        advanced = download.advance(after, received_bytes=3)
        assert (advanced.phase, advanced.record.status) == (after, STATUS_OF_PHASE[after])
    else:
        with pytest.raises(IllegalTransitionError):
            download.advance(after)
    assert (download.phase, download.record.received_bytes) == (before, None)


def test_operations_are_sorted_by_time_then_id(operation):
    assert operation.order == f"2026-11-01T12:00:00.000Z#{operation.id}"


def test_an_operation_is_found_by_its_archives_name(operation):
    assert operation.base_name == "clip.tar.gz"
