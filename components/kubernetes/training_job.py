"""Training job manifests: a PyTorchJob of the training-operator, or a TrainJob of Kubeflow Trainer.

They override defaults of the training-operator: jobs restart without limit, a failed worker leaves the others waiting with their GPUs, and
a service mesh's sidecar blocks the rendezvous.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from components.kubernetes.training_api import KINDS, Object
from lodestar.errors import ConfigError
from lodestar.schema.time_units import DAY_S

SPEC = "lodestar/spec"
CONTAINER, NODE, RUNTIME = "pytorch", "node", "lodestar"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")
BACKOFF, TTL_S, DEADLINE_S = 3, DAY_S, 2 * DAY_S
# torchrun's limit in an elastic job, where every pod that joins or leaves restarts all workers.
MAX_RESTARTS = 100
USER = 65532
WRITABLE = {"tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108 - the pod's own
ERROR_FILE = "/dev/termination-log"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Scheduling and environment of a job's pods, in the form of a Kubernetes pod spec.

    `limits` and `requests` are for resources without a field in TrainingJob, such as a CPU limit.
    """

    tolerations: tuple[Object, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: Object = field(default_factory=dict)
    env: tuple[Object, ...] = ()
    limits: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)

    def pod(self) -> Object:
        """The fields of a pod spec that are set; empty if none is."""
        spec = {"tolerations": list(self.tolerations), "nodeSelector": dict(self.node_selector), "affinity": self.affinity}
        return {key: value for key, value in spec.items() if value}


@dataclass(frozen=True, kw_only=True)
class StepPod:
    """The pod of the step that watches a job; if it is known and in the job's namespace, the job is deleted with the pod."""

    name: str
    uid: str
    namespace: str

    def owns(self, namespace: str) -> list[Object]:
        """Owner references for a job in a namespace; empty for another namespace, where Kubernetes would delete the job at once."""
        if not self.uid or self.namespace != namespace:
            return []
        return [{"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": self.uid}]


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A distributed training job; addresses are `s3://`, `secret` is the Secret with the AWS environment variables.

    `workers` is the number of pods, each with `gpus` processes (one without GPUs); with `min_workers` a PyTorchJob is elastic and continues
    with that many. `queue` is a Kueue queue, or empty. `features_digest` is checked when features are read, and the job ends itself if no
    step writes to the address `heartbeat`. `memory` is the memory limit of a pod, `shm` the size of its /dev/shm, which counts towards it.
    `kind` is PyTorchJob or TrainJob; a TrainJob takes service account and Secret from the TrainingRuntime `lodestar` of its namespace.
    Raises ConfigError for invalid values.
    """

    kind: str = "PyTorchJob"
    name: str
    namespace: str
    image: str
    features: str
    features_digest: str = ""
    bundle: str
    checkpoints: str
    heartbeat: str = ""
    recipe: str
    overrides: str = "{}"
    workers: int = 2
    min_workers: int = 0
    service_account: str = "trainer"
    secret: str = "lodestar-trainer"  # noqa: S105 - a Secret's name
    cpu: str = "1"
    memory: str = "2Gi"
    memory_request: str = ""
    shm: str = "512Mi"
    gpus: int = 0
    accelerator: str = "nvidia.com/gpu"
    queue: str = ""
    placement: Placement = field(default_factory=Placement)
    pod: StepPod | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"a job's name is 1–53 lower-case letters, digits and '-', starting with a letter; got {self.name!r}", code="E317"
            )
        if self.kind not in KINDS:
            raise ConfigError(f"a training job is a {' or a '.join(KINDS)}, not {self.kind!r}", code="E317")
        if self.workers < 1 or self.gpus < 0:
            raise ConfigError(
                f"a job needs at least 1 worker and no negative number of GPUs, got {self.workers} and {self.gpus}", code="E317"
            )
        if not 0 <= self.min_workers <= self.workers:
            raise ConfigError(f"min_workers is 0 or one of 1–{self.workers}, the number of workers; got {self.min_workers}", code="E317")
        if self.min_workers and self.kind != "PyTorchJob":
            raise ConfigError(f"a {self.kind} has a fixed number of workers: leave min_workers out, or set kind to PyTorchJob", code="E317")


def manifest(job: TrainingJob) -> Object:
    """The job's Kubernetes manifest, annotated with a digest of its spec, by which a repeated step recognises its own job."""
    spec = _pytorch_job(job) if job.kind == "PyTorchJob" else _train_job(job)
    labels = _labels() | ({"kueue.x-k8s.io/queue-name": job.queue} if job.queue else {})
    owners = job.pod.owns(job.namespace) if job.pod is not None else []
    metadata: Object = {"name": job.name, "namespace": job.namespace, "labels": labels, "annotations": {SPEC: spec_digest(spec)}}
    metadata |= {"ownerReferences": owners} if owners else {}
    kind = KINDS[job.kind]
    return {"apiVersion": f"{kind.group}/{kind.version}", "kind": job.kind, "metadata": metadata, "spec": spec}


