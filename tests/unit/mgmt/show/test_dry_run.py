"""A plan in words."""

from datetime import UTC, datetime

from mgmt.errors import RefusedError
from mgmt.show.dry_run import describe_plan, describe_summary
from mgmt.upload.dry_run import Plan, PlanSummary
from mgmt_contract.messages.uploads import Existing

FREE = Plan("DCIM", "upload", "bucket", "p/DCIM.tar.gz", 5_000_000, 3, 5_010_000, estimated_seconds=90)
STORED = Existing("p/DCIM.tar.gz", 5, "etag", actor="anna", finished_at=datetime(2026, 11, 1, tzinfo=UTC))


def test_where_how_large_and_how_long():
    assert describe_plan(FREE) == (
        "DCIM → s3://bucket/p/DCIM.tar.gz  5.00 MB in 3 members, archive at most 5.01 MB, about 1 min 30 s"
    )


def test_what_is_there_tells_who():
    there = Plan("DCIM", "already_there", "bucket", "k", existing=STORED)
    assert "already there as s3://bucket/k, uploaded by anna on 2026-1" in describe_plan(there)
    replaced = Plan("DCIM", "replace", "bucket", "k", existing=STORED)
    assert "replaces other content, uploaded by anna" in describe_plan(replaced)
    unknown = Plan("DCIM", "replace", "bucket", "k", existing=Existing("k", 5, "etag"))
    assert describe_plan(unknown).endswith("replaces other content, which stays recoverable")


def test_the_sum_counts_what_would_be_sent_only():
    summary = PlanSummary(bytes_per_second=1_000_000)
    for plan in (FREE, Plan("b", "already_there", archive_size_max=9), Plan("c", "fail", error=RefusedError("no"))):
        summary.add(plan)
    first, last = describe_summary(summary)
    assert first == (
        "1 to upload, 1 already there, 1 would fail; at most 5.01 MB to send, about 5.0 s at the last measured "
        "1.00 MB/s."
    )
    assert "dry run" in last
    summary.bytes_per_second = 1e9
    assert "less than a second" in describe_summary(summary)[0]
    assert describe_summary(PlanSummary())[0] == "There is nothing to upload here."
