"""Ranker stage of a run: train a ranker on the search stage's retrieval model, and export it into the bundle."""

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from lodestar import schema
from lodestar.bundle import ranker as bundled
from lodestar.bundle.neighbours import NeighbourTable
from lodestar.config import Recipe
from lodestar.data.split.splits import EvalCases, training_cutoffs
from lodestar.features.batch.feature_set import DATA, FeatureSet
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.models.ranker.ranker import Ranker
from lodestar.progress import log_event
from lodestar.schema import ranker_inputs
from lodestar.schema.arrays import Bool, Float, Float32, Floats
from lodestar.training.init.item_init import item_vectors, spectral_basis
from lodestar.training.publish.export import Axes, exported
from lodestar.training.ranker import ranker_blend, ranker_training

MODEL, WEIGHTS = "model", "weights"


class WeightedTaskScore(nn.Module):
    """Export form of a ranker: the weighted sum of its task logits, [B, C]."""

    def __init__(self, ranker: Ranker, weights: list[float]) -> None:
        super().__init__()
        self.ranker = ranker
        self.weight = nn.Parameter(torch.tensor(weights, dtype=torch.float32), requires_grad=False)

    def forward(
        self,
        history_BTW: Float[Tensor, "batch time width"],
        mask_BT: Bool[Tensor, "batch time"],
        candidates_BCW: Float[Tensor, "batch candidates width"],
        counts_BCF: Float[Tensor, "batch candidates counts"],
    ) -> Float[Tensor, "batch candidates"]:
        """Scores [B, C] from projected history [B, T, W] with mask [B, T], candidates [B, C, W] and count features [B, C, F]."""
        scores: Tensor = self.ranker.task_logits(history_BTW, mask_BT, candidates_BCW, counts_BCF) @ self.weight
        return scores


class RankerTrainer:
    """Trainer of a ranker; reads and checks the training set when constructed, before retrieval is trained.

    DataError E151, E202 or E210 for a training set that is missing, not finite or has one label (see `ranker_training.read`).
    """

    def __init__(self, features: FeatureSet, cases: EvalCases, recipe: Recipe) -> None:
        self.features, self.cases, self.recipe = features, cases, recipe
        all_cases = features.split(recipe.data).validation  # all cases, not the sampled ones: labels after any user's cutoff would leak
        cutoffs = training_cutoffs(features.interactions.num_users, all_cases, by_time=recipe.data.split == "time")
        self.rows = ranker_training.read(features.root, features.interactions, cutoffs)

    def learn(self, model: NextItemModel, neighbours: NeighbourTable | None) -> dict[str, Any]:
        """Train a ranker of a model's candidates; its state for a checkpoint, empty if it does not raise NDCG@10 on the validation set."""
        features, config, vectors = self.features, self.recipe.rank, item_inputs(self.features, self.recipe)
        ranker = ranker_training.train_ranker(self.rows, features.interactions, vectors, config, self.recipe.train.seed)
        cases = ranker_blend.sample_cases(self.cases, self.recipe.train.seed)
        lists = ranker_blend.retrieve_candidates(model, neighbours, features, cases, config.candidates, self.recipe.model.max_length)
        weights, ndcg_without, ndcg_with = ranker_blend.fit_ranker_blend(ranker, vectors, lists, features, config.max_length)
        named_weights = {f"weight_of_{task}": weight for task, weight in zip(self.rows.tasks, weights, strict=True)}
        log_event("ranker", rows=len(self.rows), **named_weights, ndcg_at_10_without=ndcg_without, ndcg_at_10=ndcg_with)
        return {MODEL: ranker.state_dict(), WEIGHTS: weights} if any(weights) else {}


def export_ranker(state: dict[str, Any], features: FeatureSet, recipe: Recipe) -> bundled.Ranker:
    """The bundle's ranker (ONNX graph and projected item vectors, float16) from the state that `learn` returned."""
    vectors = item_inputs(features, recipe)
    model = Ranker(vectors.shape[1], len(ranker_inputs.NAMES), len(state[WEIGHTS]), recipe.rank)
    model.load_state_dict(state[MODEL])
    with torch.no_grad():
        rows = model.item(torch.from_numpy(vectors)).numpy().astype(np.float16)
    graph = export_onnx(WeightedTaskScore(model, state[WEIGHTS]), recipe.rank.dim)
    return bundled.Ranker(graph=graph, vectors=rows, candidates=recipe.rank.candidates, max_length=recipe.rank.max_length)


def item_inputs(features: FeatureSet, recipe: Recipe) -> Float32[Floats, "items dim"]:
    """Item inputs of a ranker, float32 [items, D]: co-occurrence vectors of the training part and text embeddings."""
    config, num_items = recipe.rank, len(features.items)
    basis = spectral_basis(features.split(recipe.data).train, num_items, config.dim, recipe.train.seed)
    cooccurrence_vectors = item_vectors(basis, config.dim, recipe.train.seed) * config.dim**0.5
    inputs: Floats = np.concatenate([cooccurrence_vectors, _texts(features)], axis=1)
    return inputs


def _texts(features: FeatureSet) -> Floats:
    """Text embeddings of the items, float32 [items, dim], scaled to variance 1; 0 for items without text."""
    table = pq.read_table(features.root / DATA / f"{schema.TEXT_EMBEDDING_VIEW}.parquet", columns=[schema.ITEM_ID, schema.TEXT_EMBEDDING])
    row = features.items.rows()
    vectors = np.array(table[schema.TEXT_EMBEDDING].to_pylist(), dtype=np.float32).reshape(len(table), -1)
    texts = np.zeros((len(row), vectors.shape[1]), dtype=np.float32)
    texts[[row[item] for item in table[schema.ITEM_ID].to_pylist()]] = vectors
    return texts * np.float32(vectors.shape[1] ** 0.5)


def export_onnx(module: nn.Module, dim: int) -> bytes:
    """ONNX file of a ranker: history, mask, candidates (of width `dim`) and counts to scores, with dynamic batch, time and candidates."""
    example = (
        torch.zeros(2, 3, dim),
        torch.ones(2, 3, dtype=torch.bool),
        torch.zeros(2, 4, dim),
        torch.zeros(2, 4, len(ranker_inputs.NAMES)),
    )
    time_axes: Axes = {0: "batch", 1: "time"}
    candidate_axes: Axes = {0: "batch", 1: "candidates"}
    inputs = {bundled.HISTORY: time_axes, bundled.MASK: time_axes, bundled.CANDIDATES: candidate_axes, bundled.COUNTS: candidate_axes}
    return exported(module, example, inputs, {bundled.SCORES: candidate_axes})
