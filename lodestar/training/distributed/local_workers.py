"""Workers on one machine: as many as it has cores."""

import os

from lodestar.schema.constraints import require


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
