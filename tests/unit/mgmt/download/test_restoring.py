"""What a person is told before S3 is asked to restore what is archived."""

from __future__ import annotations

import dataclasses

import pytest

from mgmt.download.restoring import RestoreOptions, describe_offer
from mgmt.stored.opening import NotReadableError
from mgmt_contract.messages.downloads import DownloadResult
from mgmt_contract.messages.objects import StoredVersion
from mgmt_contract.records import FileRecord
from support.operations import make_operation

SIZE_BYTES = 500 * 10**9


def archived(storage_class: str, archive_tier: str | None = None) -> NotReadableError:
    upload = make_operation(phase="done").record
    kept = FileRecord("clip.mp4.tar.gz", upload.s3_object_key, "s3", SIZE_BYTES, is_directory=False, status="completed")
    stored = StoredVersion(SIZE_BYTES, None, storage_class, archive_tier=archive_tier)
    result = DownloadResult(upload.operation_id, "archived", upload=upload, stored=stored)
    return NotReadableError(dataclasses.replace(upload, s3_file_record=kept), result)


def test_an_offer_names_price_time_and_how_long_the_copy_stays():
    offer = describe_offer([archived("DEEP_ARCHIVE")], RestoreOptions("Standard", 7))
    assert "from DEEP_ARCHIVE: about $10.00 at the tier Standard" in offer
    assert "without the transfer), ready in about 12 h 0 min" in offer
    assert offer.endswith("readable for 7 days, each of which costs as in STANDARD.")


def test_what_is_large_takes_longer_at_the_fastest_tier():
    assert "ready in about 32 min" in describe_offer([archived("GLACIER")], RestoreOptions("Expedited", 7))
    assert "ready in about 5 h 0 min" in describe_offer([archived("GLACIER")], RestoreOptions("Standard", 7))


@pytest.mark.parametrize(("tier", "price"), [("Standard", "about $0.00"), ("Expedited", "about $15.01")])
def test_what_intelligent_tiering_has_archived_is_moved_back_for_good(tier, price):
    """S3 takes no days for it, and makes no copy that would cost anything."""
    offer = describe_offer([archived("INTELLIGENT_TIERING", "ARCHIVE_ACCESS")], RestoreOptions(tier, 7))
    assert f"from ARCHIVE_ACCESS: {price} at the tier {tier}" in offer
    assert offer.endswith(", readable from then on.")
