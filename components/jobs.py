"""Training on several machines: a PyTorchJob as a value, and a launcher that starts it, follows it and cleans up after it.

What the training-operator does by itself is not all that one wants: without a limit a job restarts for ever, a failed worker leaves
the others waiting with their GPUs, and a mesh's sidecar keeps workers from meeting. The job says otherwise.
"""

import argparse
import hashlib
import json
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from types import FrameType
from typing import Any

from components.job_server import JobServer, Object, conditions, connect
from lodestar.errors import ConfigError, EnvironmentFault
from lodestar.progress import log_event

SPEC = "lodestar/spec"
CONTAINER, MASTER = "pytorch", "master-0"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")
BACKOFF, KEPT_S, LONGEST_S = 3, 86_400, 172_800
PENDING_S, POLL_S = 900.0, 2.0
SHOWN_LINES = 20
USER = 65532
WRITABLE = {"tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108 - the pod's own
TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One distributed training: addresses are `s3://`, `secret` names the Secret whose keys become the AWS environment.

    `workers` counts pods, each with `gpus` processes (one where there is no GPU); `queue` is Kueue's, or empty.
    """

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
    secret: str = "lodestar-storage"  # noqa: S105 - a Secret's name
    cpu: str = "1"
    memory: str = "2Gi"
    gpus: int = 0
    queue: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"a job's name is 1–53 small letters, digits and '-', beginning with a letter; {self.name!r} is not")
        if self.workers < 1 or self.gpus < 0:
            raise ConfigError(f"a job needs at least 1 worker and no negative number of GPUs, got {self.workers} and {self.gpus}")


def pytorch_job(job: TrainingJob) -> Object:
    """The PyTorchJob, with a digest of itself by which a repeated step knows its own job again."""
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
    spec = {"nprocPerNode": str(max(job.gpus, 1)), "runPolicy": policy, "pytorchReplicaSpecs": replicas}
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    labels = _labels() | ({"kueue.x-k8s.io/queue-name": job.queue} if job.queue else {})
    metadata = {"name": job.name, "namespace": job.namespace, "labels": labels, "annotations": {SPEC: digest}}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata, "spec": spec}


def _replica(job: TrainingJob, count: int) -> Object:
    pod = {
        "serviceAccountName": job.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(job)],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            # Workers of one pod pass batches through /dev/shm, which is 64 MiB unless said otherwise.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
        ],
    }
    metadata = {"labels": _labels(), "annotations": {"sidecar.istio.io/inject": "false"}}
    return {"replicas": count, "restartPolicy": "OnFailure", "template": {"metadata": metadata, "spec": pod}}


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


def launch(job: TrainingJob) -> None:
    """Start the job, or take over the same one started before, and return when it has succeeded.

    EnvironmentFault E532 where it fails, with the last lines of its log; E531 where it finds no place to run; E533 where another
    job has its name. A terminated launcher takes the job with it.
    """
    follow(connect(job.namespace), job)


def follow(server: JobServer, job: TrainingJob, *, pending_s: float = PENDING_S, poll_s: float = POLL_S) -> None:
    """What `launch` does, on a given server."""
    relay = _Relay(server, job.name)
    with _taken_along(server, job.name):
        start(server, pytorch_job(job))
        deadline = time.monotonic() + pending_s
        while True:
            current = server.read(job.name)
            relay.pass_on()
            facts = conditions(current)
            if "Succeeded" in facts:
                log_event("job", name=job.name, state="succeeded")
                return
            if "Failed" in facts:
                raise EnvironmentFault("E532", f"training job {job.name} failed: {facts['Failed']}{relay.tail()}", remedy=_see(job))
            if facts.keys() & {"Running", "Suspended"}:
                deadline = time.monotonic() + pending_s
            if time.monotonic() > deadline:
                server.delete(job.name)
                raise EnvironmentFault("E531", f"training job {job.name} was pending for {pending_s:.0f} s{relay.tail()}", remedy=_see(job))
            time.sleep(poll_s)


def start(server: JobServer, body: Object) -> None:
    """Create the job; one of the same name is taken over if it is the same job and has not failed."""
    name, digest = body["metadata"]["name"], body["metadata"]["annotations"][SPEC]
    if server.create(body):
        log_event("job", name=name, state="created")
        return
    other = server.read(name)
    if other["metadata"].get("annotations", {}).get(SPEC) != digest:
        raise EnvironmentFault("E533", f"another training job is called {name}", remedy="Delete it, or give this one another name.")
    if "Failed" not in conditions(other):
        log_event("job", name=name, state="taken over")
        return
    server.delete(name)
    if not server.create(body):
        raise EnvironmentFault("E533", f"training job {name} is still being deleted", remedy="Try again in a minute.")
    log_event("job", name=name, state="created again")


def _see(job: TrainingJob) -> str:
    return f"See `kubectl -n {job.namespace} describe pytorchjob {job.name}`; the same step goes on from the last checkpoint."


class _Relay:
    """Passes on what is new in the master's log and among the job's warnings, and keeps the end of it."""

    def __init__(self, server: JobServer, name: str) -> None:
        self._server, self._name = server, name
        self._last, self._warned = "", set[str]()
        self._kept: deque[str] = deque(maxlen=SHOWN_LINES)

    def pass_on(self) -> None:
        for line in self._server.log(f"{self._name}-{MASTER}").splitlines():
            stamp, _, text = line.partition(" ")
            if stamp > self._last:
                self._last = stamp
                self._say(text)
        for warning in self._server.warnings(self._name):
            if warning not in self._warned:
                self._warned.add(warning)
                self._say(warning)

    def tail(self) -> str:
        """The last lines, each on a line of its own."""
        return "".join(f"\n  {line}" for line in self._kept)

    def _say(self, text: str) -> None:
        self._kept.append(text)
        sys.stderr.write(text + "\n")


@contextmanager
def _taken_along(server: JobServer, name: str) -> Iterator[None]:
    """While inside, a termination of this process deletes the job: nobody would follow it any more."""

    def terminate(_signal: int, _frame: FrameType | None) -> Any:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        server.delete(name)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    """Print the manifest of a job, for kubectl and for reading."""
    import yaml

    parser = argparse.ArgumentParser(prog="python -m components.jobs", description="Print a PyTorchJob, for `kubectl apply -f -`.")
    for entry in fields(TrainingJob):
        default = {} if entry.default is MISSING else {"default": entry.default, "help": f"default: {entry.default!r}"}
        parser.add_argument(f"--{entry.name}", type=type(default.get("default", "")), required=not default, metavar="VALUE", **default)
    try:
        job = TrainingJob(**vars(parser.parse_args(arguments)))
    except ConfigError as error:
        sys.stderr.write(f"components.jobs: {error}\n")
        return error.exit_code
    sys.stdout.write(yaml.safe_dump(pytorch_job(job), sort_keys=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
