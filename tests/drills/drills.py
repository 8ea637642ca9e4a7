"""The drills: tests that take longer than ten seconds, by name. Each is `tests/drills/NAME.py` with a function `drill`.

`drill(seed, cases)` raises AssertionError where something does not hold, and returns figures that JSON can say.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

Figures = Mapping[str, object]
Drill = Callable[[int, int], Figures]


@dataclass(frozen=True, kw_only=True)
class DrillConfig:
    """How often a drill tries: `cases` for each of `seeds`, and `sample` cases in the default suite, within seconds."""

    seeds: tuple[int, ...]
    cases: int
    sample: int


# Filled by hand: the module's name under tests/drills, and how much of it is run.
DRILLS: dict[str, DrillConfig] = {
    "overrides": DrillConfig(seeds=(0,), cases=45, sample=3),
    "connections": DrillConfig(seeds=(0,), cases=3, sample=2),
    "hostile_senders": DrillConfig(seeds=(0,), cases=30, sample=1),
    "workers_change": DrillConfig(seeds=(0,), cases=8, sample=1),
    "publications": DrillConfig(seeds=(0,), cases=15, sample=1),
    "rollout_killed": DrillConfig(seeds=(0, 1, 2), cases=100, sample=2),
    "load": DrillConfig(seeds=(0,), cases=11, sample=2),
    "kills": DrillConfig(seeds=(0, 1, 2), cases=98, sample=5),
    "large_catalogue": DrillConfig(seeds=(0,), cases=200, sample=2),
    "torchrun": DrillConfig(seeds=(0,), cases=3, sample=0),
    "killed_runs": DrillConfig(seeds=(0,), cases=7, sample=0),
}


def run(name: str, seed: int, cases: int) -> dict[str, object]:
    """Run one drill; what it found, with its duration. AssertionError where it does not hold."""
    drill: Drill = import_module(f"tests.drills.{name}").drill
    started_s = time.monotonic()
    figures = drill(seed, cases)
    return {"drill": name, "seed": seed, "cases": cases, "seconds": round(time.monotonic() - started_s, 1), **figures}
