"""What the service says it takes at a time is what the client sends, and never more than the client's own limits."""

from contextlib import closing

import pytest

from mgmt.cli.main import main
from mgmt.journal import Journal
from mgmt.service.replies import Limits, limits_of
from mgmt_contract.messages.service import Service
from mgmt_contract.messages.uploads import CleanUp
from mgmt_contract.parts import MIB, SINGLE_PUT_MAX_BYTES
from mgmt_contract.problems import PROBLEM_CONTENT_TYPE, make_problem
from mgmt_contract.wire import to_json
from support.fakes import content_md5
from support.paper_service import paper_service
from support.trees import noise

ITEMS_MAX, SIGN_PARTS_MAX = 7, 3


@pytest.fixture
def service(machine_without_settings, monkeypatch):
    with paper_service() as running:
        running.limits.update(items_max=ITEMS_MAX, sign_parts_max=SIGN_PARTS_MAX, single_put_max_bytes=MIB)
        monkeypatch.setenv("MGMT_TOKEN", "sesame")
        monkeypatch.setenv("MGMT_API_URL", running.url)
        yield running


def make_files(tmp_path):
    for number in range(20):
        (tmp_path / "work" / f"small-{number:02}").write_bytes(b"x" * number)
    (tmp_path / "work" / "medium").write_bytes(noise(2 * MIB))
    (tmp_path / "work" / "large").write_bytes(noise(27 * MIB))


def check_calls(service):
    for what, body in service.asked:
        if what in ("service", "put", "history"):
            continue
        assert 1 <= len(body["items"]) <= ITEMS_MAX, what
        assert len(body.get("clean_ups", [])) <= ITEMS_MAX, what
        if what == "sign":
            assert sum(len(item["parts"]) for item in body["items"]) <= SIGN_PARTS_MAX


def test_a_service_that_takes_little_is_given_little(service, tmp_path, capsys):
    make_files(tmp_path)
    assert main(["--json", "upload", "all"]) == 0
    assert '"succeeded":22' in capsys.readouterr().out
    check_calls(service)
    assert service.count("service") == 1
    assert service.count("start") == 2 + 3, "two large ones, and twenty by sevens"
    assert service.count("sign") >= 2 + 1, "six parts by threes, and one"
    wholes = [item for what, body in service.asked if what == "start" for item in body["items"] if item.get("content")]
    assert all(item["content"]["size"] <= MIB for item in wholes)


def test_a_dry_run_asks_for_as_little(service, tmp_path):
    make_files(tmp_path)
    assert main(["upload", "--dry-run", "all"]) == 0
    check_calls(service)
    assert service.count("preview") == 4


def test_a_single_target_costs_no_question(service, tmp_path):
    """What fits into any call needs no limit: start, PUT, complete and clean-up."""
    (tmp_path / "work" / "clip").write_bytes(b"x")
    assert main(["upload", "clip"]) == 0
    assert [what for what, _ in service.asked] == ["start", "put", "complete", "clean-up"]


@pytest.mark.parametrize("fields", [["start.content_md5"], ["start.something_else"], []])
def test_only_a_service_that_takes_the_md5_is_sent_it_and_only_of_whole_archives(service, tmp_path, fields):
    service.limits.update(single_put_max_bytes=SINGLE_PUT_MAX_BYTES, optional_fields=fields)
    (tmp_path / "work" / "a").write_bytes(b"x")
    (tmp_path / "work" / "b").write_bytes(noise(MIB))
    (tmp_path / "work" / "large").write_bytes(noise(27 * MIB))
    assert main(["upload", "--keep-archive", "a", "b", "large"]) == 0
    items = [item for what, body in service.asked if what == "start" for item in body["items"]]
    md5s = {item["name"]: item.get("content_md5") for item in items}
    archives = {name: (tmp_path / "work" / f"{name}.tar.gz").read_bytes() for name in ("a", "b")}
    is_taken = "start.content_md5" in fields
    expected = {name: content_md5(body) if is_taken else None for name, body in archives.items()}
    assert md5s == {**expected, "large": None}


def upload_one(tmp_path, name):
    (tmp_path / "work" / name).write_bytes(name.encode())
    assert main(["upload", "--keep-archive", name]) == 0
    return content_md5((tmp_path / "work" / f"{name}.tar.gz").read_bytes())


def refuse_starts(service, code="invalid-request", *, only_with_md5=True):
    """Refuse starts, as a service does that knows no MD5, or all of them."""
    refuse(service, "start", lambda: bool(md5s_asked(service)[-1] or not only_with_md5), code)


def refuse(service, refused, is_refused, code="invalid-request"):
    """Refuse calls of a kind as long as a function says so."""
    problem = make_problem(code, "Fields that are not as expected: items.0.")
    body = to_json(problem).encode()
    head = "HTTP/1.1 {} Refused\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n"
    refusal = head.format(problem.status, PROBLEM_CONTENT_TYPE, len(body)).encode() + body

    def mangle(what, _):
        return [refusal] if what == refused and is_refused() else None

    service.mangle = mangle


def md5s_asked(service):
    """Return what was sent as MD5 with each start."""
    return [item.get("content_md5") for what, body in service.asked if what == "start" for item in body["items"]]


def test_a_single_target_sends_its_md5_from_the_second_command_on(service, tmp_path):
    """The answer to the first start says that the service takes it; the journal remembers that, for this service."""
    service.limits.update(optional_fields=["start.content_md5", "start.something_else"])
    upload_one(tmp_path, "first")
    second, third = (upload_one(tmp_path, name) for name in ("second", "third"))
    assert md5s_asked(service) == [None, second, third]
    assert service.count("service") == 0
    with paper_service() as other, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MGMT_API_URL", other.url)
        upload_one(tmp_path, "fourth")
        assert md5s_asked(other) == [None]


