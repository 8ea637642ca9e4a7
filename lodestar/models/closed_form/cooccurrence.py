"""Co-occurrence: item-item counts within a window of the sequence, damped by both items' degrees (popularity bias).

A pair counts in full from the earlier item to the later one and by `backward` in reverse. An item-based relative of Markov-chain and
session co-occurrence baselines (Ludewig & Jannach, "Evaluation of session-based recommendation algorithms", UMUAI 2018, arXiv:1803.09587).
It fits in seconds and beats most published deep models on the public sets, so it is a baseline of the evaluation gate.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from lodestar.bundle.neighbours import DECAY, RECENT, NeighbourTable, top_k
from lodestar.data.split.ragged_array import RaggedArray, from_lists
from lodestar.models.closed_form import blocked_counts
from lodestar.models.closed_form.counts import Counts, Pairs, Sequences, Weights, cooccurrence_counts
from lodestar.schema.arrays import Float32, Floats


@dataclass(kw_only=True)
class CoOccurrence:
    """Co-occurrence model with `affinity` [items, items] from an item of the history (row) to a candidate (column).

    `window` is in positions, `backward` the weight of the reverse pair. `seen_damping` and `candidate_damping` are the powers of the row's
    and the column's degree that divide counts. The last `recent` items of a history contribute, each `decay` times the next newer one.
    """

    window: int = 8
    backward: float = 0.5
    seen_damping: float = 0.5
    candidate_damping: float = 0.3
    recent: int = RECENT
    decay: float = DECAY

    def fit(self, sequences: Sequences, num_items: int, weights: Weights = ()) -> Self:
        """Fit `affinity` on one sequence per user, whose interactions may have weights.

        In a large data set only the top neighbours of each item are kept (see `blocked_counts`), and `kept` is a note that says so.
        """
        ragged = from_lists(sequences)
        is_large = len(ragged.flat()) * self.window > blocked_counts.MAX_PAIRS
        self.affinity = (self._blocked_affinity if is_large else self._full_affinity)(ragged, num_items, weights)
        self.kept = blocked_counts.TRUNCATION_NOTE if is_large else ""
        return self

    def _full_affinity(self, sequences: RaggedArray[np.int32], num_items: int, weights: Weights) -> Counts:
        ahead = cooccurrence_counts(sequences, num_items, self.window, weights)
        pairs = ahead + self.backward * ahead.T
        seen_degree = np.maximum(np.asarray(pairs.sum(axis=1)).ravel(), 1)
        candidate_degree = np.maximum(np.asarray(pairs.sum(axis=0)).ravel(), 1)
        return sparse.diags(seen_degree**-self.seen_damping) @ pairs @ sparse.diags(candidate_degree**-self.candidate_damping)

    def _blocked_affinity(self, sequences: RaggedArray[np.int32], num_items: int, weights: Weights) -> Counts:
        """Affinity truncated to the top neighbours, in blocks of rows."""
        pairs = Pairs.of(sequences, self.window, weights)
        leads, follows = pairs.degrees(num_items)
        seen_degree, candidate_degree = (
            np.maximum(own + self.backward * other, 1).astype(np.float32) for own, other in ((leads, follows), (follows, leads))
        )
        candidate = sparse.diags(candidate_degree**-self.candidate_damping)

        def rows(first: int, last: int) -> Counts:
            counted = pairs.rows(first, last, num_items, ahead=True) + self.backward * pairs.rows(first, last, num_items, ahead=False)
            return (sparse.diags(seen_degree[first:last] ** -self.seen_damping) @ counted @ candidate).tocsr()

        return blocked_counts.compute_by_ranges(leads + follows if pairs.roots is None else pairs.numbers(num_items), rows)

    def neighbours(self, most: int, weight: float) -> NeighbourTable:
        """The `most` largest affinities of each item as a neighbour table; ties are broken by catalogue order."""
        return top_k(self.affinity.tocsr(), most, weight)

    def score(self, histories: Sequences) -> Float32[Floats, "histories items"]:
        """Scores of all items, one row per history, float32 [histories, items]; higher is better."""
        last = [history[: -self.recent - 1 : -1] for history in histories]
        ends = np.cumsum([0, *map(len, last)])
        weights = np.concatenate([np.zeros(0), *(self.decay ** np.arange(len(items)) for items in last)]).astype(np.float32)
        items = np.concatenate([np.zeros(0, dtype=np.int32), *last])
        # Newest first: the order of summation fixes the float32 result.
        history_weights = sparse.csr_matrix((weights, items, ends), shape=(len(histories), self.affinity.shape[0]))
        scores: Floats = (history_weights @ self.affinity).toarray().astype(np.float32, copy=False)
        return scores
