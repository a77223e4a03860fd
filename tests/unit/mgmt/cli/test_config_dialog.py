"""`mgmt config`: answered by a person at a terminal, and refused where nobody is."""

import io
import json
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mgmt.cli.invocation import Invocation
from mgmt.cli.main import main, mgmt
from mgmt.errors import CancelledError
from mgmt_contract.messages.service import Service
from mgmt_contract.wire import to_plain
from support.certificates import make_authority
from support.company_network import company_network
from support.person import people
from support.scripted_server import Answer, json_answer, scripted_server

SERVICE = Service(1, 1, "0.7", "footage", "eu-west-1", "", 1, 1, 1, 1, 1)
GOOD = json_answer(to_plain(SERVICE))
HTML = Answer(200, b"<html>Welcome", {"content-type": "text/html"})
BEFORE_THE_BUNDLE = ("MGMT_BUCKET", "MGMT_OBJECT_PREFIX", "MGMT_LOCAL_DIR", "MGMT_COMPLETED_DIR", "MGMT_ARCHIVE_DIR")


pytestmark = pytest.mark.usefixtures("machine_without_settings")


@pytest.fixture
def service():
    with scripted_server(GOOD) as server:
        yield server


@pytest.fixture
def answer(monkeypatch):
    """Answer as somebody at a terminal does, who then goes away."""
    monkeypatch.setattr(Invocation, "why_not_asked", None)
    return lambda *answers: CliRunner().invoke(mgmt, ["config"], input="".join(f"{each}\n" for each in answers))


def test_what_is_there_is_the_default_and_a_hyphen_clears_it(tmp_path, service, answer):
    (tmp_path / "config").write_text(f"# ours\nMGMT_API_URL={service.url}\nMGMT_BUCKET=footage\nMGMT_LOCAL_DIR=/tmp\n")
    result = answer("", "", "shoots", "-", "", "", "")
    assert result.exit_code == 0, result.output
    assert f"[{service.url}]" in result.output
    assert "Found the service 0.7: bucket footage in eu-west-1." in result.output
    text = (tmp_path / "config").read_text()
    assert text == f"# ours\nMGMT_API_URL={service.url}\nMGMT_BUCKET=footage\nMGMT_OBJECT_PREFIX=shoots\n"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (HTML, "expected the mgmt service"),
        (Answer(302, b"", {"location": "http://portal.example"}), "open any page in a browser"),
        (json_answer({"hello": "world"}), "expected the mgmt service"),
        (json_answer({**to_plain(SERVICE), "api_version_min": 2, "api_version_max": 2}), "version"),
    ],
)
def test_a_wrong_service_is_told_and_not_kept_unless_somebody_says_so(tmp_path, found, said, answer):
    with scripted_server(found) as server:
        result = answer(server.url, "", server.url)
    assert said in result.output
    assert "Keep this answer anyway?" in result.output
    assert isinstance(result.exception, CancelledError), "the answers ran out"
    assert not (tmp_path / "config").exists()


def test_a_pin_to_another_bucket_is_told_with_both_names(tmp_path, service, answer):
    result = answer(service.url, "other-bucket", "n", "footage", "", "", "", "", "")
    assert "MGMT_BUCKET is other-bucket, and the service stores into footage" in result.output
    assert result.exit_code == 0
    assert "MGMT_BUCKET=footage\n" in (tmp_path / "config").read_text()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_a_terminal_nothing_is_asked_and_nothing_written(tmp_path, service, options):
    done = subprocess.run(
        [sys.executable, "-m", "mgmt", *options, "config"],
        input=f"{service.url}\n\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "so nothing was saved. To set one without being asked, type `mgmt config set NAME VALUE`." in done.stderr
    if options:
        assert json.loads(done.stderr)["code"] == "nobody-to-ask"
    assert not (tmp_path / "config").exists()


def test_a_program_at_a_terminal_is_asked_nothing(tmp_path, person):
    anna = person("--json", "config")
    assert anna.end() == 2
    assert json.loads(anna.seen)["code"] == "nobody-to-ask"
    assert not (tmp_path / "config").exists()


def test_a_file_that_makes_no_sense_can_be_mended_here(tmp_path, service, answer):
    (tmp_path / "config").write_text("MGMT_API_URL=nonsense\n")
    assert answer(service.url, "", "", "", "", "", "").exit_code == 0
    assert (tmp_path / "config").read_text() == f"MGMT_API_URL={service.url}\n"


def test_what_the_environment_says_goes_first_and_one_is_told(service, monkeypatch, answer):
    monkeypatch.setenv("MGMT_BUCKET", "footage")
    assert "MGMT_BUCKET is also set in the environment" in answer(service.url, "", "", "", "", "", "").output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MGMT_BUCKET", "s3://footage"),
        ("MGMT_OBJECT_PREFIX", "a//b"),
        ("MGMT_CA_BUNDLE", "nowhere.pem"),
        ("MGMT_LOCAL_DIR", os.devnull),
    ],
)
def test_config_set_looks_at_values_as_the_questions_do(tmp_path, capsys, name, value):
    assert main(["config", "set", name, value]) == 2
    assert name in capsys.readouterr().err
    assert not (tmp_path / "config").exists()


def test_config_set_keeps_whole_paths_and_says_what_is_not_there(tmp_path, capsys):
    assert main(["config", "set", "MGMT_LOCAL_DIR", "footage"]) == 0
    assert "does not exist yet" in capsys.readouterr().err
    assert (tmp_path / "config").read_text() == f"MGMT_LOCAL_DIR={tmp_path / 'work' / 'footage'}\n"


