"""Alarms, and the people who are told of them."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from mgmt_api.adapters.cloudwatch import NAMESPACE
from mgmt_api.domain.metrics import MetricName


class Alarms(Construct):
    """The topic that every alarm of the stack is told to, where the deployment names addresses.

    An action that somebody adds to an alarm by hand goes with the next deployment that changes the alarm.
    """

    def __init__(self, scope: Construct, construct_id: str, *, service_name: str, addresses: Sequence[str]) -> None:
        super().__init__(scope, construct_id)
        self._service_name = service_name
        self._topic = self._make_topic(addresses) if addresses else None

    def add(  # noqa: PLR0913  one for each thing that two alarms differ in
        self,
        scope: Construct,
        name: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        description: str,
        *,
        breaches: int = 1,
        periods: int = 1,
    ) -> None:
        """Make an alarm: so many of the last periods have reached the threshold."""
        alarm = cloudwatch.Alarm(
            scope,
            name,
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            datapoints_to_alarm=breaches,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=description,
        )
        if self._topic is not None:
            alarm.add_alarm_action(actions.SnsAction(self._topic))

    def hourly_sum(self, name: MetricName, **dimensions: str) -> cloudwatch.Metric:
        """Return what the service has counted in an hour."""
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={"service": self._service_name, **dimensions},
            period=cdk.Duration.hours(1),
            statistic="Sum",
        )

    def _make_topic(self, addresses: Sequence[str]) -> sns.Topic:
        """Make the topic.

        A policy of its own replaces the one that lets everything of the account publish, so it names CloudWatch.
        It has no KMS key: to a topic with AWS' own, CloudWatch may not publish. Source: Amazon CloudWatch User Guide,
        "Notifying users on alarm changes", and Amazon SNS Developer Guide, "Enable compatibility between event sources
        from AWS services and encrypted topics", read 2026-11.
        """
        topic = sns.Topic(self, "Topic", display_name=f"{self._service_name} alarms", enforce_ssl=True)
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="Alarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            )
        )
        for address in addresses:
            topic.add_subscription(subscriptions.EmailSubscription(address))
        return topic
