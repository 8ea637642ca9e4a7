"""A worker that is lost half-way costs time and nothing else: the job goes on from the last epoch and ends with the same numbers."""

import threading
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from components.kubernetes.launch import launch
from components.kubernetes.training_job import TrainingJob
from lodestar.bundle import bundle
from lodestar.io import storage
from tests.cluster import objects
from tests.cluster.backend.driver import RunResult
from tests.cluster.steps import BUCKET, eventually, kubectl

pytestmark = pytest.mark.cluster

BEGUN_S = 300


def test_a_job_that_lost_a_worker_ends_with_the_same_metric(prefix: str, job: TrainingJob, first_run: RunResult, tmp_path: Path) -> None:
    first = objects.downloaded(first_run.uri("train", "bundle"), tmp_path / "first")
    shaken = replace(job, name=f"{job.name}-shaken", bundle=f"{prefix}/bundles/shaken", checkpoints=f"{prefix}/shaken")
    followed = threading.Thread(target=launch, args=(shaken,))
    followed.start()
    try:
        eventually(lambda: _saved(shaken.checkpoints), BEGUN_S, lambda: _described(shaken.name))
        assert storage.resolve(shaken.bundle) == shaken.bundle
        kubectl("-n", objects.TRAINING, "delete", "pod", f"{shaken.name}-worker-0", "--grace-period=0", "--force")
    finally:
        followed.join()
    restarts = kubectl("-n", objects.TRAINING, "get", "events", "-o", "jsonpath={.items[*].message}")
    assert f"{shaken.name}-worker-0" in restarts
    ended = bundle.load(storage.download(shaken.bundle, tmp_path / "shaken"))
    assert ended.info.metrics == bundle.load(first).info.metrics
    assert ended.digest == bundle.load(first).digest


def _saved(checkpoints: str) -> bool:
    """Whether the end of an epoch is kept."""
    bucket = boto3.resource("s3").Bucket(BUCKET.removeprefix("s3://"))
    return any(True for _ in bucket.objects.filter(Prefix=checkpoints.removeprefix(f"{BUCKET}/")))


def _described(name: str) -> str:
    return kubectl("-n", objects.TRAINING, "describe", "pytorchjob", name)
