"""Popularity: everyone is shown what most have taken. The floor that any personal model must clear."""

from typing import Self

import numpy as np

from lodestar.models.counts import Floats, Sequences


class Popularity:
    """Scores an item by how many users took it."""

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        taken = np.concatenate(sequences) if sequences else np.zeros(0, dtype=np.int32)
        self.counts = np.bincount(taken, minlength=num_items).astype(np.float32)
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        return np.tile(self.counts, (len(histories), 1))
