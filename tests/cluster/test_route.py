"""A rollout on a real API server and gateway: what others write stays, its own comes back, and what its account may not do it says."""

import copy
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from components.release.canary import check_rights
from lodestar.errors import EnvironmentFault
from serving.rollout.api_client import api_client
from serving.rollout.canary import canary
from serving.rollout.kserve_api import RIGHTS, Kubernetes, Reversal
from serving.rollout.record import StableBundle
from serving.rollout.reversal import roll_back
from serving.rollout.state import CANDIDATE
from tests.cluster.steps import eventually, kubectl
from tests.contract.kustomize import objects

pytestmark = pytest.mark.cluster

MANIFESTS = Path(__file__).parents[2] / "manifests"
RIGHTS_FILE = MANIFESTS / "overlays" / "pipelines" / "rights.yaml"
NAMESPACE, NAME = "lodestar-route", "recommend"
OLD, NEW = "s3://lodestar/old", "s3://lodestar/new"
ACCOUNT = "system:serviceaccount:kubeflow:pipeline-runner"
OTHER_RULES = [
    {"matches": [{"path": {"type": "PathPrefix", "value": "/v1/events"}}], "backendRefs": [{"name": "collector", "port": 80}]},
    {
        "matches": [{"path": {"type": "PathPrefix", "value": "/v1/recommend"}, "headers": [{"name": "x-tenant", "value": "two"}]}],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-seen", "value": "yes"}]}}],
        "timeouts": {"request": "2s"},
        "backendRefs": [{"name": f"{NAME}-predictor", "port": 80, "weight": 300}, {"name": "fallback", "port": 80, "weight": 100}],
    },
]


@pytest.fixture
def route() -> Iterator[dict[str, Any]]:
    """The manifests' route, as an owner has extended it, in a namespace of its own."""
    kubectl("create", "namespace", NAMESPACE)
    try:
        for file in ("50-service.yaml", "60-route.yaml"):
            (thing,) = objects(MANIFESTS / file)
            thing["metadata"] = {"name": thing["metadata"]["name"], "namespace": NAMESPACE}
            if thing["kind"] == "InferenceService":
                thing["metadata"]["annotations"] = {"serving.kserve.io/stop": "true"}
                thing["spec"] = {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": OLD}}}
            else:
                thing["spec"]["hostnames"] = ["route.example.com"]
                thing["spec"]["rules"] += OTHER_RULES
            kubectl("apply", "-f", "-", content=thing)
        for name in (f"{NAME}-predictor", f"{NAME}-canary-predictor", "collector", "fallback"):
            # A route whose Services are not there is never said to be routed.
            service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE}}
            kubectl("apply", "-f", "-", content=service | {"spec": {"ports": [{"port": 80}]}})
        yield live()
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait", "--timeout=120s")


def live() -> dict[str, Any]:
    return dict(json.loads(kubectl("-n", NAMESPACE, "get", "httproute", f"{NAME}-split", "-o", "json")))


def reversal() -> Reversal:
    return roll_back("two-services", NEW, StableBundle(bundle=OLD, predictor=None))


def weights() -> list[list[tuple[str, int]]]:
    return [[(ref["name"], ref["weight"]) for ref in rule["backendRefs"]] for rule in live()["spec"]["rules"]]


def test_its_own_entries_change_and_come_back_as_they_were(route: dict[str, Any]) -> None:
    api = Kubernetes(namespace=NAMESPACE, name=NAME, api=api_client())
    claim, _, share = canary("two-services", NEW, 10)
    before = copy.deepcopy(route["spec"])
    api.apply([claim, share])
    assert weights() == [
        [(f"{NAME}-predictor", 90), (f"{NAME}-canary-predictor", 10)],
        [("collector", 1)],
        [(f"{NAME}-predictor", 270), (f"{NAME}-canary-predictor", 30), ("fallback", 100)],
    ]
    assert live()["metadata"]["annotations"][CANDIDATE] == NEW
    api.revert(reversal())
    assert live()["spec"] == before
    assert not {name for name in live()["metadata"].get("annotations", {}) if name.startswith("lodestar/")}


