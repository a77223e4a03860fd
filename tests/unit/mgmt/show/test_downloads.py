"""What `mgmt download` says of a result."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mgmt.show.downloads import describe_download
from mgmt.show.history import CSV_FIELDS, csv_row
from mgmt.show.underway import Transfer
from mgmt_contract.records import DownloadRecord

MB = 1_000_000


def downloaded(received_bytes):
    return DownloadRecord(
        operation_id="1",
        operation_type="download",
        target_path="CARD",
        started_at=datetime(2026, 11, 1, tzinfo=UTC),
        status="success",
        result_path="CARD",
        error_message=None,
        upload_id="2",
        s3_bucket="bucket",
        s3_object_key="CARD.tar.gz",
        version_id=None,
        size=1000 * MB,
        received_bytes=received_bytes,
    )


@pytest.mark.parametrize(
    ("received_bytes", "moved_fraction", "said"),
    [
        (1000 * MB, 1.0, "1.00 GB in 10 s, 100 MB/s"),
        (1000 * MB, 0.5, "1.00 GB, the last 500 MB in 10 s, 50.0 MB/s"),
        (20 * MB, 1.0, "1.00 GB, of which 20.0 MB were fetched in 10 s, 2.00 MB/s"),
    ],
)
def test_the_speed_is_that_of_the_bytes_that_were_fetched(received_bytes, moved_fraction, said):
    transfer = Transfer(seconds=10.0, moved_fraction=moved_fraction)
    assert describe_download(downloaded(received_bytes), transfer).endswith(said)


def test_a_spreadsheet_has_the_size_of_what_was_downloaded():
    assert dict(zip(CSV_FIELDS, csv_row(downloaded(20 * MB)), strict=True))["size"] == str(1000 * MB)
