"""How far a run has come with an upload, as a table, and what follows from it."""

from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from mgmt.upload.adopt import Adoption
from mgmt.upload.job import MAY_FOLLOW, Job, Phase, UploadOptions

PHASES = get_args(Phase)


def job_in(phase, **facts):
    source: Any = None
    return Job("id", source, "clip", Path("/w/clip.tar.gz"), UploadOptions(), phase=phase, **facts)


def test_the_table_has_every_phase_and_each_can_come():
    assert set(MAY_FOLLOW) == set(PHASES)
    assert set().union(*MAY_FOLLOW.values()) == set(PHASES)


@pytest.mark.parametrize(("before", "after"), [*product(PHASES, PHASES)])
def test_a_job_goes_on_only_to_what_may_follow(before, after):
    """Threads may come late: what has ended, or is released, stays so whatever they say."""
    job = job_in(before)
    job.enter(after)
    assert job.phase == (after if after in MAY_FOLLOW[before] else before)


@pytest.mark.parametrize("phase", ["ended", "released"])
def test_what_is_over_is_over(phase):
    assert MAY_FOLLOW[phase] <= {"released"}
    assert job_in(phase).has_ended


@pytest.mark.parametrize("again", ["asked", "prepared"])
def test_bytes_that_were_sent_stay_sent(again):
    """Also where the service is asked again, or has nothing recorded: the archive is worth keeping."""
    job = job_in("asked")
    assert not job.has_sent_bytes
    for phase in ("sending", again, "asked"):
        job.enter(phase)
        assert job.has_sent_bytes


def test_an_upload_that_is_begun_anew_is_unknown_to_the_service_and_keeps_what_was_sent():
    job = job_in("sending")
    assert job.renew() == job.renewed_from == "id"
    assert job.operation_id != "id"
    assert (job.phase, job.has_sent_bytes) == ("prepared", True)


def test_what_an_earlier_run_may_have_sent_counts_as_sent():
    assert job_in("prepared", adoption=Adoption(may_have_sent=True)).has_sent_bytes
