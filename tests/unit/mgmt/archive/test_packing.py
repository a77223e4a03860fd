from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from awscrt import checksums as aws_checksums

from mgmt.archive import current_codec, is_ours, pack, read_archive
from mgmt.archive.checksums import written
from mgmt.errors import CancelledError, LocalStateError, MgmtError, SourceError, UsageError
from mgmt.layout import archive_file_name, is_temporary_name, temporary_name
from mgmt.source import look
from mgmt_contract.messages.uploads import Part
from mgmt_contract.parts import MIB, part_span
from support.fakes import content_md5
from support.trees import LONG_NAME, many_files, noise, open_descriptors, small_disk, text

PEAK_MAX_KIB = 64 * 1024


def aws_crc(data: bytes) -> str:
    return written(aws_checksums.crc64nvme(data))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = many_files(tmp_path / "P", 20)
    (folder / "footage.mov").write_bytes(noise(12 * MIB))
    (folder / "notes.txt").write_bytes(text(8 * MIB))
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_told_of_an_archive_is_true_of_its_bytes(tmp_path, project):
    source = look(project)
    packed = pack(source, tmp_path / "P.tar.gz", part_size_bytes=5 * MIB)
    data = packed.path.read_bytes()
    assert (packed.size, packed.content.crc64nvme) == (len(data), aws_crc(data))
    assert (packed.content.uncompressed_size, packed.content.member_count) == (
        source.uncompressed_size,
        source.member_count,
    )
    assert packed.packing.plan == "auto"
    assert packed.packing.codec == current_codec()
    spans = [part_span(part.number, len(data), 5 * MIB) for part in packed.parts]
    for part, span in zip(packed.parts, spans, strict=True):
        assert part == Part(span.number, span.length, aws_crc(data[span.offset : span.offset + span.length]))
    assert sum(span.length for span in spans) == len(data)


def test_an_archive_on_the_disk_is_read_to_the_same_sums(tmp_path, project):
    packed = pack(look(project), tmp_path / "P.tar.gz", part_size_bytes=3 * MIB)
    found = read_archive(packed.path, 3 * MIB)
    assert (found.size, found.crc64nvme, found.parts) == (packed.size, packed.content.crc64nvme, packed.parts)
    assert read_archive(packed.path).parts == (Part(1, packed.size, packed.content.crc64nvme),)


def test_the_parts_of_an_archive_come_while_it_is_being_read_and_the_reading_can_be_stopped(tmp_path, project):
    packed = pack(look(project), tmp_path / "P.tar.gz", plan="store", part_size_bytes=MIB)
    assert len(packed.parts) > 2
    told, stop = [], threading.Event()

    def stop_after_the_first(part):
        told.append(part)
        stop.set()

    with pytest.raises(CancelledError):
        read_archive(packed.path, MIB, on_part=stop_after_the_first, stop=stop)
    assert told == list(packed.parts[:1])


@pytest.mark.parametrize(("size", "has_md5"), [(1000, True), (17 * MIB, False)])
def test_the_md5_is_told_of_archives_that_may_go_with_one_put_and_costs_nothing_of_others(tmp_path, size, has_md5):
    (tmp_path / "clip").write_bytes(noise(size))
    packed = pack(look(tmp_path / "clip"), tmp_path / "clip.tar.gz")
    expected = content_md5((tmp_path / "clip.tar.gz").read_bytes()) if has_md5 else None
    assert packed.content_md5 == expected
    assert read_archive(tmp_path / "clip.tar.gz").content_md5 == expected


def test_an_archive_bears_the_time_that_was_said(tmp_path, project):
    moment_ns = 1_700_000_000 * 10**9
    packed = pack(look(project), tmp_path / "P.tar.gz", mtime_ns=moment_ns)
    assert packed.mtime_ns == packed.path.stat().st_mtime_ns == moment_ns
    assert packed.is_untouched()


def test_an_archive_that_is_gone_cannot_be_read(tmp_path):
    with pytest.raises(LocalStateError) as caught:
        read_archive(tmp_path / "gone.tar.gz")
    assert caught.value.code == "archive-unreadable"


