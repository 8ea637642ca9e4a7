"""The models that need no training loop, by name; a trained model has to beat them before anyone is shown its answers."""

from typing import Protocol, Self

from lodestar.models.cooccurrence import CoOccurrence
from lodestar.models.counts import Floats, Sequences
from lodestar.models.ease import EASE
from lodestar.models.item_knn import ItemKNN
from lodestar.models.popularity import Popularity


class Baseline(Protocol):
    """Counts over sequences of item indices, oldest first."""

    def fit(self, sequences: Sequences, num_items: int) -> Self: ...

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""


BASELINES: dict[str, type[Baseline]] = {"popularity": Popularity, "item_knn": ItemKNN, "ease": EASE, "cooccurrence": CoOccurrence}
