"""Training cost (time, memory, GPU minutes), and a warning if the data are too few for a neural model."""

import os
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from lodestar.data.split.interactions import Interactions
from lodestar.training.distributed.distributed import Group

MIN_EVENTS_PER_ITEM = 5  # with fewer events, an item's vector stays close to its random initialisation
FEW_SHARE, FEW_EVENTS = 0.5, 10_000
KIB = 1024


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a training run on rank zero; `gpu_minutes` is the sum over all workers, memory is in MiB.

    `samples` counts training targets over all epochs. `warning` is the data sufficiency warning, empty if the data suffice.
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
    """Measures wall and CPU time from its construction."""

    def __init__(self) -> None:
        self._started, self._cpu = time.monotonic(), _cpu_seconds()

    def read(self, group: Group, samples: int, parameters: int, warning: str) -> Cost:
        """The cost so far; `samples` is the number of training targets over all epochs, `parameters` the number of weights."""
        seconds, is_gpu = time.monotonic() - self._started, group.device.type == "cuda"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)
        return Cost(
            seconds=round(seconds, 2),
            cpu_seconds=round(_cpu_seconds() - self._cpu, 2),
            samples=samples,
            samples_per_s=round(samples / seconds, 1),
            peak_memory_mib=round(peak / KIB**2, 1),
            gpu_minutes=round(group.size * seconds / 60, 2) if is_gpu else 0.0,
            gpu_peak_memory_mib=round(torch.cuda.max_memory_allocated() / KIB**2, 1) if is_gpu else 0.0,
            parameters=parameters,
            threads=torch.get_num_threads(),
            workers=group.size,
            warning=warning,
        )


def data_sufficiency_warning(interactions: Interactions) -> str:
    """Why the data may be too few for a neural sequence model; empty if they suffice."""
    count = np.bincount(interactions.item, minlength=1)
    rare_share = float((count[count > 0] < MIN_EVENTS_PER_ITEM).mean()) if count.any() else 1.0
    reasons = []
    if len(interactions.item) < FEW_EVENTS:
        reasons.append(f"{len(interactions.item):,} interactions, fewer than {FEW_EVENTS:,}")
    if rare_share > FEW_SHARE:
        reasons.append(f"{rare_share:.0%} of the items with interactions have fewer than {MIN_EVENTS_PER_ITEM}")
    return f"{'; '.join(reasons)}: compare with the recipe cooccurrence before you trust a neural model" if reasons else ""


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system
