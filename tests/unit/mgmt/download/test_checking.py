import io
import threading
from dataclasses import replace

import pytest

from mgmt.archive import inflating, pack, read_archive
from mgmt.archive.checksums import crc64nvme, written
from mgmt.download.checking import check_archive
from mgmt.errors import IntegrityError
from mgmt.source import look
from mgmt_contract.records import FileRecord
from support.operations import make_operation


@pytest.fixture
def zeros(tmp_path, monkeypatch):
    """An archive that shrinks a thousandfold, and its record."""
    monkeypatch.setattr(inflating, "_RATIO_FROM_BYTES", 1024)
    (tmp_path / "zeros").write_bytes(bytes(8_000_000))
    packed = pack(look(tmp_path / "zeros"), tmp_path / "x.tar.gz")
    record = replace(
        make_operation(phase="done").record,
        crc64nvme=read_archive(packed.path).crc64nvme,
        content_digest=packed.content.content_digest,
        codec="mgmt 3, isal",
    )
    return packed.path.read_bytes(), record


def check(data, record, size=None):
    size = len(data) if size is None else size
    recorded = FileRecord("x.tar.gz", "x.tar.gz", "s3", size, is_directory=False, status="completed")
    record = replace(record, s3_file_record=recorded)
    check_archive(io.BytesIO(data), record, lambda _: None, threading.Event())


def test_what_shrinks_a_thousandfold_comes_back(zeros):
    check(*zeros)


def test_size_checksum_and_digest_must_each_be_the_recorded_ones(zeros):
    data, record = zeros
    for other, what in ((replace(record, crc64nvme="AAAAAAAAAAA="), "crc64nvme"),
                        (replace(record, content_digest="blake3:" + 64 * "0"), "content digest")):  # fmt: skip
        with pytest.raises(IntegrityError, match=what):
            check(data, other)
    with pytest.raises(IntegrityError, match="size"):
        check(data, record, size=1)


@pytest.mark.parametrize("distance", [1, 5, 9, 14, 4_000])
def test_one_changed_bit_is_found_wherever_it_is(zeros, distance):
    data, record = zeros
    changed = bytearray(data)
    changed[-distance] ^= 1
    with pytest.raises(IntegrityError):
        check(bytes(changed), record)


def test_where_only_gzips_checksum_was_counted_wrong_by_its_packer_the_archive_comes_back(zeros):
    data, record = zeros
    data = data[:-8] + b"fake" + data[-4:]
    check(data, replace(record, crc64nvme=written(crc64nvme(data))))


def test_of_another_programs_archive_size_and_checksum_are_compared(zeros):
    data, record = zeros
    theirs = replace(record, codec=None, content_digest="sha256:" + 64 * "0")
    check(data, theirs)
    with pytest.raises(IntegrityError):
        check(data[:-1] + b"x", theirs)
