"""The worker in the template: its function, what feeds it, and the alarms that watch it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mgmt_api.domain.settings import read_settings
from mgmt_api.domain.work import Work, read_work
from support.assembly import STACK, Assembly, function_of
from support.policies import resolve

pytestmark = [pytest.mark.cdk, pytest.mark.xdist_group("assembly")]

FUNCTION_MAX_SECONDS = 900


@pytest.fixture(scope="module")
def queues(assembly: Assembly) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name and properties of each queue; the dead letters are the one that no function knows."""
    variables = function_of(assembly, "worker")["Environment"]["Variables"]
    found = assembly.find("AWS::SQS::Queue")
    named = {kind: variables[f"MGMT_{kind.upper()}_QUEUE_URL"]["Ref"] for kind in ("joins", "looks")}
    (named["dead letters"],) = found.keys() - set(named.values())
    return {kind: (name, found[name]["Properties"]) for kind, name in named.items()}


def name_in(reference: Any) -> str:
    """Return the logical id that a reference to an ARN names."""
    name: str = reference["Fn::GetAtt"][0]
    return name


def test_the_worker_is_the_same_code_with_the_same_settings_and_all_the_time_there_is(assembly: Assembly):
    service, worker = function_of(assembly, "handler"), function_of(assembly, "worker")
    for same in ("Code", "Environment", "Runtime", "Architectures"):
        assert worker[same] == service[same]
    assert worker["Timeout"] == FUNCTION_MAX_SECONDS
    names = {name: str(value) for name, value in worker["Environment"]["Variables"].items()}
    assert read_settings(names | {"AWS_REGION": "eu-west-1"}).joins_queue_url


def test_lambda_lets_the_worker_ask_itself_for_the_rest_of_a_round(assembly: Assembly):
    """Else it would stop a round after 16 runs, as an endless loop; the service never asks itself for anything."""
    assert function_of(assembly, "worker")["RecursiveLoop"] == "Allow"
    assert "RecursiveLoop" not in function_of(assembly, "handler")


