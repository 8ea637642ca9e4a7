"""Models without a training loop in the form that is served: a vector for each item, and an encoder from a history's vectors to a user's.

A score is a product of the two, so every family goes through the same bundle, evaluation, compression and serving. What is linear in the
history is kept by its strongest directions: all of them on a small catalogue, where nothing is lost.

Letters in shapes: N items, D dimensions of a row, B histories, T places, R directions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor, nn

from lodestar.models.cooccurrence import CoOccurrence
from lodestar.models.counts import Counts, Floats, Known, taken_once
from lodestar.models.ease import REGULARISATIONS
from lodestar.models.ials import IALS
from lodestar.models.item_knn import ItemKNN
from lodestar.models.normalised_ease import NormalisedEASE
from lodestar.models.popularity import Popularity
from lodestar.neighbours import Neighbours

SMALL_CATALOGUE = 4_096  # up to so many items all directions are found at once
FOLD_IN_STEPS = 24
LEAST = 1e-5

Setting = Mapping[str, float]
Wide = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Retriever:
    """`vectors` [N, D]; the encoder takes history [B, T, D] and mask [B, T] and gives users [B, D].

    What no product of vectors gives, `neighbours` add.
    """

    vectors: Floats
    encoder: nn.Module
    neighbours: Neighbours | None = None


Make = Callable[[Setting], Retriever]


class Linear(nn.Module):
    """Sums over the history, by direction; a part of a row may be scaled by the row's last number before it is summed."""

    def __init__(self, plain_R: Wide, scaled_R: Wide) -> None:
        super().__init__()
        self.num_plain = len(plain_R)
        self.strength = nn.Parameter(torch.from_numpy(np.concatenate([plain_R, scaled_R]).astype(np.float32)), requires_grad=False)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        history_BTD = history_BTD * mask_BT[:, :, None]
        plain_BTR, scaled_BTR, scale_BT1 = (
            history_BTD[:, :, : self.num_plain],
            history_BTD[:, :, self.num_plain : -1],
            history_BTD[:, :, -1:],
        )
        summed_BR = torch.cat([plain_BTR.sum(dim=1), (scaled_BTR * scale_BT1).sum(dim=1)], dim=1) * self.strength
        return torch.cat([summed_BR, torch.zeros_like(summed_BR[:, :1])], dim=1)


class Constant(nn.Module):
    """The same for everyone."""

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        return torch.ones_like(history_BTD[:, 0]) * mask_BT[:, -1:]


