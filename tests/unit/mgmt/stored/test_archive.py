"""A stored archive is read whole or by ranges, through a network that breaks, and the history says so."""

from __future__ import annotations

import threading

import pytest

from mgmt.errors import CancelledError, IntegrityError, SourceError, UnavailableError
from mgmt.storage.receiving import GetOutcome, GetResult, Receiver
from mgmt.stored.archive import open_archive
from mgmt_contract.parts import KIB
from mgmt_contract.texts import fit_text

RANGE = 512 * KIB


def read_all(stream, most_bytes=100_000):
    pieces = []
    while piece := bytes(stream.read(most_bytes)):
        assert len(piece) <= most_bytes
        pieces.append(piece)
    return b"".join(pieces)


def test_the_whole_and_any_part_come_in_order(desk, card):
    got = []
    with open_archive(desk.session, card.upload, "read here", on_bytes=got.append) as archive:
        with archive.stream() as stream:
            assert read_all(stream) == card.archive
        with archive.stream(1000, 1000 + 3 * RANGE + 5, jobs=2) as stream:
            assert read_all(stream) == card.archive[1000 : 1000 + 3 * RANGE + 5]
        with archive.stream(7, 7) as stream:
            assert read_all(stream) == b""
        assert archive.read(len(card.archive) - 10, 10) == card.archive[-10:]
    assert sum(got) == archive.received_bytes == len(card.archive) + 3 * RANGE + 5 + 10
    [record] = desk.history()
    assert (record.operation_id, record.status, record.target_path, record.received_bytes) == (
        archive.operation_id,
        "success",
        "read here",
        archive.received_bytes,
    )


def test_what_is_never_asked_for_is_never_recorded(desk, card):
    with open_archive(desk.session, card.upload, "nothing"):
        pass
    assert desk.downloads() == []
    assert desk.team.storage.gets == []


@pytest.mark.parametrize("fault", ["cut", "refuse"])
def test_a_range_that_breaks_or_whose_url_has_expired_goes_on_where_it_was(desk, card, fault):
    desk.team.storage.get_fault = lambda get: fault if get.attempt == 0 else "none"
    with open_archive(desk.session, card.upload, "x") as archive, archive.stream() as stream:
        assert read_all(stream) == card.archive
    assert archive.received_bytes == len(card.archive), "no byte twice"


def test_a_storage_that_refuses_every_fresh_url_ends_it_and_the_same_id_goes_on(desk, card):
    desk.team.storage.get_fault = lambda get: "refuse" if get.first >= 2 * RANGE else "none"
    with (
        pytest.raises(UnavailableError, match="fresh URLs"),
        open_archive(desk.session, card.upload, "x") as archive,
        archive.stream() as stream,
    ):
        read_all(stream)
    assert desk.downloads() == [("pending", None)]
    desk.team.storage.reset()
    with open_archive(desk.session, card.upload, "x", operation_id=archive.operation_id) as again:
        assert again.read(0, 4) == card.archive[:4]
    assert (again.operation_id, desk.downloads()) == (archive.operation_id, [("success", None)])
    with open_archive(desk.session, card.upload, "x", operation_id=archive.operation_id) as third:
        third.read(0, 4)
    assert third.operation_id != archive.operation_id, "that download has ended"


def test_an_error_that_concerns_the_archive_is_recorded(desk, card):
    def use():
        with open_archive(desk.session, card.upload, "x") as archive:
            archive.read(0, 4)
            raise IntegrityError("The archive is damaged.", code="archive-damaged")

    with pytest.raises(IntegrityError):
        use()
    assert desk.downloads() == [("failed", "archive-damaged")]


def test_a_version_that_is_gone_is_said_and_nothing_is_recorded(desk, card):
    desk.team.s3.delete_object(Bucket=desk.team.bucket, Key=card.upload.s3_object_key, VersionId=card.upload.version_id)
    with pytest.raises(SourceError) as raised, open_archive(desk.session, card.upload, "x") as archive:
        archive.read(0, 4)
    assert raised.value.code == "object-gone"
    assert desk.downloads() == []


def test_a_stopped_command_ends_soon_though_the_storage_is_silent(desk, card, monkeypatch):
    asked, may_answer = threading.Event(), threading.Event()
    get = Receiver.get

    def hang(*arguments):
        asked.set()
        may_answer.wait(60)
        return get(*arguments)

    monkeypatch.setattr(Receiver, "get", hang)

    def use():
        with open_archive(desk.session, card.upload, "x") as archive, archive.stream() as stream:
            assert asked.wait(60)
            desk.session.stop.set()
            stream.read(1)

    with pytest.raises(CancelledError):
        use()
    assert not may_answer.is_set()
    may_answer.set()


def test_nothing_is_tried_again_for_a_reader_who_has_left(desk, card, monkeypatch):
    get = Receiver.get

    def break_off(self, signed, offset, *rest):
        return get(self, signed, offset, *rest) if offset == 0 else GetResult(GetOutcome.BROKEN, "it broke")

    monkeypatch.setattr(Receiver, "get", break_off)
    before = set(threading.enumerate())
    with open_archive(desk.session, card.upload, "x") as archive:
        with archive.stream(jobs=2) as stream:
            stream.read(1)
            threads = [each for each in set(threading.enumerate()) - before if each.name.startswith("fetch")]
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    assert threads


def test_a_place_and_an_error_that_no_message_can_carry_are_recorded_as_they_can(desk, card):
    place = "take\n1/" + "x" * 3000 + "/card"
    why = "'a\nb' is damaged: " + "y" * 3000

    def use():
        with open_archive(desk.session, card.upload, place) as archive:
            archive.read(0, 10)
            raise IntegrityError(why, code="archive-damaged")

    with pytest.raises(IntegrityError):
        use()
    [record] = desk.history()
    assert (record.status, record.error_code) == ("failed", "archive-damaged")
    assert (record.target_path, record.error_message) == (fit_text(place), fit_text(why))
