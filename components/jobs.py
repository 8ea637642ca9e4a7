"""Training on several machines as a value: a PyTorchJob of the training-operator, or a TrainJob of the trainer that follows it.

What the training-operator does by itself is not all that one wants: without a limit a job restarts for ever, a failed worker leaves
the others waiting with their GPUs, and a mesh's sidecar keeps workers from meeting. The job says otherwise.
"""

import argparse
import hashlib
import json
import re
import sys
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from components.job_server import KINDS, Object
from lodestar.errors import ConfigError
from lodestar.recipes import configured
from lodestar.storage import is_remote

SPEC = "lodestar/spec"
CONTAINER, NODE, RUNTIME = "pytorch", "node", "lodestar"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")
BACKOFF, KEPT_S, LONGEST_S = 3, 86_400, 172_800
USER = 65532
ASKED = {"kind": str, "namespace": str, "workers": int, "gpus": int, "cpu": str, "memory": str, "queue": str, "secret": str}
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
WRITABLE = {"tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108 - the pod's own


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One distributed training: addresses are `s3://`, `secret` names the Secret whose keys become the AWS environment.

    `workers` counts pods, each with `gpus` processes (one where there is no GPU); `queue` is Kueue's, or empty. `kind` says who runs it;
    a TrainJob takes account and Secret from the TrainingRuntime `lodestar` of its namespace.
    """

    kind: str = "PyTorchJob"
    name: str
    namespace: str
    image: str
    features: str
    bundle: str
    checkpoints: str
    recipe: str
    overrides: str = "{}"
    workers: int = 2
    service_account: str = "trainer"
    secret: str = "lodestar-trainer"  # noqa: S105 - a Secret's name
    cpu: str = "1"
    memory: str = "2Gi"
    gpus: int = 0
    queue: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"a job's name is 1–53 small letters, digits and '-', beginning with a letter; {self.name!r} is not")
        if self.kind not in KINDS:
            raise ConfigError(f"a training job is a {' or a '.join(KINDS)}, not {self.kind!r}")
        if self.workers < 1 or self.gpus < 0:
            raise ConfigError(f"a job needs at least 1 worker and no negative number of GPUs, got {self.workers} and {self.gpus}")


def as_asked(training: str, *, image: str, features: str, bundle: str, recipe: str, overrides: str) -> TrainingJob:
    """The job that a step's JSON object asks for; its name comes from what it trains on, and checkpoints lie beside the features.

    A step that is repeated finds its own job again, and one whose job was lost goes on from the same checkpoints. There are as many
    workers as the recipe has, unless the object says otherwise. ConfigError where the object has other keys than those of ASKED, or where
    an address is none that pods on other machines can reach.
    """
    try:
        wanted = json.loads(training)
    except json.JSONDecodeError as error:
        raise ConfigError(f"training is not JSON: {error}") from error
    if not isinstance(wanted, dict) or not wanted.keys() <= ASKED.keys():
        raise ConfigError(f"training is a JSON object with any of {', '.join(ASKED)}; got {training}")
    for key, value in wanted.items():
        if type(value) is not ASKED[key]:
            raise ConfigError(f"training.{key} takes {ASKED[key].__name__}, got {value!r}")
    for address in (features, bundle):
        if not is_remote(address):
            raise ConfigError(f"a training job reads and writes s3:// addresses, and {address} is none: leave training empty here")
    digest = hashlib.sha256(" ".join((features, bundle, recipe, overrides)).encode()).hexdigest()[:10]
    given: dict[str, Any] = {
        "namespace": _own_namespace(),
        "workers": configured(recipe, overrides).train.workers,
        **wanted,
        "checkpoints": f"{features}.checkpoints",
    }
    return TrainingJob(name=f"train-{digest}", image=image, features=features, bundle=bundle, recipe=recipe, overrides=overrides, **given)


def _own_namespace() -> str:
    """Where this pod runs; elsewhere the one that manifests/ makes for training."""
    return NAMESPACE_FILE.read_text() if NAMESPACE_FILE.is_file() else "lodestar-training"


def manifest(job: TrainingJob) -> Object:
    """The object of the job's kind, with a digest of itself by which a repeated step knows its own job again."""
    spec = _pytorch_job(job) if job.kind == "PyTorchJob" else _train_job(job)
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    labels = _labels() | ({"kueue.x-k8s.io/queue-name": job.queue} if job.queue else {})
    metadata = {"name": job.name, "namespace": job.namespace, "labels": labels, "annotations": {SPEC: digest}}
    kind = KINDS[job.kind]
    return {"apiVersion": f"{kind.group}/{kind.version}", "kind": job.kind, "metadata": metadata, "spec": spec}


def training_runtime(namespace: str) -> Object:
    """What the trainer makes pods of: the same pod as a PyTorchJob's, without what each TrainJob says itself."""
    job = TrainingJob(name=RUNTIME, namespace=namespace, image="", features="", bundle="", checkpoints="", recipe="")
    pod = _pod(
        job, {"name": NODE, **{key: value for key, value in _container(job).items() if key not in {"name", "image", "command", "args"}}}
    )
    pod["spec"]["restartPolicy"] = "OnFailure"
    pod["spec"]["containers"][0].pop("resources")
    node = {
        "name": NODE,
        "template": {
            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
            "spec": {"backoffLimit": BACKOFF, "ttlSecondsAfterFinished": KEPT_S, "template": pod},
        },
    }
    metadata = {"name": RUNTIME, "namespace": namespace, "labels": _labels() | {"trainer.kubeflow.org/framework": "torch"}}
    spec = {"mlPolicy": {"numNodes": 1, "torch": {}}, "template": {"spec": {"replicatedJobs": [node]}}}
    kind = KINDS["TrainJob"]
    return {"apiVersion": f"{kind.group}/{kind.version}", "kind": "TrainingRuntime", "metadata": metadata, "spec": spec}


def _train_job(job: TrainingJob) -> Object:
    container = _container(job)
    return {
        "runtimeRef": {"apiGroup": KINDS["TrainJob"].group, "kind": "TrainingRuntime", "name": RUNTIME},
        "trainer": {
            **{key: container[key] for key in ("image", "command", "args")},
            "numNodes": job.workers,
            "numProcPerNode": max(job.gpus, 1),
            "resourcesPerNode": container["resources"],
        },
        "activeDeadlineSeconds": LONGEST_S,
        "suspend": bool(job.queue),
    }


def _pytorch_job(job: TrainingJob) -> Object:
    replicas = {"Master": _replica(job, 1)}
    if job.workers > 1:
        replicas["Worker"] = _replica(job, job.workers - 1)
    policy = {
        "cleanPodPolicy": "Running",
        "backoffLimit": BACKOFF,
        "ttlSecondsAfterFinished": KEPT_S,
        "activeDeadlineSeconds": LONGEST_S,
        "suspend": bool(job.queue),
    }
    return {"nprocPerNode": str(max(job.gpus, 1)), "runPolicy": policy, "pytorchReplicaSpecs": replicas}


def _replica(job: TrainingJob, count: int) -> Object:
    return {"replicas": count, "restartPolicy": "OnFailure", "template": _pod(job, _container(job))}


def _pod(job: TrainingJob, container: Object) -> Object:
    spec = {
        "serviceAccountName": job.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            # Workers of one pod pass batches through /dev/shm, which is 64 MiB unless said otherwise.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
        ],
    }
    metadata: Object = {"labels": _labels(), "annotations": {"sidecar.istio.io/inject": "false"}}
    return {"metadata": metadata, "spec": spec}


