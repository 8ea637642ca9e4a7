"""Which training job a step asks for: what the cluster's owner says of all jobs, and what the pipeline's author says of this task."""

import hashlib
import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.jobs import Placement, TrainingJob
from lodestar.errors import ConfigError
from lodestar.recipes import configured
from lodestar.storage import is_remote

if TYPE_CHECKING:
    from kfp.dsl import TaskConfig

NAMESPACE = "lodestar-training"
SETTINGS: dict[str, type] = {"kind": str, "namespace": str, "service_account": str, "secret": str, "queue": str}
SETTINGS |= {"workers": int, "min_workers": int, "gpus": int, "cpu": str, "memory": str, "shm": str}
# A launcher gives each attempt at a step a folder of its own for what it leaves.
ATTEMPT = re.compile(r"/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=/[^/]+$)")
REMEDY = (
    "give Pipelines a root in S3 (defaultPipelineRoot: s3://BUCKET/PREFIX in its ConfigMap kfp-launcher), "
    "or have the step train in its own pod (LODESTAR_TRAINING: local in the ConfigMap lodestar-settings)"
)
OWN = "lodestar-"  # Secrets and ConfigMaps of the step's namespace, for the step; a job has its own Secret


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a train step was given: addresses of its artifacts, and the digest of the features as they were brought to it."""

    image: str
    features: str
    features_digest: str
    bundle: str
    recipe: str
    overrides: str


def job_of(setting: str, step: Step, task: "TaskConfig | None" = None) -> TrainingJob:
    """The job of a step, by `setting`, a JSON object with any of SETTINGS, and by what was set on its task; the setting goes before.

    Its name comes from what it trains on, so that a step that is repeated finds its own job again; checkpoints lie beside the features,
    for one whose job was lost. The bundle is staged beside the step's artifact, which the Pipelines launcher writes itself. There are as
    many workers as the recipe has, unless the setting says otherwise. ConfigError for another key, or for an address that pods on other
    machines cannot reach.
    """
    wanted = _wanted(setting)
    for address in (step.features, step.bundle):
        if not is_remote(address):
            raise ConfigError(f"a training job reads and writes s3:// addresses, and {address} is none: {REMEDY}")
    lasting = ATTEMPT.sub("", step.bundle)
    what = " ".join((step.features, step.features_digest, lasting, step.recipe, step.overrides))
    digest = hashlib.sha256(what.encode()).hexdigest()[:10]
    given: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workers": configured(step.recipe, step.overrides).train.workers,
        **(_of_task(task, wanted.keys()) if task is not None else {}),
        **wanted,
    }
    return TrainingJob(
        name=f"train-{digest}",
        image=step.image,
        features=step.features,
        features_digest=step.features_digest,
        bundle=f"{lasting}.staging-{digest}",
        heartbeat=f"{lasting}.heartbeat-{digest}",
        checkpoints=f"{step.features}.checkpoints",
        recipe=step.recipe,
        overrides=step.overrides,
        **given,
    )


def _wanted(setting: str) -> dict[str, Any]:
    try:
        wanted = json.loads(setting)
    except json.JSONDecodeError as error:
        example = """LODESTAR_TRAINING='{"workers": 2, "gpus": 1}'"""
        raise ConfigError(f"LODESTAR_TRAINING is `local`, empty, or a JSON object; {setting!r} is not: {error}. Write {example}") from error
    if not isinstance(wanted, dict) or not wanted.keys() <= SETTINGS.keys():
        raise ConfigError(f"LODESTAR_TRAINING is a JSON object with any of {', '.join(SETTINGS)}; got {setting}")
    for key, value in wanted.items():
        if type(value) is not SETTINGS[key]:
            raise ConfigError(f"{key} of LODESTAR_TRAINING takes {SETTINGS[key].__name__}, got {value!r}")
    return wanted


def _of_task(task: "TaskConfig", overruled: Set[str]) -> dict[str, Any]:
    """Fields of TrainingJob by what was set on the task; what it has no field for is handed through as it is.

    What is asked for and the limit go together: with a field that the setting has, both are the setting's.
    """
    resources = task.resources or {}
    limits: Mapping[str, str] = {name: str(value) for name, value in (resources.get("limits") or {}).items()}
    requests: Mapping[str, str] = {name: str(value) for name, value in (resources.get("requests") or {}).items()}
    found: dict[str, Any] = {}
    for name, value in (("cpu", requests.get("cpu", limits.get("cpu"))), ("memory", limits.get("memory", requests.get("memory")))):
        found |= {name: value} if value else {}
    found |= {"memory_request": requests["memory"]} if "memory" in requests and "memory" not in overruled else {}
    accelerators = [name for name in limits if _is_accelerator(name)]
    if accelerators:
        found |= {"accelerator": accelerators[0], "gpus": _whole(accelerators[0], limits[accelerators[0]])}
    known = {"memory", *accelerators} | ({"cpu"} if "cpu" in overruled else set())
    found["placement"] = Placement(
        tolerations=tuple(task.tolerations or ()),
        node_selector=task.node_selector or {},
        affinity=task.affinity or {},
        env=tuple(entry for entry in task.env or () if not _is_of_step(entry)),
        limits={name: value for name, value in limits.items() if name not in known},
        requests={name: value for name, value in requests.items() if name not in known | {"cpu"}},
    )
    return found


def _is_accelerator(resource: str) -> bool:
    """An extended resource that processes are counted by: `nvidia.com/gpu`, `amd.com/gpu`, `nvidia.com/mig-1g.10gb`."""
    return "/" in resource and re.search(r"gpu|/mig-", resource) is not None


def _whole(name: str, value: str) -> int:
    if not value.isdecimal():
        raise ConfigError(f"the limit of {name} on the train task is a whole number, got {value!r}")
    return int(value)


def _is_of_step(entry: Mapping[str, Any]) -> bool:
    """Whether a variable is the step's own affair: our settings and keys, and what is said of its pod."""
    source = entry.get("valueFrom") or {}
    named = next((source[kind].get("name", "") for kind in ("secretKeyRef", "configMapKeyRef") if kind in source), "")
    return entry["name"].startswith("LODESTAR_") or "fieldRef" in source or named.startswith(OWN)
