"""The stack with its own user pool, deployed to ministack as far as that goes, and a person who signs in to it.

ministack does not know the style of a sign-in page, so that is left out. Its API Gateway asks for the keys of a pool
without TLS, and gets no answer; so the embedded backend's gateway, which checks as API Gateway does, takes its place.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import urllib3
from joserfc.jwk import RSAKey

from mgmt_contract.sign_in import CALLBACK_PORTS, redirect_uri
from mgmt_local.gateway.authorizer import TokenAuthorizer
from support.assembly import INFRA, run_cdk, write_deployment
from support.ministack import REGION, Ministack

STACK = "mgmt-pool"
_UNKNOWN_TYPE = "AWS::Cognito::ManagedLoginBranding"
PASSWORD = "a-Long-one-7"


@dataclass(frozen=True)
class DeployedPool:
    """A user pool with one client, and Cognito's own API."""

    api: Any
    http: urllib3.PoolManager
    endpoint_url: str
    pool_id: str
    client_id: str

    @property
    def issuer(self) -> str:
        """The pool as the issuer of its tokens."""
        return f"https://cognito-idp.{REGION}.amazonaws.com/{self.pool_id}"

    def make_person(self, name: str, group: str) -> None:
        """Make a person as docs/admin.md says, with a password that need not be changed."""
        attributes = [
            {"Name": "email", "Value": f"{name}@example.com"},
            {"Name": "email_verified", "Value": "true"},
        ]
        self.api.admin_create_user(UserPoolId=self.pool_id, Username=name, UserAttributes=attributes)
        self.api.admin_set_user_password(UserPoolId=self.pool_id, Username=name, Password=PASSWORD, Permanent=True)
        self.api.admin_add_user_to_group(UserPoolId=self.pool_id, Username=name, GroupName=group)

    def sign_in(self, name: str, scope: str = "openid mgmt/use") -> dict[str, Any]:
        """Sign in at the page, with PKCE, and return the answer with the tokens."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        address_back = redirect_uri(CALLBACK_PORTS[0], self.issuer)
        asked = {
            "client_id": self.client_id,
            "redirect_uri": address_back,
            "response_type": "code",
            "scope": scope,
            "state": "state",
            "nonce": "nonce",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        page = self._post("/login", {**asked, "username": name, "password": PASSWORD})
        code = parse_qs(urlsplit(page.headers["location"]).query)["code"][0]
        words = {"grant_type": "authorization_code", "code": code, "redirect_uri": address_back}
        answer = self._post("/oauth2/token", {**words, "client_id": self.client_id, "code_verifier": verifier})
        tokens: dict[str, Any] = answer.json()
        return tokens

    def refresh(self, tokens: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Ask for new tokens; return the status and the answer."""
        words = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": self.client_id}
        answer = self._post("/oauth2/token", words)
        return answer.status, answer.json()

    def authorizer(self, scopes: tuple[str, ...], clock: Callable[[], datetime]) -> TokenAuthorizer:
        """Make the check of the pool's tokens that its deployment asks API Gateway for, by another clock."""
        return TokenAuthorizer(self.issuer, (self.client_id,), scopes, _PoolKeys(self), clock)

    def find_keys(self) -> list[dict[str, Any]]:
        """Fetch the keys that the pool publishes."""
        url = f"{self.endpoint_url}/{self.pool_id}/.well-known/jwks.json"
        keys: list[dict[str, Any]] = self.http.request("GET", url).json()["keys"]
        return keys

    def _post(self, path: str, words: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        return self.http.request("POST", self.endpoint_url + path, fields=words, encode_multipart=False)


@dataclass(frozen=True)
class _PoolKeys:
    pool: DeployedPool

    def find(self, key_id: str) -> RSAKey | None:
        found = [RSAKey.import_key(key) for key in self.pool.find_keys() if key["kid"] == key_id]
        return found[0] if found else None


def deploy_pool(
    folder: Path, environment: Mapping[str, str], ministack: Ministack, http: urllib3.PoolManager, **deployment: Any
) -> DeployedPool:
    """Deploy a stack with a user pool into an account that is bootstrapped."""
    out, outputs_path = folder / "out", folder / "outputs.json"
    path = write_deployment(folder, {"stack_name": STACK, **deployment})
    run_cdk(["synth", "--quiet", f"--output={out}", f"--context=deployment={path}"], environment, cwd=INFRA)
    template_path = out / f"{STACK}.template.json"
    template_path.write_text(_adapt(json.loads(template_path.read_text())))
    words = ["deploy", "--require-approval=never", f"--outputs-file={outputs_path}", f"--app={out}"]
    run_cdk(words, environment, cwd=folder)
    outputs = json.loads(outputs_path.read_text())[STACK]
    api = boto3.client(
        "cognito-idp",
        region_name=REGION,
        endpoint_url=ministack.endpoint_url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        verify=environment["AWS_CA_BUNDLE"],
    )
    (client,) = api.list_user_pool_clients(UserPoolId=outputs["UserPoolId"])["UserPoolClients"]
    return DeployedPool(api, http, ministack.endpoint_url, outputs["UserPoolId"], client["ClientId"])


def _adapt(template: dict[str, Any]) -> str:
    resources = template["Resources"].items()
    template["Resources"] = {name: each for name, each in resources if each["Type"] != _UNKNOWN_TYPE}
    return json.dumps(template)
