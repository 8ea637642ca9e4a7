"""A build of features that is killed leaves what was there and nothing else, and made again is as if it had not been killed."""

import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from lodestar.config import DataConfig, Recipe
from lodestar.data.ingest import ingest
from lodestar.features.batch.build import build_features
from lodestar.io import storage

RECIPE = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1, training_rows=500))
NUM_KILLS = 8


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The tables of two logs."""
    root = tmp_path_factory.mktemp("logs")
    for seed in range(2):
        ingest(f"simulator:users=200,items=80,events=20000,days=20,seed={seed}", root / str(seed))
    return sorted(root.iterdir())


def test_a_build_that_is_killed_at_any_time_leaves_the_features_that_were_there(logs: list[Path], tmp_path: Path) -> None:
    target, unbroken = tmp_path / "ours" / "features", tmp_path / "unbroken"
    build_features(logs[0], target, RECIPE)
    old = storage.digest(target)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["lodestar.features.batch.build"])
    whole_s = min(built_s(processes, logs[1], unbroken) for _ in range(2))
    exits = []
    for share in np.random.default_rng(0).uniform(0.1, 0.95, NUM_KILLS):
        build = processes.Process(target=build_features, args=(logs[1], target, RECIPE))
        build.start()
        build.join(share * whole_s)
        build.kill()
        build.join()
        exits.append(build.exitcode)
        assert storage.digest(target) in {old, storage.digest(unbroken)}
    assert -signal.SIGKILL in exits
    build_features(logs[1], target, RECIPE)
    assert storage.digest(target) == storage.digest(unbroken) != old
    assert [path.name for path in target.parent.iterdir()] == [target.name]  # nothing that a killed process worked with is left


def built_s(processes: multiprocessing.context.ForkServerContext, log: Path, target: Path) -> float:
    started = time.monotonic()
    build = processes.Process(target=build_features, args=(log, target, RECIPE))
    build.start()
    build.join()
    assert build.exitcode == 0
    return time.monotonic() - started
