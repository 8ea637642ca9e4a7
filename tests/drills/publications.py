"""Two runs publish at once to a bucket and a Redis, one may be killed, and Redis may be flushed between: what is current is whole.

Beside them a reader takes up whatever bundle is current, all the while, and reads what its generation has online: all of it, always. At
the end of each case the run that started last is current, whoever ended last, and what was killed has been ended by the same call again.
"""

import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import redis
import uvloop

from lodestar import schema
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.schema.store_keys import rows_key
from serving.features.feature_client import StoreUnavailable, UserHistory, connect
from tests.contract.generation_harness import USERS, Made, expected, made
from tests.drills.drills import Figures
from tests.ports import free_port

CONTENTS, BUCKET, REFUSED, LIMIT_S = 3, "s3://models", 7, 300
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
MODULES = [
    "components.release.release",
    "feature_repo.materialise",
    "feature_repo.services",
    "feature_repo.stores.offline_store",
    "feature_repo.stores.redis_store",
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a pipeline that has come to its publish step."""

    made: Made
    started_at: str
    process: Any


def drill(seed: int, cases: int) -> Figures:
    """AssertionError where a reader finds half of a generation, or an older run has replaced a newer one."""
    rng, counts = random.Random(seed), {"killed": 0, "refused": 0, "flushed": 0, "reads": 0}
    with ExitStack() as stack:
        folder, port = Path(stack.enter_context(tempfile.TemporaryDirectory())), stack.enter_context(servers())
        contents = [content(folder / str(number), number) for number in range(CONTENTS)]
        client = stack.enter_context(redis.Redis(port=port))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(MODULES)
        assert publish(context, contents[0], FIRST).process.wait() == 0
        reader = stack.enter_context(reading(port, contents, folder))
        timestamp = FIRST
        for _ in range(cases):
            timestamp += timedelta(minutes=2)
            runs = [publish(context, one, timestamp + timedelta(minutes=late)) for late, one in enumerate(rng.sample(contents, 2))]
            if rng.random() < 0.6:
                killed = rng.choice(runs)
                time.sleep(rng.uniform(0, 3))
                counts["killed"] += killed.process.kill()
                assert killed.process.wait() in {0, REFUSED, -9}
                assert publish(context, killed.made, datetime.fromisoformat(killed.started_at)).process.wait() in {0, REFUSED}
            codes = [run.process.wait() for run in runs]
            assert set(codes) <= {0, REFUSED, -9}, codes
            counts["refused"] += codes.count(REFUSED)
            check_current(port, client, runs[1].made, contents)
            if rng.random() < 0.3:
                with reader.paused():
                    client.flushall()
                    counts["flushed"] += 1
                    assert publish(context, runs[1].made, timestamp + timedelta(minutes=1)).process.wait() == 0
                    check_current(port, client, runs[1].made, contents)
        counts["reads"] = reader.ended()
    return counts


def content(folder: Path, number: int) -> Made:
    """Another day's log, in which users' histories are others."""
    folder.mkdir()
    return made(folder, [(user, f"i{(3 * number + step) % 9}", 60 * step + number) for user in USERS for step in range(4)])


def check_current(port: int, client: "redis.Redis", newest: Made, contents: Sequence[Made]) -> None:
    assert storage.resolve(BUCKET + "/bundles") == f"{BUCKET}/bundles/versions/{storage.digest(newest.bundle)}"
    assert [one.items for one in histories(port, newest.generation)] == expected(newest)
    left_s = {view: client.ttl(rows_key(schema.FEAST_PROJECT, newest.generation, view)) for view in schema.VIEWS}
    assert set(left_s.values()) == {-1}, left_s
    for one in contents:  # what is superseded, or was not finished, will go
        left = {client.ttl(rows_key(schema.FEAST_PROJECT, one.generation, view)) for view in schema.VIEWS}
        assert one.generation == newest.generation or -1 not in left, left


def histories(port: int, generation: str) -> list[UserHistory]:
    async def asked() -> list[UserHistory]:
        store = connect(f"redis://127.0.0.1:{port}", generation=generation)
        try:
            for _ in range(20):  # a machine that does other work as well is late
                try:
                    return await store.histories(USERS)
                except StoreUnavailable as error:
                    if "no answer within" not in str(error):
                        raise
            raise AssertionError("Redis does not answer")
        finally:
            await store.close()

    return uvloop.run(asked())


class Process:
    """A process that ends with 0, or with REFUSED where a run that began later has published."""

    def __init__(self, context: Any, one: Made, started_at: str) -> None:
        self._process = context.Process(target=work, args=(dict(os.environ), str(one.bundle), str(one.features), started_at))
        self._process.start()

    def kill(self) -> bool:
        self._process.kill()
        return self.wait() == -9

    def wait(self) -> int:
        self._process.join(LIMIT_S)
        return int(self._process.exitcode)


def work(environment: dict[str, str], bundle: str, features: str, started_at: str) -> None:
    os.environ.update(environment)
    from components.release.release import release

    try:
        release(Path(bundle), Path(features), f"{BUCKET}/bundles", started_at)
    except EnvironmentFault as error:
        sys.exit(REFUSED if error.code == "E565" else str(error))


def publish(context: Any, one: Made, started_at: datetime) -> Run:
    return Run(made=one, started_at=started_at.isoformat(), process=Process(context, one, started_at.isoformat()))


class Reader(threading.Thread):
    """As a predictor that is started anew each time: the bundle that is current, and its generation's rows."""

    def __init__(self, port: int, contents: Sequence[Made], folder: Path) -> None:
        super().__init__(daemon=True)
        self._port, self._folder = port, folder
        self._by_digest = {storage.digest(one.bundle): one for one in contents}
        self._expected = {one.generation: expected(one) for one in contents}
        self._is_over, self._may_read, self._reads, self._error = threading.Event(), threading.Lock(), 0, ""

    def run(self) -> None:
        while not self._is_over.wait(0.05) and not self._error:
            with self._may_read:
                current = self._by_digest[storage.resolve(f"{BUCKET}/bundles").rpartition("/")[2]]
                try:
                    found = [one.items for one in histories(self._port, current.generation)]
                    assert found == self._expected[current.generation], found
                except Exception as error:  # a thread's entry point: the drill says it
                    self._error = f"{type(error).__name__} {error}"
                self._reads += 1

    def paused(self) -> threading.Lock:
        return self._may_read

    def ended(self) -> int:
        self._is_over.set()
        self.join()
        assert self._error == "", self._error
        return self._reads


@contextmanager
def reading(port: int, contents: Sequence[Made], folder: Path) -> Iterator[Reader]:
    reader = Reader(port, contents, folder)
    reader.start()
    yield reader
    reader.ended()


@contextmanager
def servers() -> Iterator[int]:
    """A Redis and an S3 store, which the environment names; the port of the Redis."""
    assert shutil.which("redis-server"), "this needs redis-server: apt-get install redis-server"
    ports = [free_port(), free_port()]
    commands = [
        ["redis-server", "--port", str(ports[0]), "--bind", "127.0.0.1", "--save", ""],
        [sys.executable, "-m", "moto.server", "-p", str(ports[1])],
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    before = dict(os.environ)
    os.environ.update(keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[1]}", "LODESTAR_REDIS": f"127.0.0.1:{ports[0]}"})
    try:
        for port in ports:
            while not _answers(port):
                time.sleep(0.05)
        boto3.client("s3").create_bucket(Bucket=BUCKET.removeprefix("s3://"))
        yield ports[0]
    finally:
        os.environ.clear()
        os.environ.update(before)
        for process in processes:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
