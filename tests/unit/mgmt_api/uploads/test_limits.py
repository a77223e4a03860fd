"""The limits of what is taken, at both sides of each edge, and what a refusal names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from mgmt_api.domain.answers import BODY_MAX_BYTES
from mgmt_api.domain.checks import COUNT_MAX, LABEL_MAX_CHARACTERS
from mgmt_api.ports import WriteCondition
from mgmt_contract import routes
from mgmt_contract.messages.uploads import CleanUp, Packing
from mgmt_contract.parts import MIB, OBJECT_SIZE_MAX_BYTES, SINGLE_PUT_MAX_BYTES
from mgmt_contract.texts import TEXT_MAX_BYTES
from support.events import make_claims, make_event
from support.fakes import crc64nvme
from support.studio import RefusedError, content_of, item_for, part_of

CLAIMS = make_claims("sub-ada", "ada")
LONG = "é" * (TEXT_MAX_BYTES // 2)


def with_content(**changes):
    return item_for("clip", content=replace(content_of(b"bytes"), **changes))


def with_source(**changes):
    item = item_for("clip")
    return replace(item, source_file_record=replace(item.source_file_record, **changes))


@pytest.mark.parametrize(
    "item",
    [
        with_content(size=0),
        with_content(size=OBJECT_SIZE_MAX_BYTES),
        with_content(uncompressed_size=0, member_count=0),
        with_content(uncompressed_size=COUNT_MAX, member_count=COUNT_MAX),
        with_source(size=0),
        with_source(size=COUNT_MAX),
        with_source(name="n", path=LONG),
        item_for("clip", packing=Packing("c" * LABEL_MAX_CHARACTERS, "p")),
        item_for("clip", packing=Packing("c", "p" * LABEL_MAX_CHARACTERS)),
        item_for("clip", upper_bound=OBJECT_SIZE_MAX_BYTES),
        item_for("clip", upper_bound=0),
        item_for("clip", target_path=LONG, compressed_file_path=LONG),
    ],
)
def test_what_lies_on_the_edge_is_taken(ada, item):
    assert ada.start(item).outcome in ("put", "multipart")


@pytest.mark.parametrize(
    ("item", "field", "code"),
    [
        (with_content(size=-1), "content.size", "invalid-request"),
        (with_content(size=OBJECT_SIZE_MAX_BYTES + 1), "content.size", "too-large"),
        (with_content(crc64nvme="AAAAAAAAAA=="), "content.crc64nvme", "invalid-request"),
        (with_content(crc64nvme="AAAAAAAAAAB="), "content.crc64nvme", "invalid-request"),
        (with_content(crc64nvme="AAAA AAAAAAA="), "content.crc64nvme", "invalid-request"),
        (with_content(crc64nvme="é"), "content.crc64nvme", "invalid-request"),
        (with_content(content_digest="blake3:" + "0" * 63), "content.content_digest", "invalid-request"),
        (with_content(content_digest="blake3:" + "A" * 64), "content.content_digest", "invalid-request"),
        (with_content(uncompressed_size=-1), "content.uncompressed_size", "invalid-request"),
        (with_content(uncompressed_size=COUNT_MAX + 1), "content.uncompressed_size", "invalid-request"),
        (with_content(member_count=-1), "content.member_count", "invalid-request"),
        (with_content(member_count=COUNT_MAX + 1), "content.member_count", "invalid-request"),
        (with_source(size=-1), "source_file_record.size", "invalid-request"),
        (with_source(size=COUNT_MAX + 1), "source_file_record.size", "invalid-request"),
        (with_source(location="s3"), "source_file_record.location", "invalid-request"),
        (with_source(name=""), "source_file_record.name", "invalid-request"),
        (with_source(path=LONG + "a"), "source_file_record.path", "invalid-request"),
        (item_for("clip", target_path=""), "target_path", "invalid-request"),
        (item_for("clip", compressed_file_path=LONG + "a"), "compressed_file_path", "invalid-request"),
        (item_for("clip", packing=Packing("", "p")), "packing.codec", "invalid-request"),
        (item_for("clip", packing=Packing("c" * 201, "p")), "packing.codec", "invalid-request"),
        (item_for("clip", packing=Packing("c", "")), "packing.plan", "invalid-request"),
        (item_for("clip", packing=Packing("c", "p" * 201)), "packing.plan", "invalid-request"),
        (item_for("clip", upper_bound=-1), "upper_bound", "invalid-request"),
        (item_for("clip", upper_bound=OBJECT_SIZE_MAX_BYTES + 1), "upper_bound", "too-large"),
        (item_for("clip", None), "upper_bound", "invalid-request"),
        (item_for("clip", content=content_of(b""), upper_bound=1), "upper_bound", "invalid-request"),
        (item_for("clip", storage_class="standard"), "storage_class", "invalid-request"),
    ],
)
def test_what_lies_beyond_is_refused_by_its_field_and_not_recorded(studio, ada, item, field, code):
    problem = ada.start(item).problem
    assert problem.code == code
    assert re.search(rf"(?<!\w){re.escape(field)}(?!\w)", problem.detail)
    assert studio.records.operations == studio.records.names == {}


def test_an_id_that_is_none_is_refused_by_its_field(ada):
    assert "operation_id" in ada.start(replace(item_for("clip"), operation_id="A" * 36)).problem.detail
    with pytest.raises(RefusedError, match="machine_id"):
        replace(ada, machine_id="me").start(item_for("clip"))


@pytest.mark.parametrize(("size", "outcome"), [(SINGLE_PUT_MAX_BYTES, "put"), (SINGLE_PUT_MAX_BYTES + 1, "multipart")])
def test_sixteen_mebibytes_are_sent_whole_and_a_byte_more_in_parts(ada, size, outcome):
    assert ada.start(with_content(size=size)).outcome == outcome


def test_a_body_of_the_longest_length_is_read_and_one_longer_is_not(studio):
    body = '{"operation_ids": ["x"]}'
    for length, status in ((BODY_MAX_BYTES, 200), (BODY_MAX_BYTES + 1, 400)):
        event = make_event(routes.LOOK_UP, claims=CLAIMS, body=body.ljust(length))
        assert studio.app(event)["statusCode"] == status


@pytest.mark.parametrize(("items", "more"), [(1, "; and 1 more."), (2, "; and 7 more.")])
def test_five_faults_are_named_and_the_rest_counted(studio, items, more):
    """An empty item lacks six fields."""
    body = json.dumps({"machine_id": "m", "items": [{}] * items})
    detail = json.loads(studio.app(make_event(routes.START, claims=CLAIMS, body=body))["body"])["detail"]
    assert detail.count("body.items.0.") == 5
    assert detail.endswith(more)


def test_a_list_of_none_and_of_more_than_a_hundred_are_refused_by_their_field(ada):
    def of(count):
        return [CleanUp(f"00000000-0000-7000-8000-{number:012}", "completed", "deleted") for number in range(count)]

    for count in (0, 101):
        with pytest.raises(RefusedError, match="items"):
            ada.clean_up(*of(count))
        with pytest.raises(RefusedError, match="operation_ids"):
            ada.look_up(*["x"] * count)
    assert len(ada.clean_up(*of(100))) == len(ada.look_up(*["x"] * 100)) == 100
    with pytest.raises(RefusedError, match="clean_ups"):
        ada.start(item_for("clip"), clean_ups=of(101))
    assert ada.start(item_for("clip"), clean_ups=of(100)).outcome == "put"


def test_times_are_kept_in_whole_milliseconds(studio, ada):
    studio.clock.advance(0.987654)
    started = ada.start(item_for("clip"))
    operation = studio.operation(started.operation_id)
    assert operation.record.started_at.microsecond == 987_000
    assert operation.lease_expires_at == operation.record.started_at + timedelta(seconds=600)


@pytest.mark.parametrize(("seconds", "holds"), [(599.0, True), (599.5, False), (600.0, False)])
def test_a_reservation_holds_while_a_whole_second_of_its_lease_is_left(studio, ada, bob, seconds, holds):
    ada.start(item_for("clip"))
    studio.clock.advance(seconds)
    result = bob.start(item_for("clip"))
    assert (result.problem.code if result.problem else result.outcome) == ("name-reserved" if holds else "put")


@pytest.mark.parametrize(("seconds", "holds"), [(599.0, True), (600.0, False)])
def test_another_machine_waits_for_the_lease_and_is_told_how_long(studio, ada, seconds, holds):
    item = item_for("clip")
    ada.start(item)
    studio.clock.advance(seconds)
    result = ada.elsewhere().start(item)
    if holds:
        assert (result.problem.code, result.problem.retry_after_seconds) == ("name-reserved", 1)
    else:
        assert (result.outcome, result.lease.epoch) == ("put", 2)


def test_every_way_to_send_says_how_long_it_is_good_for(studio, ada):
    studio.settings = replace(studio.settings, lease_seconds=77, url_life_seconds=44)
    whole = ada.start(item_for("whole"))
    assert (whole.lease.epoch, whole.lease.expires_in_seconds, whole.request.expires_in_seconds) == (1, 77, 44)
    large = ada.start(item_for("large", upper_bound=100 * MIB))
    assert (large.lease.expires_in_seconds, large.multipart.part_size, large.multipart.received_parts) == (
        77,
        16 * MIB,
        (),
    )
    part = part_of(1, b"x" * 16 * MIB)
    signed = ada.sign(large, [part])
    assert (signed.lease.expires_in_seconds, signed.parts[0].number) == (77, 1)
    assert signed.parts[0].request.expires_in_seconds == 44


def test_a_url_is_signed_for_the_bytes_that_were_announced(studio, ada):
    body = b"the bytes"
    started = ada.start(item_for("clip", body))
    assert (
        started.request.headers.items()
        >= {
            "content-length": str(len(body)),
            "x-amz-checksum-crc64nvme": crc64nvme(body),
            "x-amz-meta-operation-id": started.operation_id,
            "if-none-match": WriteCondition().replaces_etag or "*",
        }.items()
    )
    assert ada.send(started, b"other bytes") == 400
    assert ada.send(started, body) == 200