def test_what_a_second_writer_changes_meanwhile_is_not_lost(route: dict[str, Any]) -> None:
    api = Kubernetes(namespace=NAMESPACE, name=NAME, api=api_client())
    claim, _, share = canary("two-services", NEW, 10)
    written = 20

    def write() -> None:
        for number in range(written):
            kubectl("-n", NAMESPACE, "annotate", "httproute", f"{NAME}-split", f"owner/{number}=yes")
            header = [{"op": "replace", "path": "/spec/rules/1/matches/0/path/value", "value": f"/v1/events/{number}"}]
            kubectl("-n", NAMESPACE, "patch", "httproute", f"{NAME}-split", "--type=json", "-p", json.dumps(header))

    owner = threading.Thread(target=write)
    owner.start()
    rounds = 0
    while owner.is_alive():
        api.apply([claim, share])
        api.revert(reversal())
        rounds += 1
    owner.join()
    assert rounds
    found = live()
    assert {name for name in found["metadata"]["annotations"] if name.startswith("owner/")} == {f"owner/{n}" for n in range(written)}
    events = found["spec"]["rules"].pop(1)
    assert events["matches"][0]["path"]["value"] == f"/v1/events/{written - 1}"
    route["spec"]["rules"].pop(1)
    assert found["spec"] == route["spec"]


@pytest.fixture
def as_pipeline_runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kubernetes client speaks as the account of the pipeline's steps."""
    config.load_config()
    plain = client.Configuration.get_default_copy()
    monkeypatch.setattr(config, "load_config", lambda: None)
    call = client.ApiClient.call_api

    def impersonated(self: client.ApiClient, *positional: Any, **named: Any) -> Any:
        self.set_default_header("Impersonate-User", ACCOUNT)
        return call(self, *positional, **named)

    monkeypatch.setattr(client.ApiClient, "call_api", impersonated)
    client.Configuration.set_default(plain)
    yield
    client.Configuration.set_default(None)


def refusal(service: str) -> str:
    """What the check says; empty where it passes."""
    try:
        check_rights(service)
    except EnvironmentFault as fault:
        return str(fault)
    return ""


def is_granted(service: str) -> bool:
    """Of a service that is not there, which is what the check says once it may look."""
    return "E596" in refusal(service) and " 404 " in refusal(service)


def is_missing(service: str, verb: str, resource: str) -> bool:
    said = refusal(service)
    return f"may not {verb} {resource}." in said or f"may not {verb} {resource} " in said


@pytest.mark.usefixtures("as_pipeline_runner")
def test_steps_may_do_what_the_overlay_binds_and_say_what_is_missing_without_it() -> None:
    namespace = "lodestar-rights"
    service = f"{namespace}/{NAME}"
    kubectl("create", "namespace", namespace)
    try:
        assert f"E537 {ACCOUNT} may not get inferenceservices.serving.kserve.io in namespace {namespace}" in refusal(service)
        (role,) = [
            thing for thing in objects(MANIFESTS / "10-access.yaml") if (thing["kind"], thing["metadata"]["name"]) == ("Role", "rollout")
        ]
        (binding,) = [thing for thing in objects(RIGHTS_FILE) if thing["metadata"]["namespace"] == "lodestar"]
        for thing in (role, binding):
            thing["metadata"] = {"name": thing["metadata"]["name"], "namespace": namespace}
            kubectl("apply", "-f", "-", content=thing)
        eventually(lambda: is_granted(service), 10, lambda: refusal(service))
        for _, resource, verb in RIGHTS:
            reduced = copy.deepcopy(role)
            for rule in reduced["rules"]:
                kept = [one for one in rule["verbs"] if rule["resources"] != [resource] or one != verb]
                rule["verbs"] = kept or ["deletecollection"]
            kubectl("apply", "-f", "-", content=reduced)
            eventually(partial(is_missing, service, verb, resource), 10, lambda: refusal(service))
        kubectl("apply", "-f", "-", content=role)
        eventually(lambda: is_granted(service), 10, lambda: refusal(service))
    finally:
        kubectl("delete", "namespace", namespace, "--wait", "--timeout=120s")
