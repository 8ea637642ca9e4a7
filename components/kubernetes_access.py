"""Which rights a step needs of the API server, asked before it makes anything (SelfSubjectAccessReview)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lodestar.errors import EnvironmentFault

# Binds the account that steps run as to the Roles of manifests/10-access.yaml; settings that an owner has made stay as they are.
GRANT = "kubectl apply -f manifests/overlays/pipelines/rights.yaml"


@dataclass(frozen=True, kw_only=True)
class Right:
    """One verb on one resource of one namespace; `resource` may name a part, such as `pods/log`, and `group` is empty for the core."""

    verb: str
    resource: str
    namespace: str
    group: str = ""

    def __str__(self) -> str:
        resource, _, part = self.resource.partition("/")
        name = f"{resource}.{self.group}" if self.group else resource
        return f"{self.verb} {name}{f'/{part}' if part else ''} in namespace {self.namespace}"


def require(rights: Sequence[Right], api: Any = None) -> None:
    """EnvironmentFault E537 that names each right which this account lacks, the account, and the command that grants them.

    `api` is a kubernetes ApiClient, or None for the one that is configured. Every account may ask what it may do; a server that does not
    say is no refusal, for the request itself will tell.
    """
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    try:
        missing = [right for right in rights if not _is_allowed(right, api)]
    except (client.ApiException, HTTPError):
        return
    if missing:
        message = f"{account(api)} may not " + ", nor ".join(map(str, missing))
        raise EnvironmentFault("E537", message, remedy=f"Run `{GRANT}`, with that account among its subjects; nothing was made.")


def account(api: Any = None) -> str:
    """Who the API server takes this process for, such as `system:serviceaccount:kubeflow:pipeline-runner`."""
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    try:
        answer = client.AuthenticationV1Api(api).create_self_subject_review({})
    except (client.ApiException, HTTPError):
        return "this account"
    return str(answer.status.user_info.username)


def _is_allowed(right: Right, api: Any) -> bool:
    from kubernetes import client

    resource, _, part = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": part, "namespace": right.namespace}
    answer = client.AuthorizationV1Api(api).create_self_subject_access_review({"spec": {"resourceAttributes": attributes}})
    return bool(answer.status.allowed)
