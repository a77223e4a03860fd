"""Rules of cdk-nag's AWS Solutions pack that are set aside, each where its construct is made."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import IConstruct


def set_aside(scope: IConstruct, rule: str, reason: str) -> None:
    """Set a rule aside for one construct; rule and reason end up in the validation report.

    The pack's name has to stand in front: without it, the finding vanishes together with the reason.
    """
    acknowledgment = cdk.Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason)
    cdk.Validations.of(scope).acknowledge(acknowledgment)
