"""What feeds the worker: two queues, the notifications of S3, a schedule; and what is watched of them."""

from __future__ import annotations

import json

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from mgmt_api.domain.work import (
    ARRIVAL_DELAY_SECONDS,
    DELETED_EVERY_SECONDS,
    ORPHANS_EVERY_DAYS,
    ROUND_SECONDS,
    Task,
)
from mgmt_infra.alarms import Alarms

WORK_MAX_SECONDS = 15 * 60
"""The longest that a function may run. Source: AWS Lambda Developer Guide, "Lambda quotas", read 2026-11."""
TRIES_MAX = 5
_REMOVALS_FAIL_HOURS = 6
"""How long removals may fail in every round: an outage of S3 is shorter."""

_ROUNDS: dict[Task, str] = {
    "pending": f"rate({ROUND_SECONDS // 60} minutes)",
    "deleted": f"rate({DELETED_EVERY_SECONDS // 3600} hour)",
    "orphans": f"rate({ORPHANS_EVERY_DAYS} days)",
}


class Queues(Construct):
    """Joins may take minutes each, looks take moments; what fails again and again becomes a dead letter."""

    def __init__(self, scope: Construct, construct_id: str, *, alarms: Alarms) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters = self._make("DeadLetters", retention_period=cdk.Duration.days(14))
        tries = sqs.DeadLetterQueue(max_receive_count=TRIES_MAX, queue=self.dead_letters)
        # A message that was taken comes again after the longest that the function may have it.
        hidden = cdk.Duration.seconds(WORK_MAX_SECONDS + 60)
        self.joins = self._make("Joins", dead_letter_queue=tries, visibility_timeout=hidden)
        self.looks = self._make(
            "Looks",
            dead_letter_queue=tries,
            visibility_timeout=hidden,
            delivery_delay=cdk.Duration.seconds(ARRIVAL_DELAY_SECONDS),
        )
        self._allow_arrivals()
        self._make_schedule()
        self._make_alarms(alarms)

    def _make(self, construct_id: str, **properties: object) -> sqs.Queue:
        return sqs.Queue(self, construct_id, encryption=sqs.QueueEncryption.SQS_MANAGED, enforce_ssl=True, **properties)  # type: ignore[arg-type]

    def _allow_arrivals(self) -> None:
        """Let S3 tell of objects: any bucket of this account, since naming this one would need it to be there first."""
        self.looks.add_to_resource_policy(
            iam.PolicyStatement(
                sid="Arrivals",
                principals=[iam.ServicePrincipal("s3.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[self.looks.queue_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account},
                    "ArnLike": {"aws:SourceArn": f"arn:{cdk.Aws.PARTITION}:s3:::*"},
                },
            )
        )

    def _make_schedule(self) -> None:
        """Put the rounds into the queue of looks: what the schedule could not hand over would be lost."""
        role = iam.Role(
            self,
            "ScheduleRole",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            ),
        )
        role.add_to_policy(
            iam.PolicyStatement(sid="Rounds", actions=["sqs:SendMessage"], resources=[self.looks.queue_arn])
        )
        for task, rate in _ROUNDS.items():
            schedule = scheduler.CfnSchedule(
                self,
                f"{task.capitalize()}Round",
                flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
                schedule_expression=rate,
                target=scheduler.CfnSchedule.TargetProperty(
                    arn=self.looks.queue_arn, role_arn=role.role_arn, input=json.dumps({"task": task})
                ),
            )
            schedule.node.add_dependency(role)

    def _make_alarms(self, alarms: Alarms) -> None:
        """Alarm where work is given up, where it is not done, and where something has no record."""
        letters = self.dead_letters.metric_approximate_number_of_messages_visible(
            period=cdk.Duration.minutes(5), statistic="Maximum"
        )
        told = "Work of the worker failed five times: it lies in the dead letters."
        alarms.add(self, "DeadLettersAlarm", letters, 1, told)
        for name, queue in (("Joins", self.joins), ("Looks", self.looks)):
            age = queue.metric_approximate_age_of_oldest_message(period=cdk.Duration.minutes(5), statistic="Maximum")
            alarms.add(self, f"{name}LateAlarm", age, 3600, "Work waits for the worker for more than an hour.")
        told = "Objects without record, or records without object: see the log."
        alarms.add(self, "OrphansAlarm", alarms.hourly_sum("Orphans"), 1, told)
        # The hourly round may come twice in one hour of the clock and not in the next: so not all have to breach.
        alarms.add(
            self,
            "RemovalsAlarm",
            alarms.hourly_sum("RemovalsFailed"),
            1,
            "Deleted uploads cannot be given up for removal, and cost on: see the log.",
            breaches=_REMOVALS_FAIL_HOURS,
            periods=_REMOVALS_FAIL_HOURS + 2,
        )
