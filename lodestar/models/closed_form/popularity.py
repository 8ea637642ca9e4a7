"""Popularity baseline: the same scores for all users, each item's number of interactions; the floor for personalised models.

Recent interactions may count more, or alone: Ji, Sun, Zhang and Li, "A Re-visit of the Popularity Baseline in Recommender Systems", SIGIR
2020, arXiv:2005.13829.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lodestar.data.split.ragged_array import from_lists
from lodestar.models.closed_form.counts import Sequences, Weights, flat_weights
from lodestar.schema.arrays import Float32, Floats, Int64, Longs
from lodestar.schema.time_units import DAY_US, NEVER

STALE_WEIGHT = 1e-6  # weight of interactions outside the window or fully decayed: items without recent ones keep their order
# Hyperparameters of `Popularity`, beside none, that are searched on the validation set.
RECENCY_GRID: tuple[Mapping[str, float], ...] = (
    *({"window_days": days} for days in (30.0, 7.0)),
    *({"half_life_days": days} for days in (90.0, 30.0, 7.0, 1.0)),
)


@dataclass(kw_only=True)
class Popularity:
    """Popularity (Ji et al. 2020): interactions of an item in the last `window_days`, halved in weight every `half_life_days`."""

    window_days: float = math.inf
    half_life_days: float = math.inf

    def fit(
        self, sequences: Sequences, num_items: int, interaction_weights: Weights = (), times_us: Sequence[Int64[Longs, "_"]] = ()
    ) -> Self:
        """Fit `counts` [items] on one sequence per user.

        `times_us` are timestamps (UTC µs) of each user's interactions, at least as many as items; used only with a window or half-life.
        """
        interactions = from_lists(sequences)
        weights: NDArray[np.floating[Any]] | None = flat_weights(sequences, interaction_weights)
        if not self.window_days == self.half_life_days == math.inf:
            recency = self._recency_weights(from_lists(times_us).head(interactions.lengths).flat())
            weights = recency if weights is None else recency * weights
        self.counts = np.bincount(interactions.flat(), weights, minlength=num_items).astype(np.float32)
        return self

    def score(self, histories: Sequences) -> Float32[Floats, "histories items"]:
        """Scores of all items, one equal row per history, float32 [histories, items]; higher is better."""
        return np.tile(self.counts, (len(histories), 1))

    def _recency_weights(self, time_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weight of each interaction by its age before the last one, [interactions]."""
        age_days = (time_us.max(initial=NEVER) - time_us) / DAY_US
        weights: NDArray[np.float64] = np.where(age_days <= self.window_days, 0.5 ** (age_days / self.half_life_days), 0.0)
        return np.maximum(weights, STALE_WEIGHT)
