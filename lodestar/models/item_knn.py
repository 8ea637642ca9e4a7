"""Item-item cosine: what is taken by the same users is alike.

Sarwar et al., "Item-based collaborative filtering", WWW 2001; all neighbours count, order in time does not.
"""

from typing import Self

import numpy as np
from scipy import sparse

from lodestar.models.counts import Floats, Sequences, user_item


class ItemKNN:
    """Scores an item by the sum of its cosines with the items of the history."""

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        taken = user_item(sequences, num_items)
        users_of_item = np.asarray(taken.power(2).sum(axis=0)).ravel()
        scale = sparse.diags(1 / np.sqrt(np.maximum(users_of_item, 1)))
        self.cosine = (scale @ (taken.T @ taken) @ scale).tolil()
        self.cosine.setdiag(0)
        self.cosine = self.cosine.tocsr()
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        scores: Floats = (user_item(histories, self.cosine.shape[0]) @ self.cosine).toarray().astype(np.float32)
        return scores
