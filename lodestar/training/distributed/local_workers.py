"""Workers on one machine: as many as it has cores, started by torchrun. Who starts them needs no torch."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lodestar.config import Recipe, to_json
from lodestar.errors import EnvironmentFault
from lodestar.schema.constraints import require


def start_workers(features: Path, bundle: Path, recipe: Recipe, checkpoints: str) -> None:
    """Train by `train.workers` workers of torchrun, and wait for them; they end with this process.

    ConfigError E180 for more workers than cores, EnvironmentFault E530 if a worker fails.
    """
    check_local_workers(recipe.train.workers)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(to_json(recipe))
        file.flush()
        # -P: import no module of the working folder.
        dies_with_parent = (sys.executable, "-P", "-m", "lodestar.process.parent_death", str(os.getpid()), "-P")
        torchrun = (*dies_with_parent, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={recipe.train.workers}")
        options = ("--features", features, "--output", bundle, "--recipe-file", file.name, "--checkpoints", checkpoints)
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONSAFEPATH": "1"}  # of the workers that torchrun starts
        done = subprocess.run([*torchrun, "-m", "lodestar.training", *map(str, options)], env=environment, check=False)
    if done.returncode != 0:
        message = f"a training worker exited with code {done.returncode}"
        raise EnvironmentFault("E530", message, remedy="See the log above; the same command resumes from the last checkpoint.")


def check_local_workers(workers: int) -> None:
    """Raise ConfigError E180 for more training workers than this machine has cores: each is a process that holds the whole data."""
    cores = available_cores()
    message = f"train.workers must be at most {cores} here, one for each core (a training job on a cluster has its own number)"
    require(workers <= cores, message, workers)


def available_cores() -> int:
    """Number of cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(processes: int = 1) -> int:
    """Threads of each of `processes` that compute side by side here: OMP_NUM_THREADS, or an equal share of the cores, at least 1."""
    return int(os.environ.get("OMP_NUM_THREADS", max(1, available_cores() // processes)))
