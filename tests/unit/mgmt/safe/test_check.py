"""`mgmt safe` against the real service on fake stores: each way a card can stand to what is stored."""

import errno
import gzip
import io
import os
import shutil
import threading
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mgmt.archive.index import Index
from mgmt.archive.member_digests import DigestedMember
from mgmt.errors import SourceError, UsageError
from mgmt.events import Begun, Finished, Notice, Progress
from mgmt.layout import Member
from mgmt.safe.reading import Target
from mgmt.safe.spool import Spool
from mgmt.source import rereading
from mgmt.team.history import UploadFinder
from support.reads import after_each_read
from support.safe_world import World, pack_source
from support.trees import litter, noise

NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def card(tmp_path):
    folder = tmp_path / "CARD"
    for name in ("100CANON/a.mp4", "100CANON/b.mp4", "101CANON/c.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(9_000, seed=len(name) + ord(name[-5])))
    return folder


def pack(path, tmp_path, **options):
    return pack_source(path, tmp_path, **options)


def test_all_of_it_is_stored_and_the_content_digest_alone_tells(world, card, tmp_path):
    upload = world.upload(pack(card, tmp_path), has_index=True)
    [said] = world.ask(card)
    assert said.is_safe
    assert said.folders == {b"": 0, b"100CANON": 0, b"101CANON": 0}
    [proof] = said.proofs
    assert (proof.operation_id, proof.how, proof.is_own) == (upload.operation_id, "content digest", True)


def test_files_that_were_added_changed_and_renamed_since_are_named_each_with_its_reason(world, card, tmp_path):
    world.upload(pack(card, tmp_path), has_index=True)
    (card / "100CANON" / "new.mp4").write_bytes(b"new")
    (card / "100CANON" / "a.mp4").write_bytes(b"changed")
    (card / "101CANON" / "c.mp4").rename(card / "101CANON" / "d.mp4")
    [said] = world.ask(card)
    assert said.unsafe == [
        (b"100CANON/a.mp4", "differs"),
        (b"100CANON/new.mp4", "not-stored"),
        (b"101CANON/d.mp4", "not-stored"),
    ]
    assert said.folders == {b"": 0, b"100CANON": 2, b"101CANON": 1}


def test_less_than_was_stored_is_safe(world, card, tmp_path):
    world.upload(pack(card, tmp_path))
    (card / "100CANON" / "a.mp4").unlink()
    [said] = world.ask(card)
    assert said.is_safe
    assert [proof.how for proof in said.proofs] == ["index"]


def test_a_second_card_of_the_same_name_is_not_taken_for_the_first(world, card, tmp_path):
    world.upload(pack(card, tmp_path))
    second = tmp_path / "second" / "CARD"
    (second / "100CANON").mkdir(parents=True)
    (second / "100CANON" / "a.mp4").write_bytes(b"of the second card")
    [said] = world.ask(second)
    assert said.unsafe == [(b"100CANON/a.mp4", "differs")]
    world.upload(pack(second, tmp_path), prefix="day2")
    assert [each.is_safe for each in world.ask(card, second)] == [True, True]


@pytest.mark.parametrize("what", ["added", "changed", "removed", "special", "another card"])
def test_a_card_that_changes_while_the_next_one_is_checked_is_not_safe_any_more(world, card, tmp_path, what):
    second = tmp_path / "SECOND"
    shutil.copytree(card, second)
    world.upload(pack(card, tmp_path))
    world.upload(pack(second, tmp_path))
    clip = card / "100CANON" / "a.mp4"

    def change(_: int) -> None:
        if not [event for event in world.events if isinstance(event, Finished)]:
            return
        world.before_check = lambda _: None
        if what == "added":
            (card / "101CANON" / "new.mp4").write_bytes(b"new")
        elif what == "changed":
            status = clip.stat()
            clip.write_bytes(b"x" * status.st_size)
            os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif what == "removed":
            clip.unlink()
        elif what == "special":
            os.mkfifo(card / "100CANON" / "pipe")
        else:
            card.rename(tmp_path / "pulled")
            card.mkdir()

    world.before_check = change
    said = world.ask(card, second)
    assert [each.is_safe for each in said] == [True, True, False]
    assert said[-1].unsafe == [(b"", "changed")]


@pytest.mark.parametrize("name", [".Trashes", "$RECYCLE.BIN"])
def test_a_trash_with_deleted_files_in_it_is_named_and_one_without_is_not(world, card, tmp_path, name):
    world.upload(pack(card, tmp_path))
    deleted = card / name / "501"
    deleted.mkdir(parents=True)
    (deleted / ".DS_Store").write_bytes(b"")
    [said] = world.ask(card)
    assert (said.is_safe, said.system_count, said.trashes) == (True, 1, ())
    (deleted / "C0001.MOV").write_bytes(b"footage")
    [said] = world.ask(card)
    assert (said.is_safe, said.system_count, said.trashes) == (True, 1, (name.encode(),))


def test_one_half_in_one_upload_and_one_in_another_is_stored(world, card, tmp_path):
    first = world.upload(pack(card, tmp_path, excludes=["101CANON"]), prefix="day1", has_index=True)
    [said] = world.ask(card)
    assert said.unsafe == [(b"101CANON", "not-stored"), (b"101CANON/c.mp4", "not-stored")]
    second = world.upload(pack(card, tmp_path, excludes=["100CANON"]), prefix="day2")
    [said] = world.ask(card)
    assert said.is_safe
    assert {proof.operation_id for proof in said.proofs} == {first.operation_id, second.operation_id}


def test_a_file_in_two_uploads_rests_on_the_one_that_stands(world, card, tmp_path):
    first = world.upload(pack(card, tmp_path), prefix="day1")
    second = world.upload(pack(card, tmp_path), prefix="day2")
    world.objects.destroy(second.s3_object_key, second.version_id)
    [said] = world.ask(card)
    assert said.is_safe
    assert [proof.operation_id for proof in said.proofs] == [first.operation_id]


@pytest.mark.parametrize("check", [1, 2])
@pytest.mark.parametrize("has_index", [False, True])
def test_an_upload_that_falls_during_the_check_is_replaced_by_another_that_stands(
    world, card, tmp_path, check, has_index
):
    packed = pack(card, tmp_path)
    first = world.upload(packed, prefix="day1", has_index=has_index)
    second = world.upload(packed, prefix="day2", has_index=has_index)
    (card / "101CANON" / "c.mp4").unlink()  # so that the indexes are needed
    world.before_check = lambda number: number != check or world.objects.delete(second.s3_object_key)
    [said] = world.ask(card)
    assert said.is_safe
    assert [proof.operation_id for proof in said.proofs] == [first.operation_id]


def test_an_upload_under_another_name_is_found_by_it_by_its_id_and_by_its_folder(world, card, tmp_path):
    upload = world.upload(pack(card, tmp_path, name="camera-a"), prefix="shoots/day1")
    [said] = world.ask(card)
    assert said.unsafe == [(b"", "not-stored")]
    for against in ("camera-a", "camera-a.tar.gz", "shoots/day1/", "shoots/day1/camera-a.tar.gz", upload.operation_id):
        [said] = world.ask(card, against=[against])
        assert said.is_safe, against
        assert [proof.how for proof in said.proofs] == ["content digest"]


def test_what_to_compare_with_must_exist(world, card, tmp_path):
    world.upload(pack(card, tmp_path))
    with pytest.raises(SourceError, match="nowhere") as caught:
        world.ask(card, against=["CARD", "nowhere"])
    assert caught.value.code == "not-found"
    with pytest.raises(UsageError):
        world.ask(card, against=["//"])


def test_what_was_left_out_on_purpose_is_said_to_be(world, card, tmp_path):
    excludes = ["101CANON", "*.tmp"]
    world.upload(pack(card, tmp_path, excludes=excludes), excludes=tuple(excludes))
    (card / "100CANON" / "x.tmp").write_bytes(b"")
    (card / "100CANON" / "new.mp4").write_bytes(b"")
    assert world.ask(card)[0].unsafe == [
        (b"100CANON/new.mp4", "not-stored"),
        (b"100CANON/x.tmp", "excluded"),
        (b"101CANON", "excluded"),
        (b"101CANON/c.mp4", "excluded"),
    ]


def test_a_missing_path_is_an_error_and_no_verdict(world, tmp_path):
    with pytest.raises(SourceError) as caught:
        world.ask(tmp_path / "nowhere")
    assert caught.value.code == "source-missing"


def test_a_single_file_is_checked_as_a_card_is(world, card, tmp_path):
    clip = card / "100CANON" / "a.mp4"
    world.upload(pack(clip, tmp_path))
    assert world.ask(clip)[0].is_safe
    clip.write_bytes(b"changed")
    [said] = world.ask(clip)
    assert said.unsafe == [(b"", "differs")]


def test_a_card_whose_name_no_upload_can_have_is_not_stored_under_it(world, card, monkeypatch):
    """The service refuses to look for such a name; --against still finds what was uploaded with --as."""
    odd = card.rename(card.with_name("CARD\nA"))
    monkeypatch.setattr(UploadFinder, "by_name", None)
    assert world.ask(odd)[0].unsafe == [(b"", "not-stored")]


def test_a_verdict_rests_on_ones_own_upload_where_somebody_else_has_stored_the_same_since(world, card, tmp_path):
    own = world.upload(pack(card, tmp_path), prefix="day1")
    later = world.upload(pack(card, tmp_path), prefix="day2", person="bob")
    assert [proof.operation_id for proof in world.ask(card)[0].proofs] == [own.operation_id]
    world.rewrite(own, deleted_at=NOW, deleted_by="ada", recoverable_until=NOW)
    assert [proof.operation_id for proof in world.ask(card)[0].proofs] == [later.operation_id]
    world.rewrite(later, deleted_at=NOW, deleted_by="bob", recoverable_until=NOW)
    assert world.ask(card)[0].unsafe == [(b"", "deleted")]


def test_where_no_upload_stands_nothing_is_read_and_the_reason_is_said(world, card, tmp_path, monkeypatch):
    monkeypatch.setattr(rereading, "_Rereading", None)
    assert world.ask(card)[0].unsafe == [(b"", "not-stored")]
    upload = world.upload(pack(card, tmp_path))
    world.rewrite(upload, deleted_at=NOW, deleted_by="ada", recoverable_until=NOW)
    assert world.ask(card)[0].unsafe == [(b"", "deleted")]
    world.rewrite(upload, deleted_at=None, deleted_by=None, recoverable_until=None)
    world.objects.destroy(upload.s3_object_key, upload.version_id)
    assert world.ask(card)[0].unsafe == [(b"", "gone")]
    assert not [event for event in world.events if isinstance(event, Begun)]


def test_what_is_only_in_a_deleted_upload_is_told_apart_from_what_is_in_none(world, card, tmp_path):
    deleted = world.upload(pack(card, tmp_path), prefix="day1")
    world.rewrite(deleted, deleted_at=NOW, deleted_by="ada", recoverable_until=NOW)
    world.upload(pack(card, tmp_path, excludes=["100CANON"]), prefix="day2")
    [said] = world.ask(card)
    assert said.unsafe == [
        (b"100CANON", "deleted"),
        (b"100CANON/a.mp4", "deleted"),
        (b"100CANON/b.mp4", "deleted"),
    ]


def test_an_object_under_a_later_one_or_under_a_delete_marker_is_no_proof(world, card, tmp_path):
    upload = world.upload(pack(card, tmp_path))
    world.objects.place(upload.s3_object_key, b"later")
    assert world.ask(card)[0].unsafe == [(b"", "replaced")]


def test_system_files_are_counted_and_do_not_make_it_unsafe(world, card, tmp_path):
    world.upload(pack(card, tmp_path))
    names = [name for name in litter(card) if not name.endswith(".part")]
    (card / ".clip.tar.gz.mgmt-0f12ab34.part").unlink()
    [said] = world.ask(card)
    assert said.is_safe
    assert said.system_count == len(names)


def test_what_is_never_stored_is_not_safe(world, card, tmp_path):
    world.upload(pack(card, tmp_path))
    os.mkfifo(card / "pipe")
    (card / ".clip.tar.gz.mgmt-0f12ab34.part").write_bytes(b"an unfinished archive")
    (card / "._clips").mkdir()
    (card / "state").mkdir()
    for name in ("token.json", "records.sqlite"):
        (card / "state" / name).write_bytes(b"")
    assert world.ask(card)[0].unsafe == [
        (b"._clips", "special"),
        (b".clip.tar.gz.mgmt-0f12ab34.part", "special"),
        (b"pipe", "special"),
        (b"state", "special"),
    ]


def test_an_empty_folder_and_a_link_are_members_as_files_are(world, card, tmp_path):
    world.upload(pack(card, tmp_path))
    (card / "EMPTY").mkdir()
    (card / "link").symlink_to("100CANON/a.mp4")
    assert world.ask(card)[0].unsafe == [(b"EMPTY", "not-stored"), (b"link", "not-stored")]
    world.upload(pack(card, tmp_path), prefix="again")
    assert world.ask(card)[0].is_safe


def test_hard_links_are_compared_by_their_content(world, card, tmp_path):
    os.link(card / "100CANON" / "a.mp4", card / "101CANON" / "twin.mp4")
    world.upload(pack(card, tmp_path))
    (card / "101CANON" / "twin.mp4").unlink()
    (card / "101CANON" / "twin.mp4").write_bytes((card / "100CANON" / "a.mp4").read_bytes())
    assert world.ask(card)[0].is_safe
    os.link(card / "100CANON" / "b.mp4", card / "102.mp4")
    (card / "101CANON" / "twin.mp4").unlink()
    os.link(card / "100CANON" / "b.mp4", card / "101CANON" / "twin.mp4")
    assert world.ask(card)[0].unsafe == [(b"101CANON/twin.mp4", "differs"), (b"102.mp4", "not-stored")]


def test_other_modes_and_times_are_no_other_content(world, card, tmp_path):
    world.upload(pack(card, tmp_path))
    for path in card.rglob("*.mp4"):
        path.chmod(0o777)
        os.utime(path, (1e9, 1e9))
    [said] = world.ask(card)
    assert said.is_safe
    assert [proof.how for proof in said.proofs] == ["index"]


def test_a_file_that_cannot_be_read_is_named_and_so_is_its_hard_link(world, card, tmp_path, monkeypatch):
    os.link(card / "100CANON" / "a.mp4", card / "101CANON" / "twin.mp4")
    world.upload(pack(card, tmp_path))
    number = (card / "100CANON" / "a.mp4").stat().st_ino

    def fail(descriptor, _view, got):
        if os.fstat(descriptor).st_ino == number:
            raise OSError(errno.EIO, "the medium fails")
        return got

    after_each_read(monkeypatch, fail)
    assert world.ask(card)[0].unsafe == [(b"100CANON/a.mp4", "unreadable"), (b"101CANON/twin.mp4", "unreadable")]


def test_a_card_that_cannot_be_read_is_named_without_a_hint_at_options_of_other_commands(somebody):
    (somebody / "CARD").mkdir(mode=0)
    with pytest.raises(SourceError) as caught:
        Target(os.fspath(somebody / "CARD"), threading.Event()).count_bytes()
    assert caught.value.message == "'CARD' cannot be read: Permission denied. Make it readable."


def test_a_card_that_is_pulled_out_makes_no_folder_safe(world, card, tmp_path, monkeypatch):
    world.upload(pack(card, tmp_path))

    def pull(_descriptor, _view, got):
        if card.exists():
            card.rename(tmp_path / "pulled")
        return got

    after_each_read(monkeypatch, pull)
    [said] = world.ask(card)
    assert not said.is_safe
    assert said.failure
    assert (b"", "unreadable") in said.unsafe


@pytest.mark.parametrize("what", ["added", "written", "removed"])
def test_what_happens_to_the_card_behind_the_reading_is_noticed(world, card, tmp_path, monkeypatch, what):
    world.upload(pack(card, tmp_path))
    clip = card / "100CANON" / "a.mp4"
    again = Target.look_again

    def act(self, spool, read):
        if what == "added":
            (card / "100CANON" / "new.mp4").write_bytes(b"")
        elif what == "written":
            clip.write_bytes(clip.read_bytes())
        else:
            clip.unlink()
        return again(self, spool, read)

    monkeypatch.setattr(Target, "look_again", act)
    name = b"new.mp4" if what == "added" else b"a.mp4"
    assert world.ask(card)[0].unsafe == [(b"100CANON/" + name, "changed")]


@pytest.mark.parametrize("has_index", [False, True])
def test_what_comes_to_the_card_after_it_was_read_and_compared_is_noticed(world, card, tmp_path, has_index):
    world.upload(pack(card, tmp_path), has_index=has_index)
    (card / "101CANON" / "c.mp4").unlink()  # so that the index is needed
    world.before_check = lambda number: number != 2 or (card / "100CANON" / "new.mp4").write_bytes(b"new")
    assert world.ask(card)[0].unsafe == [(b"100CANON/new.mp4", "changed")]


@pytest.mark.parametrize("left", ["nothing", "folders", "system files"])
def test_a_card_without_a_file_is_not_safe_as_it_may_not_be_mounted(world, card, tmp_path, left):
    world.upload(pack(card, tmp_path), has_index=True)
    shutil.rmtree(card)
    card.mkdir()
    if left == "folders":
        (card / "100CANON").mkdir()
    elif left == "system files":
        (card / ".DS_Store").write_bytes(b"litter")
    [said] = world.ask(card)
    assert not said.is_safe
    assert said.unsafe == [(b"", "empty")]


def test_a_card_of_one_empty_file_or_of_a_link_holds_something(world, card, tmp_path):
    shutil.rmtree(card)
    card.mkdir()
    (card / "link").symlink_to("elsewhere")
    world.upload(pack(card, tmp_path))
    assert world.ask(card)[0].is_safe
    (card / "link").unlink()
    (card / "empty.mp4").write_bytes(b"")
    world.upload(pack(card, tmp_path), prefix="again")
    assert world.ask(card)[0].is_safe


@pytest.mark.parametrize("changes", [{"content_digest": "blake3:" + 64 * "0"}, {"codec": "mgmt 4"}])
def test_a_record_that_changes_during_the_check_is_noticed(world, card, tmp_path, changes):
    upload = world.upload(pack(card, tmp_path))
    world.before_check = lambda number: number != 1 or world.rewrite(upload, **changes)
    [said] = world.ask(card)
    assert {code for _, code in said.unsafe} == {"rewritten"}


def test_another_disk_in_its_place_is_noticed(world, card, tmp_path, monkeypatch):
    world.upload(pack(card, tmp_path))
    devices = iter([1, 2])
    monkeypatch.setattr("mgmt.safe.reading.Target._find_device", lambda _: next(devices))
    [said] = world.ask(card)
    assert (said.is_safe, said.failure) == (False, "another disk is in its place")


def test_what_rests_on_another_person_says_so_unless_the_bytes_were_read_back(world, card, tmp_path):
    world.upload(pack(card, tmp_path), person="bob")
    [proof] = world.ask(card)[0].proofs
    assert (proof.actor, proof.is_own, proof.how) == ("bob", False, "content digest")
    said = world.ask(card, reads_back=True)[0]
    assert said.is_safe
    assert [proof.how for proof in said.proofs] == ["read back"]
    [notice] = [event for event in world.events if isinstance(event, Notice)]
    assert "CARD.tar.gz is read back whole" in notice.message
    fetched = [event for event in world.events if isinstance(event, Progress) and event.stage == "fetching"]
    assert fetched[-1].done_bytes == fetched[-1].total_bytes == proof.size


def test_a_false_claim_is_found_where_the_bytes_are_read_back(world, card, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "larger").write_bytes(noise(90_000))
    other, honest = pack(tmp_path / "other", tmp_path, name="CARD"), pack(card, tmp_path)
    lie = replace(other.content, content_digest=honest.content.content_digest)
    size = b'"archive_size":%d'
    index = gzip.decompress(honest.index).replace(size % len(honest.body), size % len(other.body))
    world.upload(replace(other, content=lie, index=gzip.compress(index)), person="mallory", has_index=True)
    assert [proof.actor for proof in world.ask(card)[0].proofs] == ["mallory"]
    [said] = world.ask(card, reads_back=True)
    assert {code for _, code in said.unsafe} == {"unusable"}
    (card / "101CANON" / "c.mp4").unlink()  # so that the index is needed
    assert [proof.how for proof in world.ask(card)[0].proofs] == ["index"]
    assert not world.ask(card, reads_back=True)[0].is_safe


def test_an_index_object_of_another_card_is_never_believed(world, card, tmp_path):
    upload = world.upload(pack(card, tmp_path))
    (card / "100CANON" / "a.mp4").write_bytes(b"changed")
    world.put_index(upload, pack(card, tmp_path).index)
    assert world.ask(card)[0].unsafe == [(b"100CANON/a.mp4", "differs")]


def test_of_files_that_a_cache_may_have_answered_for_the_number_is_told(world, card, tmp_path, monkeypatch):
    world.upload(pack(card, tmp_path))
    monkeypatch.setattr(rereading, "bypass_cache", lambda *_: False)
    [said] = world.ask(card)
    assert (said.is_safe, said.cached_count) == (True, 3)


def test_an_earlier_card_of_a_command_whose_upload_falls_before_its_end_is_not_safe_after_all(world, card, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    (second / "d.mp4").write_bytes(b"of the second card")
    upload = world.upload(pack(card, tmp_path))
    world.upload(pack(second, tmp_path))
    # look, look up and look for each card; then both once more
    world.before_check = lambda number: number != 5 or world.objects.delete(upload.s3_object_key)
    said = world.ask(card, second)
    assert [each.is_safe for each in said] == [True, True, False]
    assert said[-1].unsafe == [(b"", "replaced")]


# --- the spool ----------------------------------------------------------------------------------------


def test_memory_stays_the_same_whatever_there_is_to_compare(tmp_path):
    status = tmp_path.stat()
    digest = bytes(32)
    peaks = []
    for count in (2_000, 20_000):
        tracemalloc.start()
        with Spool() as spool:
            for number in range(count):
                path = b"CARD/%05d/clip-%08d.mov" % (number // 100, number)
                member = Member(path, "file", 0o644, 5, 0, b"", status, lambda: -1)
                spool.add(DigestedMember(member, digest, is_from_medium=True))
            spool.content_digest(b"CARD")
            spool.hold_all(0)
            assert spool.decide({0: None}) == {0}
            assert sum(folder.file_count for folder in spool.folders()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000, peaks


def test_a_path_that_an_index_lists_twice_is_no_proof(tmp_path, card):
    packed = pack(card, tmp_path)
    listed = list(Index(io.BytesIO(packed.index)).members())
    clip = next(member for member in listed if member.path.endswith(b"a.mp4"))
    with Spool() as spool:
        spool.add(_as_read(clip, card))
        spool.hold(0, [*listed, clip._replace(digest=bytes(32)), clip])
        assert spool.decide({0: None}) == set()
        assert [found.code for found in spool.unsafe()] == ["differs"]


def _as_read(member, card):
    status = card.stat()
    read = Member(member.path, member.kind, member.mode, member.size_bytes, 0, member.target, status, lambda: -1)
    return DigestedMember(read, member.digest, is_from_medium=True)
