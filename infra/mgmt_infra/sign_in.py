"""The sign-in that the stack makes where a deployment names no issuer: an Amazon Cognito user pool.

Nobody can sign up; an admin makes each person, under a name that is readable in the history and stays. A second factor
is required, by an authenticator app: Cognito's page asks for one at the first sign-in only where it is required, and
codes by SMS can be intercepted and cost money.
"""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_cognito as cognito
from constructs import Construct, IDependable

from mgmt_contract.sign_in import redirect_uris
from mgmt_infra.deployment import Deployment
from mgmt_infra.rules import set_aside
from mgmt_infra.storage import KEPT

ACCESS_TOKEN_MINUTES: Final = 15
"""With a URL's life of 15 minutes, signed in a token's last second: somebody who was removed is out after 30."""
REFRESH_TOKEN_DAYS: Final = 30
"""Counted from the sign-in, also where the token is replaced at each use."""
ROTATION_GRACE_SECONDS: Final = 30
"""How long a used refresh token is taken again: its answer may have been lost. Cognito allows 60 at most."""
FIRST_PASSWORD_DAYS: Final = 3
_RESOURCE_SERVER: Final = "mgmt"
_SCOPES: Final = {
    "use": "Everything that the person's groups allow",
    "read": "Listing and looking up",
}
_INVITATION: Final = (
    "You are invited to mgmt. Your name there is {username}, and your first password is {####} ; it is good for "
    f"{FIRST_PASSWORD_DAYS} days. Your admin tells you the address to sign in to: mgmt login ADDRESS. You will need an "
    "authenticator app on your phone."
)


