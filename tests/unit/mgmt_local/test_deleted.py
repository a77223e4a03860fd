"""Deleted uploads of the embedded backend are found once their days are over, each with its own versions."""

from __future__ import annotations

import queue
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mgmt_api.calls.backends import Backends
from mgmt_api.ports import RecordsUnavailableError
from mgmt_api.removal.expiring import PAGE
from mgmt_contract.parts import SINGLE_PUT_MAX_BYTES
from mgmt_contract.routes import DELETE, UNDELETE
from mgmt_local import server
from mgmt_local.control import Endpoint
from mgmt_local.deleted import find_deleted
from mgmt_local.engine.expiry import Expiry
from mgmt_local.process.state import open_state_folder
from support.local_backend import Person, wait_until
from support.sign_in import make_token
from support.studio import Machine, Studio, content_of, index_of, item_for, parts_of

LARGE = bytes(SINGLE_PUT_MAX_BYTES + 1)
DAYS = timedelta(days=30, hours=1)


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def backends(studio: Studio) -> Backends:
    return Backends(studio.settings, studio.records, studio.objects, studio.clock)


def delete_one(person: Machine, name: str) -> str:
    item = item_for(name, b"footage")
    person.upload(item, b"footage")
    person.delete(item.operation_id)
    return item.operation_id


def test_the_time_is_that_of_the_look(studio: Studio, backends: Backends):
    upload_id = delete_one(studio.person("ada"), "clip")
    assert list(find_deleted(backends, studio.clock() + DAYS - timedelta(milliseconds=1))) == []
    [found] = find_deleted(backends, studio.clock() + DAYS)
    record = studio.operation(upload_id).record
    assert found.versions == ((record.s3_object_key, record.version_id),)
    found.note_removed()
    assert studio.operation(upload_id).record.removed_at == studio.clock() + DAYS
    assert list(find_deleted(backends, datetime.max.replace(tzinfo=studio.clock().tzinfo))) == []


def test_the_index_goes_with_its_archive(studio: Studio, backends: Backends):
    ada, index = studio.person("ada"), b"what is in it"
    item = item_for("card", LARGE)
    started = ada.start(item)
    parts = parts_of(LARGE, started.multipart.part_size)
    signed = ada.sign(started, parts, content_of(LARGE), index=index_of(index))
    assert studio.objects.put(signed.index_request, index) == 200
    ada.send_parts(signed, LARGE, started.multipart.part_size)
    assert ada.complete(started, content_of(LARGE)).outcome == "done"
    ada.delete(item.operation_id)
    [found] = find_deleted(backends, studio.clock() + DAYS)
    record = studio.operation(item.operation_id).record
    assert found.versions == (
        ("card.tar.gz", record.version_id),
        (f".mgmt/{item.operation_id}.index.gz", record.index_version_id),
    )


def test_all_pages_are_found_before_the_first_is_removed(studio: Studio, backends: Backends):
    ada = studio.person("ada")
    ids = [delete_one(ada, f"clip-{number}") for number in range(PAGE + 3)]
    for each in find_deleted(backends, studio.clock() + DAYS):
        each.note_removed()
    assert all(studio.operation(each).record.removed_at for each in ids)


def test_records_that_do_not_answer_or_were_changed_are_left_to_the_next_look(studio, backends, monkeypatch):
    upload_id = delete_one(studio.person("ada"), "clip")
    [found] = find_deleted(backends, studio.clock() + DAYS)
    studio.records.update_operation(studio.operation(upload_id))
    found.note_removed()
    assert studio.operation(upload_id).record.removed_at is None

    def fail(_):
        raise RecordsUnavailableError("the disk is away")

    monkeypatch.setattr(studio.records, "find_operations", fail)
    assert list(find_deleted(backends, studio.clock() + DAYS)) == []


def test_the_running_backend_removes_them_by_itself_and_nothing_else(tmp_path: Path):
    """Its clock is moved: what was deleted a moment ago is a month old by it."""
    folder, signals = open_state_folder(tmp_path), queue.SimpleQueue()
    later = datetime.now(UTC) + DAYS + timedelta(minutes=1)
    with (
        server._sole_server(folder) as claim,
        server._run_backend(folder, claim, signals, idle_seconds=60) as backend,
        closing(backend.engine.make_client()) as s3,
    ):
        url, token = backend._announced["url"], make_token(folder, "anna")
        person = Person(Endpoint(url, token))
        kept, gone = person.upload("kept", b"kept"), person.upload("gone", b"gone")
        assert person.remove(DELETE, gone.operation_id).outcome == "done"
        backend._check_seconds = 0.01
        backend._expiry = Expiry(
            backend.engine.make_client, server.BUCKET, lambda: later, backend._expiry._find_expired
        )
        watching = threading.Thread(target=backend.watch)
        watching.start()
        try:
            wait_until(lambda: person.look_up(gone.operation_id).removed_at is not None)
        finally:
            signals.put("stop")
            watching.join()
        versions = s3.list_object_versions(Bucket=server.BUCKET)
        assert [each["Key"] for each in versions["Versions"]] == [kept.record.s3_object_key]
        assert versions.get("DeleteMarkers") is None
        assert person.remove(UNDELETE, gone.operation_id).problem.code == "not-recoverable"
        assert person.upload("gone", b"other").outcome == "done"
