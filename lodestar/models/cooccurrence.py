"""Co-occurrence: what is taken soon after the items a user took last.

Pairs within a window are counted, the later item given the earlier in full and the reverse in part; damped by both items' degrees.
It fits in seconds and beats most published deep models on the public sets, so it is the guard a trained model has to pass.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from lodestar.models.counts import Floats, Sequences, followers, user_item
from lodestar.neighbours import DECAY, RECENT, Neighbours, strongest


@dataclass(kw_only=True)
class CoOccurrence:
    """`backward` is the weight of a pair met in reverse; `decay` that of each step further back in the history."""

    window: int = 8
    backward: float = 0.5
    seen_damping: float = 0.5
    candidate_damping: float = 0.3
    recent: int = RECENT
    decay: float = DECAY

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        ahead = followers(sequences, num_items, self.window)
        pairs = ahead + self.backward * ahead.T
        seen_degree = np.maximum(np.asarray(pairs.sum(axis=1)).ravel(), 1)
        candidate_degree = np.maximum(np.asarray(pairs.sum(axis=0)).ravel(), 1)
        self.affinity = sparse.diags(seen_degree**-self.seen_damping) @ pairs @ sparse.diags(candidate_degree**-self.candidate_damping)
        return self

    def neighbours(self, most: int, weight: float) -> Neighbours:
        """The strongest `most` of what each item points to, equal ones in the order of the catalogue."""
        return strongest(self.affinity.tocsr(), most, weight)

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        num_items = self.affinity.shape[0]
        total = np.zeros((len(histories), num_items), dtype=np.float32)
        for age in range(self.recent):
            items = [history[len(history) - 1 - age :][:1] if len(history) > age else history[:0] for history in histories]
            total += self.decay**age * (user_item(items, num_items) @ self.affinity).toarray()
        return total