class SignIn(Construct):
    """The user pool with its groups and scopes, its client and its sign-in page."""

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        super().__init__(scope, construct_id)
        self.pool = self._make_pool(deployment.stack_name)
        self.issuer = f"https://cognito-idp.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}/{self.pool.user_pool_id}"
        self._groups = {name: self._make_group(name, meaning) for name, meaning in _GROUPS.items()}
        self._make_first_admins(deployment)
        self.client = self._make_client(deployment)
        self._make_page()

    def make_after(self, *others: IDependable) -> None:
        """Make the pool after these constructs, which may fail.

        CloudFormation takes back what a failed first deployment has made, but not a pool with deletion protection.
        """
        self.pool.node.add_dependency(*others)

    def _make_pool(self, name: str) -> cognito.UserPool:
        pool = cognito.UserPool(
            self,
            "Pool",
            user_pool_name=name,
            self_sign_up_enabled=False,
            sign_in_aliases=cognito.SignInAliases(username=True, email=True),
            sign_in_case_sensitive=False,
            standard_attributes=cognito.StandardAttributes(
                email=cognito.StandardAttribute(required=True, mutable=True)
            ),
            auto_verify=cognito.AutoVerifiedAttrs(email=True),
            account_recovery=cognito.AccountRecovery.EMAIL_ONLY,
            mfa=cognito.Mfa.REQUIRED,
            mfa_second_factor=cognito.MfaSecondFactor(otp=True, sms=False),
            password_policy=cognito.PasswordPolicy(
                min_length=12,
                require_lowercase=True,
                require_uppercase=True,
                require_digits=True,
                require_symbols=True,
                temp_password_validity=cdk.Duration.days(FIRST_PASSWORD_DAYS),
            ),
            user_invitation=cognito.UserInvitationConfig(email_subject="Your mgmt account", email_body=_INVITATION),
            feature_plan=cognito.FeaturePlan.ESSENTIALS,
            deletion_protection=True,
            removal_policy=KEPT,
        )
        set_aside(
            pool,
            "COG8",
            "The Plus tier adds risk scores for sign-ins and costs several times as much for each person. Here nobody "
            "can sign up, and a second factor is required of everybody.",
        )
        return pool

    def _make_group(self, name: str, meaning: str) -> cognito.UserPoolGroup:
        group = cognito.UserPoolGroup(
            self, name.capitalize(), user_pool=self.pool, group_name=name, description=meaning
        )
        group.apply_removal_policy(KEPT)  # a pool without its groups would have forgotten who is what
        return group

    def _make_first_admins(self, deployment: Deployment) -> None:
        """Make the first admins, once: the pool keeps them whatever becomes of their line in the file."""
        for name, email in deployment.first_admins.items():
            attribute = cognito.CfnUserPoolUser.AttributeTypeProperty
            person = cognito.CfnUserPoolUser(
                self,
                f"Person-{name}",
                user_pool_id=self.pool.user_pool_id,
                username=name,
                desired_delivery_mediums=["EMAIL"],
                user_attributes=[
                    attribute(name="email", value=email),
                    attribute(name="email_verified", value="true"),
                ],
            )
            person.apply_removal_policy(KEPT)
            admin = cognito.CfnUserPoolUserToGroupAttachment(
                self, f"Admin-{name}", user_pool_id=self.pool.user_pool_id, username=name, group_name="admins"
            )
            admin.apply_removal_policy(KEPT)
            admin.node.add_dependency(person, self._groups["admins"])

    def _make_client(self, deployment: Deployment) -> cognito.UserPoolClient:
        """Make the client that every `mgmt` is: public, so without a secret, and good for code with PKCE only."""
        scopes = {
            name: cognito.ResourceServerScope(scope_name=name, scope_description=meaning)
            for name, meaning in _SCOPES.items()
        }
        server = self.pool.add_resource_server(
            "Scopes", identifier=_RESOURCE_SERVER, user_pool_resource_server_name="mgmt", scopes=list(scopes.values())
        )
        asked = [cognito.OAuthScope.resource_server(server, scope) for scope in scopes.values()]
        providers = [cognito.UserPoolClientIdentityProvider.COGNITO]
        providers += [cognito.UserPoolClientIdentityProvider.custom(name) for name in deployment.identity_providers]
        return cognito.UserPoolClient(
            self,
            "Client",
            user_pool=self.pool,
            user_pool_client_name="mgmt command",
            generate_secret=False,
            # One flow has to be named, else Cognito allows several. Its tokens carry none of the scopes above.
            auth_flows=cognito.AuthFlow(user_srp=True),
            o_auth=cognito.OAuthSettings(
                flows=cognito.OAuthFlows(authorization_code_grant=True),
                scopes=[cognito.OAuthScope.OPENID, *asked],
                callback_urls=list(redirect_uris(self.issuer)),
            ),
            supported_identity_providers=providers,
            access_token_validity=cdk.Duration.minutes(ACCESS_TOKEN_MINUTES),
            id_token_validity=cdk.Duration.minutes(ACCESS_TOKEN_MINUTES),
            refresh_token_validity=cdk.Duration.days(REFRESH_TOKEN_DAYS),
            refresh_token_rotation_grace_period=cdk.Duration.seconds(ROTATION_GRACE_SECONDS),
            enable_token_revocation=True,
            prevent_user_existence_errors=True,
        )

    def _make_page(self) -> None:
        """Make the sign-in page; without a style, Cognito shows none."""
        cognito.UserPoolDomain(
            self,
            "Domain",
            user_pool=self.pool,
            cognito_domain=cognito.CognitoDomainOptions(domain_prefix=_make_domain_prefix()),
            managed_login_version=cognito.ManagedLoginVersion.NEWER_MANAGED_LOGIN,
        )
        cognito.CfnManagedLoginBranding(
            self,
            "Style",
            user_pool_id=self.pool.user_pool_id,
            client_id=self.client.user_pool_client_id,
            use_cognito_provided_values=True,
        )


_GROUPS: Final = {
    "members": "Upload, list, download, and cancel what is their own",
    "admins": "Members who may also act on what is others'",
}


def _make_domain_prefix() -> str:
    """Make a name that no other pool of the region has, in any account: from the stack's own id, which stays.

    One that somebody chooses may be taken, and then the first deployment fails when the pool is there already.
    """
    id_parts = cdk.Fn.split("-", cdk.Fn.select(2, cdk.Fn.split("/", cdk.Aws.STACK_ID)))
    return cdk.Fn.join("-", ["mgmt", cdk.Fn.select(0, id_parts), cdk.Fn.select(4, id_parts)])
