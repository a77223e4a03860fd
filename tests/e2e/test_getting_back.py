"""Getting footage back, as the protocol has it: the real service, the real engine, archives that mgmt has uploaded."""

from __future__ import annotations

import io
import secrets
import tarfile
from dataclasses import replace

import pytest

from mgmt_contract import routes
from mgmt_contract.messages.downloads import (
    DownloadEnd,
    DownloadItem,
    DownloadResult,
    EndDownloadsRequest,
    OpenDownloadsRequest,
    OpenDownloadsResponse,
)
from mgmt_contract.messages.history import RecordsResponse
from mgmt_contract.messages.objects import (
    LookRequest,
    LookResponse,
    LookResult,
    RestoreItem,
    RestoreRequest,
    RestoreResponse,
)
from mgmt_contract.parts import MIB
from support.calls import call
from support.engine import fetch, send
from support.fakes import crc64nvme
from support.operations import make_id
from support.team import Laptop, Team

SMALL = b"one clip"
LARGE = secrets.token_bytes(20 * MIB)
"""Goes in parts: packed, it is larger than a whole PUT may be."""


def upload(laptop: Laptop, body: bytes, name: str = "clip.mov", *options: str) -> str:
    """Upload a file by the command; return the operation's id."""
    (laptop.work / name).write_bytes(body)
    run = laptop.run("--json", "upload", *options, name)
    assert run.exit_code == 0, run.stderr
    [record] = run.records
    return record["operation_id"]


def open_download(laptop: Laptop, upload_id: str, number: int = 1) -> DownloadResult:
    request = OpenDownloadsRequest([DownloadItem(make_id(number), upload_id, "restored/clip.mov")])
    return call(laptop, routes.OPEN_DOWNLOADS, OpenDownloadsResponse, request).results[0]


def look(laptop: Laptop, upload_id: str) -> LookResult:
    return call(laptop, routes.LOOK, LookResponse, LookRequest([upload_id])).results[0]


def content_of(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        [member] = opened.getmembers()
        return opened.extractfile(member).read()


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["whole", "in parts"])
def test_what_one_person_uploaded_another_gets_back_byte_for_byte(team: Team, anna: Laptop, bert: Laptop, body: bytes):
    upload_id = upload(anna, body)
    opened = open_download(bert, upload_id)
    status, archive = fetch(opened.request)
    assert (status, content_of(archive) == body) == (200, True)
    assert (len(archive), crc64nvme(archive)) == (opened.stored.size, opened.upload.crc64nvme)
    middle = len(archive) // 2
    for first, last in ((0, 9), (middle, middle + 5), (middle, len(archive) - 1)):
        assert fetch(opened.request, (first, last)) == (206, archive[first : last + 1]), "by the same URL"
    ended = EndDownloadsRequest([DownloadEnd(opened.operation_id, len(archive))])
    [result] = call(bert, routes.END_DOWNLOADS, RecordsResponse, ended).results
    assert (result.record.status, result.record.actor, result.record.received_bytes) == (
        "success",
        "bert",
        len(archive),
    )


def test_a_download_url_is_good_for_its_version_of_its_key_and_for_nothing_else(team: Team, anna: Laptop):
    first_id = upload(anna, SMALL)
    second_id = upload(anna, b"another take", "clip.mov", "--replace")
    first, second = open_download(anna, first_id, 1), open_download(anna, second_id, 2)
    assert content_of(fetch(first.request)[1]) == SMALL, "as it was before it was replaced"
    old, new = first.upload.version_id, second.upload.version_id
    assert None is not old != new is not None
    for found, instead in ((old, new), ("clip.mov", "clop.mov"), ("X-Amz-Expires=", "X-Amz-Expires=1")):
        changed = first.request.url.replace(found, instead, 1)
        assert changed != first.request.url
        assert fetch(replace(first.request, url=changed))[0] == 403, found
    assert send(first.request, b"instead") == 403
    assert content_of(fetch(second.request)[1]) == b"another take"


def test_opening_again_on_another_day_goes_on_with_the_same_download(team: Team, anna: Laptop):
    upload_id = upload(anna, SMALL)
    first = open_download(anna, upload_id)
    again = open_download(anna, upload_id)
    assert (again.outcome, again.record) == ("opened", first.record)
    assert fetch(again.request) == fetch(first.request)


def test_a_look_sees_what_was_changed_behind_the_services_back(team: Team, anna: Laptop):
    upload_id = upload(anna, SMALL)
    seen = look(anna, upload_id)
    assert (seen.outcome, seen.stored.is_current) == ("there", True)
    key = seen.s3_object_key
    team.s3.put_object(Bucket=team.bucket, Key=key, Body=b"junk")
    seen = look(anna, upload_id)
    assert (seen.outcome, seen.stored.is_current) == ("there", False)
    team.s3.delete_object(Bucket=team.bucket, Key=key, VersionId=seen.version_id)
    assert look(anna, upload_id).outcome == open_download(anna, upload_id).outcome == "gone"


def test_a_class_that_is_a_mere_label_here_is_opened_at_once(team: Team, anna: Laptop):
    opened = open_download(anna, upload(anna, SMALL, "clip.mov", "--storage-class", "GLACIER"))
    assert (opened.outcome, opened.stored.storage_class) == ("opened", "GLACIER")
    assert content_of(fetch(opened.request)[1]) == SMALL
    request = RestoreRequest([RestoreItem(make_id(2), opened.upload.operation_id)])
    [result] = call(anna, routes.RESTORE, RestoreResponse, request).results
    assert (result.outcome, result.record) == ("readable", None), "there is nothing to restore"


def test_history_and_show_tell_of_downloads(team: Team, anna: Laptop, bert: Laptop):
    opened = open_download(bert, upload(anna, SMALL))
    lines = anna.run("--json", "history").records
    assert [(line["operation_type"], line["actor"]) for line in lines] == [("download", "bert"), ("upload", "anna")]
    assert lines[0]["upload_id"] == lines[1]["operation_id"]
    assert "download: clip.mov.tar.gz" in anna.run("history").stdout
    shown = anna.run("show", opened.operation_id)
    assert (shown.exit_code, "download" in shown.stdout) == (0, True)
    named = anna.run("show", "clip.mov")
    assert (named.exit_code, lines[1]["operation_id"] in named.stdout) == (0, True), "a name is an upload's"
