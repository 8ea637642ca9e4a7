"""DAN-EASE: EASE on a user- and item-normalised interaction matrix, with hyperparameters chosen on the validation set.

Park et al., "Why is normalization necessary for linear recommenders?", SIGIR 2025, arXiv:2504.05805, with the diagonal ridge of Steck,
"Autoencoders that don't overfit towards the identity", NeurIPS 2020. Bundles hold the top neighbours of each item's weights.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from lodestar.bundle.neighbours import ALL, NeighbourTable, quantise
from lodestar.config import Device
from lodestar.errors import ConfigError
from lodestar.models.closed_form import memory
from lodestar.models.closed_form.counts import Sequences, Weights, binary_user_item
from lodestar.models.closed_form.ease import DENSE_MATRIX_REMEDY, bytes_needed, inverse, products
from lodestar.schema.arrays import Float32, Floats

MAX_CATALOGUE_SIZE = 50_000  # two dense [items, items] matrices: 20 GB, and half an hour of a core or seconds of a GPU
ROWS_AT_ONCE = 1024


@dataclass(kw_only=True)
class NormalisedEASE:
    """DAN-EASE (Park et al. 2025). Interactions are divided by item degree ** `item_power` and user degree ** `user_power`.

    `ridge` is added to the Gram matrix' diagonal as a multiple of its mean, `diagonal_ridge` as a multiple of each entry; scores are
    multiplied by item degree ** `popularity_power` (popularity bias). Inverted on `device`.
    """

    item_power: float = 0.25
    user_power: float = 0.25
    ridge: float = 10.0
    diagonal_ridge: float = 0.3
    popularity_power: float = 0.125
    device: Device = "cpu"

    def fit(self, sequences: Sequences, num_items: int, interaction_weights: Weights = ()) -> Self:
        """Fit `weights` [items, items] on one sequence per user.

        ConfigError E186 for a catalogue too large for a dense item-item matrix, EnvironmentFault E185 if its memory is not free.
        """
        if num_items > MAX_CATALOGUE_SIZE:
            message = f"dan_ease needs a dense item-item matrix: {num_items:,} items are more than {MAX_CATALOGUE_SIZE:,}"
            raise ConfigError(f"{message}; use the recipe sasrec, gsasrec or gf_cf", code="E186")
        memory.require(bytes_needed(num_items), f"dan_ease of {num_items:,} items", DENSE_MATRIX_REMEDY)
        interactions = binary_user_item(sequences, num_items, interaction_weights)
        user_degree, item_degree = (np.maximum(np.asarray(interactions.sum(axis=axis), dtype=np.float32).ravel(), 1) for axis in (1, 0))
        normalised = (
            (sparse.diags(user_degree**-self.user_power) @ interactions @ sparse.diags(item_degree**-self.item_power))
            .astype(np.float32)
            .tocsr()
        )
        gram = products(normalised)
        diagonal = gram.diagonal()
        gram[np.diag_indices(num_items)] = diagonal * (1 + self.diagonal_ridge) + self.ridge * diagonal.mean()
        weights = _ease_weights(gram, self.device)
        weights *= (item_degree**-self.item_power)[:, None]
        weights *= item_degree**self.popularity_power
        self.weights = weights
        return self

    def score(self, histories: Sequences) -> Float32[Floats, "histories items"]:
        """Scores of all items, one row per history, float32 [histories, items]; higher is better."""
        scores: Floats = binary_user_item(histories, len(self.weights)) @ self.weights
        return scores

    def neighbours(self, most: int) -> NeighbourTable:
        """The `most` largest weights of each item as a neighbour table; the whole history contributes with equal weight."""
        num_items = len(self.weights)
        most = min(most, num_items)
        item = np.zeros((num_items, most), dtype=np.min_scalar_type(max(num_items - 1, 0)))
        affinity = np.zeros((num_items, most))
        for start in range(0, num_items, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            block = self.weights[rows]
            top = np.argpartition(-block, most - 1, axis=1)[:, :most] if most < num_items else np.argsort(-block, axis=1)
            item[rows], affinity[rows] = top, np.maximum(np.take_along_axis(block, top, axis=1), 0)
        return quantise(item, affinity, 1.0, recent=ALL, decay=1.0)


def _ease_weights(gram: Floats, device: Device) -> Floats:
    """EASE's weight matrix from the regularised Gram matrix: -P / diag(P) by column with a zero diagonal, P the inverse."""
    precision = inverse(gram, device)
    weights: Floats = np.divide(precision, -np.diag(precision), out=precision)
    np.fill_diagonal(weights, 0)
    return weights
