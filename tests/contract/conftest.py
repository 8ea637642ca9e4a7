"""Real servers for the tests that need one: S3, Redis where it is installed, and our own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest

from feature_repo import materialise, store
from lodestar.schema.store_keys import GENERATION
from tests.factories import small_bundle
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
START_LIMIT_S, STOP_LIMIT_S = 60, 20
BUCKET = "models"

StartRedis = Callable[..., "subprocess.Popen[bytes]"]


class Serving:
    """A process of ours; `before` is what it does before anything else."""

    def __init__(self, *options: str | Path, before: str = "pass") -> None:
        program = f"import sys; {before}; from serving.__main__ import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, *(["-m", "serving"] if before == "pass" else ["-c", program]), *map(str, options)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)
        self.said_before = ""  # that it listens

    @cached_property
    def address(self) -> str:
        """Where it listens, from the line that it says when it does."""
        assert self.process.stderr is not None
        while line := self.process.stderr.readline():
            if found := re.search(r"http://[^/]+", line):
                return found[0]
            self.said_before += line
        raise AssertionError(self.said_before)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """The exit code, and what was said since it listens."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=STOP_LIMIT_S)
        return self.process.returncode, said


StartServing = Callable[..., Serving]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of twelve items."""
    return small_bundle(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture(scope="module")
def start_serving() -> Iterator[StartServing]:
    """Starts our server with options, on any port that is free; all are gone at the end."""
    servers: list[Serving] = []

    def start(*options: str | Path, before: str = "pass") -> Serving:
        servers.append(Serving(*([] if "--port" in options else ["--port", "0"]), *options, before=before))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server():
        yield f"s3://{BUCKET}"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 server with an empty bucket, which the environment names meanwhile; the variables that do."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    environment = keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    patch = pytest.MonkeyPatch()
    for name, value in environment.items():
        patch.setenv(name, value)
    try:
        _wait(port)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield environment
    finally:
        patch.undo()
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def start_redis() -> Iterator[StartRedis]:
    """Starts a server on a port, with further options of redis-server's; all are gone at the end."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    servers: list[subprocess.Popen[bytes]] = []

    def start(port: int, *options: str) -> "subprocess.Popen[bytes]":
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options]
        servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        _wait(port)
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def redis(start_redis: StartRedis) -> str:
    """HOST:PORT of a server that stays."""
    port = free_port()
    start_redis(port)
    return f"127.0.0.1:{port}"


def publish(features: Path, *, in_redis: bool = False, started_us: int = 1) -> str:
    """Write the training set, and publish online what counts now: beside the features, or to Redis; the generation."""
    store.write_training_set(features)
    if in_redis:
        materialise.materialise_redis(features)
        materialise.make_current(features, started_us)
    else:
        shutil.rmtree(features / store.ONLINE, ignore_errors=True)
        materialise.materialise_sqlite(features, features)
    return generation_of(features)


def generation_of(features: Path) -> str:
    return (features / GENERATION).read_text()


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            attempt.settimeout(1)
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail("the server did not start")


@contextmanager
def feast(features: Path, tmp_path: Path) -> Iterator[Any]:
    """As another process has it, with a registry of its own."""
    (tmp_path / "registry" / store.ONLINE).mkdir(parents=True)
    with store.opened(features, in_redis=True, state=tmp_path / "registry") as opened:
        yield opened
    shutil.rmtree(tmp_path / "registry")