def test_each_queue_is_encrypted_and_takes_nothing_over_plain_http(assembly: Assembly, queues):
    policies = [each["Properties"] for each in assembly.find("AWS::SQS::QueuePolicy").values()]
    for name, queue in queues.values():
        assert queue["SqsManagedSseEnabled"] is True
        (policy,) = (each["PolicyDocument"] for each in policies if each["Queues"] == [{"Ref": name}])
        assert any(
            each["Effect"] == "Deny" and each["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            for each in policy["Statement"]
        )


def test_what_fails_five_times_becomes_a_dead_letter_with_an_alarm(assembly: Assembly, queues):
    dead_letters, kept = queues["dead letters"]
    assert kept["MessageRetentionPeriod"] == 14 * 24 * 3600
    for kind in ("joins", "looks"):
        redrive = queues[kind][1]["RedrivePolicy"]
        assert (name_in(redrive["deadLetterTargetArn"]), redrive["maxReceiveCount"]) == (dead_letters, 5)
    alarms = [each["Properties"] for each in assembly.find("AWS::CloudWatch::Alarm").values()]
    (alarm,) = (each for each in alarms if {"Name": "QueueName", "Value": _name_of(dead_letters)} in _dimensions(each))
    assert (alarm["MetricName"], alarm["Threshold"]) == ("ApproximateNumberOfMessagesVisible", 1)
    assert alarm["TreatMissingData"] == "notBreaching"


def test_orphans_and_work_that_waits_too_long_have_alarms(assembly: Assembly, queues):
    alarms = [each["Properties"] for each in assembly.find("AWS::CloudWatch::Alarm").values()]
    late = [each for each in alarms if each["MetricName"] == "ApproximateAgeOfOldestMessage"]
    assert {str(_dimensions(each)[0]["Value"]) for each in late} == {
        str(_name_of(queues[kind][0])) for kind in ("joins", "looks")
    }
    (orphans,) = (each for each in alarms if each["MetricName"] == "Orphans")
    assert orphans["Namespace"] == "mgmt"
    assert _dimensions(orphans) == [{"Name": "service", "Value": STACK}]


def test_removals_that_fail_for_hours_have_an_alarm(assembly: Assembly):
    """Else what was deleted would be paid for without an end, and only the log would know."""
    alarms = [each["Properties"] for each in assembly.find("AWS::CloudWatch::Alarm").values()]
    (removals,) = (each for each in alarms if each["MetricName"] == "RemovalsFailed")
    assert (removals["Namespace"], removals["Statistic"], removals["Threshold"]) == ("mgmt", "Sum", 1)
    assert (removals["Period"], removals["DatapointsToAlarm"]) == (3600, 6)
    assert removals["EvaluationPeriods"] == 8, "the round may miss an hour of the clock, and come twice in the next"
    assert _dimensions(removals) == [{"Name": "service", "Value": STACK}]


def test_a_message_comes_again_only_after_the_longest_that_the_function_may_have_it(queues):
    for kind in ("joins", "looks"):
        assert queues[kind][1]["VisibilityTimeout"] > FUNCTION_MAX_SECONDS


def test_an_arrival_is_looked_at_when_most_clients_have_had_it_confirmed_and_a_join_at_once(queues):
    assert queues["looks"][1]["DelaySeconds"] == 300
    assert "DelaySeconds" not in queues["joins"][1]


def test_both_queues_feed_the_worker_and_nothing_else_message_by_message(assembly: Assembly, queues):
    """A join has a function to itself; of a batch of looks only what failed comes again."""
    mappings = [each["Properties"] for each in assembly.find("AWS::Lambda::EventSourceMapping").values()]
    assert {name_in(each["EventSourceArn"]): each["BatchSize"] for each in mappings} == {
        queues["joins"][0]: 1,
        queues["looks"][0]: 10,
    }
    (function_name,) = {each["FunctionName"]["Ref"] for each in mappings}
    assert assembly.find("AWS::Lambda::Function")[function_name]["Properties"] == function_of(assembly, "worker")
    assert all(each["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for each in mappings)
    most = sum(each["ScalingConfig"]["MaximumConcurrency"] for each in mappings)
    assert most < 10, "a new account has ten functions at a time, and people's calls come first"


def test_s3_tells_of_archives_below_the_root_and_of_nothing_else(assembly: Assembly, queues):
    """On the bucket itself: no function of CDK's own, and no role that could change the bucket."""
    configuration = assembly.only("AWS::S3::Bucket")["Properties"]["NotificationConfiguration"]
    (told,) = configuration["QueueConfigurations"]
    assert configuration.keys() == {"QueueConfigurations"}
    assert name_in(told["Queue"]) == queues["looks"][0]
    assert told["Event"] == "s3:ObjectCreated:*"
    rules = {rule["Name"]: rule["Value"] for rule in told["Filter"]["S3Key"]["Rules"]}
    assert rules == {"suffix": ".tar.gz", "prefix": "team/footage/"}
    assert len(assembly.find("AWS::Lambda::Function")) == 2


def test_only_s3_for_this_account_may_send_arrivals(assembly: Assembly, queues):
    policies = [each["Properties"] for each in assembly.find("AWS::SQS::QueuePolicy").values()]
    allowed = [
        (each["Queues"][0]["Ref"], statement)
        for each in policies
        for statement in each["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    ((name, statement),) = allowed
    assert name == queues["looks"][0]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        "ArnLike": {"aws:SourceArn": {"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, ":s3:::*"]]}},
    }


def test_the_schedule_sends_each_round_as_a_message_that_the_worker_reads(assembly: Assembly, queues):
    schedules = [each["Properties"] for each in assembly.find("AWS::Scheduler::Schedule").values()]
    rates = {}
    for schedule in schedules:
        target = schedule["Target"]
        assert name_in(target["Arn"]) == queues["looks"][0]
        (work,) = read_work(target["Input"])
        rates[work] = schedule["ScheduleExpression"]
    assert rates == {
        Work("pending"): "rate(5 minutes)",
        Work("deleted"): "rate(1 hour)",
        Work("orphans"): "rate(7 days)",
    }


def test_the_schedule_may_send_to_that_queue_and_do_nothing_else(assembly: Assembly, queues):
    (role,) = {
        name_in(each["Properties"]["Target"]["RoleArn"]) for each in assembly.find("AWS::Scheduler::Schedule").values()
    }
    trust = assembly.find("AWS::IAM::Role")[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert [each["Principal"] for each in trust] == [{"Service": "scheduler.amazonaws.com"}]
    assert trust[0]["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    policies = [each["Properties"] for each in assembly.find("AWS::IAM::Policy").values()]
    (policy,) = (each["PolicyDocument"] for each in policies if each["Roles"] == [{"Ref": role}])
    (statement,) = policy["Statement"]
    assert statement["Action"] == "sqs:SendMessage"
    assert resolve(statement["Resource"], {queues["looks"][0]: "looks"}) == "looks"


def test_the_round_texts_are_plain_json():
    assert read_work(json.dumps({"task": "pending"})) == [Work("pending")]


def _dimensions(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = alarm["Dimensions"]
    return found


def _name_of(queue: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [queue, "QueueName"]}
