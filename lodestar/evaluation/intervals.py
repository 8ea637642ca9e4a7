"""Confidence intervals of means over users: percentile bootstrap, with the same samples for every model and metric.

Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979. A bootstrap sample is drawn as a count per user, so
that the means of all metrics of all models come from one matrix product. Shapes: U users, S samples, M metrics.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lodestar.schema.arrays import Doubles, Float64

CONFIDENCE = 0.95
WEIGHTS_AT_ONCE = 1 << 22
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % bootstrap interval from `low` to `high`."""

    value: float
    low: float
    high: float


def intervals(values: dict[Name, Float64[Doubles, " users"]], samples: int, seed: int) -> dict[Name, Interval]:
    """Bootstrap intervals of the means of named per-user values, [U] each, at least one user; one set of samples for all."""
    names = list(values)
    stacked_UM = np.stack([values[name] for name in names], axis=1)
    means_SM = bootstrap_means(stacked_UM, samples, seed)
    tail = (1 - CONFIDENCE) / 2
    low_M, high_M = np.quantile(means_SM, [tail, 1 - tail], axis=0)
    mean_M = stacked_UM.mean(axis=0)
    return {
        name: Interval(value=float(mean), low=float(low), high=float(high))
        for name, mean, low, high in zip(names, mean_M, low_M, high_M, strict=True)
    }


def paired_intervals(
    mine: dict[Name, Float64[Doubles, " users"]], theirs: dict[Name, Float64[Doubles, " users"]], samples: int, seed: int
) -> tuple[dict[Name, Interval], dict[Name, Interval], dict[Name, Interval]]:
    """Intervals of mine, of theirs, and of the differences (mine minus theirs) paired by user.

    Pairing removes the variance that both models share.
    """
    ahead = {name: mine[name] - theirs[name] for name in mine}
    rows = {(side, name): values for side, part in enumerate((mine, theirs, ahead)) for name, values in part.items()}
    found = intervals(rows, samples, seed)
    first, second, third = ({name: found[side, name] for name in mine} for side in range(3))
    return first, second, third


def difference(mine: Float64[Doubles, " users"], theirs: Float64[Doubles, " users"], samples: int, seed: int) -> Interval:
    """Interval of the mean difference (mine minus theirs), paired by user, [U] each."""
    return intervals({"ahead": mine - theirs}, samples, seed)["ahead"]


def bootstrap_means(values_UM: Float64[Doubles, "users metrics"], samples: int, seed: int) -> Float64[Doubles, "{samples} metrics"]:
    """Means of `samples` bootstrap samples of per-user values [U, M] (users drawn with replacement), [S, M]."""
    num_users = len(values_UM)
    rng = np.random.default_rng(seed)
    at_once = max(1, WEIGHTS_AT_ONCE // num_users)
    probability_U = np.full(num_users, 1 / num_users)
    sizes = [min(at_once, samples - start) for start in range(0, samples, at_once)]
    means: list[Doubles] = [rng.multinomial(num_users, probability_U, size=size) @ values_UM / num_users for size in sizes]
    return np.concatenate(means)
