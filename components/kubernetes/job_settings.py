"""Settings of a step's training job: LODESTAR_TRAINING of the cluster for all jobs, and the settings of the pipeline's train task."""

import hashlib
import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.kubernetes.training_job import Placement, TrainingJob
from lodestar.errors import ConfigError
from lodestar.io.storage import is_remote
from lodestar.recipes import load_recipe

if TYPE_CHECKING:
    from kfp.dsl import TaskConfig

NAMESPACE = "lodestar-training"
SETTINGS: dict[str, type] = {"kind": str, "namespace": str, "service_account": str, "secret": str, "queue": str}
SETTINGS |= {"workers": int, "min_workers": int, "gpus": int, "cpu": str, "memory": str, "shm": str}
# The folder that the Pipelines launcher adds to output addresses for each attempt at a step.
ATTEMPT = re.compile(r"/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=/[^/]+$)")
REMEDY = (
    "give Pipelines a root in S3 (defaultPipelineRoot: s3://BUCKET/PREFIX in its ConfigMap kfp-launcher), "
    "or have the step train in its own pod (LODESTAR_TRAINING: local in the ConfigMap lodestar-settings)"
)
RESERVED_PREFIX = "lodestar-"  # Secrets and ConfigMaps for the step itself; a job has its own Secret


@dataclass(frozen=True, kw_only=True)
class TrainStepInputs:
    """Inputs of a train step: addresses of its artifacts, and the digest of the features as downloaded to it."""

    image: str
    features: str
    features_digest: str
    bundle: str
    recipe: str
    overrides: str


def job_from_settings(settings: str, inputs: TrainStepInputs, task_config: "TaskConfig | None" = None) -> TrainingJob:
    """The training job of a step, from `settings` (a JSON object with keys of SETTINGS) and, with lower precedence, its task's settings.

    Its name is a hash of its inputs, so that a repeated step finds its own job; checkpoints are stored next to the features, so that they
    survive the job. The bundle is staged next to the step's output, which the Pipelines launcher writes. The number of workers defaults to
    the recipe's. Raises ConfigError for an unknown key, or for an address that pods on other machines cannot reach.
    """
    cluster_settings = _parse_settings(settings)
    for address in (inputs.features, inputs.bundle):
        if not is_remote(address):
            raise ConfigError(f"a training job reads and writes s3:// addresses, and {address} is not one: {REMEDY}", code="E314")
    bundle = ATTEMPT.sub("", inputs.bundle)
    hashed = " ".join((inputs.features, inputs.features_digest, bundle, inputs.recipe, inputs.overrides))
    digest = hashlib.sha256(hashed.encode()).hexdigest()[:10]
    fields: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workers": load_recipe(inputs.recipe, inputs.overrides).train.workers,
        **(_task_settings(task_config, cluster_settings.keys()) if task_config is not None else {}),
        **cluster_settings,
    }
    return TrainingJob(
        name=f"train-{digest}",
        image=inputs.image,
        features=inputs.features,
        features_digest=inputs.features_digest,
        bundle=f"{bundle}.staging-{digest}",
        heartbeat=f"{bundle}.heartbeat-{digest}",
        checkpoints=f"{inputs.features}.checkpoints",
        recipe=inputs.recipe,
        overrides=inputs.overrides,
        **fields,
    )


def _parse_settings(text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        example = """LODESTAR_TRAINING='{"workers": 2, "gpus": 1}'"""
        raise ConfigError(
            f"LODESTAR_TRAINING is `local`, empty, or a JSON object; {text!r} is not: {error}. Write {example}", code="E317"
        ) from error
    if not isinstance(settings, dict) or not settings.keys() <= SETTINGS.keys():
        raise ConfigError(f"LODESTAR_TRAINING is a JSON object with any of {', '.join(SETTINGS)}; got {text}", code="E317")
    for key, value in settings.items():
        if type(value) is not SETTINGS[key]:
            raise ConfigError(f"{key} of LODESTAR_TRAINING takes {SETTINGS[key].__name__}, got {value!r}", code="E317")
    return settings


def _task_settings(task_config: "TaskConfig", overruled: Set[str]) -> dict[str, Any]:
    """Fields of TrainingJob from the task's settings; settings without a field are passed through in its placement.

    A resource in `overruled` (set by LODESTAR_TRAINING) ignores both request and limit of the task.
    """
    resources = task_config.resources or {}
    limits: Mapping[str, str] = {name: str(value) for name, value in (resources.get("limits") or {}).items()}
    requests: Mapping[str, str] = {name: str(value) for name, value in (resources.get("requests") or {}).items()}
    found: dict[str, Any] = {}
    for name, value in (("cpu", requests.get("cpu", limits.get("cpu"))), ("memory", limits.get("memory", requests.get("memory")))):
        found |= {name: value} if value else {}
    found |= {"memory_request": requests["memory"]} if "memory" in requests and "memory" not in overruled else {}
    accelerators = [name for name in limits if _is_accelerator(name)]
    if accelerators:
        found |= {"accelerator": accelerators[0], "gpus": _parse_count(accelerators[0], limits[accelerators[0]])}
    known = {"memory", *accelerators} | ({"cpu"} if "cpu" in overruled else set())
    found["placement"] = Placement(
        tolerations=tuple(task_config.tolerations or ()),
        node_selector=task_config.node_selector or {},
        affinity=task_config.affinity or {},
        env=tuple(entry for entry in task_config.env or () if not _is_of_step(entry)),
        limits={name: value for name, value in limits.items() if name not in known},
        requests={name: value for name, value in requests.items() if name not in known | {"cpu"}},
    )
    return found


def _is_accelerator(resource: str) -> bool:
    """Whether a resource is a GPU or a MIG slice: `nvidia.com/gpu`, `amd.com/gpu`, `nvidia.com/mig-1g.10gb`."""
    return "/" in resource and re.search(r"gpu|/mig-", resource) is not None


def _parse_count(name: str, value: str) -> int:
    if not value.isdecimal():
        raise ConfigError(f"the limit of {name} on the train task is a whole number, got {value!r}", code="E317")
    return int(value)


def _is_of_step(entry: Mapping[str, Any]) -> bool:
    """Whether a variable is for the step itself and not for the job: our settings, credentials and pod fields."""
    source = entry.get("valueFrom") or {}
    named = next((source[kind].get("name", "") for kind in ("secretKeyRef", "configMapKeyRef") if kind in source), "")
    return entry["name"].startswith("LODESTAR_") or "fieldRef" in source or named.startswith(RESERVED_PREFIX)
