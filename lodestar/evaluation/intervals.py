"""How sure a mean over users is: the percentile bootstrap, with the same samples for all that is compared.

Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979. A sample of users is drawn as how often each of
them is in it, so that the means of all metrics of all models come from one matrix product.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
COVERED = 0.95
WEIGHTS_AT_ONCE = 1 << 22
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def intervals(values: dict[Name, Values], samples: int, seed: int) -> dict[Name, Interval]:
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


def compared(
    mine: dict[Name, Values], theirs: dict[Name, Values], samples: int, seed: int
) -> tuple[dict[Name, Interval], dict[Name, Interval], dict[Name, Interval]]:
    """Mine, theirs, and by how much mine are higher, user by user: what both find hard or easy cancels out."""
    ahead = {name: mine[name] - theirs[name] for name in mine}
    rows = {(side, name): values for side, part in enumerate((mine, theirs, ahead)) for name, values in part.items()}
    found = intervals(rows, samples, seed)
    first, second, third = ({name: found[side, name] for name in mine} for side in range(3))
    return first, second, third


def difference(mine: Values, theirs: Values, samples: int, seed: int) -> Interval:
    """By how much the first is higher, paired by user."""
    return intervals({"ahead": mine - theirs}, samples, seed)["ahead"]


def bootstrap_means(values_UM: Values, samples: int, seed: int) -> Values:
    """The means of `samples` draws of as many users with replacement, [samples, metrics]."""
    num_users = len(values_UM)
    generator = np.random.default_rng(seed)
    at_once = max(1, WEIGHTS_AT_ONCE // num_users)
    chance_U = np.full(num_users, 1 / num_users)
    sizes = [min(at_once, samples - start) for start in range(0, samples, at_once)]
    means: list[Values] = [generator.multinomial(num_users, chance_U, size=size) @ values_UM / num_users for size in sizes]
    return np.concatenate(means)
