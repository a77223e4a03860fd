"""What the service must not answer: each real command ends with a sentence, and nothing local is lost."""

import copy
import json

import pytest

from mgmt.cli.main import main
from support.paper_service import paper_service
from support.trees import noise


@pytest.fixture
def service(machine_without_settings, monkeypatch):
    (machine_without_settings / "clip.mov").write_bytes(noise(10_000))
    with paper_service() as running:
        monkeypatch.setenv("MGMT_TOKEN", "sesame")
        monkeypatch.setenv("MGMT_API_URL", running.url)
        yield running


@pytest.fixture
def upload(service, capsys, tmp_path):
    """Upload a clip to a service that changes one of its answers; the clip stays."""

    def run(what, change, *arguments):
        def change_result(asked, answer):
            answer = copy.deepcopy(answer)
            if asked == what:
                change(answer["results"][0] if "results" in answer else answer)
            return answer

        service.change = change_result
        exit_code = main(["--json", "upload", "clip.mov", *arguments])
        said = capsys.readouterr()
        assert (tmp_path / "work" / "clip.mov").read_bytes() == noise(10_000)
        return exit_code, said.out, said.err

    return run


def set_to(**fields):
    return lambda result: result.update(fields)


def at(name, **fields):
    return lambda result: result[name].update(fields)


def test_the_paper_service_is_one(service, upload, tmp_path):
    exit_code, out, err = upload("none", lambda _: None)
    assert (exit_code, err) == (0, "")
    assert json.loads(out.splitlines()[-1])["succeeded"] == 1
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["clip.mov"]
    assert main(["history"]) == 0
    service.limits["single_put_max_bytes"] = 1000
    assert upload("none", lambda _: None, "--as", "other")[0] == 0
    assert service.count("sign") == 1


NOTHING_IN_IT = [
    ("start", set_to(outcome="already_there")),
    ("start", set_to(outcome="done")),
    ("start", set_to(outcome="problem")),
    ("start", set_to(outcome="claimed_same")),
    ("start", set_to(request=None)),
    ("start", set_to(lease=None)),
    ("start", set_to(outcome="multipart")),
    ("start", set_to(outcome="name_taken")),
    ("start", set_to(operation_id="another")),
    ("start", set_to(problem={"type": "t", "title": "t", "status": 409, "code": "name-taken", "detail": "d"})),
    ("complete", set_to(outcome="problem")),
    ("complete", set_to(outcome="incomplete")),
    ("complete", set_to(record=None)),
    ("complete", set_to(outcome="incomplete", missing_parts=[0])),
    ("complete", at("record", operation_id="another")),
    ("complete", at("record", operation_type="download")),
    ("complete", at("record", started_at="0001-01-01T00:00:00+14:00")),
    ("complete", at("record", uncompressed_size=10**400)),
]


@pytest.mark.parametrize(("what", "change"), NOTHING_IN_IT)
def test_an_answer_that_lacks_what_its_outcome_needs_is_no_answer(upload, what, change):
    """Exit code 0 for nothing would tell a person that the footage is safe."""
    exit_code, out, err = upload(what, change)
    assert exit_code == 7
    assert json.loads(err.splitlines()[0])["code"] == "bad-answer"
    assert '"succeeded":1' not in out


URLS = [
    "http://paper.s3.eu-west-1.amazonaws.com/key",
    "ftp://127.0.0.1/key",
    "https://user:secret@paper.s3.eu-west-1.amazonaws.com/key",
    "https:///key",
    "http://127.0.0.1:99999/key",
    "http://[::1/key",
    "https://paper.s3.eu-west-1.amazonaws.com/a key",
    "https://paper.s3.eu-west-1.amazonaws.com/é",
    "https://paper.s3.eu-west-1.amazonaws.com/\r\nx: y",
    "https://paper.s3.eu-west-1.amazonaws.com/" + "k" * 20_000,
    "https://storage.example/key",
    "",
]
HEADERS = [
    {"x-amz-a": "b\r\nx: y"},
    {"x-amz-a\r\nx": "y"},
    {"x-amz-a": "é"},
    {"": "x"},
    {"Transfer-Encoding": "chunked"},
    {"host": "other.example"},
    {"content-length": "7"},
    {"proxy-authorization": "x"},
]


