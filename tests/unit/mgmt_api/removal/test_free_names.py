"""The name of a deleted upload is free at once: a new one takes its place without a word, and both versions stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mgmt_api.domain.settings import Settings
from mgmt_contract.parts import SINGLE_PUT_MAX_BYTES
from support.fakes import StrictRecordStore
from support.studio import SETTINGS, Machine, Studio, content_of, item_for, parts_of

BODY, OTHER = b"footage, packed", b"other footage"
LARGE = bytes(SINGLE_PUT_MAX_BYTES + 1)


@pytest.fixture(params=["members", "admins"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Whoever may replace somebody else's object: a deleted one is nobody's."""
    return replace(SETTINGS, replace_others=request.param)


@pytest.fixture
def studio(settings: Settings) -> Studio:
    return Studio(settings, records=StrictRecordStore())


@pytest.fixture
def deleted(ada: Machine) -> str:
    item = item_for("clip", BODY)
    ada.upload(item, BODY)
    ada.delete(item.operation_id)
    return item.operation_id


@pytest.mark.parametrize("body", [BODY, OTHER, LARGE], ids=["same", "other", "large"])
def test_a_new_upload_is_stored_over_it_and_both_versions_stay(studio: Studio, ada, bob: Machine, deleted: str, body):
    assert bob.preview(item_for("clip", body))[0].outcome == "free"
    studio.clock.advance(1)
    new = item_for("clip", body)
    done = bob.upload(new, body)
    assert (done.outcome, done.record.replaces, done.record.replaces_actor) == ("done", deleted, "ada")
    assert len(studio.objects.versions["clip.tar.gz"]) == 2
    assert studio.objects.read("clip.tar.gz") == body
    assert [bob.open_download(id_).outcome for id_ in (deleted, new.operation_id)] == ["opened", "opened"]
    assert bob.history().replaced == (deleted,)
    taken = ada.start(item_for("clip", b"more"))
    assert taken.problem.code == "name-taken"


def test_an_archive_that_is_still_packed_goes_in_parts_over_it(bob: Machine, deleted: str):
    item = item_for("clip", None, upper_bound=len(LARGE))
    started = bob.start(item)
    assert started.outcome == "multipart"
    bob.carry(started, LARGE)
    assert bob.complete(started, content_of(LARGE)).outcome == "done"


def test_the_whole_archive_and_one_in_parts_go_on_after_an_interruption(bob: Machine, deleted: str):
    """The same start comes again without `replace`: the operation needs none."""
    for name, body in (("clip", OTHER), ("clip", LARGE)):
        item = item_for(name, body)
        assert bob.start(item).outcome in ("put", "multipart")
        again = bob.start(item)
        assert again.problem is None
        bob.fail(again)


@pytest.mark.parametrize("body", [OTHER, LARGE], ids=["whole", "in parts"])
def test_a_deleted_object_that_is_removed_meanwhile_is_no_obstacle(studio: Studio, bob: Machine, deleted: str, body):
    item = item_for("clip", body)
    started = bob.start(item)
    version_id = studio.operation(deleted).record.version_id
    if started.multipart is not None:
        bob.carry(started, body)
        studio.objects.destroy("clip.tar.gz", version_id)
        assert bob.complete(started, content_of(body)).outcome == "done"
        return
    studio.objects.destroy("clip.tar.gz", version_id)
    assert bob.send(started, body) == 404
    assert bob.complete(started, content_of(body)).missing_parts == [1]
    again = bob.start(item)
    assert bob.send(again, body) == 200
    assert bob.complete(again, content_of(body)).outcome == "done"


def test_parts_over_it_are_joined_by_one_only(studio: Studio, ada: Machine, bob: Machine, deleted: str):
    """Somebody stores under the name past the service: that is not replaced."""
    item = item_for("clip", LARGE)
    started = bob.start(item)
    signed = bob.sign(started, parts_of(LARGE, started.multipart.part_size), content_of(LARGE))
    bob.send_parts(signed, LARGE, started.multipart.part_size)
    studio.objects.place("clip.tar.gz", b"by hand")
    assert bob.complete(started, content_of(LARGE)).problem.code == "name-taken"
    assert studio.objects.read("clip.tar.gz") == b"by hand"


def test_an_upload_with_replace_that_began_before_the_deletion_ends_as_it_began(studio, ada: Machine, bob: Machine):
    first = item_for("clip", BODY)
    ada.upload(first, BODY)
    second = item_for("clip", OTHER, replace=True)
    studio.clock.advance(1)
    started = ada.start(second)
    assert ada.delete(first.operation_id).outcome == "done"
    ada.send(started, OTHER)
    assert ada.complete(started, content_of(OTHER)).outcome == "done"
    assert ada.start(item_for("clip", OTHER)).outcome == "already_there"
    assert ada.undelete(first.operation_id).newer.operation_id == second.operation_id


def test_a_deletion_between_the_last_look_and_the_record_is_seen(studio: Studio, ada: Machine, monkeypatch):
    """Completing writes the name; a deletion of the replaced version wrote it first: completing looks again."""
    first = item_for("clip", BODY)
    ada.upload(first, BODY)
    studio.clock.advance(1)
    started = ada.start(item_for("clip", OTHER, replace=True))
    ada.send(started, OTHER)
    put = studio.records.put_name

    def lose(name):
        monkeypatch.setattr(studio.records, "put_name", put)
        ada.delete(first.operation_id)
        return put(name)

    monkeypatch.setattr(studio.records, "put_name", lose)
    assert ada.complete(started, content_of(OTHER)).outcome == "done"
    name = studio.records.names["clip.tar.gz"]
    assert (name.current.operation_id, name.current.is_deleted) == (started.operation_id, False)


def test_deleting_a_version_that_was_replaced_frees_no_name(studio: Studio, ada: Machine):
    first, second = item_for("clip", BODY), item_for("clip", OTHER, replace=True)
    ada.upload(first, BODY)
    studio.clock.advance(1)
    ada.upload(second, OTHER)
    assert ada.delete(first.operation_id).outcome == "done"
    assert ada.start(item_for("clip", b"more")).problem.code == "name-taken"


def test_an_older_version_that_comes_to_light_does_not_take_the_name(studio: Studio, ada: Machine, bob: Machine):
    """A storage that removes the deleted version shows the one below it again: history calls that replaced."""
    first, second = item_for("clip", BODY), item_for("clip", OTHER, replace=True)
    ada.upload(first, BODY)
    studio.clock.advance(1)
    ada.upload(second, OTHER)
    ada.delete(second.operation_id)
    studio.objects.destroy("clip.tar.gz", studio.operation(second.operation_id).record.version_id)
    assert studio.objects.read("clip.tar.gz") == BODY
    for body in (BODY, b"more"):
        assert bob.preview(item_for("clip", body))[0].outcome == "free"
    assert bob.upload(item_for("clip", b"more"), b"more").outcome == "done"
    assert ada.open_download(first.operation_id).outcome == "opened"


def test_an_object_that_was_laid_over_it_past_the_service_is_not_free(studio: Studio, bob: Machine, deleted: str):
    studio.objects.place("clip.tar.gz", b"by hand")
    assert bob.preview(item_for("clip", OTHER))[0].outcome == "taken"
    assert bob.start(item_for("clip", OTHER)).problem.code == "name-taken"


def test_a_twin_of_a_deleted_name_stays_refused_because_it_may_come_back(bob: Machine, deleted: str):
    assert bob.start(item_for("Clip", OTHER)).problem.code == "name-differs-in-case"
