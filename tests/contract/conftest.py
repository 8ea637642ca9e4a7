"""A real S3 server for the tests that need one."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import boto3
import pytest

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
