"""The HTTP API in front of the function: routes from the contract, tokens checked before it runs."""

from __future__ import annotations

import json

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as gateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from mgmt_api.domain.policy import scopes_for
from mgmt_contract.routes import ROUTES, Route
from mgmt_infra.alarms import Alarms
from mgmt_infra.deployment import Deployment
from mgmt_infra.rules import set_aside

_AUTHORIZER = "Tokens"

ACCESS_LOG_FIELDS = {
    "requestId": "$context.requestId",
    "time": "$context.requestTimeEpoch",
    "route": "$context.routeKey",
    "status": "$context.status",
    "latency_ms": "$context.responseLatency",
    "sent_bytes": "$context.responseLength",
    "source_ip": "$context.identity.sourceIp",
    "actor_id": "$context.authorizer.claims.sub",
    "authorizer_error": "$context.authorizer.error",
    "error": "$context.error.message",
    "integration_error": "$context.integrationErrorMessage",
}
"""The gateway's log line of each call; no header, no body, no token."""


class Api(Construct):
    """One route per call of the contract, and no others."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        function: lambda_.IFunction,
        deployment: Deployment,
        alarms: Alarms,
    ) -> None:
        super().__init__(scope, construct_id)
        self._deployment = deployment
        self._api = gateway.HttpApi(self, "HttpApi", api_name=deployment.stack_name, create_default_stage=False)
        self.alone = _resource_of(self._api)
        """Without its routes and authorizer."""
        self._tokens = authorizers.HttpJwtAuthorizer(_AUTHORIZER, deployment.issuer, jwt_audience=deployment.audiences)
        self._integration = integrations.HttpLambdaIntegration("Function", function, scope_permission_to_route=False)
        self._routes = [self._add_route(route) for route in ROUTES]
        self.authorizer = self._api.node.find_child(_AUTHORIZER)
        """Made first of all: API Gateway fetches the issuer's discovery document then, and refuses a wrong one."""
        self.log = logs.LogGroup(
            self, "AccessLog", retention=logs.RetentionDays.THREE_MONTHS, removal_policy=cdk.RemovalPolicy.DESTROY
        )
        self.url = self._make_stage().url
        self._make_alarms(alarms)

    def _add_route(self, route: Route) -> gateway.HttpRoute:
        scopes = list(scopes_for(route, self._deployment.settings))
        (added,) = self._api.add_routes(
            path=route.path,
            methods=[gateway.HttpMethod(route.method)],
            integration=self._integration,
            authorizer=self._tokens if route.needs_sign_in else None,
            authorization_scopes=scopes or None,
        )
        if not route.needs_sign_in:
            set_aside(
                added,
                "APIG4",
                "The service describes itself before sign-in: it tells clients where to sign in, and holds nothing "
                "that is not public.",
            )
        return added

    def _make_stage(self) -> gateway.HttpStage:
        stage = gateway.HttpStage(
            self,
            "Stage",
            http_api=self._api,
            stage_name="$default",
            auto_deploy=True,
            throttle=gateway.ThrottleSettings(
                rate_limit=self._deployment.requests_per_second, burst_limit=self._deployment.request_burst
            ),
        )
        stage.node.add_dependency(*self._routes)  # a stage with settings of a route that is not there yet is refused
        resource = stage.node.default_child
        if not isinstance(resource, gateway.CfnStage):
            raise TypeError(f"the stage's resource is {resource!r}")
        resource.access_log_settings = gateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=self.log.log_group_arn, format=json.dumps(ACCESS_LOG_FIELDS)
        )
        resource.route_settings = {
            f"{route.method} {route.path}": self._limit_open_route() for route in ROUTES if not route.needs_sign_in
        }
        return stage

    def _make_alarms(self, alarms: Alarms) -> None:
        """Alarm where nobody is served, and where the service itself is at fault, which a list answers as one item's.

        A moment without S3 or DynamoDB is no alarm: clients ask again for 15 minutes, a few times in each five.
        """
        failed = self._api.metric_server_error(period=cdk.Duration.minutes(5), statistic="Sum")
        told = "Calls have failed for ten minutes: see the service's log, and the API's where that says nothing."
        alarms.add(alarms, "CallsFailAlarm", failed, 3, told, breaches=2, periods=3)
        faults = alarms.hourly_sum("Problems", code="internal-error")
        alarms.add(alarms, "FaultsAlarm", faults, 1, "The service met an error that it does not know: see its log.")

    def _limit_open_route(self) -> dict[str, int]:
        """Throttle the open route apart, so that a flood of its calls takes nothing from signed-in users."""
        return {
            "ThrottlingRateLimit": self._deployment.open_requests_per_second,
            "ThrottlingBurstLimit": self._deployment.open_request_burst,
        }


def _resource_of(api: gateway.HttpApi) -> gateway.CfnApi:
    resource = api.node.default_child
    if not isinstance(resource, gateway.CfnApi):
        raise TypeError(f"the API's resource is {resource!r}")
    return resource
