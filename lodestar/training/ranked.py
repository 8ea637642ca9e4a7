"""The ranker of a run: learnt once retrieval has been found, handed over between stages, and made part of the bundle."""

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lodestar import ranker as bundled
from lodestar import schema
from lodestar.config import Recipe
from lodestar.data.splits import Cases, last_moments
from lodestar.features.store import DATA, FeatureSet
from lodestar.models.next_item import NextItem
from lodestar.models.ranker import Ranker
from lodestar.neighbours import Neighbours
from lodestar.progress import log_event
from lodestar.schema import pairs
from lodestar.training import rank_weights, ranking
from lodestar.training.export import Axes, exported
from lodestar.training.start import directions, item_vectors

MODEL, WEIGHTS = "model", "weights"


class Worth(nn.Module):
    """What the tasks' answers add up to, [B, C]."""

    def __init__(self, ranker: Ranker, weights: list[float]) -> None:
        super().__init__()
        self.ranker = ranker
        self.weight = nn.Parameter(torch.tensor(weights, dtype=torch.float32), requires_grad=False)

    def forward(self, taken_BTW: Tensor, mask_BT: Tensor, candidates_BCW: Tensor, counts_BCF: Tensor) -> Tensor:
        worth: Tensor = self.ranker.answers(taken_BTW, mask_BT, candidates_BCW, counts_BCF) @ self.weight
        return worth


class Ranking:
    """What a ranker learns from: faults of the training set are found here, before retrieval is trained."""

    def __init__(self, found: FeatureSet, cases: Cases, recipe: Recipe) -> None:
        self.found, self.cases, self.recipe = found, cases, recipe
        every = found.split(recipe.data).validation  # of cases that were drawn, those of other users would not be kept from learning
        until = last_moments(found.interactions.num_users, every, by_time=recipe.data.split == "time")
        self.rows = ranking.read(found.root, found.interactions, until)

    def learn(self, model: NextItem, neighbours: Neighbours | None) -> dict[str, Any]:
        """A ranker for what a model retrieves, as values for a checkpoint; none where it makes nothing better on the validation cases."""
        found, config, vectors = self.found, self.recipe.rank, rows_of_items(self.found, self.recipe)
        taught = ranking.learnt(self.rows, found.interactions, vectors, config, self.recipe.train.seed)
        lists = rank_weights.shortlists(model, neighbours, found, self.cases, config.candidates, self.recipe.model.max_length)
        weights, before, after = rank_weights.choose(taught, vectors, lists, found, config.max_length)
        named = {f"weight_of_{task}": weight for task, weight in zip(self.rows.tasks, weights, strict=True)}
        log_event("ranker", rows=len(self.rows), **named, ndcg_at_10_without=before, ndcg_at_10=after)
        return {MODEL: taught.state_dict(), WEIGHTS: weights} if any(weights) else {}


def made(learnt: dict[str, Any], found: FeatureSet, recipe: Recipe) -> bundled.Ranker:
    """What `learn` gave as a part of a bundle."""
    vectors = rows_of_items(found, recipe)
    model = Ranker(vectors.shape[1], len(pairs.NAMES), len(learnt[WEIGHTS]), recipe.rank)
    model.load_state_dict(learnt[MODEL])
    with torch.no_grad():
        rows = model.item(torch.from_numpy(vectors)).numpy().astype(np.float16)
    graph = graph_of(Worth(model, learnt[WEIGHTS]), recipe.rank.dim)
    return bundled.Ranker(graph=graph, vectors=rows, candidates=recipe.rank.candidates, max_length=recipe.rank.max_length)


def rows_of_items(found: FeatureSet, recipe: Recipe) -> NDArray[np.float32]:
    """What a ranker knows of each item, [items, D]: who is taken near it, in what may be learnt from, and what is written of it."""
    config, num_items = recipe.rank, len(found.items)
    counted = directions(found.split(recipe.data).train, num_items, config.dim, recipe.train.seed)
    near = item_vectors(counted, config.dim, recipe.train.seed) * config.dim**0.5
    known: NDArray[np.float32] = np.concatenate([near, _texts(found)], axis=1)
    return known


def _texts(found: FeatureSet) -> NDArray[np.float32]:
    """The items' text vectors with a variance of 1, 0 where an item has none."""
    table = pq.read_table(found.root / DATA / f"{schema.TEXT_EMBEDDING_VIEW}.parquet", columns=[schema.ITEM_ID, schema.TEXT_EMBEDDING])
    row = found.items.rows()
    vectors = np.array(table[schema.TEXT_EMBEDDING].to_pylist(), dtype=np.float32).reshape(len(table), -1)
    texts = np.zeros((len(row), vectors.shape[1]), dtype=np.float32)
    texts[[row[item] for item in table[schema.ITEM_ID].to_pylist()]] = vectors
    return texts * np.float32(vectors.shape[1] ** 0.5)


def graph_of(module: nn.Module, dim: int) -> bytes:
    """The model file of what answers with a worth for each candidate."""
    example = (torch.zeros(2, 3, dim), torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 4, dim), torch.zeros(2, 4, len(pairs.NAMES)))
    past: Axes = {0: "batch", 1: "time"}
    ahead: Axes = {0: "batch", 1: "candidates"}
    inputs = {bundled.HISTORY: past, bundled.MASK: past, bundled.CANDIDATES: ahead, bundled.COUNTS: ahead}
    return exported(module, example, inputs, {bundled.WORTH: ahead})
