"""The compiled train step alone, as a pod: what a user sets on its task, what it is given, and what it says."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from kfp import compiler, dsl, kubernetes
from kfp.dsl import Dataset, Input

from components.train import train
from pipelines.recommend import _configure
from tests.cluster import objects
from tests.cluster.backend import pods
from tests.cluster.objects import Object
from tests.cluster.steps import BUCKET, eventually, kubectl

POOL, GPU = "lodestar/pool", "nvidia.com/gpu"
STEP_S = 900


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """How a step ended: the launcher has put its outputs into the bucket where the exit code is 0."""

    exit_code: int
    log: str
    bundle: str


class TrainStep:
    """Runs the train step on an artifact, again and again; each attempt has a folder of its own, as from the Pipelines backend."""

    def __init__(self, registry: str, features: str, folder: Path) -> None:
        file = folder / "train.yaml"
        compiler.Compiler().compile(_pipeline(registry), str(file))
        spec, platforms = yaml.safe_load_all(file.read_text())
        task = spec["root"]["dag"]["tasks"]["train"]["inputs"]["parameters"]
        self._image = task["image"]["runtimeValue"]["constant"]
        self._executor = spec["deploymentSpec"]["executors"]["exec-train"]
        self._platform = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
        self._features = features
        self._run = f"{features.rpartition('/')[0]}/runs/{uuid.uuid4()}/train"

    def run(self, setting: Object, overrides: Object, meanwhile: Callable[[str], None] = lambda _pod: None) -> StepResult:
        """Run it to its end; `meanwhile` is called with the pod's name, again and again while it runs."""
        root, name = f"{self._run}/{uuid.uuid4()}", f"train-step-{uuid.uuid4().hex[:6]}"
        pod = pods.pod(name, self._executor, self._platform, self._input(overrides, f"{root}/bundle"), f"{root}.result.json")
        environment = pod["spec"]["containers"][0]["env"]
        environment[:] = [entry for entry in environment if entry["name"] != "LODESTAR_TRAINING"]
        environment.append({"name": "LODESTAR_TRAINING", "value": json.dumps(setting)})
        kubectl("apply", "-f", "-", content=pod)
        try:
            with pods.followed(name) as said:
                exit_code = eventually(lambda: _exit_code(name, meanwhile), STEP_S, lambda: kubectl(*_PLACE, "describe", "pod", name))
            return StepResult(exit_code=int(exit_code), log="".join(said), bundle=f"{root}/bundle")
        finally:
            kubectl(*_PLACE, "delete", "pod", name, "--wait=false", "--ignore-not-found")

    def _input(self, overrides: Object, bundle: str) -> Object:
        def artifact(kind: str, uri: str) -> Object:
            return {"artifacts": [{"name": uri.rpartition("/")[2], "uri": uri, "type": {"schemaTitle": f"system.{kind}"}, "metadata": {}}]}

        values = {"recipe": "tiny", "overrides": overrides, "image": self._image}
        values["task_config"] = pods.task_config(self._executor, self._platform)
        return {
            "inputs": {"parameterValues": values, "artifacts": {"features": artifact("Dataset", self._features)}},
            "outputs": {"artifacts": {"bundle": artifact("Model", bundle)}, "outputFile": "/tmp/kfp_outputs/output_metadata.json"},
        }


_PLACE = ("-n", pods.NAMESPACE)


def _pipeline(registry: str) -> Any:
    """What a user writes who has a pool of nodes with GPUs that others are kept from."""

    @dsl.pipeline(name="training")  # type: ignore[untyped-decorator]
    def training(features: Input[Dataset]) -> None:
        task = train(features=features, recipe="tiny", overrides={}, image=_image(registry))
        task = _configure(task, registry, {}).set_accelerator_type(GPU).set_accelerator_limit(1)
        kubernetes.add_node_selector(task, POOL, "gpu")
        kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")

    return training


def _image(registry: str) -> str:
    from components.images.image import image_reference

    return image_reference("train", registry)


def _exit_code(name: str, meanwhile: Callable[[str], None]) -> str:
    """As text, so that 0 is an answer; a pod that was deleted was terminated."""
    found = kubectl(*_PLACE, "get", "pod", name, "--ignore-not-found", "-o", "json")
    if not found:
        return "143"
    status = json.loads(found)["status"]
    for container in status.get("containerStatuses", ()):
        if "terminated" in container["state"]:
            return str(container["state"]["terminated"]["exitCode"])
    if status["phase"] == "Running":
        meanwhile(name)
    return ""


def put(folder: Path, address: str) -> None:
    """Upload a folder as the launcher does, without any mark."""
    prefix = address.removeprefix(f"{BUCKET}/")
    for file in (file for file in folder.rglob("*") if file.is_file()):
        boto3.client("s3").upload_file(str(file), BUCKET.removeprefix("s3://"), f"{prefix}/{file.relative_to(folder).as_posix()}")


def jobs() -> list[Object]:
    found: list[Object] = json.loads(kubectl("-n", objects.TRAINING, "get", "pytorchjobs", "-o", "json"))["items"]
    return found


def workers() -> list[Object]:
    label = "training.kubeflow.org/operator-name=pytorchjob-controller"
    found: list[Object] = json.loads(kubectl("-n", objects.TRAINING, "get", "pods", "-l", label, "-o", "json"))["items"]
    return found
