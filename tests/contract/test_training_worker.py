"""A worker of a training job reads what its step was given, from a real S3 server, and leaves a whole bundle there."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from lodestar.bundle import bundle
from lodestar.io import storage
from lodestar.training.__main__ import main
from tests.cycles import features

RECIPE = ["--recipe", "tiny", "--overrides", '{"train": {"epochs": 1}}']


@pytest.fixture(scope="module")
def given(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An artifact as the Pipelines launcher leaves it, without any mark, and the digest of the step's input."""
    folder = features(tmp_path_factory.mktemp("step") / "features")
    for file in (file for file in folder.rglob("*") if file.is_file()):
        key = f"root/run/build-features/features/{file.relative_to(folder).as_posix()}"
        boto3.client("s3").upload_file(str(file), bucket.removeprefix("s3://"), key)
    return f"{bucket}/root/run/build-features/features", storage.digest(folder)


def options(address: str, digest: str, bucket: str, name: str, error_file: Path) -> list[str]:
    addresses = [f"--features={address}", f"--output={bucket}/{name}", f"--checkpoints={bucket}/{name}.checkpoints"]
    return [*addresses, f"--features-digest={digest}", f"--error-file={error_file}", *RECIPE]


def test_features_that_carry_no_mark_are_read_and_the_bundle_is_whole(given: tuple[str, str], bucket: str, tmp_path: Path) -> None:
    assert main(options(*given, bucket, "staging", tmp_path / "error")) == 0
    assert bundle.load(storage.download(f"{bucket}/staging", tmp_path / "bundle")).info.recipe == "tiny"
    assert not (tmp_path / "error").exists()


def test_features_that_are_not_what_the_step_was_given_are_refused_in_the_workers_own_line(
    given: tuple[str, str], bucket: str, tmp_path: Path
) -> None:
    address, digest = given
    assert main(options(address, digest[::-1], bucket, "other", tmp_path / "error")) == 5
    assert tmp_path.joinpath("error").read_text().startswith(f"worker 0: E511 {address} does not match its digest.")


def test_a_worker_that_nobody_follows_ends_well_in_the_middle_of_training(given: tuple[str, str], bucket: str, tmp_path: Path) -> None:
    """As one whose step was killed: after a quarter of an hour, which is a second here."""
    endless = ["--overrides", '{"train": {"epochs": 100000, "patience": 100000}}', f"--heartbeat={bucket}/nobody"]
    program = (
        "import sys; from lodestar.training.distributed import heartbeat; heartbeat.TIMEOUT_S, heartbeat.POLL_S = 1.0, 0.1; "
        "from lodestar.training.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *options(*given, bucket, "endless", tmp_path / "error"), *endless]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"no heartbeat at {bucket}/nobody for 1 s" in done.stderr


def test_a_step_that_only_follows_loads_no_torch() -> None:
    program = (
        "import sys; from components.kubernetes.job_settings import TrainStepInputs, job_from_settings; "
        "inputs = TrainStepInputs(image='i', features='s3://b/f', features_digest='1', bundle='s3://b/o', recipe='shop', overrides='{}'); "
        "job_from_settings('{}', inputs); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], env=os.environ, check=False).returncode == 0
