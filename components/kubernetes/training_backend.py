"""Training backend of a train step: training in its own process, or a training job on the cluster that it watches.

A step uses a job if Kubernetes runs it and its artifacts are in S3; the same compiled pipeline on a laptop, or in a notebook's pod with
local artifacts, trains in the process. In another kind of store a job cannot reach the artifacts, which is an error on Kubernetes, where a
step's own pod has no resources for training.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.kubernetes.job_settings import REMEDY, TrainStepInputs, job_from_settings
from components.kubernetes.launch import launch
from components.kubernetes.training_job import StepPod, TrainingJob
from lodestar.bundle.bundle import INFO
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.process.environment_variables import CHECKPOINTS, POD, TRAINING
from lodestar.progress import log_event
from lodestar.recipes import load_recipe
from lodestar.schema.json_overrides import overrides_text

if TYPE_CHECKING:
    from kfp.dsl import Dataset, Model, TaskConfig

LOCAL = "local"
ON_KUBERNETES = "KUBERNETES_SERVICE_HOST"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingEnvironment:
    """Environment variables of a train step: `settings` is `local`, empty, or a JSON object of `components.kubernetes.job_settings`."""

    settings: str
    is_on_kubernetes: bool
    checkpoints: str
    pod: StepPod

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "TrainingEnvironment":
        """Read LODESTAR_TRAINING, LODESTAR_CHECKPOINTS (default: a folder in /tmp), KUBERNETES_SERVICE_HOST and LODESTAR_POD_*.

        Variables that are not set are empty; nothing is validated here.
        """
        return cls(
            settings=environment.get(TRAINING, ""),
            is_on_kubernetes=bool(environment.get(ON_KUBERNETES)),
            checkpoints=environment.get(CHECKPOINTS, "/tmp/lodestar/checkpoints"),  # noqa: S108 - the one folder a pod may write
            pod=StepPod(**{field: environment.get(f"{POD}{field.upper()}", "") for field in ("name", "uid", "namespace")}),
        )

    def job_settings(self, *addresses: str) -> str:
        """Settings (JSON object) of a job for these artifact addresses, or empty if the step trains in its own process.

        Raises EnvironmentFault E592 if LODESTAR_TRAINING is not set, the step runs on Kubernetes, and an address is in another store.
        """
        if self.settings:
            return "" if self.settings == LOCAL else self.settings
        other = next((address for address in addresses if "://" in address and not storage.is_remote(address)), "")
        if self.is_on_kubernetes and other:
            message = f"a training job reads and writes s3:// addresses, and {other} is not one"
            raise EnvironmentFault("E592", message, remedy=f"Either {REMEDY}.")
        is_cluster = self.is_on_kubernetes and all(map(storage.is_remote, addresses))
        return "{}" if is_cluster else ""


def train(
    features: "Dataset", bundle: "Model", recipe: str, overrides: Mapping[str, Any], image: str, task_config: "TaskConfig | None"
) -> None:
    """Train a bundle at the artifact's path, here or by a job of pods of `image`.

    Raises EnvironmentFault E594 if a job ends without a bundle, E592 if a job could not reach the artifacts, and the errors of
    `components.kubernetes.launch.launch` and `lodestar.training.run.train`.
    """
    loaded_recipe, environment = load_recipe(recipe, overrides), TrainingEnvironment.from_environment(os.environ)
    settings = environment.job_settings(features.uri, bundle.uri)
    if not settings:
        from lodestar.training.run import train as train_in_process

        train_in_process(Path(features.path), Path(bundle.path), loaded_recipe, environment.checkpoints)
        return
    inputs = TrainStepInputs(
        image=image,
        features=features.uri,
        features_digest=storage.digest(Path(features.path)),
        bundle=bundle.uri,
        recipe=recipe,
        overrides=overrides_text(overrides),
    )
    train_by_job(replace(job_from_settings(settings, inputs, task_config), pod=environment.pod), Path(bundle.path))


def train_by_job(job: TrainingJob, bundle: Path) -> None:
    """Train by a job, download its staged bundle to `bundle`, which the Pipelines launcher uploads, and remove the staging.

    Raises EnvironmentFault E594 if the job succeeded without a complete bundle, and the errors of `launch`.
    """
    launch(job)
    try:
        storage.download(job.bundle, bundle)
    except EnvironmentFault as error:
        remedy = "Run the same step again."
        raise EnvironmentFault("E594", f"training job {job.name} succeeded without a complete bundle ({error})", remedy=remedy) from error
    if not (bundle / INFO).is_file():
        raise EnvironmentFault("E594", f"training job {job.name} wrote no bundle to {job.bundle}", remedy="Run the same step again.")
    log_event("bundle", job=job.name, files=sum(1 for _ in bundle.rglob("*")))
    for address in (job.bundle, job.heartbeat):
        try:
            storage.remove(address)
        except EnvironmentFault as error:  # the bundle is here, and what is left is overwritten by the next job
            logger.warning("%s was not removed: %s", address, error)
