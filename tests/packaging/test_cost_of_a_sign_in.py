"""What a command pays for a sign-in that is kept in a file: little to import, and some milliseconds."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mgmt.credentials.store import CredentialStore
from support.kept_sign_in import make_credentials
from support.paper_service import paper_service
from support.rotating_issuer import rotating_issuer

TIMES_MIN, TIMES_MAX = 8, 40


@pytest.fixture
def environment(tmp_path):
    """A service, and somebody who has logged in."""
    with paper_service() as service, rotating_issuer() as issuer:
        credentials = make_credentials(issuer, service_url=service.url)
        CredentialStore(tmp_path / "state", lambda _: None).save(credentials)
        inherited = {name: each for name, each in os.environ.items() if not name.startswith(("MGMT_", "COVERAGE_"))}
        places = {"MGMT_STATE_DIR": tmp_path / "state", "MGMT_CONFIG": tmp_path / "config"}
        yield {**inherited, "MGMT_API_URL": service.url, **{name: os.fspath(path) for name, path in places.items()}}


def test_a_sign_in_in_a_file_imports_no_keyring_no_lock_and_nothing_for_signatures(environment, tmp_path):
    code = "import json, sys, mgmt.cli.main as m; m.main(['history']); print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    modules = json.loads(run.stdout.splitlines()[-1])
    assert "mgmt.credentials.provider" in modules
    assert not {"keyring", "filelock", "joserfc", "cryptography", "mgmt.credentials.issuer"}.intersection(modules)


def test_the_start_of_an_upload_grows_by_at_most_the_start_of_an_empty_python(environment, tmp_path):
    """Some 6 ms of 12. Processor time at the best of several times: one alone varies by more than that."""
    work = tmp_path / "work"
    work.mkdir()
    empty, with_token, signed_in = [], [], []
    while len(empty) < TIMES_MIN or min(signed_in) - min(with_token) > min(empty):
        assert len(empty) < TIMES_MAX, (signed_in, with_token, empty)
        number = len(empty)
        empty.append(cpu_seconds([sys.executable, "-c", "pass"], work, environment))
        with_token.append(upload(f"a{number}", work, environment | {"MGMT_TOKEN": "made-elsewhere"}))
        signed_in.append(upload(f"b{number}", work, environment))


def upload(name, work, environment):
    (work / name).write_bytes(b"x")
    return cpu_seconds([str(Path(sys.executable).with_name("mgmt")), "upload", name], work, environment)


def cpu_seconds(command, cwd, environment):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