def test_an_older_mgmts_file_is_said_to_be_taken_over(tmp_path, monkeypatch, service, capsys, answer):
    monkeypatch.delenv("MGMT_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    older = tmp_path / ".config" / "mgmt" / "config"
    older.parent.mkdir(parents=True)
    older.write_text("AWS_SECRET_ACCESS_KEY=hidden\nexport MGMT_BUCKET=footage\n")
    assert main(["config", "list"]) == 0
    assert f"MGMT_BUCKET=footage  # {older}" in capsys.readouterr().out
    result = answer(service.url, "", "", "", "", "", "")
    assert f"What an older mgmt kept in {older} is taken over." in result.output
    written = (tmp_path / "elsewhere" / "mgmt" / "config").read_text()
    assert written == f"export MGMT_BUCKET=footage\nMGMT_API_URL={service.url}\n"


@pytest.fixture
def person():
    with people() as sit_down:
        yield sit_down


def test_at_a_terminal_a_wrong_answer_is_told_and_asked_for_again(tmp_path, service, person):
    with scripted_server(HTML) as portal:
        anna = person("config")
        anna.answer("MGMT_API_URL (", "nonsense\r")
        anna.answer("expected an address", "")
        anna.answer("MGMT_API_URL (", f"{portal.url}\r")
        anna.answer("Keep this answer anyway? [y/N]", "\r")
    anna.answer("MGMT_API_URL (", f"{service.url}\r")
    anna.answer("MGMT_BUCKET (", "other-bucket\r")
    anna.answer("Keep this answer anyway? [y/N]", "\r")
    anna.answer("MGMT_BUCKET (", "footage\r")
    anna.answer("MGMT_OBJECT_PREFIX (", "\r")
    anna.answer("MGMT_LOCAL_DIR (", "footage/new\r")
    anna.answer("Create it? [Y/n]", "\r")
    anna.answer("MGMT_COMPLETED_DIR (", "\r")
    anna.answer("MGMT_ARCHIVE_DIR (", "\r")
    anna.answer("MGMT_CA_BUNDLE (", "\r")
    assert anna.end() == 0, anna.seen
    folder = tmp_path / "work" / "footage" / "new"
    assert folder.is_dir()
    text = (tmp_path / "config").read_text()
    assert text == f"MGMT_API_URL={service.url}\nMGMT_BUCKET=footage\nMGMT_LOCAL_DIR={folder}\n"


def test_what_looks_wrong_may_be_kept_on_purpose(tmp_path, person):
    anna = person("config")
    with scripted_server(HTML) as portal:
        anna.answer("MGMT_API_URL (", f"{portal.url}\r")
        anna.answer("Keep this answer anyway? [y/N]", "y\r")
        for name in (*BEFORE_THE_BUNDLE, "MGMT_CA_BUNDLE"):
            anna.answer(f"{name} (", "\r")
        assert anna.end() == 0, anna.seen
    assert (tmp_path / "config").read_text() == f"MGMT_API_URL={portal.url}\n"


def test_ctrl_c_in_the_middle_writes_nothing_and_makes_no_folder(tmp_path, service, person):
    (tmp_path / "config").write_text("# as it was\n")
    anna = person("config")
    anna.answer("MGMT_API_URL (", f"{service.url}\r")
    anna.answer("MGMT_BUCKET (", "\r")
    anna.answer("MGMT_OBJECT_PREFIX (", "\r")
    anna.answer("MGMT_LOCAL_DIR (", "new\r")
    anna.answer("Create it? [Y/n]", "\r")
    anna.read_until("MGMT_COMPLETED_DIR (")
    anna.interrupt()
    assert anna.end() == 130
    last = re.sub(r"\x1b\[\d*m", "", anna.seen.splitlines()[-1])
    assert last.startswith("mgmt: Cancelled; nothing saved."), "on a line of its own"
    assert (tmp_path / "config").read_text() == "# as it was\n"
    assert not (tmp_path / "work" / "new").exists()


def test_behind_an_inspecting_proxy_the_certificate_is_asked_for_at_once(tmp_path, service, person, monkeypatch):
    authority = make_authority(tmp_path)
    host = "uploads.company.test"
    with company_network() as network:
        proxy = network.proxy({host: network.serve(service.url, authority.issue(host, tmp_path / "c"))})
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        anna = person("config")
        anna.answer("MGMT_API_URL (", f"https://{host}\r")
        anna.answer("MGMT_CA_BUNDLE (", f"{authority.bundle_path}\r")
        anna.read_until("Found the service 0.7")
        for name in BEFORE_THE_BUNDLE:
            anna.answer(f"{name} (", "\r")
        assert anna.end() == 0, anna.seen
    text = (tmp_path / "config").read_text()
    assert text == f"MGMT_API_URL=https://{host}\nMGMT_CA_BUNDLE={authority.bundle_path}\n"


@pytest.mark.parametrize("stdin", ["ends", "is closed"])
def test_where_nobody_answers_nothing_is_written_and_what_to_do_is_said(tmp_path, capsys, monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", io.StringIO() if stdin == "ends" else None)
    assert main(["config"]) == 2
    assert "mgmt config set" in capsys.readouterr().err
    assert not (tmp_path / "config").exists()
