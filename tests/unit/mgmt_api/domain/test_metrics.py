"""What is counted: once for each upload however often a call is repeated, and never at an answer's cost."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from mgmt_api.adapters.cloudwatch import CloudWatchMetrics
from mgmt_api.wiring import build_app
from mgmt_contract import routes
from support.events import make_claims, make_event
from support.fakes import FakeObjectStore, FakeRecordStore, ManualClock
from support.studio import SETTINGS, content_of, item_for

BODY = b"the bytes"


def test_an_upload_is_counted_once_however_often_it_is_asked_for(studio, ada):
    item = item_for("clip", BODY)
    for _ in range(2):
        started = ada.start(item)
    ada.send(started, BODY)
    for _ in range(2):
        assert ada.complete(started, content_of(BODY)).outcome == "done"
    assert studio.metrics.counts == {"UploadsStarted": 1, "UploadsDone": 1, "BytesStored": len(BODY)}
    assert studio.metrics.flushes == 4


def test_a_failure_is_counted_by_its_code_once(studio, ada):
    started = ada.start(item_for("clip", BODY))
    for _ in range(2):
        ada.fail(started, code="source-changed")
    assert studio.metrics.counts["UploadsFailed source-changed"] == 1


def test_problems_are_counted_by_code_of_items_and_of_whole_requests(studio, ada):
    ada.start(item_for("../clip"))
    studio.app(make_event(routes.START, claims=make_claims("sub", "ada"), body="{"))
    studio.app(make_event(("GET", "/v2"), claims=make_claims("sub", "ada")))
    codes = {name: count for name, count in studio.metrics.counts.items() if name.startswith("Problems")}
    assert codes == {"Problems invalid-name": 1, "Problems invalid-request": 1, "Problems no-such-route": 1}


def test_what_is_fetched_restored_and_deleted_is_counted_once(studio, ada):
    upload = ada.upload(item_for("clip", BODY), BODY)
    opened = ada.open_download(upload.operation_id)
    broken = ada.open_download(upload.operation_id)
    for _ in range(2):
        ada.end_download(opened, len(BODY))
        ada.end_download(broken, 3, error_code="disk-full", error_message="no space is left")
    studio.objects.state("clip.tar.gz", upload.record.version_id, storage_class="GLACIER")
    for _ in range(2):
        ada.restore(upload.operation_id)
        ada.delete(upload.operation_id)
    counts = {name: studio.metrics.counts[name] for name in ("DownloadsDone", "BytesFetched", "RestoresAsked")}
    assert counts == {"DownloadsDone": 1, "BytesFetched": len(BODY) + 3, "RestoresAsked": 1}
    assert studio.metrics.counts["UploadsDeleted"] == 1


# --- as CloudWatch reads them --------------------------------------------------------------------------------------


def printed(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_counts_are_summed_and_printed_as_cloudwatch_reads_them(capsys):
    metrics = CloudWatchMetrics("mgmt-2")
    for size in (10, 20):
        metrics.count("UploadsDone")
        metrics.count("BytesStored", size)
    metrics.count("Problems", code="name-taken")
    metrics.flush()
    plain, by_code = printed(capsys)
    [directive] = plain["_aws"]["CloudWatchMetrics"]
    assert directive == {
        "Namespace": "mgmt",
        "Dimensions": [["service"]],
        "Metrics": [{"Name": "UploadsDone", "Unit": "Count"}, {"Name": "BytesStored", "Unit": "Bytes"}],
    }
    assert (plain["service"], plain["UploadsDone"], plain["BytesStored"]) == ("mgmt-2", [2], [30])
    [directive] = by_code["_aws"]["CloudWatchMetrics"]
    assert [set(names) for names in directive["Dimensions"]] == [{"service", "code"}]
    assert (by_code["code"], by_code["Problems"]) == ("name-taken", [1])


def test_what_was_counted_is_printed_once_and_nothing_where_nothing_was(capsys, recwarn):
    metrics = CloudWatchMetrics("mgmt-2")
    metrics.flush()
    assert printed(capsys) == []
    metrics.count("UploadsStarted")
    for _ in range(2):
        metrics.flush()
    assert len(printed(capsys)) == 1
    assert not recwarn.list


def test_a_code_that_a_client_made_up_makes_no_metric_of_its_own(capsys):
    """Each is paid for, and a client may report any text."""
    metrics = CloudWatchMetrics("mgmt-2")
    for number in range(200):
        metrics.count("UploadsFailed", code=f"made-up-{number}")
    metrics.flush()
    [line] = printed(capsys)
    assert (line["code"], line["UploadsFailed"]) == ("other", [200])


def test_counts_of_many_threads_are_all_there(capsys):
    metrics = CloudWatchMetrics("mgmt-2")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: metrics.count("UploadsStarted"), range(1000)))
    metrics.flush()
    [line] = printed(capsys)
    assert line["UploadsStarted"] == [1000]


class BrokenStream:
    """A standard output that takes nothing."""

    def write(self, _: str) -> int:
        raise OSError("no space left")

    def flush(self) -> None:
        raise OSError("no space left")


def test_metrics_that_cannot_be_printed_break_no_answer(monkeypatch):
    app = build_app(SETTINGS, FakeRecordStore(), FakeObjectStore(), ManualClock(), CloudWatchMetrics("mgmt-2"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", BrokenStream())
        answer = app(make_event(routes.HISTORY), None)
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (401, "login-required")


def test_without_metrics_nothing_is_printed_for_them(capfd):
    """So it is in the embedded backend, whose output is a log that people read."""
    app = build_app(SETTINGS, FakeRecordStore(), FakeObjectStore(), ManualClock())
    assert app(make_event(routes.HISTORY), None)["statusCode"] == 401
    assert "_aws" not in capfd.readouterr().out