def spec_digest(spec: Object) -> str:
    """Digest of a job's spec, 16 hex digits of sha256."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def training_runtime(namespace: str) -> Object:
    """TrainingRuntime manifest of Kubeflow Trainer: the pod template of TrainJobs, without the fields that each TrainJob sets."""
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
            "spec": {"backoffLimit": BACKOFF, "ttlSecondsAfterFinished": TTL_S, "template": pod},
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
            **({"env": container["env"]} if "env" in container else {}),
        },
        **_patches(job),
        "activeDeadlineSeconds": DEADLINE_S,
        "suspend": bool(job.queue),
    }


def _patches(job: TrainingJob) -> Object:
    """Runtime patches of a TrainJob for the placement of its pods."""
    if not job.placement.pod():
        return {}
    node = {"name": NODE, "template": {"spec": {"template": {"spec": job.placement.pod()}}}}
    patch = {"manager": "lodestar/launcher", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [node]}}}}
    return {"runtimePatches": [patch]}


def _pytorch_job(job: TrainingJob) -> Object:
    if job.min_workers:
        # Elastic workers have no fixed master: torchrun's rendezvous chooses rank zero.
        replicas = {"Worker": _replica(job, job.workers)}
    else:
        replicas = {"Master": _replica(job, 1)} | ({"Worker": _replica(job, job.workers - 1)} if job.workers > 1 else {})
    policy = {
        "cleanPodPolicy": "Running",
        "backoffLimit": BACKOFF,
        "ttlSecondsAfterFinished": TTL_S,
        "activeDeadlineSeconds": DEADLINE_S,
        "suspend": bool(job.queue),
    }
    elastic = {"minReplicas": job.min_workers, "maxReplicas": job.workers, "rdzvBackend": "c10d", "maxRestarts": MAX_RESTARTS}
    return {
        "nprocPerNode": str(max(job.gpus, 1)),
        "runPolicy": policy,
        **({"elasticPolicy": elastic} if job.min_workers else {}),
        "pytorchReplicaSpecs": replicas,
    }


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
            # Processes of a pod pass batches through /dev/shm, which has 64 MiB by default.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": job.shm}},
        ],
        **job.placement.pod(),
    }
    metadata: Object = {"labels": _labels(), "annotations": {"sidecar.istio.io/inject": "false"}}
    return {"metadata": metadata, "spec": spec}


def _container(job: TrainingJob) -> Object:
    options = {
        "features": job.features,
        "features-digest": job.features_digest,
        "output": job.bundle,
        "checkpoints": job.checkpoints,
        "recipe": job.recipe,
        "overrides": job.overrides,
        "heartbeat": job.heartbeat,
    }
    return {
        "name": CONTAINER,
        "image": job.image,
        "command": ["torchrun", "-m", "lodestar.training"],
        "args": [*(_escape_expansion(f"--{name}={value}") for name, value in options.items() if value), f"--error-file={ERROR_FILE}"],
        **({"env": list(job.placement.env)} if job.placement.env else {}),
        "envFrom": [{"secretRef": {"name": job.secret}}],
        "resources": _resources(job),
        # The termination message survives the pod's container; it falls back to the log if no error file was written.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in WRITABLE.items()],
    }


def _escape_expansion(text: str) -> str:
    """Escape `$(NAME)` in an argument: Kubernetes would expand it to an environment variable, which may be a secret."""
    return re.sub(r"\$(?=[$(])", "$$", text)


def _resources(job: TrainingJob) -> Object:
    accelerators = {job.accelerator: str(job.gpus)} if job.gpus else {}
    requests = {**job.placement.requests, "cpu": job.cpu, "memory": job.memory_request or job.memory, **accelerators}
    return {"requests": requests, "limits": {**job.placement.limits, "memory": job.memory, **accelerators}}


def _labels() -> dict[str, str]:
    return {"app.kubernetes.io/part-of": "lodestar", "app.kubernetes.io/component": "train"}
