import os
import socket
from pathlib import Path

import pytest

from mgmt.archive import pack
from mgmt.errors import RefusedError, SourceError
from mgmt.journal import Journal
from mgmt.source import look
from mgmt.text import show_path
from mgmt.upload.job import UploadOptions
from mgmt.upload.looking import everything_in, make_job
from mgmt.upload.ours import archives_in, placeholder_of, unfinished_path

SERVICE = "https://s.example"


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "state")
    yield journal
    journal.close()


@pytest.fixture
def work(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def prepare(journal, target, **options):
    job = make_job(target, UploadOptions(**options), journal, SERVICE, Path.cwd())
    job.held.close()
    return job


def packed(journal, job):
    job.archive = pack(job.source, job.archive_path)
    journal.put([job.entry(SERVICE)])
    return job


def test_all_leaves_out_litter_left_overs_and_specials_and_says_what_a_person_might_miss(work, journal):
    for name in ("b", "a", "-dash", ".hidden", "all"):
        (work / name).write_text("x")
    (work / "folder").mkdir()
    for litter in (".DS_Store", "Thumbs.db", "._a", ".a.tar.gz.mgmt-01234567.part"):
        (work / litter).write_text("x")
    pack(look("a"), work / "a.tar.gz")
    (work / "foreign.tar.gz").write_text("not mgmt's")
    os.mkfifo(work / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    notices = []
    names = list(everything_in(work, set(), notices.append))
    listener.close()
    assert names == ["-dash", ".hidden", "a", "all", "b", "folder", "foreign.tar.gz"]
    assert sorted(notice.message.split()[0] for notice in notices) == ["a.tar.gz", "pipe", "socket"]


def test_all_in_an_empty_folder_is_nothing(work):
    assert list(everything_in(work, set(), print)) == []


def test_an_archive_that_the_journal_knows_is_left_out_in_silence(work, journal):
    (work / "a").write_text("x")
    job = packed(journal, prepare(journal, "a"))
    notices = []
    assert list(everything_in(work, archives_in(work, journal), notices.append)) == ["a"]
    assert notices == []
    assert job.archive_path.exists()


def test_archives_that_a_killed_run_had_no_time_to_write_down_are_left_out_in_silence(work, journal):
    """Many are packed before the journal says that they are whole; other archives are still reported."""
    for name in ("a", "b"):
        (work / name).write_text("x")
        job = prepare(journal, name)
        journal.put([job.entry(SERVICE)])
        pack(job.source, job.archive_path, mtime_ns=job.promised_mtime_ns if name == "a" else None)
    notices = []
    assert list(everything_in(work, archives_in(work, journal), notices.append)) == ["a", "b"]
    assert [notice.message.split()[0] for notice in notices] == ["b.tar.gz"]


def test_what_took_the_place_of_an_archive_is_somebodys_and_uploaded(work, journal):
    """The journal may know of an archive that is gone long since, such as one of a failed upload."""
    (work / "a").write_text("x")
    job = packed(journal, prepare(journal, "a"))
    job.archive_path.unlink()
    job.archive_path.write_bytes(b"theirs")
    assert list(everything_in(work, archives_in(work, journal), print)) == ["a", "a.tar.gz"]


def test_a_dangling_link_is_named_so_that_it_fails_by_name(work):
    (work / "link").symlink_to("nowhere")
    assert list(everything_in(work, set(), print)) == ["link"]


def test_an_interrupted_upload_of_the_same_source_is_gone_on_with(work, journal):
    (work / "a").write_text("x")
    first = packed(journal, prepare(journal, "a"))
    again = prepare(journal, "a")
    assert again.operation_id == first.operation_id
    assert again.archive.content == first.archive.content
    other = prepare(journal, "a", as_name="b")
    assert (other.operation_id == first.operation_id, other.archive) == (False, None)


@pytest.mark.parametrize("change", ["source", "plan", "prefix"])
def test_what_has_changed_is_another_upload(work, journal, change):
    (work / "a").write_text("x")
    first = packed(journal, prepare(journal, "a"))
    if change == "source":
        (work / "a").write_text("other")
    options = {"plan": {"plan": "store"}, "prefix": {"prefix": "p"}}.get(change, {})
    again = prepare(journal, "a", **options)
    assert again.operation_id != first.operation_id
    if change == "prefix":  # another object, of the very archive that is there
        assert again.archive.content == first.archive.content
    else:
        assert again.archive is None
        assert not again.archive_path.exists()


def test_an_archive_whose_bytes_are_not_those_written_down_is_packed_anew(work, journal):
    (work / "a").write_text("x" * 1000)
    job = packed(journal, prepare(journal, "a"))
    found = job.archive_path.stat()
    data = bytearray(job.archive_path.read_bytes())
    data[len(data) // 2] ^= 1
    job.archive_path.write_bytes(data)
    os.utime(job.archive_path, ns=(found.st_atime_ns, found.st_mtime_ns))
    again = prepare(journal, "a")
    assert again.operation_id == job.operation_id
    assert again.archive is None


def test_what_a_killed_run_has_left_is_found_again_and_nothing_else(work, journal):
    """Killed while packing: the unfinished file goes. Killed between the archive's name and the journal: it too."""
    (work / "a").write_text("x")
    job = prepare(journal, "a")
    journal.put([job.entry(SERVICE)])
    unfinished_path(job.archive_path, job.operation_id).write_text("half an archive")
    of_another_machine = work / ".a.tar.gz.mgmt-00000000.part"
    of_another_machine.write_text("live")
    pack(job.source, job.archive_path, mtime_ns=job.promised_mtime_ns)
    again = prepare(journal, "a")
    assert again.operation_id == job.operation_id
    assert sorted(path.name for path in work.iterdir()) == [of_another_machine.name, "a"]


def test_what_a_killed_run_to_elsewhere_has_left_goes_too(work, journal):
    """That prefix may never be used again, and a hidden file as large as the footage would stay."""
    (work / "a").write_text("x")
    elsewhere = prepare(journal, "a", prefix="wrong")
    journal.put([elsewhere.entry(SERVICE)])
    unfinished_path(elsewhere.archive_path, elsewhere.operation_id).write_text("half an archive")
    again = prepare(journal, "a", prefix="right")
    assert sorted(path.name for path in work.iterdir()) == ["a"]
    assert again.operation_id != elsewhere.operation_id
    assert prepare(journal, "a", prefix="wrong").operation_id == elsewhere.operation_id


@pytest.mark.parametrize("prefix", ["", "elsewhere"])
def test_an_archive_that_somebody_put_where_one_was_promised_is_left_alone(work, journal, prefix):
    """Such as a downloaded one, of other footage: mgmt made it, but not that killed run."""
    (work / "a").write_text("x")
    journal.put([prepare(journal, "a", prefix=prefix).entry(SERVICE)])
    (work / "card").mkdir()
    other = pack(look("card"), work / "a.tar.gz")
    with pytest.raises(SourceError, match="earlier mgmt made it"):
        prepare(journal, "a")
    assert other.is_untouched()


def test_an_archive_in_another_folder_goes_with_the_run_that_left_it(work, journal, tmp_path):
    """The same upload, packed elsewhere now: the journal would forget the first archive."""
    (work / "a").write_text("x")
    for made in ("whole", "promised"):
        first = prepare(journal, "a", archive_dir=tmp_path)
        journal.put([first.entry(SERVICE)])
        first.archive = pack(first.source, first.archive_path, mtime_ns=first.promised_mtime_ns)
        if made == "whole":
            journal.put([first.entry(SERVICE)])
        again = prepare(journal, "a")
        assert again.operation_id == first.operation_id
        assert not first.archive_path.exists()
        journal.forget([again.operation_id])


@pytest.mark.parametrize("spelling", ["../archives", "{}/archives", "{}/work/../archives", "{}/link"])
def test_a_folder_of_archives_is_one_however_it_is_spelled(work, journal, tmp_path, spelling):
    """To the journal, which goes on with what lies there, and to the lock, which keeps others away from it."""
    (work / "a").write_text("x")
    (tmp_path / "archives").mkdir()
    (tmp_path / "link").symlink_to("archives")
    first = packed(journal, prepare(journal, "a", archive_dir=tmp_path / "archives"))
    spelled = Path(spelling.format(tmp_path))
    again = make_job("a", UploadOptions(archive_dir=spelled), journal, SERVICE, Path.cwd())
    with again.held:
        assert (again.operation_id, again.archive_path) == (first.operation_id, tmp_path / "archives" / "a.tar.gz")
        assert again.archive.content == first.archive.content
        with pytest.raises(RefusedError) as caught:
            prepare(journal, "a", archive_dir=tmp_path / "archives", prefix="p")
    assert caught.value.code == "busy-here"


def test_a_source_named_over_a_link_to_its_folder_is_the_same_one(work, journal):
    """A link that is named itself is another thing, with a place and a name of its own."""
    (work / "D").mkdir()
    (work / "D" / "a").write_text("x")
    (work / "link").symlink_to("D")
    (work / "latest").symlink_to("D/a")
    first = packed(journal, prepare(journal, "D/a"))
    again = prepare(journal, "link/a")
    assert (again.operation_id, again.archive.content) == (first.operation_id, first.archive.content)
    assert (again.target_path, again.source.path) == ("link/a", work / "D" / "a")
    for name in ("latest", "link"):
        named = prepare(journal, name)
        assert (named.source.path, named.archive_path) == (work / name, work / f"{name}.tar.gz")


def test_a_kept_archive_in_another_folder_stays(work, journal, tmp_path):
    (work / "a").write_text("x")
    kept = prepare(journal, "a", archive_dir=tmp_path, prefix="p")
    kept.archive = pack(kept.source, kept.archive_path)
    journal.put([kept.entry(SERVICE, ended_as="kept")])
    later = prepare(journal, "a", archive_dir=tmp_path)
    assert later.adoption.was_kept
    journal.put([later.entry(SERVICE)])  # and killed
    assert prepare(journal, "a", archive_dir=tmp_path).adoption.was_kept
    assert prepare(journal, "a").archive is None
    assert kept.archive.is_untouched()


def test_an_empty_file_that_somebody_put_where_an_archive_was_promised_is_left_alone(work, journal):
    (work / "a").write_text("x")
    job = prepare(journal, "a")
    journal.put([job.entry(SERVICE)])
    job.archive_path.touch()
    with pytest.raises(SourceError, match="left alone"):
        prepare(journal, "a")
    os.utime(job.archive_path, ns=(job.promised_mtime_ns, job.promised_mtime_ns))
    with pytest.raises(SourceError, match="left alone"):
        prepare(journal, "a")
    assert job.archive_path.exists()
    job.archive_path.write_bytes(placeholder_of(job.operation_id))
    prepare(journal, "a")
    assert not job.archive_path.exists()


def test_an_archive_that_was_not_promised_is_left_alone_even_if_mgmt_made_it(work, journal):
    (work / "a").write_text("x")
    pack(look("a"), work / "a.tar.gz")
    with pytest.raises(SourceError, match="earlier mgmt made it") as caught:
        prepare(journal, "a")
    assert caught.value.code == "archive-exists"
    (work / "a.tar.gz").write_text("foreign")
    with pytest.raises(SourceError, match="mgmt did not make it"):
        prepare(journal, "a")
    assert (work / "a.tar.gz").read_text() == "foreign"


@pytest.mark.parametrize("name", ["a\nb", os.fsdecode(b"\xff")])
def test_a_name_that_can_be_no_key_says_to_choose_another(work, journal, name):
    (work / name).write_text("x")
    with pytest.raises(SourceError, match="--as NAME"):
        prepare(journal, name)
    assert prepare(journal, name, as_name="good").destination == "/good"


def test_paths_are_shown_relative_and_never_with_a_home(work, tmp_path):
    assert show_path("a/b", work) == "a/b"
    assert show_path("./a", work) == "a"
    assert show_path(str(work / "a"), work) == "a"
    assert show_path(str(tmp_path / "elsewhere" / "clip"), work) == "clip"
    assert show_path(".", work) == "work"
    assert show_path("../other", work) == "other"
    assert show_path(os.fsdecode(b"\xff"), work) == "\\xff"
    assert show_path("cafe\u0301", work) == "café"


def test_a_folder_that_cannot_be_listed_is_told_so(work):
    with pytest.raises(SourceError, match="cannot be listed: No such file") as error:
        list(everything_in(work / "none", set(), print))
    assert error.value.code == "source-unreadable"
