"""Which parts are signed, and which are sent: in calls that the service takes, and none in vain."""

from __future__ import annotations

import threading
from itertools import chain, count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mgmt.network.retry import Patience
from mgmt.service.replies import Limits
from mgmt.storage import PutOutcome, PutResult
from mgmt.upload.adopt import Adoption
from mgmt.upload.index_file import ArchiveIndex
from mgmt.upload.job import UploadOptions
from mgmt.upload.parts import PartFeed, PartsSender
from mgmt.upload.sending import Meter
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Content, Lease, Part, SignedPart, SignRequest, SignResponse, SignResult
from mgmt_contract.parts import SIGN_PARTS_MAX

PART_BYTES = 100
CRC = "AAAAAAAAAAA="


class Desk:
    """Signs what it is asked for, and takes what is sent; writes down both."""

    def __init__(self, *, url_life_seconds: int = 900, part_seconds: float = 0.0) -> None:
        self.limits = Limits(sign_parts_max=SIGN_PARTS_MAX)
        self.now = 1000.0
        """The time, which passes while a part is sent."""
        self.used_after_end: list[int] = []
        """Parts that were sent to a URL that had ended."""
        self._url_life_seconds = url_life_seconds
        self._part_seconds = part_seconds
        self._serial = count()
        self._signed_at: dict[str, float] = {}
        self.asked: list[list[int]] = []
        self.sent: list[int] = []
        self.most_at_a_time = 0
        self._under_way = 0
        self._lock = threading.Lock()

    def sign(self, request: SignRequest) -> SignResponse:
        [item] = request.items
        self.asked.append([part.number for part in item.parts])
        signed = [SignedPart(part.number, self._sign()) for part in item.parts]
        return SignResponse([SignResult(item.operation_id, "signed", lease=Lease(1, 600), parts=signed)])

    def _sign(self) -> SignedRequest:
        url = f"http://127.0.0.1:9/{next(self._serial)}"
        self._signed_at[url] = self.now
        return SignedRequest(url, {}, self._url_life_seconds)

    def put(self, signed: SignedRequest, _: Path, offset: int, length: int, on_bytes: Any) -> PutResult:
        with self._lock:
            self._under_way += 1
            self.most_at_a_time = max(self.most_at_a_time, self._under_way)
            if self.now >= self._signed_at[signed.url] + self._url_life_seconds:
                self.used_after_end.append(offset // PART_BYTES + 1)
            self.now += self._part_seconds
        on_bytes(length)
        self.sent.append(offset // PART_BYTES + 1)
        with self._lock:
            self._under_way -= 1
        return PutResult(PutOutcome.STORED, "")


def send(part_count: int, received: list[int], desk: Desk | None = None, **of_job: Any) -> Desk:
    """Send all parts of an archive that lies on the disk, except those that were received."""
    desk = desk or Desk()
    session: Any = SimpleNamespace(
        api=desk,
        carrier=desk,
        patience=Patience(threading.Event(), monotonic=lambda: desk.now, elapsed=lambda: desk.now),
        journal=SimpleNamespace(machine_id="machine"),
        emit=lambda _: None,
    )
    size_bytes = part_count * PART_BYTES
    job: Any = SimpleNamespace(
        operation_id="operation",
        target_path="clip",
        lease=Lease(1, 600),
        enter=lambda _: None,
        archive=SimpleNamespace(size=size_bytes),
        turned_away=None,
        **{"options": UploadOptions(), "adoption": Adoption(), **of_job},
    )
    feed = PartFeed(PART_BYTES)
    for number in range(1, part_count + 1):
        feed.put(Part(number, PART_BYTES, CRC))
    feed.close(Content(size_bytes, CRC, "blake3:" + "0" * 64, size_bytes, 1))
    meter, index = Meter(session, job), ArchiveIndex(session, job)
    sender = PartsSender(session, job, PART_BYTES, lambda: Path("clip.tar.gz"), meter, index)
    sender.send(feed, received)
    return desk


@pytest.mark.parametrize("jobs", [None, 1, 26, 64])
def test_no_call_asks_for_more_parts_than_the_service_signs(jobs):
    """Or it would refuse the whole upload, and throw away what had arrived of it."""
    desk = send(450, [], options=UploadOptions(jobs=jobs))
    assert max(map(len, desk.asked)) <= SIGN_PARTS_MAX
    assert sorted(desk.sent) == list(range(1, 451))


def test_what_the_storage_holds_is_neither_signed_nor_sent_again():
    desk = send(9, [1, 2, 5])
    assert sorted(desk.sent) == sorted(chain.from_iterable(desk.asked)) == [3, 4, 6, 7, 8, 9]


def test_an_archive_that_was_packed_anew_is_compared_with_what_the_storage_holds():
    """Each part is asked for, so that the service sees at the first one that it is another now."""
    desk = send(9, [1, 2, 5], adoption=Adoption(operation_id="operation"))
    assert sorted(chain.from_iterable(desk.asked)) == list(range(1, 10))
    assert sorted(desk.sent) == [3, 4, 6, 7, 8, 9]


def test_parts_go_one_at_a_time_until_the_line_is_known_to_be_fast():
    desk = send(40, [2, 3])
    assert sorted(desk.sent) == [1, *range(4, 41)]
    assert desk.most_at_a_time == 1


@pytest.mark.parametrize("part_seconds", [0.5, 4.0, 15.0])
def test_urls_that_live_ten_seconds_carry_fifty_parts_and_none_is_used_after_its_end(part_seconds):
    """They end while parts wait for their turn: those are signed anew before they are sent, and not all of them."""
    desk = send(50, [], Desk(url_life_seconds=10, part_seconds=part_seconds))
    assert sorted(desk.sent) == list(range(1, 51))
    assert desk.used_after_end == []
    assert len(desk.asked) <= 50 + 13, "one call for each part at most, beside the windows of four"
    if part_seconds < 1:
        assert len(desk.asked) <= 25


def test_urls_of_the_usual_life_are_signed_once():
    desk = send(50, [], Desk(part_seconds=4.0))
    assert sorted(chain.from_iterable(desk.asked)) == list(range(1, 51))


def test_parts_that_go_out_fast_are_signed_by_ever_more():
    desk = send(450, [], Desk(part_seconds=0.5))
    assert len(desk.asked) <= 25
