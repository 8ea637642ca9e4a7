"""A train step trains where it is, or by a job whose bundle it copies whole to its artifact."""

from dataclasses import replace
from pathlib import Path

import pytest

from components.kubernetes import launch, training_backend
from components.kubernetes.training_backend import TrainingEnvironment, train_by_job
from components.kubernetes.training_job import manifest
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from tests.unit.test_launch import Server
from tests.unit.test_training_job import job


@pytest.mark.parametrize(
    ("setting", "is_on_kubernetes", "address", "expected"),
    [
        ("", False, "/tmp/f", ""),
        ("", True, "s3://b/f", "{}"),
        ("", True, "/tmp/f", ""),  # a notebook's pod, or CI
        ("local", True, "minio://b/f", ""),
        ("", False, "s3://b/f", ""),
        ("local", True, "s3://b/f", ""),
        ('{"gpus": 1}', True, "s3://b/f", '{"gpus": 1}'),
        ('{"gpus": 1}', False, "/tmp/f", '{"gpus": 1}'),  # which is refused, and not ignored
    ],
)
def test_on_a_cluster_a_step_trains_by_a_job_unless_it_is_told_otherwise(
    setting: str, is_on_kubernetes: bool, address: str, expected: str
) -> None:
    environment = {"LODESTAR_TRAINING": setting} | ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"} if is_on_kubernetes else {})
    assert TrainingEnvironment.from_environment(environment).job_settings(address, address) == expected


@pytest.mark.parametrize("address", ["minio://b/f", "gs://b/f"])
def test_on_a_cluster_without_s3_a_step_does_not_train_in_its_own_pod_unasked(address: str) -> None:
    surroundings = TrainingEnvironment.from_environment({"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    for addresses in ((address, address), ("s3://b/f", address)):
        with pytest.raises(EnvironmentFault, match=rf"E592 .*{address} is not one.*defaultPipelineRoot: s3://.*LODESTAR_TRAINING: local"):
            surroundings.job_settings(*addresses)


def staged(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> list[str]:
    """A job that succeeds and leaves these files; what is removed from the store."""
    removed: list[str] = []

    def download(address: str, target: Path, digest: str = "") -> Path:
        if not files:
            raise EnvironmentFault("E510", f"nothing is stored at {address}", remedy="Check it.")
        target.mkdir()
        for name, content in files.items():
            target.joinpath(name).write_text(content)
        return target

    monkeypatch.setattr(training_backend, "launch", lambda _job: None)
    monkeypatch.setattr(storage, "download", download)
    monkeypatch.setattr(storage, "remove", removed.append)
    return removed


def test_the_staged_bundle_is_copied_to_the_artifact_and_the_staging_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    removed = staged(monkeypatch, {"bundle.json": "{}"})
    train_by_job(job(bundle="s3://b/o.staging", heartbeat="s3://b/o.heartbeat"), tmp_path / "bundle")
    assert (tmp_path / "bundle" / "bundle.json").is_file()
    assert removed == ["s3://b/o.staging", "s3://b/o.heartbeat"]


def test_a_store_that_lets_nothing_be_removed_does_not_cost_the_bundle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(address: str) -> None:
        raise EnvironmentFault("E569", f"{address}/x cannot be removed (AccessDenied)", remedy="Allow it.")

    staged(monkeypatch, {"bundle.json": "{}"})
    monkeypatch.setattr(storage, "remove", refuse)
    train_by_job(job(bundle="s3://b/o.staging", heartbeat="s3://b/o.heartbeat"), tmp_path / "bundle")
    assert (tmp_path / "bundle" / "bundle.json").is_file()
    assert all(f"s3://b/o.{name} was not removed" in caplog.text for name in ("staging", "heartbeat"))


@pytest.mark.parametrize("files", [{}, {"other.json": "{}"}])
def test_a_job_that_leaves_no_bundle_is_an_error(files: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    removed = staged(monkeypatch, files)
    with pytest.raises(EnvironmentFault, match=r"E594.*s3://b/o"):
        train_by_job(job(), tmp_path / "bundle")
    assert removed == []


def test_a_launcher_follows_with_the_jobs_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    server = Server("Complete")

    def connect(namespace: str, kind: str) -> Server:
        asked.append((namespace, kind))
        return server

    monkeypatch.setattr(launch, "connect", connect)
    launch.launch(replace(job(), kind="TrainJob"))
    assert asked == [("here", "TrainJob")]
    assert manifest(job(kind="TrainJob"))["kind"] == server.jobs["train-1"]["kind"]