def test_parts_can_be_read_as_soon_as_they_are_told_of(tmp_path, project):
    """And through a file opened then also after the archive got its name."""
    opened = []
    sent = {}
    before_the_end = []

    def send(part: Part) -> None:
        span = part_span(part.number, 2**40, 2 * MIB)
        sent[part.number] = os.pread(opened[0].fileno(), part.length, span.offset)
        assert aws_crc(sent[part.number]) == part.crc64nvme
        before_the_end.append(not (tmp_path / "P.tar.gz").exists())

    packed = pack(
        look(project),
        tmp_path / "P.tar.gz",
        part_size_bytes=2 * MIB,
        on_open=lambda path: opened.append(path.open("rb")),
        on_part=send,
    )
    assert all(before_the_end)
    assert sorted(sent) == [part.number for part in packed.parts]
    with opened[0] as file:
        assert file.read() == b"".join(sent.values()) == packed.path.read_bytes()


def test_parts_are_told_of_while_the_source_is_still_being_read(tmp_path, project):
    progress_at_part = []
    progress = [0]
    source = look(project)
    pack(
        source,
        tmp_path / "P.tar.gz",
        plan="store",
        part_size_bytes=MIB,
        on_part=lambda _: progress_at_part.append(progress[0]),
        on_progress=lambda done_bytes: progress.__setitem__(0, done_bytes),
    )
    assert progress_at_part[1] < source.uncompressed_size / 2


