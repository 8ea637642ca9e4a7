"""The train step on a cluster: its job on nodes with GPUs, what it says when a worker fails, and that it leaves no job behind."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodestar.bundle import bundle
from lodestar.io import storage
from tests.cluster import objects
from tests.cluster.backend.driver import Backend
from tests.cluster.steps import eventually, kubectl
from tests.cluster.train_step import GPU, POOL, TrainStep, jobs, put, workers
from tests.cycles import features

pytestmark = pytest.mark.cluster

SMALL = {"workers": 2, "cpu": "100m", "memory": "2Gi"}
JOB_NAME = "training.kubeflow.org/job-name"
TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
EPOCHS, LONG = {"train": {"epochs": 2}}, {"train": {"epochs": 100_000, "patience": 100_000}}


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """The node, of a pool with two GPUs that only those may use who tolerate it; the GPUs are advertised and not there."""
    name = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    status = ("patch", "node", name, "--subresource=status", "--type=merge", "-p")
    kubectl(*status, json.dumps({"status": {"capacity": {GPU: "2"}, "allocatable": {GPU: "2"}}}))
    kubectl("label", "node", name, f"{POOL}=gpu", "--overwrite")
    yield name
    kubectl("label", "node", name, f"{POOL}-")
    kubectl(*status, json.dumps({"status": {"capacity": {GPU: None}, "allocatable": {GPU: None}}}))


@pytest.fixture(scope="module")
def step(backend: Backend, prefix: str, node: str, tmp_path_factory: pytest.TempPathFactory) -> TrainStep:
    """On features that lie in the bucket as the Pipelines launcher leaves them."""
    folder = tmp_path_factory.mktemp("train")
    address = f"{prefix}/train/features"
    put(features(folder / "features"), address)
    return TrainStep(os.environ["IMAGE_REGISTRY"], address, folder)


def test_what_is_set_on_the_task_reaches_the_workers_and_the_bundle_comes_back_whole(step: TrainStep, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def look(pod: str) -> None:
        seen.update({worker["metadata"]["name"]: worker for worker in workers()})
        seen.setdefault("step", json.loads(kubectl("-n", "kubeflow", "get", "pod", pod, "-o", "json"))["spec"])

    ended = step.run(SMALL, EPOCHS, look)
    assert ended.exit_code == 0, ended.log[-4000:]
    asked = seen.pop("step")["containers"][0]["resources"]
    assert GPU not in {**asked.get("limits", {}), **asked.get("requests", {})}
    (made,) = [job for job in jobs() if _option(job, "output").startswith(ended.bundle.rpartition("/")[0].rpartition("/")[0])]
    specs = [worker["spec"] for worker in seen.values() if worker["metadata"]["labels"][JOB_NAME] == made["metadata"]["name"]]
    assert len(specs) == 2
    for spec in specs:
        assert spec["containers"][0]["resources"]["limits"][GPU] == "1"
        assert (spec["nodeSelector"], spec["serviceAccountName"]) == ({POOL: "gpu"}, "trainer")
        assert TOLERATION in spec["tolerations"]
    assert bundle.load(objects.downloaded(ended.bundle, tmp_path / "bundle")).info.recipe == "tiny"
    assert storage.resolve(_option(made, "output")) == _option(made, "output")  # what was staged is gone


def test_the_worker_that_failed_is_quoted_and_not_torchruns_page(step: TrainStep) -> None:
    ended = step.run(SMALL, {"train": {"epochs": 2, "warm_start": "s3://lodestar/nothing/here"}})
    assert ended.exit_code == 5, ended.log[-4000:]
    (said,) = [json.loads(line[line.index("{") :])["error"] for line in ended.log.splitlines() if '"failed"' in line]
    assert "E532" in said
    assert re.search(r"train-\w+-(master|worker)-0: worker \d: E154 s3://lodestar/nothing/here ", said), said
    assert "ChildFailedError" not in said


def test_a_worker_that_ran_out_of_memory_says_so(step: TrainStep) -> None:
    ended = step.run(SMALL | {"memory": "160Mi"}, {"train": {"epochs": 3}})
    assert ended.exit_code == 5, ended.log[-4000:]
    assert "E590" in ended.log, ended.log[-4000:]
    assert "160Mi" in ended.log


def test_an_operator_that_is_not_there_is_said_with_what_to_do(step: TrainStep) -> None:
    ended = step.run(SMALL | {"kind": "TrainJob"}, EPOCHS)
    assert ended.exit_code == 5
    assert all(word in ended.log for word in ("TrainJob", "LODESTAR_TRAINING", "E5")), ended.log[-4000:]


def test_a_step_that_is_terminated_deletes_its_job(step: TrainStep) -> None:
    before = {job["metadata"]["name"] for job in jobs()}

    def terminate(pod: str) -> None:
        if {job["metadata"]["name"] for job in jobs()} - before:
            kubectl("-n", "kubeflow", "delete", "pod", pod, "--wait=false")

    ended = step.run(SMALL, LONG, terminate)
    assert ended.exit_code == 143, ended.log[-4000:]
    # The job goes when its pods have gone, which on a busy node takes a minute.
    eventually(lambda: {job["metadata"]["name"] for job in jobs()} <= before, 180, lambda: f"{jobs()}\n{ended.log[-2000:]}")


def test_a_second_attempt_goes_on_with_the_job_of_the_first(step: TrainStep) -> None:
    def crash(pod: str) -> None:
        if any(_state(job) == "Running" for job in jobs() if 'epochs": 4' in _option(job, "overrides")):
            everything = "import os, signal; os.kill(-1, signal.SIGKILL)"  # of this pod but its first process
            subprocess.run(["kubectl", "-n", "kubeflow", "exec", pod, "--", "python3", "-c", everything], check=False)

    overrides = {"train": {"epochs": 4}}
    first = step.run(SMALL, overrides, crash)
    assert first.exit_code not in {0, 143}
    second = step.run(SMALL, overrides)
    assert second.exit_code == 0, second.log[-4000:]
    assert "adopted" in second.log


def test_an_elastic_job_goes_on_with_the_workers_that_find_a_place(step: TrainStep, node: str) -> None:
    """Of three workers with one GPU each, two find one."""
    ended = step.run(SMALL | {"workers": 3, "min_workers": 2}, {"train": {"epochs": 5}})
    assert ended.exit_code == 0, ended.log[-4000:]


def _option(job: dict[str, Any], name: str) -> str:
    replica = next(iter(job["spec"]["pytorchReplicaSpecs"].values()))
    arguments: list[str] = replica["template"]["spec"]["containers"][0]["args"]
    return next(argument for argument in arguments if argument.startswith(f"--{name}=")).partition("=")[2]


def _state(job: dict[str, Any]) -> str:
    return next((fact["type"] for fact in reversed(job.get("status", {}).get("conditions", [])) if fact["status"] == "True"), "")
