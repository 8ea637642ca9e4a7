"""Where a train step trains: in its own process, or on a cluster as a job that it follows.

A step is on a cluster where Kubernetes runs it and its artifacts lie in S3; the same compiled file on a laptop, or in a notebook's pod with
local artifacts, trains where it is. In a store of another kind a job cannot reach them, and a step's own pod has no resources for training.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.job_settings import REMEDY, Step, job_of
from components.jobs import StepPod, TrainingJob
from components.launch import launch
from lodestar import storage
from lodestar.bundle import INFO
from lodestar.errors import EnvironmentFault
from lodestar.progress import log_event
from lodestar.recipes import configured

if TYPE_CHECKING:
    from kfp.dsl import Dataset, Model, TaskConfig

LOCAL = "local"
ON_KUBERNETES = "KUBERNETES_SERVICE_HOST"


@dataclass(frozen=True, kw_only=True)
class TrainingEnvironment:
    """Environment variables of a train step: `setting` is `local`, empty, or a JSON object of `components.job_settings`."""

    setting: str
    is_on_kubernetes: bool
    checkpoints: str
    pod: StepPod

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "TrainingEnvironment":
        """Read LODESTAR_TRAINING, LODESTAR_CHECKPOINTS (a folder below /tmp without it), KUBERNETES_SERVICE_HOST and LODESTAR_POD_*.

        What is not set is empty; nothing is checked here.
        """
        return cls(
            setting=environment.get("LODESTAR_TRAINING", ""),
            is_on_kubernetes=bool(environment.get(ON_KUBERNETES)),
            checkpoints=environment.get("LODESTAR_CHECKPOINTS", "/tmp/lodestar/checkpoints"),  # noqa: S108 - the one folder a pod may write
            pod=StepPod(**{field: environment.get(f"LODESTAR_POD_{field.upper()}", "") for field in ("name", "uid", "namespace")}),
        )

    def job_setting(self, *addresses: str) -> str:
        """The JSON object for a job that works on these addresses, or empty where the step trains itself.

        EnvironmentFault E592 where that is nowhere said, Kubernetes runs the step, and an address is in a store other than S3.
        """
        if self.setting:
            return "" if self.setting == LOCAL else self.setting
        other = next((address for address in addresses if "://" in address and not storage.is_remote(address)), "")
        if self.is_on_kubernetes and other:
            message = f"a training job reads and writes s3:// addresses, and {other} is none"
            raise EnvironmentFault("E592", message, remedy=f"Either {REMEDY}.")
        is_cluster = self.is_on_kubernetes and all(map(storage.is_remote, addresses))
        return "{}" if is_cluster else ""


def train(features: "Dataset", bundle: "Model", how: tuple[str, str, str], task: "TaskConfig | None") -> None:
    """Train by recipe, overrides and image, which are `how`, and leave a whole bundle at the artifact's path.

    EnvironmentFault E594 where a job ends without a bundle, E592 where none could reach the artifacts; otherwise as
    `components.launch.launch` and `lodestar.training.run.train`.
    """
    recipe, overrides, image = how
    chosen, here = configured(recipe, overrides), TrainingEnvironment.of(os.environ)
    setting = here.job_setting(features.uri, bundle.uri)
    if not setting:
        from lodestar.training.run import train as train_here

        train_here(Path(features.path), Path(bundle.path), chosen, here.checkpoints)
        return
    step = Step(
        image=image,
        features=features.uri,
        features_digest=storage.digest(Path(features.path)),
        bundle=bundle.uri,
        recipe=recipe,
        overrides=overrides,
    )
    train_by_job(replace(job_of(setting, step, task), step=here.pod), Path(bundle.path))


def train_by_job(job: TrainingJob, target: Path) -> None:
    """Have a job train, and bring the bundle that it staged to `target`, from where the Pipelines launcher takes it; the staging goes."""
    launch(job)
    try:
        storage.download(job.bundle, target)
    except EnvironmentFault as error:
        remedy = "Run the same step again: it goes on from the last checkpoint."
        raise EnvironmentFault("E594", f"training job {job.name} succeeded and left no whole bundle ({error})", remedy=remedy) from error
    if not (target / INFO).is_file():
        raise EnvironmentFault("E594", f"training job {job.name} left no bundle at {job.bundle}", remedy="Run the same step again.")
    log_event("bundle", job=job.name, files=sum(1 for _ in target.rglob("*")))
    for address in (job.bundle, job.heartbeat):
        storage.remove(address)