def _container(job: TrainingJob) -> Object:
    options = {
        "features": job.features,
        "bundle": job.bundle,
        "checkpoints": job.checkpoints,
        "recipe": job.recipe,
        "overrides": job.overrides,
    }
    gpus = {"nvidia.com/gpu": str(job.gpus)} if job.gpus else {}
    return {
        "name": CONTAINER,
        "image": job.image,
        "command": ["torchrun", "-m", "lodestar.training"],
        "args": [f"--{name}={value}" for name, value in options.items()],
        "envFrom": [{"secretRef": {"name": job.secret}}],
        "resources": {"requests": {"cpu": job.cpu, "memory": job.memory, **gpus}, "limits": {"memory": job.memory, **gpus}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in WRITABLE.items()],
    }


def _labels() -> dict[str, str]:
    return {"app.kubernetes.io/part-of": "lodestar", "app.kubernetes.io/component": "train"}


def main(arguments: list[str] | None = None) -> int:
    """Print the manifest of a job, for kubectl and for reading; of a TrainJob with the runtime that it needs."""
    import yaml

    parser = argparse.ArgumentParser(prog="python -m components.jobs", description="Print a training job, for `kubectl apply -f -`.")
    for entry in fields(TrainingJob):
        default = {} if entry.default is MISSING else {"default": entry.default, "help": f"default: {entry.default!r}"}
        parser.add_argument(f"--{entry.name}", type=type(default.get("default", "")), required=not default, metavar="VALUE", **default)
    try:
        job = TrainingJob(**vars(parser.parse_args(arguments)))
    except ConfigError as error:
        sys.stderr.write(f"components.jobs: {error}\n")
        return error.exit_code
    parts = [manifest(job)] if job.kind == "PyTorchJob" else [training_runtime(job.namespace), manifest(job)]
    sys.stdout.write(yaml.safe_dump_all(parts, sort_keys=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
