"""Closed-form families as retrievers: item vectors and an encoder from a history's item vectors to a user vector.

A score is their dot product, so every family shares bundle format, evaluation, compression and serving. Linear models are stored as a
rank-R factorisation, exact when the catalogue has at most 4,096 items and R is no smaller.

Letters in shapes: N items, D dimensions of an item vector, B histories, T positions, R components.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor, nn

from lodestar.bundle.neighbours import NeighbourTable
from lodestar.models.closed_form.cooccurrence import CoOccurrence
from lodestar.models.closed_form.counts import Counts, TrainingData, binary_user_item
from lodestar.models.closed_form.dan_ease import NormalisedEASE
from lodestar.models.closed_form.ease import REGULARISATIONS
from lodestar.models.closed_form.ials import IALS
from lodestar.models.closed_form.item_knn import ItemKNN
from lodestar.models.closed_form.popularity import RECENCY_GRID, Popularity
from lodestar.schema.arrays import Bool, Doubles, Float, Float32, Float64, Floats

DENSE_SOLVER_LIMIT = 4_096  # items up to which a dense eigensolver is used
FOLD_IN_STEPS = 24
POPULARITY_TIE_BREAK = 1e-5

Hyperparameters = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Retriever:
    """A fitted model for serving: item `vectors` [N, D] and an encoder of history [B, T, D] and mask [B, T] to user vectors [B, D].

    Scores of `neighbours`, for models that are no low-rank factorisation, are added.
    """

    vectors: Float32[Floats, "items dim"]
    encoder: nn.Module
    neighbours: NeighbourTable | None = None


RetrieverFactory = Callable[[Hyperparameters], Retriever]


class LinearFoldIn(nn.Module):
    """Encoder of linear models: the weighted sum of the history's item vectors, per component.

    The first `len(plain_R)` components are summed as they are, the others scaled by the item vector's last entry first.
    """

    def __init__(self, plain_R: Float64[Doubles, " plain"], scaled_R: Float64[Doubles, " scaled"]) -> None:
        super().__init__()
        self.num_plain = len(plain_R)
        self.strength = nn.Parameter(torch.from_numpy(np.concatenate([plain_R, scaled_R]).astype(np.float32)), requires_grad=False)

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """User vectors [B, D]; the last entry, by which only history items are scaled, is 0."""
        history_BTD = history_BTD * mask_BT[:, :, None]
        plain_BTR, scaled_BTR, scale_BT1 = (
            history_BTD[:, :, : self.num_plain],
            history_BTD[:, :, self.num_plain : -1],
            history_BTD[:, :, -1:],
        )
        summed_BR = torch.cat([plain_BTR.sum(dim=1), (scaled_BTR * scale_BT1).sum(dim=1)], dim=1) * self.strength
        return torch.cat([summed_BR, torch.zeros_like(summed_BR[:, :1])], dim=1)


class ConstantEncoder(nn.Module):
    """Encoder of non-personalised models: user vectors of ones."""

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """Ones [B, D], or zeros for an empty history."""
        return torch.ones_like(history_BTD[:, 0]) * mask_BT[:, -1:]


class CooccurrenceEncoder(nn.Module):
    """Encoder of co-occurrence: exponentially decayed sum over the last `recent` items.

    An item vector is the left factor of the affinity matrix (item in the history), then the right one (item as candidate).
    """

    def __init__(self, model: CoOccurrence) -> None:
        super().__init__()
        self.recent, self.decay = model.recent, model.decay

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """User vectors [B, D], zero in the first half, which multiplies the candidates' left factors."""
        age_T = torch.arange(history_BTD.shape[1] - 1, -1, -1, device=history_BTD.device)
        weight_BT = torch.where(age_T < self.recent, self.decay**age_T, 0.0)[None] * mask_BT
        summed_BD = (weight_BT[:, None] @ history_BTD)[:, 0]
        left_BR = summed_BD[:, : summed_BD.shape[1] // 2]
        return torch.cat([torch.zeros_like(left_BR), left_BR], dim=1)


class FoldIn(nn.Module):
    """Encoder of iALS: the user vector of least loss for a history, by conjugate gradients (matrix products only, for ONNX)."""

    def __init__(self, model: IALS) -> None:
        super().__init__()
        gram = model.unobserved_weight * (model.items.T @ model.items)
        self.gram = nn.Parameter(torch.from_numpy(gram), requires_grad=False)
        self.per_item, self.always = model.regularisation, model.regularisation * model.unobserved_weight * len(model.items)

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """User vectors [B, D] after FOLD_IN_STEPS steps of conjugate gradients."""
        history_BTD = history_BTD * mask_BT[:, :, None]
        ridge_B1 = self.per_item * mask_BT.sum(dim=1, keepdim=True) + self.always

        def product(user_BD: Tensor) -> Tensor:
            along_BT1 = history_BTD @ user_BD[:, :, None]
            own_BD = (along_BT1 * history_BTD).sum(dim=1)
            return user_BD @ self.gram + own_BD + ridge_B1 * user_BD

        target_BD = history_BTD.sum(dim=1)
        user_BD, residual_BD = torch.zeros_like(target_BD), target_BD
        direction_BD, norm_B1 = residual_BD, (residual_BD * residual_BD).sum(dim=1, keepdim=True)
        for _ in range(FOLD_IN_STEPS):
            image_BD = product(direction_BD)
            step_B1 = norm_B1 / (direction_BD * image_BD).sum(dim=1, keepdim=True).clamp_min(1e-30)
            user_BD, residual_BD = user_BD + step_B1 * direction_BD, residual_BD - step_B1 * image_BD
            new_norm_B1 = (residual_BD * residual_BD).sum(dim=1, keepdim=True)
            direction_BD, norm_B1 = residual_BD + new_norm_B1 / norm_B1.clamp_min(1e-30) * direction_BD, new_norm_B1
        return user_BD


def top_singular_vectors(
    matrix: Counts, rank: int, seed: int
) -> tuple[Float64[Doubles, "items components"], Float64[Doubles, " components"]]:
    """The top right singular vectors [N, R] of a sparse matrix and their squared singular values [R], in ascending order.

    R is `rank`, or less where the matrix has fewer singular vectors.
    """
    rank = min(rank, *matrix.shape)
    if matrix.shape[1] <= DENSE_SOLVER_LIMIT:
        gram: Doubles = (matrix.T @ matrix).toarray().astype(np.float64)
        values, vectors = np.linalg.eigh(gram)
        columns: Doubles = vectors[:, -rank:]
        power: Doubles = np.maximum(values[-rank:], 0).astype(np.float64)
        return columns, power
    rank = min(rank, min(matrix.shape) - 1)
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    _, singular_values, rows = svds(matrix.astype(np.float64), k=rank, v0=start)
    right_vectors: Doubles = rows.T
    squared_values: Doubles = np.square(singular_values, dtype=np.float64)
    return right_vectors, squared_values


def popularity(data: TrainingData, _rank: int, _seed: int) -> RetrieverFactory:
    """Popularity (Ji et al. 2020), of all time, within a window or with a half-life."""

    def make(hyperparameters: Hyperparameters) -> Retriever:
        counts = Popularity(**hyperparameters).fit(data.sequences, data.num_items, data.weights, data.times_us).counts
        return Retriever(vectors=np.log1p(counts)[:, None].astype(np.float32), encoder=ConstantEncoder())

    return make


def item_knn(data: TrainingData, rank: int, seed: int) -> RetrieverFactory:
    """Item-kNN with cosine similarity (Sarwar et al. 2001), as a rank-R factorisation."""
    interactions = binary_user_item(data.sequences, data.num_items, data.weights)
    columns, power = top_singular_vectors(interactions @ sparse.diags(1 / np.sqrt(_degrees(interactions, 0))), rank, seed)
    return lambda _: _linear_retriever(columns, power, np.zeros((data.num_items, 0)), np.zeros(0), np.ones(data.num_items))


def ease(data: TrainingData, rank: int, seed: int) -> RetrieverFactory:
    """EASE (Steck 2019) as a rank-R factorisation from the Gram matrix' eigenvectors, without the diagonal of the weights.

    With Gram matrix V G Vᵀ the inverse is P = I/λ - V diag(G / λ(G + λ)) Vᵀ; the weights are -P / diag(P), by column.
    """
    columns, power = top_singular_vectors(binary_user_item(data.sequences, data.num_items, data.weights), rank, seed)

    def make(hyperparameters: Hyperparameters) -> Retriever:
        ridge = hyperparameters["regularisation"]
        strength = power / (ridge * (power + ridge))
        diagonal = 1 / ridge - (columns**2 * strength).sum(axis=1)
        return _linear_retriever(np.zeros((data.num_items, 0)), np.zeros(0), columns / diagonal[:, None], strength, diagonal)

    return make


def gf_cf(data: TrainingData, rank: int, seed: int) -> RetrieverFactory:
    """GF-CF (Shen et al. 2021): linear filter and ideal low-pass filter, from the same singular vectors."""
    interactions = binary_user_item(data.sequences, data.num_items, data.weights)
    root_item_degree = np.sqrt(_degrees(interactions, 0))
    smoothed = sparse.diags(1 / np.sqrt(_degrees(interactions, 1))) @ interactions @ sparse.diags(1 / root_item_degree)
    columns, power = top_singular_vectors(smoothed, rank, seed)

    def make(hyperparameters: Hyperparameters) -> Retriever:
        lowest = columns[:, -int(hyperparameters["frequencies"]) :]
        # The ideal filter divides history items by their root degree and multiplies candidates by it; the last entry converts.
        weight_R = np.full(lowest.shape[1], hyperparameters["ideal_weight"])
        return _linear_retriever(columns, power, lowest * root_item_degree[:, None], weight_R, 1 / root_item_degree**2)

    return make


def cooccurrence(data: TrainingData, rank: int, seed: int) -> RetrieverFactory:
    """Co-occurrence within a window, as a rank-R factorisation of the affinity matrix."""
    model = CoOccurrence().fit(data.sequences, data.num_items, data.weights)
    affinity = model.affinity.astype(np.float64)
    if data.num_items <= DENSE_SOLVER_LIMIT:
        left, strength, right = np.linalg.svd(affinity.toarray())
    else:
        left, strength, right = svds(
            affinity, k=min(rank, data.num_items - 1), v0=np.random.default_rng(seed).standard_normal(data.num_items)
        )
    root = np.sqrt(strength[:rank])
    vectors = np.concatenate([left[:, :rank] * root, right[:rank].T * root], axis=1).astype(np.float32)
    return lambda _: Retriever(vectors=vectors, encoder=CooccurrenceEncoder(model))


def ials(data: TrainingData, rank: int, seed: int) -> RetrieverFactory:
    """Implicit ALS (Hu et al. 2008; Rendle et al. 2022) with exact fold-in of histories."""

    def make(hyperparameters: Hyperparameters) -> Retriever:
        model = IALS(
            dim=rank, unobserved_weight=hyperparameters["unobserved_weight"], regularisation=hyperparameters["regularisation"], seed=seed
        )
        model.fit(data.sequences, data.num_items, data.weights)
        return Retriever(vectors=model.items, encoder=FoldIn(model))

    return make


def item_knn_jaccard(data: TrainingData, rank: int, _seed: int) -> RetrieverFactory:
    """Item-kNN with Jaccard similarity, as a neighbour table of `rank` neighbours per item."""
    return _neighbour_retriever(ItemKNN(similarity="jaccard").fit(data.sequences, data.num_items).neighbours(rank), data)


def item_knn_pearson(data: TrainingData, rank: int, _seed: int) -> RetrieverFactory:
    """Item-kNN with Pearson correlation of binary columns (Sarwar et al. 2001), as a neighbour table of `rank` neighbours per item."""
    return _neighbour_retriever(ItemKNN(similarity="pearson").fit(data.sequences, data.num_items).neighbours(rank), data)


def dan_ease(data: TrainingData, rank: int, _seed: int) -> RetrieverFactory:
    """DAN-EASE (Park et al. 2025), as a neighbour table of `rank` neighbours per item."""

    def make(hyperparameters: Hyperparameters) -> Retriever:
        model = NormalisedEASE(**hyperparameters, device=data.device).fit(data.sequences, data.num_items, data.weights)
        return _neighbour_retriever(model.neighbours(rank), data)({})

    return make


Family = Callable[[TrainingData, int, int], RetrieverFactory]  # training data, number of components or neighbours, seed
DAN_EASE_GRID: tuple[Hyperparameters, ...] = (
    {"item_power": 0.25, "user_power": 0.25, "ridge": 10.0, "diagonal_ridge": 0.3, "popularity_power": 0.125},
    {"item_power": 0.25, "user_power": 0.25, "ridge": 30.0, "diagonal_ridge": 0.3, "popularity_power": 0.0},
    {"item_power": 0.4, "user_power": 0.25, "ridge": 10.0, "diagonal_ridge": 0.3, "popularity_power": 0.4},
    {"item_power": 0.0, "user_power": 0.0, "ridge": 3.0, "diagonal_ridge": 0.0, "popularity_power": 0.0},
)
# Each family's factory and its grid of hyperparameters, searched on the validation set.
FAMILIES: Mapping[str, tuple[Family, tuple[Hyperparameters, ...]]] = {
    "popularity": (popularity, ({}, *RECENCY_GRID)),
    "item_knn": (item_knn, ({},)),
    "item_knn_jaccard": (item_knn_jaccard, ({},)),
    "item_knn_pearson": (item_knn_pearson, ({},)),
    "cooccurrence": (cooccurrence, ({},)),
    "ease": (ease, tuple({"regularisation": value} for value in REGULARISATIONS)),
    "gf_cf": (gf_cf, tuple({"frequencies": n, "ideal_weight": w} for n in (32, 64, 128, 256) for w in (0.3, 1.0))),
    "dan_ease": (dan_ease, DAN_EASE_GRID),
    "ials": (ials, tuple({"unobserved_weight": a, "regularisation": r} for a in (0.1, 0.3, 1.0) for r in (0.003, 0.01))),
}


def _neighbour_retriever(neighbours: NeighbourTable, data: TrainingData) -> RetrieverFactory:
    """A retriever scored by a neighbour table, with popularity as a tie break."""
    counts = Popularity().fit(data.sequences, data.num_items, data.weights).counts
    tie_break = POPULARITY_TIE_BREAK * np.log1p(counts)[:, None].astype(np.float32)
    return lambda _: Retriever(vectors=tie_break, encoder=ConstantEncoder(), neighbours=neighbours)


def _linear_retriever(plain_NR: Doubles, plain_R: Doubles, scaled_NR: Doubles, scaled_R: Doubles, scale_N: Doubles) -> Retriever:
    vectors = np.concatenate([plain_NR, scaled_NR, scale_N[:, None]], axis=1).astype(np.float32)
    return Retriever(vectors=vectors, encoder=LinearFoldIn(plain_R, scaled_R))


def _degrees(interactions: Counts, axis: int) -> Doubles:
    degrees: Doubles = np.maximum(np.asarray(interactions.sum(axis=axis), dtype=np.float64).ravel(), 1)
    return degrees
