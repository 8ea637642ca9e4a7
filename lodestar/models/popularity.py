"""Popularity: everyone is shown what most have taken. The floor that any personal model must clear.

What was taken lately may count for more, or alone: Ji, Sun, Zhang and Li, "A Re-visit of the Popularity Baseline in Recommender Systems"
(SIGIR 2020, arXiv:2005.13829).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lodestar.data.histories import packed
from lodestar.models.counts import Floats, Sequences

DAY_US = 86_400_000_000
LONG_AGO = 1e-6  # of what lies outside the window, or has decayed: items that nobody takes any more keep their order


@dataclass(kw_only=True)
class Popularity:
    """Scores an item by how many users took it, in the last `window_days`, each counting half as much after `half_life_days`."""

    window_days: float = math.inf
    half_life_days: float = math.inf

    def fit(self, sequences: Sequences, num_items: int, moments: Sequence[NDArray[np.int64]] = ()) -> Self:
        """`moments` (UTC µs), of which each sequence's are the first ones, are looked at where time matters."""
        taken = packed(sequences)
        shares = None if self.window_days == self.half_life_days == math.inf else self._shares(packed(moments).first(taken.lengths).flat())
        self.counts = np.bincount(taken.flat(), shares, minlength=num_items).astype(np.float32)
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        return np.tile(self.counts, (len(histories), 1))

    def _shares(self, moment: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each interaction counts for, by its age on the day of the last one."""
        age_days = (moment.max(initial=0) - moment) / DAY_US
        shares: NDArray[np.float64] = np.where(age_days <= self.window_days, 0.5 ** (age_days / self.half_life_days), 0.0)
        return np.maximum(shares, LONG_AGO)
