"""Rules of cdk-nag's AWS Solutions pack that are set aside, each where its construct is made."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import IConstruct


def set_aside(scope: IConstruct, rule: str, reason: str) -> None:
    """Set a rule aside for one construct; rule and reason end up in the validation report.

    The pack's name in front is what makes it so: without, the finding vanishes and the reason with it.
    """
    acknowledgment = cdk.Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason)
    cdk.Validations.of(scope).acknowledge(acknowledgment)