class Onward(nn.Module):
    """Where the last few items point, a step further back less so; a row is what an item points to, then what points to it."""

    def __init__(self, model: CoOccurrence) -> None:
        super().__init__()
        self.recent, self.decay = model.recent, model.decay

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        age_T = torch.arange(history_BTD.shape[1] - 1, -1, -1, device=history_BTD.device)
        share_BT = torch.where(age_T < self.recent, self.decay**age_T, 0.0)[None] * mask_BT
        summed_BD = (share_BT[:, None] @ history_BTD)[:, 0]
        pointed_BR = summed_BD[:, : summed_BD.shape[1] // 2]
        return torch.cat([torch.zeros_like(pointed_BR), pointed_BR], dim=1)


class FoldIn(nn.Module):
    """The vector at which iALS' loss for a history is least, by conjugate gradients: products only, so it is a graph like any other."""

    def __init__(self, model: IALS) -> None:
        super().__init__()
        gram = model.unobserved * (model.items.T @ model.items)
        self.gram = nn.Parameter(torch.from_numpy(gram), requires_grad=False)
        self.per_item, self.always = model.regularisation, model.regularisation * model.unobserved * len(model.items)

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        history_BTD = history_BTD * mask_BT[:, :, None]
        ridge_B1 = self.per_item * mask_BT.sum(dim=1, keepdim=True) + self.always

        def product(user_BD: Tensor) -> Tensor:
            along_BT1 = history_BTD @ user_BD[:, :, None]
            own_BD = (along_BT1 * history_BTD).sum(dim=1)
            return user_BD @ self.gram + own_BD + ridge_B1 * user_BD

        wanted_BD = history_BTD.sum(dim=1)
        user_BD, left_BD = torch.zeros_like(wanted_BD), wanted_BD
        toward_BD, size_B1 = left_BD, (left_BD * left_BD).sum(dim=1, keepdim=True)
        for _ in range(FOLD_IN_STEPS):
            moved_BD = product(toward_BD)
            step_B1 = size_B1 / (toward_BD * moved_BD).sum(dim=1, keepdim=True).clamp_min(1e-30)
            user_BD, left_BD = user_BD + step_B1 * toward_BD, left_BD - step_B1 * moved_BD
            new_B1 = (left_BD * left_BD).sum(dim=1, keepdim=True)
            toward_BD, size_B1 = left_BD + new_B1 / size_B1.clamp_min(1e-30) * toward_BD, new_B1
        return user_BD


def spectrum(matrix: Counts, rank: int, seed: int) -> tuple[Wide, Wide]:
    """The strongest right singular vectors [N, R] of a sparse matrix, and their squared singular values [R]."""
    rank = min(rank, *matrix.shape)
    if matrix.shape[1] <= SMALL_CATALOGUE:
        gram: Wide = (matrix.T @ matrix).toarray().astype(np.float64)
        values, vectors = np.linalg.eigh(gram)
        columns: Wide = vectors[:, -rank:]
        power: Wide = np.maximum(values[-rank:], 0).astype(np.float64)
        return columns, power
    rank = min(rank, min(matrix.shape) - 1)
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    _, found, rows = svds(matrix.astype(np.float64), k=rank, v0=start)
    kept: Wide = rows.T
    squared: Wide = np.square(found, dtype=np.float64)
    return kept, squared


def popularity(known: Known, _rank: int, _seed: int) -> Make:
    """How many users took an item, of all time or lately."""

    def made(setting: Setting) -> Retriever:
        counts = Popularity(**setting).fit(known.sequences, known.num_items, known.moments).counts
        return Retriever(vectors=np.log1p(counts)[:, None].astype(np.float32), encoder=Constant())

    return made


def item_knn(known: Known, rank: int, seed: int) -> Make:
    """The sum of cosines with the items of the history."""
    taken = taken_once(known.sequences, known.num_items)
    columns, power = spectrum(taken @ sparse.diags(1 / np.sqrt(_degrees(taken, 0))), rank, seed)
    return lambda _: _linear(columns, power, np.zeros((known.num_items, 0)), np.zeros(0), np.ones(known.num_items))


def ease(known: Known, rank: int, seed: int) -> Make:
    """EASE by the directions of the counts that it inverts: what adds to an item's score of itself alone is left out.

    With gram V G Vᵀ the inverse is P = I/λ - V diag(G / λ(G + λ)) Vᵀ, and the weights are -P divided by P's diagonal, by column.
    """
    columns, power = spectrum(taken_once(known.sequences, known.num_items), rank, seed)

    def made(setting: Setting) -> Retriever:
        added = setting["regularisation"]
        strength = power / (added * (power + added))
        diagonal = 1 / added - (columns**2 * strength).sum(axis=1)
        return _linear(np.zeros((known.num_items, 0)), np.zeros(0), columns / diagonal[:, None], strength, diagonal)

    return made


def graph_filter(known: Known, rank: int, seed: int) -> Make:
    """Neighbours' smoothing and the lowest frequencies, both by the same directions."""
    taken = taken_once(known.sequences, known.num_items)
    of_item = np.sqrt(_degrees(taken, 0))
    smoothed = sparse.diags(1 / np.sqrt(_degrees(taken, 1))) @ taken @ sparse.diags(1 / of_item)
    columns, power = spectrum(smoothed, rank, seed)

    def made(setting: Setting) -> Retriever:
        low = columns[:, -int(setting["frequencies"]) :]
        # A history's items come divided by their degree, candidates multiplied: the row's last number undoes one for the other.
        return _linear(columns, power, low * of_item[:, None], np.full(low.shape[1], setting["ideal"]), 1 / of_item**2)

    return made


def cooccurrence(known: Known, rank: int, seed: int) -> Make:
    """What is taken soon after the last items."""
    model = CoOccurrence().fit(known.sequences, known.num_items)
    affinity = model.affinity.astype(np.float64)
    if known.num_items <= SMALL_CATALOGUE:
        left, strength, right = np.linalg.svd(affinity.toarray())
    else:
        left, strength, right = svds(
            affinity, k=min(rank, known.num_items - 1), v0=np.random.default_rng(seed).standard_normal(known.num_items)
        )
    root = np.sqrt(strength[:rank])
    vectors = np.concatenate([left[:, :rank] * root, right[:rank].T * root], axis=1).astype(np.float32)
    return lambda _: Retriever(vectors=vectors, encoder=Onward(model))


def ials(known: Known, rank: int, seed: int) -> Make:
    """Vectors of users and items by turns; a history is folded in."""

    def made(setting: Setting) -> Retriever:
        model = IALS(dim=rank, unobserved=setting["unobserved"], regularisation=setting["regularisation"], seed=seed)
        model.fit(known.sequences, known.num_items)
        return Retriever(vectors=model.items, encoder=FoldIn(model))

    return made


def jaccard(known: Known, rank: int, _seed: int) -> Make:
    """The share of users of either item who took both."""
    return _by_neighbours(ItemKNN(similarity="jaccard").fit(known.sequences, known.num_items).neighbours(rank), known)


def pearson(known: Known, rank: int, _seed: int) -> Make:
    """The correlation of taking one item with taking the other."""
    return _by_neighbours(ItemKNN(similarity="pearson").fit(known.sequences, known.num_items).neighbours(rank), known)


def normalised_ease(known: Known, rank: int, _seed: int) -> Make:
    """EASE on counts that are evened out."""

    def made(setting: Setting) -> Retriever:
        model = NormalisedEASE(**setting, device=known.device).fit(known.sequences, known.num_items)
        return _by_neighbours(model.neighbours(rank), known)({})

    return made


Family = Callable[[Known, int, int], Make]  # what is learnt from, directions, seed
NORMALISATIONS: tuple[Setting, ...] = (
    {"item": 0.25, "user": 0.25, "ridge": 10.0, "own": 0.3, "popular": 0.125},
    {"item": 0.25, "user": 0.25, "ridge": 30.0, "own": 0.3, "popular": 0.0},
    {"item": 0.4, "user": 0.25, "ridge": 10.0, "own": 0.3, "popular": 0.4},
    {"item": 0.0, "user": 0.0, "ridge": 3.0, "own": 0.0, "popular": 0.0},
)
LATELY: tuple[Setting, ...] = (
    *({"window_days": days} for days in (30.0, 7.0)),
    *({"half_life_days": days} for days in (90.0, 30.0, 7.0, 1.0)),
)
# What each family tries on the validation items.
FAMILIES: Mapping[str, tuple[Family, tuple[Setting, ...]]] = {
    "popularity": (popularity, ({}, *LATELY)),
    "item_knn": (item_knn, ({},)),
    "jaccard": (jaccard, ({},)),
    "pearson": (pearson, ({},)),
    "cooccurrence": (cooccurrence, ({},)),
    "ease": (ease, tuple({"regularisation": value} for value in REGULARISATIONS)),
    "graph_filter": (graph_filter, tuple({"frequencies": n, "ideal": w} for n in (32, 64, 128, 256) for w in (0.3, 1.0))),
    "normalised_ease": (normalised_ease, NORMALISATIONS),
    "ials": (ials, tuple({"unobserved": a, "regularisation": r} for a in (0.1, 0.3, 1.0) for r in (0.003, 0.01))),
}


def _by_neighbours(neighbours: Neighbours, known: Known) -> Make:
    """The strongest of what each item points to; what they leave equal, popularity decides."""
    popular = LEAST * np.log1p(Popularity().fit(known.sequences, known.num_items).counts)[:, None].astype(np.float32)
    return lambda _: Retriever(vectors=popular, encoder=Constant(), neighbours=neighbours)


def _linear(plain_NR: Wide, plain_R: Wide, scaled_NR: Wide, scaled_R: Wide, scale_N: Wide) -> Retriever:
    vectors = np.concatenate([plain_NR, scaled_NR, scale_N[:, None]], axis=1).astype(np.float32)
    return Retriever(vectors=vectors, encoder=Linear(plain_R, scaled_R))


def _degrees(taken: Counts, axis: int) -> Wide:
    degrees: Wide = np.maximum(np.asarray(taken.sum(axis=axis), dtype=np.float64).ravel(), 1)
    return degrees
