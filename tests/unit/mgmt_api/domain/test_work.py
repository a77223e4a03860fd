"""The worker's messages: ours, and what S3 tells of an object."""

from __future__ import annotations

import json

import pytest

from mgmt_api.domain.work import Work, read_work, write_work
from mgmt_contract.wire import MessageError


def notification(*records: tuple[str, str, str | None]) -> str:
    """What S3 sends, shortened. Source: Amazon S3 User Guide, "Event message structure", read 2026-11."""
    return json.dumps(
        {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "eventName": name,
                    "s3": {
                        "bucket": {"name": "footage"},
                        "object": {"key": key, "size": 5, **({} if version is None else {"versionId": version})},
                    },
                }
                for name, key, version in records
            ]
        }
    )


@pytest.mark.parametrize(
    "work",
    [Work("settle", "01a2041b-befb-730e-9a3c-9ad5ec9c722f"), Work("pending"), Work("pending", after="2026#x")],
)
def test_work_is_read_as_it_was_written(work):
    assert read_work(write_work(work)) == [work]


def test_a_notification_names_its_objects_by_keys_that_are_url_encoded():
    text = notification(
        ("ObjectCreated:Put", "shoots/day+1/clip%2B%C3%A9+%281%29.mp4.tar.gz", "v1"),
        ("ObjectCreated:CompleteMultipartUpload", "plain.tar.gz", None),
        ("ObjectRemoved:Delete", "gone.tar.gz", None),
    )
    assert read_work(text) == [
        Work("arrival", key="shoots/day 1/clip+é (1).mp4.tar.gz", version_id="v1"),
        Work("arrival", key="plain.tar.gz"),
    ]


def test_the_message_that_tries_a_queue_out_is_no_work():
    text = '{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-01T12:00:00.000Z","Bucket":"footage"}'
    assert read_work(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "7",
        "null",
        "{}",
        '{"Records": 7}',
        '{"Records": [{}]}',
        '{"task": 7}',
        '{"Records": [null]}',
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(MessageError):
        read_work(text)
