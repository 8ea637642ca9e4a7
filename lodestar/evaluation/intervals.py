"""How sure a mean over users is: the percentile bootstrap, with the same samples for all that is compared.

Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979. A sample of users is drawn as how often each of
them is in it, so that the means of all metrics of all models come from one matrix product.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
COVERED = 0.95
WEIGHTS_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def intervals(values: dict[str, Values], samples: int, seed: int) -> dict[str, Interval]:
    """Of each row of per-user values, in parallel; at least one user."""
    names = list(values)
    stacked_UM = np.stack([values[name] for name in names], axis=1)
    means_SM = bootstrap_means(stacked_UM, samples, seed)
    tail = (1 - COVERED) / 2
    low_M, high_M = np.quantile(means_SM, [tail, 1 - tail], axis=0)
    mean_M = stacked_UM.mean(axis=0)
    return {
        name: Interval(value=float(mean), low=float(low), high=float(high))
        for name, mean, low, high in zip(names, mean_M, low_M, high_M, strict=True)
    }


def difference(mine: Values, theirs: Values, samples: int, seed: int) -> Interval:
    """By how much the first is higher, user by user: what both find hard or easy cancels out."""
    return intervals({"difference": mine - theirs}, samples, seed)["difference"]


def bootstrap_means(values_UM: Values, samples: int, seed: int) -> Values:
    """The means of `samples` draws of as many users with replacement, [samples, metrics]."""
    num_users = len(values_UM)
    generator = np.random.default_rng(seed)
    at_once = max(1, WEIGHTS_AT_ONCE // num_users)
    chance_U = np.full(num_users, 1 / num_users)
    sizes = [min(at_once, samples - start) for start in range(0, samples, at_once)]
    means: list[Values] = [generator.multinomial(num_users, chance_U, size=size) @ values_UM / num_users for size in sizes]
    return np.concatenate(means)
