"""The function as Lambda imports it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from mgmt_contract import routes
from support.events import make_event

ENVIRONMENT = {
    "MGMT_BUCKET": "footage",
    "MGMT_TABLE": "records",
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    names = ("PATH", "SYSTEMROOT", "PYTHONPATH", "COVERAGE_PROCESS_CONFIG")  # the last, so that `make coverage` sees it
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_it_answers_from_the_environment_alone():
    event = make_event(routes.DESCRIBE)
    code = (
        f"import json; from mgmt_api.handler import lambda_handler; print(json.dumps(lambda_handler({event!r}, None)))"
    )
    done = run(code, ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert json.loads(answer["body"])["bucket"] == "footage"


def test_it_prints_what_it_counted_for_cloudwatch():
    event = make_event(routes.HISTORY)
    code = f"from mgmt_api.handler import lambda_handler; lambda_handler({event!r}, None)"
    done = run(code, ENVIRONMENT | {"POWERTOOLS_SERVICE_NAME": "mgmt-2"})
    assert (done.returncode, done.stderr) == (0, "")
    [counted] = [line for line in map(json.loads, done.stdout.splitlines()) if "_aws" in line]
    assert (counted["service"], counted["code"], counted["Problems"]) == ("mgmt-2", "login-required", [1])


def test_urls_that_boto3_makes_the_long_way_are_counted():
    """As it would be with another botocore than this one."""
    code = """
from mgmt_api.adapters import presigner
def refuse(*_):
    raise AttributeError("moved")
presigner.presign = refuse
import mgmt_api.handler as handler
from mgmt_contract.messages.uploads import Part
handler._objects.presign_part("key", "upload", Part(1, 5, "AAAAAAAAAAA="), expires_in_seconds=60)
handler._metrics.flush()
"""
    done = run(code, ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    [counted] = [line for line in map(json.loads, done.stdout.splitlines()) if "_aws" in line]
    assert counted["FallBacks"] == [1]


def test_what_any_module_logs_is_printed_once_with_all_it_says_beside_lambdas_own_handler():
    code = """
import logging
logging.basicConfig(format="%(message)s")
import mgmt_api.handler
from mgmt_api.calls.items import decide
from mgmt_api.ports import ConflictError
outcomes = iter([ConflictError("somebody was faster")])
def decision():
    for error in outcomes:
        raise error
decide(decision)
"""
    done = run(code, ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    [line] = map(json.loads, done.stdout.splitlines())
    assert (line["level"], line["message"], line["reason"]) == ("INFO", "decided again", "somebody was faster")


def test_it_names_every_missing_setting_at_import():
    environment = {name: text for name, text in ENVIRONMENT.items() if not name.startswith("MGMT_")}
    done = run("import mgmt_api.handler", environment)
    assert done.returncode == 1
    assert "SettingsError" in done.stderr
    assert "MGMT_BUCKET is missing; MGMT_TABLE is missing" in done.stderr