def test_progress_grows_to_the_size_of_the_source(tmp_path, project):
    seen: list[int] = []
    source = look(project)
    pack(source, tmp_path / "P.tar.gz", on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == source.uncompressed_size


def test_the_unfinished_archive_lies_beside_under_a_name_of_its_own(tmp_path, project):
    paths: list[Path] = []
    pack(look(project), tmp_path / "P.tar.gz", on_open=paths.append)
    assert paths[0].parent == tmp_path
    assert is_temporary_name(paths[0].name)
    assert names(tmp_path) == {"P", "P.tar.gz"}


def test_a_token_makes_the_unfinished_archives_name_known_beforehand(tmp_path, project):
    paths: list[Path] = []
    pack(look(project), tmp_path / "P.tar.gz", on_open=paths.append, token="0f12ab34")
    assert paths == [tmp_path / temporary_name("P.tar.gz", "0f12ab34")]
    assert is_temporary_name(paths[0].name)


def test_an_archive_can_be_read_by_its_owner_only(tmp_path, project):
    packed = pack(look(project), tmp_path / "P.tar.gz")
    assert packed.path.stat().st_mode & 0o777 == 0o600


def test_footage_is_stored_and_grows_by_less_than_a_thousandth(tmp_path):
    (tmp_path / "clip.mov").write_bytes(noise(8 * MIB))
    for plan in ("auto", "fast", "best", "store"):
        packed = pack(look(tmp_path / "clip.mov"), tmp_path / f"{plan}.tar.gz", plan=plan)
        assert packed.size <= 1.001 * packed.content.uncompressed_size


def test_text_shrinks_and_plans_differ_as_their_names_say(tmp_path):
    (tmp_path / "notes").write_bytes(text(4 * MIB))
    source = look(tmp_path / "notes")
    sizes = {
        plan: pack(source, tmp_path / f"{plan}.tar.gz", plan=plan).size for plan in ("best", "auto", "fast", "store")
    }
    assert sizes["best"] < sizes["auto"] <= sizes["fast"] < 0.6 * sizes["store"]


def test_an_unknown_plan_is_a_usage_error(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(UsageError):
        pack(look(tmp_path / "a"), tmp_path / "a.tar.gz", plan="harder")
    assert names(tmp_path) == {"a"}


def test_ours_is_told_from_others(tmp_path, project):
    packed = pack(look(project / "notes.txt"), tmp_path / "ours.tar.gz")
    (tmp_path / "foreign.tar.gz").write_bytes(b"\x1f\x8b\x08" + bytes(50))
    (tmp_path / "short").write_bytes(b"\x1f")
    (tmp_path / "link").symlink_to(packed.path)
    os.mkfifo(tmp_path / "pipe")
    assert is_ours(packed.path)
    for name in ("foreign.tar.gz", "short", "link", "pipe", "P", "missing"):
        assert not is_ours(tmp_path / name), name


def test_a_file_of_that_name_is_left_alone(tmp_path, project):
    taken = tmp_path / "P.tar.gz"
    taken.write_bytes(b"precious")
    with pytest.raises(SourceError) as caught:
        pack(look(project), taken)
    assert (caught.value.code, caught.value.exit_code) == ("archive-exists", 4)
    assert taken.read_bytes() == b"precious"
    assert names(tmp_path) == {"P", "P.tar.gz"}


def test_a_dangling_link_of_that_name_is_left_alone(tmp_path, project):
    (tmp_path / "P.tar.gz").symlink_to("nowhere")
    with pytest.raises(SourceError) as caught:
        pack(look(project), tmp_path / "P.tar.gz")
    assert caught.value.code == "archive-exists"
    assert (tmp_path / "P.tar.gz").is_symlink()


@pytest.mark.parametrize("links", [True, False], ids=["disk with links", "disk without"])
def test_a_file_of_that_name_that_appears_meanwhile_is_left_alone(tmp_path, project, links, monkeypatch):
    if not links:
        forbid_links(monkeypatch)
    taken = tmp_path / "P.tar.gz"
    with pytest.raises(SourceError) as caught:
        pack(look(project), taken, on_part=lambda _: taken.write_bytes(b"precious"))
    assert caught.value.code == "archive-exists"
    assert taken.read_bytes() == b"precious"
    assert names(tmp_path) == {"P", "P.tar.gz"}


def test_an_archive_of_another_mgmt_that_appears_meanwhile_is_not_to_be_removed(tmp_path, project):
    theirs = pack(look(project), tmp_path / "theirs.tar.gz").path.read_bytes()
    taken = tmp_path / "P.tar.gz"
    with pytest.raises(SourceError, match="Wait until that upload has ended") as caught:
        pack(look(project), taken, on_part=lambda _: taken.write_bytes(theirs))
    assert (caught.value.code, "emove" in caught.value.message) == ("archive-exists", False)
    assert taken.read_bytes() == theirs


def test_disks_without_hard_links_get_their_archive_too(tmp_path, project, monkeypatch):
    forbid_links(monkeypatch)
    packed = pack(look(project), tmp_path / "P.tar.gz")
    assert read_archive(packed.path).crc64nvme == packed.content.crc64nvme
    assert names(tmp_path) == {"P", "P.tar.gz"}


def test_an_unfinished_archive_that_somebody_removes_leaves_no_empty_one(tmp_path, project):
    """The name is taken with an empty file on some disks; where nothing can be put there, that one goes too."""
    with pytest.raises(LocalStateError):
        pack(look(project), tmp_path / "P.tar.gz", on_progress=lambda _: remove_unfinished(tmp_path))
    assert names(tmp_path) == {"P"}


def remove_unfinished(folder: Path) -> None:
    for path in folder.glob(".*.part"):
        path.unlink()


def forbid_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As exFAT and many network disks do."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)


def test_an_archive_inside_its_own_source_is_refused(tmp_path, project):
    for folder in (project, project / "00000"):
        with pytest.raises(SourceError) as caught:
            pack(look(project), folder / "P.tar.gz")
        assert caught.value.code == "archive-inside-source"


def test_names_of_255_bytes_get_an_archive(tmp_path):
    (tmp_path / LONG_NAME).write_bytes(b"x")
    name = archive_file_name(LONG_NAME)
    packed = pack(look(tmp_path / LONG_NAME), tmp_path / name)
    assert len(name) == 255
    assert name.endswith(".tar.gz")
    assert packed.path.exists()
    assert archive_file_name(LONG_NAME[:-1] + "x") != name


def test_a_folder_that_cannot_be_written_is_named(somebody):
    (somebody / "a").touch()
    (somebody / "locked").mkdir(mode=0o500)
    with pytest.raises(LocalStateError) as caught:
        pack(look(somebody / "a"), somebody / "locked" / "a.tar.gz")
    assert (caught.value.code, caught.value.exit_code) == ("archive-unwritable", 9)
    assert "locked" in caught.value.message
    assert "--archive-dir" in caught.value.message


def test_a_folder_that_can_no_longer_be_written_is_named_though_nothing_can_be_removed_there(somebody):
    (somebody / "a").write_bytes(b"x")
    folder = somebody / "archives"
    folder.mkdir()
    with pytest.raises(LocalStateError) as caught:
        pack(look(somebody / "a"), folder / "a.tar.gz", on_progress=lambda _: folder.chmod(0o500))
    folder.chmod(0o700)
    assert (caught.value.code, caught.value.exit_code) == ("archive-unwritable", 9)
    assert "archives" in caught.value.message


def test_a_full_disk_ends_with_9_says_how_much_is_missing_and_leaves_nothing(tmp_path):
    (tmp_path / "clip.mov").write_bytes(noise(16 * MIB))
    with small_disk(tmp_path / "disk", 4) as disk:
        if disk is None:
            pytest.skip("this system does not let us mount a small disk")
        (disk / "foreign.tar.gz").write_bytes(b"precious")
        with pytest.raises(LocalStateError) as caught:
            pack(look(tmp_path / "clip.mov"), disk / "clip.mov.tar.gz")
        assert names(disk) == {"foreign.tar.gz"}
    assert (caught.value.code, caught.value.exit_code) == ("disk-full", 9)
    missing_mib = int(caught.value.message.split(" MiB")[0].rsplit(" ", 1)[1])
    assert 12 <= missing_mib <= 14


def test_a_disk_that_takes_no_such_large_files_is_named(tmp_path):
    """As FAT32, which ends at 4 GiB. A limit of the process does the same; in a process of its own."""
    (tmp_path / "clip.mov").write_bytes(noise(4 * MIB))
    code = (
        "import resource, sys\n"
        "from mgmt.archive import pack\nfrom mgmt.errors import MgmtError\nfrom mgmt.source import look\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, resource.RLIM_INFINITY))\n"
        "try:\n    pack(look('clip.mov'), 'clip.mov.tar.gz')\n"
        "except MgmtError as error:\n    print(error.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert done.stdout == "archive-too-large\n"
    assert names(tmp_path) == {"clip.mov"}


def test_a_stop_ends_packing_and_leaves_nothing(tmp_path, project):
    stop = threading.Event()
    seen: list[int] = []

    def stop_soon(done_bytes: int) -> None:
        seen.append(done_bytes)
        stop.set()

    with pytest.raises(CancelledError):
        pack(look(project), tmp_path / "P.tar.gz", on_progress=stop_soon, stop=stop)
    assert len(seen) == 1
    assert names(tmp_path) == {"P"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_whatever_goes_wrong_leaves_nothing_and_is_told_unchanged(tmp_path, project, error):
    def fail(_: object) -> None:
        raise error

    threads_before = set(threading.enumerate())
    with pytest.raises(error):
        pack(look(project), tmp_path / "P.tar.gz", part_size_bytes=MIB, on_part=fail)
    assert names(tmp_path) == {"P"}
    assert set(threading.enumerate()) <= threads_before


def test_no_descriptor_stays_open(tmp_path, project):
    before = open_descriptors()
    pack(look(project), tmp_path / "P.tar.gz")
    with pytest.raises(MgmtError):
        pack(look(project), tmp_path / "P.tar.gz")
    assert open_descriptors() <= before


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's own peak from /proc")
@pytest.mark.parametrize("kind", ["sparse", "noise"])
def test_half_a_gibibyte_is_packed_in_constant_memory(tmp_path, kind):
    with (tmp_path / "clip.mov").open("wb") as file:
        if kind == "noise":
            block = noise(MIB)
            for index in range(512):
                file.write(block[index:] + block[:index])
        else:
            file.truncate(512 * MIB)
    code = (
        "from mgmt.archive import pack\nfrom mgmt.source import look\n"
        "pack(look('clip.mov'), 'clip.mov.tar.gz', part_size_bytes=2**24)\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert int(done.stdout) < PEAK_MAX_KIB
