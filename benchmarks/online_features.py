"""An online read: 20 numbers of each of 100 users, from a Redis on this machine.

Ours, `serving.features.packed_reader`, beside Feast's SDK over Feast's own Redis store, and Feast's SDK over ours. Each reads in a
process of its own, in turns; compared by the median of the CPU time a call, of that process alone. All three give the same bits, which is
checked. The floor is the round trip itself: one HMGET of the same rows by the usual client, of which nothing is decoded.

    python benchmarks/online_features.py [--rounds N]     published: --rounds 5
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))  # or a file beside this one is found in place of the package whose name it has
import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from benchmarks.measuring.requirements import require
from benchmarks.measuring.server import redis, wait_longer
from lodestar import schema
from lodestar.schema.store_keys import STATE, rows_key

NUM_KNOWN, NUM_ASKED, NUM_FEATURES = 2_000, 100, 20
CALLS = {"ours": 1000, "feast": 40, "feast over ours": 40, "one HMGET": 1000}
GENERATION = "0" * 16
VIEW, NAMES = "measured", [f"f{place}" for place in range(NUM_FEATURES)]
USERS = [f"user-{number}" for number in range(0, NUM_KNOWN, NUM_KNOWN // NUM_ASKED)]
STORES = {"feast": "redis", "feast over ours": "feature_repo.stores.redis_store.PackedRedisOnlineStore"}
Read: TypeAlias = Callable[[], Any]
Values: TypeAlias = Callable[[Any], Any]


def main() -> None:
    """Start a Redis server, fill it, and print the comparison."""
    if sys.argv[1:] and sys.argv[1] in CALLS:
        print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="of which the median counts (default: %(default)s)")
    rounds = parser.parse_args().rounds
    require("feast", "uvloop")
    with redis() as port, tempfile.TemporaryDirectory() as name:
        for store in STORES:
            write(store_of(store, port, Path(name)))
        compare(port, Path(name), rounds)


def compare(port: int, folder: Path, rounds: int) -> None:
    """Print CPU and wall µs per read of each store, medians of ROUNDS; exits if their values differ."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CALLS}
    for _ in range(rounds):
        for name in CALLS:
            done = subprocess.run([sys.executable, __file__, name, str(port), str(folder)], stdout=subprocess.PIPE, text=True, check=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    if len({found["values"] for name in CALLS for found in runs[name] if found["values"]}) != 1:
        sys.exit("the values differ")
    cpu_us = {name: statistics.median(found["cpu_us"] for found in runs[name]) for name in CALLS}
    for name in CALLS:
        wall_us = statistics.median(found["wall_us"] for found in runs[name])
        print(f"{name:16} {cpu_us[name]:9.0f} µs of CPU  {wall_us:9.0f} µs  ours uses {cpu_us[name] / cpu_us['ours']:6.1f}x less CPU")


def measured(name: str, port: int, folder: Path) -> dict[str, Any]:
    """One store's reads in this process: CPU and wall µs per call, and the values as bytes for comparison."""
    import uvloop

    if name == "ours":
        return uvloop.run(ours(port))
    read, values = hmget(port) if name == "one HMGET" else feasts(name, port, folder)
    read()
    used, began = cpu_s(), time.perf_counter()
    for _ in range(CALLS[name]):
        answer = read()
    return spent(name, used, began, None if values is None else values(answer))


async def ours(port: int) -> dict[str, Any]:
    """In a loop that runs, as a server's does."""
    wait_longer()
    from serving.features.packed_reader import PackedView
    from serving.features.redis import Redis, RedisAddress

    view = PackedView(Redis(RedisAddress.parse(f"redis://127.0.0.1:{port}")), VIEW, GENERATION)
    await view.numbers(USERS, NAMES)
    used, began = cpu_s(), time.perf_counter()
    for _ in range(CALLS["ours"]):
        answer = await view.numbers(USERS, NAMES)
    return spent("ours", used, began, answer.values)


def spent(name: str, used_s: float, began_s: float, values: Any) -> dict[str, Any]:
    """CPU and wall µs per call since the given starts, with the values as hexadecimal float32."""
    cpu_us, wall_us = (1e6 * seconds / CALLS[name] for seconds in (cpu_s() - used_s, time.perf_counter() - began_s))
    return {"cpu_us": cpu_us, "wall_us": wall_us, "values": values is not None and values.astype(np.float32).tobytes().hex()}


def feasts(name: str, port: int, folder: Path) -> tuple[Read, Values]:
    """Feast's `get_online_features` through one of its stores, and how its response becomes an array [users, features]."""
    store = store_of(name, port, folder)
    features, rows = [f"{VIEW}:{one}" for one in NAMES], [{schema.USER_ID: user} for user in USERS]
    read = lambda: store.get_online_features(features=features, entity_rows=rows).to_dict()  # noqa: E731
    return read, lambda answer: np.array([answer[one] for one in NAMES]).T


def hmget(port: int) -> tuple[Read, None]:
    """The floor: one HMGET of the same rows by redis-py, not decoded."""
    import redis

    client = redis.Redis(port=port)
    key, fields = rows_key(schema.FEAST_PROJECT, GENERATION, VIEW).decode(), [*USERS, STATE]
    return lambda: client.hmget(key, fields), None


def store_of(name: str, port: int, folder: Path) -> Any:
    """A FeatureStore with the online store of this name at the Redis server's port."""
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project=schema.FEAST_PROJECT,
        provider="local",
        registry=str(folder / f"{name}.db"),
        online_store={"type": STORES[name], "connection_string": f"127.0.0.1:{port}"},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def write(store: Any) -> None:
    """Define the view and write one row of it for each user, the same values in every store."""
    from feast import FeatureView, Field, FileSource, PushSource
    from feast.types import Float32

    from feature_repo import entities
    from feature_repo.stores.generations import Generations

    table = FileSource(name="table", path="table.parquet", timestamp_field=schema.FEATURE_TIME, created_timestamp_column=schema.KNOWN_TIME)
    fields = [Field(name=name, dtype=Float32) for name in NAMES]
    source = PushSource(name="push", batch_source=table)
    view = FeatureView(name=VIEW, entities=[entities.user], schema=fields, source=source, ttl=timedelta(0))
    store.apply([entities.user, view])
    values = np.random.default_rng(0).random((NUM_KNOWN, NUM_FEATURES), dtype=np.float32)
    frame = pd.DataFrame(values, columns=NAMES).assign(**{schema.USER_ID: [f"user-{number}" for number in range(NUM_KNOWN)]})
    now, online = datetime.now(UTC), store._get_provider().online_store
    generations = Generations(online._get_client(store.config.online_store), schema.FEAST_PROJECT, [VIEW])
    generations.begin(GENERATION)  # of which Feast's own store knows nothing
    store.write_to_online_store(VIEW, frame.assign(**{schema.FEATURE_TIME: now, schema.KNOWN_TIME: now}))
    generations.finish(GENERATION)
    generations.make_current(GENERATION, 1)
    asyncio.run(store.close())


def cpu_s() -> float:
    """CPU seconds of this process so far, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