def test_a_service_that_takes_no_md5_any_more_is_sent_none(service, tmp_path):
    service.limits.update(optional_fields=["start.content_md5"])
    upload_one(tmp_path, "first")
    service.limits.update(optional_fields=[])
    second = upload_one(tmp_path, "second")
    upload_one(tmp_path, "third")
    assert md5s_asked(service) == [None, second, None]


def test_an_older_service_that_refuses_the_md5_is_asked_once_more_without_it(service, tmp_path):
    service.limits.update(optional_fields=["start.content_md5"])
    upload_one(tmp_path, "first")
    service.limits.update(optional_fields=[])
    refuse_starts(service)
    second = upload_one(tmp_path, "second")
    upload_one(tmp_path, "third")
    assert md5s_asked(service) == [None, second, None, None]


def test_a_refusal_of_another_cause_is_repeated_once_and_told(service, tmp_path, capsys):
    service.limits.update(optional_fields=["start.content_md5"])
    upload_one(tmp_path, "first")
    refuse_starts(service, only_with_md5=False)
    (tmp_path / "work" / "second").write_bytes(b"x")
    assert main(["upload", "second"]) == 6
    assert "Fields that are not as expected" in capsys.readouterr().err
    assert [bool(md5) for md5 in md5s_asked(service)] == [False, True, False]


def test_other_refusals_are_not_repeated(service, tmp_path):
    service.limits.update(optional_fields=["start.content_md5"])
    upload_one(tmp_path, "first")
    refuse_starts(service, "bucket-differs")
    (tmp_path / "work" / "second").write_bytes(b"x")
    assert main(["upload", "second"]) == 10
    assert len(md5s_asked(service)) == 2


def test_a_dry_run_sends_no_md5(service, tmp_path):
    service.limits.update(optional_fields=["start.content_md5"])
    upload_one(tmp_path, "first")
    assert main(["upload", "--dry-run", "first"]) == 0
    [previewed] = [item for what, body in service.asked if what == "preview" for item in body["items"]]
    assert previewed.get("content_md5") is None


def test_what_an_earlier_run_could_not_report_is_reported_by_sevens(service, tmp_path):
    clean_ups = [CleanUp(f"01a2041b-befb-730e-9a3c-{number:012}", "completed", "deleted") for number in range(20)]
    with closing(Journal(tmp_path / "state")) as journal:
        journal.finish(service.url, clean_ups)
    (tmp_path / "work" / "clip").write_bytes(b"x")
    assert main(["upload", "clip"]) == 0
    check_calls(service)
    riding = [each for _, body in service.asked if isinstance(body, dict) for each in body.get("clean_ups", [])]
    reported = [each for what, body in service.asked if what == "clean-up" for each in body["items"]]
    assert len(riding + reported) == 21


@pytest.mark.parametrize("name", ["items_max", "sign_parts_max", "single_put_max_bytes", "part_count_max"])
def test_limits_that_nothing_fits_into_are_no_answer(service, tmp_path, name):
    (tmp_path / "work" / "clip").write_bytes(b"x")
    service.limits[name] = 0
    assert main(["upload", "clip"]) == 7
    assert service.count("put") == 0


def test_more_parts_than_the_service_takes_are_no_answer(service, tmp_path):
    (tmp_path / "work" / "large").write_bytes(noise(27 * MIB))
    service.limits["part_count_max"] = 3
    assert main(["upload", "large"]) == 7
    assert service.count("sign") == 0


def test_a_service_that_takes_more_gets_what_is_usual():
    service = Service(1, 1, "1", "b", "r", "", 10**9, 10**6, 5000, 5000, 600)
    assert limits_of(service) == Limits(100, 100, SINGLE_PUT_MAX_BYTES)


def indexes_stated(service):
    """Return what each signing that told the content stated of an index."""
    items = [item for what, body in service.asked if what == "sign" for item in body["items"]]
    return [item.get("index") for item in items if item.get("final")]


@pytest.mark.parametrize(("fields", "puts"), [(["sign.index"], 1 + 2), (["start.content_md5"], 2), ([], 2)])
def test_only_a_service_that_takes_indexes_is_told_one(service, tmp_path, fields, puts):
    service.limits.update(optional_fields=fields)
    (tmp_path / "work" / "large").write_bytes(noise(7 * MIB))
    assert main(["upload", "large"]) == 0
    [stated] = indexes_stated(service)
    assert bool(stated) == ("sign.index" in fields)
    assert service.count("put") == puts


def test_an_older_service_that_refuses_the_index_is_asked_once_more_without_it(service, tmp_path):
    """It took the place of a newer one after the start."""
    service.limits.update(optional_fields=["sign.index"])
    refuse(service, "sign", lambda: indexes_stated(service)[-1:] not in ([], [None]))
    (tmp_path / "work" / "large").write_bytes(noise(7 * MIB))
    assert main(["upload", "large"]) == 0
    first, second = indexes_stated(service)
    assert (bool(first), second, service.count("put")) == (True, None, 2)


def test_an_address_for_the_index_that_is_not_the_buckets_is_not_sent_to(service, tmp_path, capsys):
    service.limits.update(optional_fields=["sign.index"])

    def change(what, answer):
        for result in answer["results"] if what == "sign" else ():
            if result["index_request"]:
                result["index_request"]["url"] = "https://elsewhere.invalid/index"
        return answer

    service.change = change
    (tmp_path / "work" / "large").write_bytes(noise(7 * MIB))
    assert main(["--json", "upload", "large"]) == 7
    assert "no address of the bucket" in capsys.readouterr().err