LIVES = [at("request", expires_in_seconds=0), at("lease", expires_in_seconds=10**9)]


@pytest.mark.parametrize(
    "change",
    [
        *(at("request", url=url) for url in URLS),
        *(at("request", headers=headers) for headers in HEADERS),
        *LIVES,
    ],
)
def test_a_url_or_a_header_that_must_not_be_sent_is_not_sent(service, upload, change):
    exit_code, _, err = upload("start", change)
    assert exit_code == 7
    assert json.loads(err.splitlines()[0])["code"] == "bad-answer"
    assert service.count("put") == 0


@pytest.mark.parametrize("part_size", [0, 1, 10**18])
def test_a_part_size_that_makes_no_sense_is_refused(service, upload, part_size):
    service.limits["single_put_max_bytes"] = 1000
    assert upload("start", at("multipart", part_size=part_size))[0] == 7
    assert service.count("sign") == 0


@pytest.mark.parametrize("change", [set_to(parts=[]), set_to(lease=None), at("lease", expires_in_seconds=0)])
def test_urls_of_parts_that_are_missing_are_noticed(service, upload, change):
    service.limits["single_put_max_bytes"] = 1000
    assert upload("sign", change)[0] == 7
    assert service.count("put") == 0


@pytest.mark.parametrize("results", [[], "twice"])
@pytest.mark.parametrize("what", ["start", "complete"])
def test_there_is_one_result_for_each_item(service, capsys, what, results):
    def change(asked, answer):
        if asked == what:
            answer["results"] = answer["results"] * 2 if results == "twice" else []
        return answer

    service.change = change
    assert main(["--json", "upload", "clip.mov"]) == 7
    assert '"code":"bad-answer"' in capsys.readouterr().err


# --- a service of tomorrow ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "change", "sends"),
    [
        ("start", set_to(outcome="queued", lease=None, request=None), 0),
        ("start", set_to(outcome="queued"), 0),
        ("complete", set_to(outcome="verifying", record=None), 1),
        ("complete", lambda result: result.update(problem_of("quarantined"), record=None), 1),
    ],
)
def test_an_outcome_of_tomorrow_leaves_the_upload_as_it_is(service, upload, tmp_path, what, change, sends):
    """Only a newer mgmt knows what came of it: nothing is failed, thrown away or taken for done."""
    exit_code, out, err = upload(what, change)
    assert exit_code == 6
    error = json.loads(err.splitlines()[0])
    assert error["code"] in ("versions-differ", "quarantined")
    if error["code"] == "versions-differ":
        assert "update mgmt" in error["message"]
    assert service.count("fail") == 0
    assert service.count("put") == sends
    [record] = [json.loads(line) for line in out.splitlines() if '"type":"record"' in line]
    assert record["status"] == "pending"
    if sends:  # what was sent is worth its archive
        assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["clip.mov", "clip.mov.tar.gz"]
    service.change = lambda _, answer: answer
    assert upload("none", lambda _: None)[0] == 0
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["clip.mov"]
    ids = {item["operation_id"] for asked, body in service.asked if asked == "start" for item in body["items"]}
    assert len(ids) == 1, "the same operation goes on"


def problem_of(code):
    problem = {"type": f"urn:mgmt:problem:{code}", "title": code, "status": 409, "code": code, "detail": "Wait."}
    return {"outcome": "problem", "problem": problem}


def test_one_outcome_of_tomorrow_does_not_hold_the_others_up(service, upload, tmp_path):
    (tmp_path / "work" / "second.mov").write_bytes(noise(5000))
    exit_code, out, _ = upload("start", set_to(outcome="queued"), "second.mov")
    assert exit_code == 3
    assert json.loads(out.splitlines()[-1])["succeeded"] == 1


def test_a_part_that_is_answered_otherwise_leaves_the_upload_as_it_is(service, upload):
    service.limits["single_put_max_bytes"] = 1000
    exit_code, _, err = upload("sign", set_to(outcome="queued", parts=[]))
    assert exit_code == 6
    assert "update mgmt" in err
    assert service.count("fail") == 0


def test_a_dry_run_says_so_too(service, upload):
    exit_code, out, err = upload("preview", set_to(outcome="queued"), "--dry-run")
    assert exit_code == 6
    assert "update mgmt" in out + err
