"""Short ids: what a person copies out of the history."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.team.short_ids import is_short_id, second_of, short_id

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2053, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  given by timezones


@given(moment=MOMENTS, id_=st.uuids(version=4).map(str))
def test_a_short_id_leads_back_to_the_second_it_began_in(moment, id_):
    text = short_id(SimpleNamespace(started_at=moment, operation_id=id_))
    assert is_short_id(text)
    assert second_of(text) == second_of(text.upper()) == moment.replace(microsecond=0)


def test_operations_of_one_second_have_ids_of_their_own():
    moment = datetime(2026, 11, 2, 9, tzinfo=UTC)
    records = [
        SimpleNamespace(
            started_at=moment + timedelta(microseconds=n), operation_id=f"01a2041b-befb-730e-9a3c-9ad5ec9c{n:04x}"
        )
        for n in range(1000)
    ]
    assert len({short_id(record) for record in records}) == 1000


@pytest.mark.parametrize(
    "text", ["", "clip.mp4", "6h0w5d3v", "6h0w5d3vja", "6h0w5d3vi", "6h0w-5d3v", "映画映画映画映画映"]
)
def test_what_is_no_short_id(text):
    assert not is_short_id(text)


@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_a_time_that_no_service_tells_is_no_fault(moment):
    assert len(short_id(SimpleNamespace(started_at=moment, operation_id="01a2041b-befb-730e-9a3c-9ad5ec9c722f"))) == 9
    assert short_id(SimpleNamespace(started_at=moment, operation_id="nonsense")) == "-"
