"""Co-occurrence: what is taken soon after the items a user took last.

Pairs within a window are counted, the later item given the earlier in full and the reverse in part; damped by both items' degrees.
It fits in seconds and beats most published deep models on the public sets, so it is the guard a trained model has to pass.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from lodestar.data.histories import Histories, packed
from lodestar.models import large
from lodestar.models.counts import Counts, Floats, Pairs, Sequences, followers
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
        """Of many interactions the strongest pairs of each item are kept (see `lodestar.models.large`); `kept` says so."""
        taken = packed(sequences)
        is_large = len(taken.flat()) * self.window > large.MOST_PAIRS
        self.affinity = self._by_ranges(taken, num_items) if is_large else self._whole(taken, num_items)
        self.kept = large.KEPT if is_large else ""
        return self

    def _whole(self, sequences: Histories[np.int32], num_items: int) -> Counts:
        ahead = followers(sequences, num_items, self.window)
        pairs = ahead + self.backward * ahead.T
        seen_degree = np.maximum(np.asarray(pairs.sum(axis=1)).ravel(), 1)
        candidate_degree = np.maximum(np.asarray(pairs.sum(axis=0)).ravel(), 1)
        return sparse.diags(seen_degree**-self.seen_damping) @ pairs @ sparse.diags(candidate_degree**-self.candidate_damping)

    def _by_ranges(self, sequences: Histories[np.int32], num_items: int) -> Counts:
        """The same, the strongest of each row, with no matrix of all pairs."""
        pairs = Pairs.of(sequences, self.window)
        leads, follows = pairs.degrees(num_items)
        seen_degree, candidate_degree = (
            np.maximum(one + self.backward * other, 1).astype(np.float32) for one, other in ((leads, follows), (follows, leads))
        )
        candidate = sparse.diags(candidate_degree**-self.candidate_damping)

        def rows(first: int, last: int) -> Counts:
            counted = pairs.rows(first, last, num_items, ahead=True) + self.backward * pairs.rows(first, last, num_items, ahead=False)
            return (sparse.diags(seen_degree[first:last] ** -self.seen_damping) @ counted @ candidate).tocsr()

        return large.by_ranges(leads + follows, rows)

    def neighbours(self, most: int, weight: float) -> Neighbours:
        """The strongest `most` of what each item points to, equal ones in the order of the catalogue."""
        return strongest(self.affinity.tocsr(), most, weight)

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        last = [history[: -self.recent - 1 : -1] for history in histories]
        ends = np.cumsum([0, *map(len, last)])
        shares = np.concatenate([np.zeros(0), *(self.decay ** np.arange(len(items)) for items in last)]).astype(np.float32)
        items = np.concatenate([np.zeros(0, dtype=np.int32), *last])
        # In the order of age, in which what they point to is added up.
        asked = sparse.csr_matrix((shares, items, ends), shape=(len(histories), self.affinity.shape[0]))
        scores: Floats = (asked @ self.affinity).toarray().astype(np.float32, copy=False)
        return scores
