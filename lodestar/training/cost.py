"""What a training took, and whether there was enough to learn from: known costs, in one line."""

import os
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from lodestar.data.interactions import Interactions
from lodestar.training.distributed import Group

FEW = 5  # events of an item: with fewer, its vector is where chance left it
FEW_SHARE, FEW_EVENTS = 0.5, 10_000
KIB = 1024


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one worker, but `gpu_minutes`, which are those of all of them; memory in MiB, `threads` those of one worker.

    `warning` is of the data, empty where they suffice.
    """

    seconds: float
    cpu_seconds: float
    samples: int
    samples_per_s: float
    peak_memory_mib: float
    gpu_minutes: float
    gpu_peak_memory_mib: float
    parameters: int
    threads: int
    workers: int
    warning: str


class Meter:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._started, self._cpu = time.monotonic(), _cpu_seconds()

    def read(self, group: Group, samples: int, parameters: int, warning: str) -> Cost:
        """`samples` is how many places were learnt from, over all epochs."""
        seconds, on_gpu = time.monotonic() - self._started, group.device.type == "cuda"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)
        return Cost(
            seconds=round(seconds, 2),
            cpu_seconds=round(_cpu_seconds() - self._cpu, 2),
            samples=samples,
            samples_per_s=round(samples / seconds, 1),
            peak_memory_mib=round(peak / KIB**2, 1),
            gpu_minutes=round(group.size * seconds / 60, 2) if on_gpu else 0.0,
            gpu_peak_memory_mib=round(torch.cuda.max_memory_allocated() / KIB**2, 1) if on_gpu else 0.0,
            parameters=parameters,
            threads=torch.get_num_threads(),
            workers=group.size,
            warning=warning,
        )


def too_little(taken: Interactions) -> str:
    """Why the data may be too few for a model that learns from order, empty where they are not."""
    count = np.bincount(taken.item, minlength=1)
    few = float((count[count > 0] < FEW).mean()) if count.any() else 1.0
    reasons = []
    if len(taken.item) < FEW_EVENTS:
        reasons.append(f"{len(taken.item):,} interactions, fewer than {FEW_EVENTS:,}")
    if few > FEW_SHARE:
        reasons.append(f"{few:.0%} of the items that anyone took have fewer than {FEW} interactions")
    return f"{'; '.join(reasons)}: compare with co-occurrence before you trust a learnt model" if reasons else ""


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system
