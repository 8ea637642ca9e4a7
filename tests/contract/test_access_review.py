"""Rights are asked for by the kubernetes client before anything is made; what is missing is named as one would grant it."""

import json
from typing import Any

import pytest
import urllib3
from kubernetes import client

from components.kubernetes.access_review import Permission, require_permissions
from lodestar.errors import EnvironmentFault

NEEDED = [
    Permission(verb="create", group="kubeflow.org", resource="pytorchjobs", namespace="lodestar-training"),
    Permission(verb="get", resource="pods/log", namespace="lodestar-training"),
]


class Reviewer:
    """An API server that allows some of what it is asked about, or does not say."""

    def __init__(self, allowed: set[str], status: int = 201) -> None:
        self.allowed, self.status = allowed, status

    def request(self, _method: str, url: str, **given: Any) -> urllib3.HTTPResponse:
        asked = json.loads(given["body"]).get("spec", {}).get("resourceAttributes", {})
        if url.endswith("/selfsubjectreviews"):
            answer: Any = {"status": {"userInfo": {"username": "system:serviceaccount:kubeflow:pipeline-runner"}}}
        else:
            place = asked["resource"] + (f"/{asked['subresource']}" if asked["subresource"] else "")
            assert asked["namespace"] == "lodestar-training"
            answer = {"spec": {}, "status": {"allowed": f"{asked['verb']} {place}" in self.allowed}}
        return urllib3.HTTPResponse(json.dumps(answer).encode(), status=self.status, reason="said so")


def reviewed(monkeypatch: pytest.MonkeyPatch, *allowed: str, status: int = 201) -> None:
    monkeypatch.setattr(urllib3.PoolManager, "request", Reviewer(set(allowed), status).request)


def test_every_missing_right_is_named_with_account_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    reviewed(monkeypatch)
    with pytest.raises(EnvironmentFault, match="E537") as refused:
        require_permissions(NEEDED, client.ApiClient())
    said = str(refused.value)
    assert "system:serviceaccount:kubeflow:pipeline-runner may not create pytorchjobs.kubeflow.org in namespace lodestar-training" in said
    assert "nor get pods/log in namespace lodestar-training" in said
    assert "`kubectl apply -f manifests/overlays/pipelines/rights.yaml`" in said


def test_what_is_allowed_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    reviewed(monkeypatch, "create pytorchjobs")
    with pytest.raises(EnvironmentFault, match="may not get pods/log"):
        require_permissions(NEEDED, client.ApiClient())
    reviewed(monkeypatch, "create pytorchjobs", "get pods/log")
    require_permissions(NEEDED, client.ApiClient())


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_does_not_say_is_no_refusal(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    reviewed(monkeypatch, status=status)
    require_permissions(NEEDED, client.ApiClient())
