"""Permission checks at the Kubernetes API server (SelfSubjectAccessReview), before a step changes anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lodestar.errors import EnvironmentFault

# Binds the steps' service account to the Roles of manifests/10-access.yaml, without changing other settings.
GRANT = "kubectl apply -f manifests/overlays/pipelines/rights.yaml"


@dataclass(frozen=True, kw_only=True)
class Permission:
    """A verb on a resource in a namespace; `resource` may have a subresource, such as `pods/log`; `group` is empty for the core API.

    `name` is that of the one object, or empty for all.
    """

    verb: str
    resource: str
    namespace: str
    group: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource, _, part = self.resource.partition("/")
        name = f"{resource}.{self.group}" if self.group else resource
        kind = f"{name}/{part}" if part else name
        return f"{self.verb} {kind}{f' {self.name}' if self.name else ''} in namespace {self.namespace}"


def require_permissions(rights: Sequence[Permission], api: Any) -> None:
    """Raise EnvironmentFault E537 with the missing permissions, the account, and the command that grants them.

    `api` is a kubernetes ApiClient. Every account may review its own access; if the review itself fails,
    the check passes, and the later request reports the error.
    """
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    try:
        missing = [right for right in rights if not _is_allowed(right, api)]
    except (client.ApiException, HTTPError):
        return
    if missing:
        message = f"{account(api)} may not " + ", nor ".join(map(str, missing))
        raise EnvironmentFault("E537", message, remedy=f"Run `{GRANT}`, with that account among its subjects; nothing was changed.")


def account(api: Any) -> str:
    """User name of this process at the API server, such as `system:serviceaccount:kubeflow:pipeline-runner`."""
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    try:
        review = client.AuthenticationV1Api(api).create_self_subject_review({})
    except (client.ApiException, HTTPError):
        return "this account"
    return str(review.status.user_info.username)


def _is_allowed(right: Permission, api: Any) -> bool:
    from kubernetes import client

    resource, _, subresource = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource, "namespace": right.namespace}
    attributes |= {"name": right.name} if right.name else {}
    review = client.AuthorizationV1Api(api).create_self_subject_access_review({"spec": {"resourceAttributes": attributes}})
    return bool(review.status.allowed)
