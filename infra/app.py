"""The CDK app: one stack with everything the service needs.

Deploying takes Node, the CDK command and `pip install -e '.[deploy]'`. From this folder:

    cdk bootstrap
    cdk deploy -c issuer=https://accounts.example.com -c client_id=0123456789abcdef

The issuer is any OpenID Connect provider that signs RS256 tokens. `mgmt_infra/deployment.py` describes all values that
can be given with `-c`, or kept in `cdk.json` under "context". The outputs are the API's address (for `mgmt config`),
the bucket and the table; the last two survive `cdk destroy`.
"""

from __future__ import annotations

import sys

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from mgmt_infra.deployment import DeploymentError, read_deployment
from mgmt_infra.stack import MgmtStack


def main() -> None:
    """Synthesize the stack, checked against cdk-nag's AWS Solutions rules."""
    app = cdk.App()
    try:
        deployment = read_deployment(app.node.try_get_context)
    except DeploymentError as error:
        sys.exit(f"mgmt: {error}")
    MgmtStack(app, deployment)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()


if __name__ == "__main__":
    main()
