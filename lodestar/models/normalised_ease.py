"""EASE on counts that are evened out: how much a popular item and a busy user weigh is a matter of degree, found on validation items.

Park et al., "Why is normalization necessary for linear recommenders?", SIGIR 2025, arXiv:2504.05805, with the ridge of Steck, "Autoencoders
that don't overfit towards the identity", NeurIPS 2020. What an item points to is kept by its strongest neighbours, which is what is served.
Letters in shapes: N items, K neighbours.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from lodestar import memory
from lodestar.config import Device
from lodestar.errors import ConfigError
from lodestar.models.counts import Floats, Sequences, taken_once
from lodestar.models.ease import SMALLER, bytes_needed, inverse, products
from lodestar.neighbours import ALL, Neighbours, in_steps

LARGEST_CATALOGUE = 50_000  # a number per pair of items, twice: 20 GB, and half an hour of a core or seconds of a GPU
ROWS_AT_ONCE = 1024


@dataclass(kw_only=True)
class NormalisedEASE:
    """Counts are divided by how often an item was taken to the power `item`, a user's by how much they took to the power `user`.

    `ridge` is added to the diagonal as a multiple of its mean, `own` as one of each item's own; an item's score is multiplied by how often
    it was taken to the power `popular`. Solved on `device`.
    """

    item: float = 0.25
    user: float = 0.25
    ridge: float = 10.0
    own: float = 0.3
    popular: float = 0.125
    device: Device = "cpu"

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        """ConfigError E186 for a catalogue too large for a number per pair of items, EnvironmentFault E185 where its memory is not free."""
        if num_items > LARGEST_CATALOGUE:
            message = f"E186 normalised_ease holds a number per pair of items: {num_items:,} are more than {LARGEST_CATALOGUE:,}"
            raise ConfigError(f"{message}; take sasrec, gsasrec or graph_filter")
        memory.require(bytes_needed(num_items), f"normalised_ease of {num_items:,} items", SMALLER)
        taken = taken_once(sequences, num_items)
        of_user, of_item = (np.maximum(np.asarray(taken.sum(axis=axis), dtype=np.float32).ravel(), 1) for axis in (1, 0))
        evened = (sparse.diags(of_user**-self.user) @ taken @ sparse.diags(of_item**-self.item)).astype(np.float32).tocsr()
        gram = products(evened)
        own = gram.diagonal()
        gram[np.diag_indices(num_items)] = own * (1 + self.own) + self.ridge * own.mean()
        weights = _solved(gram, self.device)
        weights *= (of_item**-self.item)[:, None]
        weights *= of_item**self.popular
        self.weights = weights
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        scores: Floats = taken_once(histories, len(self.weights)) @ self.weights
        return scores

    def neighbours(self, most: int) -> Neighbours:
        """The strongest `most` of what each item points to; all of a history speak."""
        num_items = len(self.weights)
        most = min(most, num_items)
        item = np.zeros((num_items, most), dtype=np.min_scalar_type(max(num_items - 1, 0)))
        affinity = np.zeros((num_items, most))
        for start in range(0, num_items, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            points = self.weights[rows]
            strongest = np.argpartition(-points, most - 1, axis=1)[:, :most] if most < num_items else np.argsort(-points, axis=1)
            item[rows], affinity[rows] = strongest, np.maximum(np.take_along_axis(points, strongest, axis=1), 0)
        return in_steps(item, affinity, 1.0, recent=ALL, decay=1.0)


def _solved(gram: Floats, device: Device) -> Floats:
    """EASE's map."""
    precision = inverse(gram, device)
    weights: Floats = np.divide(precision, -np.diag(precision), out=precision)
    np.fill_diagonal(weights, 0)
    return weights
