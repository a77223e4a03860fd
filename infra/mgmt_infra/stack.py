"""The one stack: storage, sign-in where it needs one of its own, the function, and the API in front of it."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from mgmt_infra.alarms import Alarms
from mgmt_infra.api import Api
from mgmt_infra.deployment import Deployment
from mgmt_infra.function import resource_of
from mgmt_infra.queues import Queues
from mgmt_infra.record import OUTPUT, write_values
from mgmt_infra.service import Service
from mgmt_infra.sign_in import SignIn
from mgmt_infra.storage import Storage
from mgmt_infra.worker import Worker, make_worker_role


class MgmtStack(cdk.Stack):
    """Everything of one service; bucket, table and user pool outlive the stack."""

    def __init__(self, scope: Construct, deployment: Deployment) -> None:
        super().__init__(
            scope, deployment.stack_name, description="Media uploads for a team: API, records and storage."
        )
        cdk.CfnOutput(
            self, OUTPUT, value=write_values(deployment), description="What the next deployment compares itself with."
        )
        sign_in = SignIn(self, "SignIn", deployment=deployment) if deployment.makes_pool else None
        if sign_in is not None:
            deployment = deployment.with_sign_in(sign_in.issuer, sign_in.client.user_pool_client_id)
            cdk.CfnOutput(self, "UserPoolId", value=sign_in.pool.user_pool_id)
        alarms = Alarms(self, "Alarms", service_name=deployment.stack_name, addresses=deployment.alarm_addresses)
        queues, worker_role = Queues(self, "Queues", alarms=alarms), make_worker_role(self)
        storage = Storage(
            self,
            "Storage",
            url_life_seconds=deployment.settings.url_life_seconds,
            tagged_by=worker_role.role_arn,
            arrivals=queues.looks,
            root_prefix=deployment.settings.root_prefix,
        )
        service = Service(self, "Service", storage=storage, queues=queues, deployment=deployment)
        worker = Worker(self, "Worker", role=worker_role, queues=queues, storage=storage, deployment=deployment)
        api = Api(self, "Api", function=service.function, deployment=deployment, alarms=alarms)
        logs = (api.log, service.log, worker.log)
        without_storage = (*logs, service.role_alone, resource_of(worker_role), queues, alarms)
        storage.make_after(api.authorizer, *without_storage)
        if sign_in is not None:
            sign_in.make_after(api.alone, *without_storage)
        cdk.CfnOutput(self, "ApiUrl", value=api.url, description="What `mgmt login` takes.")
        cdk.CfnOutput(self, "BucketName", value=storage.bucket.bucket_name)
        cdk.CfnOutput(self, "TableName", value=storage.table.table_name)
