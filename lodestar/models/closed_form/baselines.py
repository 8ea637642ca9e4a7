"""Baselines by name: the closed-form models that a trained model has to beat in the evaluation gate before it is deployed."""

from typing import Protocol, Self

from lodestar.models.closed_form.cooccurrence import CoOccurrence
from lodestar.models.closed_form.counts import Sequences, Weights
from lodestar.models.closed_form.ease import EASE
from lodestar.models.closed_form.item_knn import ItemKNN
from lodestar.models.closed_form.popularity import Popularity
from lodestar.schema.arrays import Float32, Floats


class Baseline(Protocol):
    """Interface of a baseline: fitted on users' sequences of item indices, oldest first; scores all items for histories."""

    def fit(self, sequences: Sequences, num_items: int, weights: Weights = (), /) -> Self:
        """Fit on one sequence per user, of item indices below `num_items`, whose interactions may have weights."""

    def score(self, histories: Sequences) -> Float32[Floats, "histories items"]:
        """Scores of all items, one row per history, float32 [histories, items]; higher is better."""


BASELINES: dict[str, type[Baseline]] = {"popularity": Popularity, "item_knn": ItemKNN, "ease": EASE, "cooccurrence": CoOccurrence}
