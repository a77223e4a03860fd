"""The alarms in the template: what they watch, and who is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mgmt_api.adapters.cloudwatch import CloudWatchMetrics
from mgmt_contract.problems import PROBLEMS
from support.assembly import STACK, Assembly

pytestmark = [pytest.mark.cdk, pytest.mark.xdist_group("assembly")]


def alarms_of(assembly: Assembly) -> list[dict[str, Any]]:
    return [each["Properties"] for each in assembly.find("AWS::CloudWatch::Alarm").values()]


def test_calls_that_fail_for_ten_minutes_have_an_alarm(assembly: Assembly):
    """Whatever fails: the function's start, its role, a store that does not answer. Nobody else tells the admin."""
    (api,) = assembly.find("AWS::ApiGatewayV2::Api")
    (alarm,) = (each for each in alarms_of(assembly) if each["MetricName"] == "5xx")
    assert (alarm["Namespace"], alarm["Statistic"]) == ("AWS/ApiGateway", "Sum")
    assert alarm["Dimensions"] == [{"Name": "ApiId", "Value": {"Ref": api}}]
    assert (alarm["Period"], alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (300, 2, 3)


def test_a_fault_of_the_service_has_an_alarm_on_what_the_function_prints(assembly: Assembly, capsys):
    """One item of a list that meets a fault is answered with 200: only the metric tells of it."""
    assert "internal-error" in PROBLEMS
    metrics = CloudWatchMetrics(STACK)
    metrics.count("Problems", code="internal-error")
    metrics.flush()
    printed = json.loads(capsys.readouterr().out)
    [[directive]] = [printed["_aws"]["CloudWatchMetrics"]]
    (alarm,) = (each for each in alarms_of(assembly) if each["MetricName"] == "Problems")
    assert alarm["Namespace"] == directive["Namespace"]
    assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]} == {
        name: printed[name] for name in directive["Dimensions"][0]
    }


def test_every_alarm_is_told_to_the_addresses_of_the_deployment(assembly: Assembly, context):
    (topic,) = assembly.find("AWS::SNS::Topic")
    assert all(each["AlarmActions"] == [{"Ref": topic}] for each in alarms_of(assembly))
    subscriptions = [each["Properties"] for each in assembly.find("AWS::SNS::Subscription").values()]
    assert all((each["Protocol"], each["TopicArn"]) == ("email", {"Ref": topic}) for each in subscriptions)
    assert [each["Endpoint"] for each in subscriptions] == context["alarm_addresses"]


def test_cloudwatch_of_this_account_may_tell_the_topic_and_nobody_else(assembly: Assembly):
    """The topic's own policy takes the place of the one that lets the whole account publish."""
    (topic,) = assembly.find("AWS::SNS::Topic")
    statements = assembly.only("AWS::SNS::TopicPolicy")["Properties"]["PolicyDocument"]["Statement"]
    (allowed,) = (each for each in statements if each["Effect"] == "Allow")
    assert (allowed["Action"], allowed["Resource"]) == ("sns:Publish", {"Ref": topic})
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    (denied,) = (each for each in statements if each["Effect"] == "Deny")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert "KmsMasterKeyId" not in assembly.only("AWS::SNS::Topic")["Properties"], "CloudWatch may not use AWS' own key"


def test_without_addresses_alarms_only_show(pool_assembly: Assembly):
    assert pool_assembly.find("AWS::SNS::Topic") == {}
    assert len(alarms_of(pool_assembly)) == 7
    assert not any("AlarmActions" in each for each in alarms_of(pool_assembly))
