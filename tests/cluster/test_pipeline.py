"""The compiled pipeline's own steps as pods: new data, unchanged data, a right that is missing, and a termination half-way."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lodestar.bundle import bundle
from lodestar.io import storage
from tests.cluster import objects
from tests.cluster.backend.driver import Backend, RunResult
from tests.cluster.shop_tables import Shop
from tests.cluster.steps import OVERRIDES, Stage, eventually, kubectl
from tests.cluster.steps import run as run_pod

pytestmark = pytest.mark.cluster

RELEASED = ("version", "ingest", "build-features", "train", "compress", "evaluate", "gate", "publish", "deploy")
NEVER_CACHED = {"version", "publish", "deploy"}
ROUTE = ("-n", objects.SERVING, "get", "httproute", "recommend-split", "-o", "json")
OTHER_RULE = {"matches": [{"path": {"type": "PathPrefix", "value": "/v1/events"}}], "backendRefs": [{"name": "collector", "port": 8090}]}
# What each step that asks the API server needs, as (Role, its namespace, resource, verb): without it the step says so and leaves nothing.
TRAIN_RIGHTS = [
    ("launcher", objects.TRAINING, "pytorchjobs", "create"),
    ("launcher", objects.TRAINING, "pods", "list"),
    ("launcher", objects.TRAINING, "pods/log", "get"),
    ("launcher", objects.TRAINING, "events", "list"),
]
DEPLOY_RIGHTS = [
    ("rollout", objects.SERVING, "inferenceservices", "create"),
    ("rollout", objects.SERVING, "inferenceservices", "patch"),
    ("rollout", objects.SERVING, "httproutes", "patch"),
    ("rollout", objects.SERVING, "deployments", "list"),
]


def test_the_first_run_trains_in_a_job_of_two_workers_and_serves_what_it_released(
    first_run: RunResult, seen_jobs: list[dict[str, Any]], stage: Stage, served: str, tmp_path: Path
) -> None:
    assert tuple(name for name in first_run.steps if name in RELEASED) == RELEASED, first_run.states()
    assert {first_run.steps[name].state for name in RELEASED} == {"succeeded"}
    replicas = [{kind: spec["replicas"] for kind, spec in job["spec"]["pytorchReplicaSpecs"].items()} for job in seen_jobs]
    assert replicas
    assert all(sum(counts.values()) == 2 for counts in replicas)
    assert served == bundle.load(storage.download(stage.bundle, tmp_path / "released")).digest


def test_no_artifact_carries_a_mark_of_ours(first_run: RunResult) -> None:
    """What reads them asks for none: the real launcher writes none."""
    for task, name in (("build-features", "features"), ("train", "bundle")):
        assert storage.get(f"{first_run.uri(task, name)}/_SUCCESS") is None


def test_unchanged_data_is_taken_from_the_cache_and_new_data_is_not(
    backend: Backend, compiled: Path, parameters: dict[str, Any], images: dict[str, str], shop: Shop, client: httpx.Client, served: str
) -> None:
    again = backend.run(compiled, parameters)
    assert {name: step.state for name, step in again.steps.items() if name in RELEASED} == {
        name: "succeeded" if name in NEVER_CACHED else "cached" for name in RELEASED
    }
    kubectl("-n", objects.SERVING, "patch", "httproute", "recommend-split", "--type=json", "-p", _added(OTHER_RULE))
    try:
        shop.grow()
        grown = backend.run(compiled, parameters)
        assert not grown.failed, grown.failed[0].log[-3000:]
        assert "cached" not in grown.states().values()
        rules = json.loads(kubectl(*ROUTE))["spec"]["rules"]
        weights = {entry["name"]: entry.get("weight", 1) for entry in rules[0]["backendRefs"]}
        assert weights == {"recommend-predictor": 90, "recommend-canary-predictor": 10}
        assert [entry["name"] for entry in rules[1]["backendRefs"]] == ["collector"]
        eventually(lambda: len(_digests(client)) == 2, 120, lambda: f"only {_digests(client)} answer")
    finally:
        run_pod(objects.rollout_pod(images["launcher"], "rollback"))
    rules = json.loads(kubectl(*ROUTE))["spec"]["rules"]
    assert [entry["name"] for entry in rules[1]["backendRefs"]] == ["collector"]


@pytest.mark.parametrize(("role", "namespace", "resource", "verb"), TRAIN_RIGHTS)
def test_train_says_which_right_it_lacks_and_creates_nothing(
    backend: Backend, compiled: Path, parameters: dict[str, Any], first_run: RunResult, role: str, namespace: str, resource: str, verb: str
) -> None:
    seeded = {**json.loads(OVERRIDES), "evaluation": {"seed": 1}}
    before = kubectl("-n", objects.TRAINING, "get", "pytorchjobs", "-o", "name")
    with _without(role, namespace, resource, verb):
        run = backend.run(compiled, {**parameters, "overrides": seeded})
    failed = run.steps["train"]
    assert failed.state == "failed"
    assert all(word in failed.log for word in (resource, verb, namespace, "pipeline-runner")), failed.log[-2000:]
    assert kubectl("-n", objects.TRAINING, "get", "pytorchjobs", "-o", "name") == before


@pytest.mark.parametrize(("role", "namespace", "resource", "verb"), DEPLOY_RIGHTS)
def test_a_release_says_which_right_it_lacks_and_moves_nothing(
    backend: Backend, compiled: Path, parameters: dict[str, Any], first_run: RunResult, role: str, namespace: str, resource: str, verb: str
) -> None:
    before = _live(parameters["destination"])
    with _without(role, namespace, resource, verb):
        run = backend.run(compiled, parameters)
    assert run.failed
    log = run.failed[0].log
    assert all(word in log for word in (resource, verb, namespace, "pipeline-runner")), log[-2000:]
    assert _live(parameters["destination"]) == before


def test_a_deploy_that_is_terminated_takes_its_canary_back(
    backend: Backend, compiled: Path, parameters: dict[str, Any], first_run: RunResult, shop: Shop
) -> None:
    before = _live(parameters["destination"])["route"]
    shop.grow()

    def terminate(task: str, pod: str) -> None:
        if task == "deploy" and "canary" in kubectl("-n", objects.SERVING, "get", "inferenceservices", "-o", "name"):
            kubectl("-n", "kubeflow", "delete", "pod", pod, "--wait=false")

    backend.watch, kept = terminate, backend.watch
    try:
        run = backend.run(compiled, parameters)
    finally:
        backend.watch = kept
    assert run.steps["deploy"].state == "failed"
    assert "canary" not in kubectl("-n", objects.SERVING, "get", "inferenceservices", "-o", "name")
    assert _live(parameters["destination"])["route"] == before


def _digests(client: httpx.Client) -> set[str]:
    answers = [client.get("/v1/recommend", params={"user": f"visitor-{number}"}) for number in range(60)]
    return {answer.json()["model"]["digest"] for answer in answers}


def _live(destination: str) -> dict[str, object]:
    """All that a release moves."""
    route = json.loads(kubectl(*ROUTE))["spec"]
    services = json.loads(kubectl("-n", objects.SERVING, "get", "inferenceservices", "-o", "json"))["items"]
    return {"route": route, "services": [service["spec"] for service in services], "pointer": storage.get(f"{destination}/current")}


def _added(rule: Mapping[str, object]) -> str:
    return json.dumps([{"op": "add", "path": "/spec/rules/-", "value": rule}])


@contextmanager
def _without(role: str, namespace: str, resource: str, verb: str) -> Iterator[None]:
    """A Role that lacks one verb on one resource for as long as this lasts."""
    whole = json.loads(kubectl("-n", namespace, "get", "role", role, "-o", "json"))
    rules = [rule for entry in whole["rules"] for rule in _single(entry) if (rule["resources"][0], rule["verbs"][0]) != (resource, verb)]
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", content=_role(role, namespace, rules))
    try:
        yield
    finally:
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", content=_role(role, namespace, whole["rules"]))


def _single(rule: dict[str, list[str]]) -> list[dict[str, list[str]]]:
    return [
        {"apiGroups": rule["apiGroups"], "resources": [resource], "verbs": [verb]}
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def _role(name: str, namespace: str, rules: object) -> dict[str, object]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": rules,
    }
