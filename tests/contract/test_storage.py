"""Folders go to a real S3 server and come back equal, or not at all."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from lodestar import storage
from lodestar.errors import EnvironmentFault

START_LIMIT_S = 60


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        patch.setenv(name, value)
    try:
        _wait(port)
        boto3.client("s3").create_bucket(Bucket="models")
        yield "s3://models"
    finally:
        patch.undo()
        server.terminate()
        server.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            attempt.settimeout(1)
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail("the S3 server did not start")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    (root / "deep").mkdir(parents=True)
    (root / "info.json").write_text("{}")
    (root / "deep" / "weights.bin").write_bytes(bytes(range(256)) * 100)
    return root


def test_a_folder_comes_back_equal(bucket: str, folder: Path, tmp_path: Path) -> None:
    storage.upload(folder, f"{bucket}/a")
    assert storage.digest(storage.download(f"{bucket}/a", tmp_path / "back")) == storage.digest(folder)


def test_an_upload_without_its_mark_is_not_taken(bucket: str, folder: Path, tmp_path: Path) -> None:
    boto3.client("s3").upload_file(str(folder / "info.json"), "models", "half/info.json")
    with pytest.raises(EnvironmentFault, match="E512"):
        storage.download(f"{bucket}/half", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_changed_object_is_noticed_and_nothing_is_left(bucket: str, folder: Path, tmp_path: Path) -> None:
    storage.upload(folder, f"{bucket}/changed")
    boto3.client("s3").put_object(Bucket="models", Key="changed/info.json", Body=b"{1}")
    with pytest.raises(EnvironmentFault, match="E511"):
        storage.download(f"{bucket}/changed", tmp_path / "back")
    assert list(tmp_path.iterdir()) == [folder]


def test_an_absent_address_says_so(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="nothing is stored"):
        storage.download(f"{bucket}/none", tmp_path / "back")


def test_an_object_is_put_whole(bucket: str) -> None:
    storage.put(b"0123", f"{bucket}/current")
    assert boto3.client("s3").get_object(Bucket="models", Key="current")["Body"].read() == b"0123"
