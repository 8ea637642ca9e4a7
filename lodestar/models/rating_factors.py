"""Ratings foretold by factors with side information, averaged over samples of the posterior: no rate to tune and no epoch to choose.

A rating is a mean, biases of the user, the item, the user's day and the item's fortnight, and the product of two vectors. What is known of
a user (attributes, and which items they rated at all) shifts where their vector is expected: Simm et al., "Macau", 2017, arXiv:1509.04610,
after Salakhutdinov & Mnih, "Bayesian probabilistic matrix factorization", ICML 2008. Every user has a noise of their own: some rate as they
feel that day. Letters in shapes: U users, I items, M ratings, K factors, F attributes, G groups.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestar.data.cells import Cells
from lodestar.errors import DataError
from lodestar.progress import Progress

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_S, FORTNIGHT_S = 86_400, 14 * 86_400
NOISE_SHAPE = 4.0  # how alike the users' noises are held to be
PRIOR_RATINGS = 2.0  # how much the vectors' prior mean counts
THIN = 2
MOST_IN_SETS = 4_096  # who rated what is a column each: its products grow with the square of them


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Ratings that share a bias: `key` [G] in order, `row` [M] is each rating's group."""

    key: Ints
    row: Ints

    def rows(self, key: Ints) -> Ints:
        """Of other ratings, -1 where nothing is known."""
        at = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where(self.key[at] == key, at, -1)


@dataclass(kw_only=True)
class Side:
    """Vectors of one side, users or items: what they are expected to be is `mean` + `attributes` @ `link`, with `precision` [K, K]."""

    vectors: Floats
    attributes: Floats
    link: Floats
    spread: float
    mean: Floats
    precision: Floats

    def __post_init__(self) -> None:
        values, self._basis = np.linalg.eigh(self.attributes.T @ self.attributes)
        self._values = np.maximum(values, 0)

    def expected(self) -> Floats:
        found: Floats = self.mean + self.attributes @ self.link
        return found

    def draw_prior(self, chance: np.random.Generator) -> None:
        """Mean and precision given the vectors (Normal–Wishart), then the link and how far it may reach."""
        count, width = self.vectors.shape
        off = self.vectors - self.attributes @ self.link
        middle = off.mean(axis=0)
        scatter = (off - middle).T @ (off - middle) + PRIOR_RATINGS * count / (PRIOR_RATINGS + count) * np.outer(middle, middle)
        self.precision = _wishart(np.linalg.inv(np.eye(width) + scatter), width + count, chance)
        root = np.linalg.cholesky(self.precision * (PRIOR_RATINGS + count))
        self.mean = count * middle / (PRIOR_RATINGS + count) + np.linalg.solve(root.T, chance.normal(size=width))
        noise = np.linalg.cholesky(np.linalg.inv(self.precision))
        toward = self.attributes.T @ (self.vectors - self.mean + chance.normal(size=(count, width)) @ noise.T)
        toward += np.sqrt(self.spread) * chance.normal(size=self.link.shape) @ noise.T
        self.link = self._basis @ ((self._basis.T @ toward) / (self._values + self.spread)[:, None])
        reach = float(np.einsum("fk,kl,fl->", self.link, self.precision, self.link))
        self.spread = chance.gamma((self.link.size + 1) / 2) / ((reach + 1) / 2)

    def draw(self, other: Floats, weight: "sparse.csr_matrix", wanted: "sparse.csr_matrix", chance: np.random.Generator) -> None:
        """All vectors given the other side's: `weight` is how sure each rating is, `wanted` that times what is left to explain."""
        width = other.shape[1]
        squares = (other[:, :, None] * other[:, None, :]).reshape(len(other), -1)
        precision = self.precision + (weight @ squares).reshape(-1, width, width)
        linear = self.expected() @ self.precision + wanted @ other
        root = np.swapaxes(np.linalg.cholesky(precision), 1, 2)
        noise = np.linalg.solve(root, chance.normal(size=(len(self.vectors), width, 1)))
        self.vectors = (np.linalg.solve(precision, linear[:, :, None]) + noise)[:, :, 0]


class RatingFactors:
    """Fitted by Gibbs sampling: `burn_in` sweeps are forgotten, every second of the `sweeps` after them is kept."""

    def __init__(self, *, dim: int = 20, burn_in: int = 40, sweeps: int = 260, seed: int = 0) -> None:
        self.dim, self.burn_in, self.sweeps, self.seed = dim, burn_in, sweeps, seed

    def fit(self, cells: Cells, user_attributes: Floats, item_attributes: Floats) -> Self:
        """`user_attributes` [U, F] and `item_attributes` [I, F] have a row for everyone, rated or not; F may be 0.

        DataError E201 without a rating, E202 where an attribute is not a number.
        """
        _check(cells, user_attributes, item_attributes)
        self._chance = np.random.default_rng(self.seed)
        self.lowest, self.highest = float(cells.value.min()), float(cells.value.max())
        shape = len(user_attributes), len(item_attributes)
        rated = sparse.csr_matrix((np.ones(len(cells)), (cells.user, cells.item)), shape=shape)
        self._sides = self._side(user_attributes, rated), self._side(item_attributes, rated.T.tocsr())
        self._groups = [_grouped(key) for key in _keys(cells)]
        self._biases = [np.zeros(len(group.key)) for group in self._groups]
        self._reach = [4.0] * len(self._groups)
        self._noise, self._mean = np.full(shape[0], 1.0 / max(float(cells.value.var()), 1e-6)), float(cells.value.mean())
        self._kept: list[tuple[float, list[NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]] = []
        with Progress("sample ratings", self.burn_in + self.sweeps) as progress:
            for sweep in range(self.burn_in + self.sweeps):
                self._sweep(cells, shape)
                if sweep >= self.burn_in and (sweep - self.burn_in) % THIN == 0:
                    users, items = (side.vectors.astype(np.float32) for side in self._sides)
                    self._kept.append((self._mean, [bias.astype(np.float32) for bias in self._biases], users, items))
                progress.advance()
        return self

    def predict(self, cells: Cells) -> Floats:
        """The mean over samples, within the range of the ratings that were seen; values of `cells` are not looked at."""
        rows = [group.rows(key) for group, key in zip(self._groups, _keys(cells), strict=True)]
        total = np.zeros(len(cells))
        for mean, biases, users, items in self._kept:
            total += mean + (users[cells.user] * items[cells.item]).sum(axis=1)
            for bias, row in zip(biases, rows, strict=True):
                total += np.where(row >= 0, bias[row], 0.0)
        return np.clip(total / len(self._kept), self.lowest, self.highest)

    def average(self, directions: int) -> tuple[float, list[Floats], list[Floats]]:
        """What is foretold at no moment in particular: a mean, biases of users and of items, and their vectors.

        The mean over samples of products is one product of wide vectors; of those the strongest directions are kept.
        """
        biases = [np.zeros(len(side.vectors)) for side in self._sides]
        for place, (bias, group) in enumerate(zip(biases, self._groups[:2], strict=True)):
            bias[group.key] = np.mean([kept[1][place] for kept in self._kept], axis=0)
        (users, users_triangle), (items, items_triangle) = (np.linalg.qr(np.hstack([kept[side] for kept in self._kept])) for side in (2, 3))
        left, strength, right = np.linalg.svd(users_triangle @ items_triangle.T / len(self._kept))
        kept = min(directions, len(strength))
        root = np.sqrt(strength[:kept])
        vectors = [users @ (left[:, :kept] * root), items @ (right[:kept].T * root)]
        return float(np.mean([kept[0] for kept in self._kept])), biases, vectors

    def _side(self, attributes: Floats, rated: "sparse.csr_matrix") -> Side:
        """With who was rated at all among the attributes, each set of length 1, where those are few enough."""
        known = attributes
        if rated.shape[1] <= MOST_IN_SETS:
            known = np.hstack([attributes, rated.toarray() / np.sqrt(np.maximum(np.asarray(rated.sum(axis=1)), 1))])
        return Side(
            vectors=self._chance.normal(scale=0.1, size=(len(known), self.dim)),
            attributes=known,
            link=np.zeros((known.shape[1], self.dim)),
            spread=10.0,
            mean=np.zeros(self.dim),
            precision=4 * np.eye(self.dim),
        )

    def _sweep(self, cells: Cells, shape: tuple[int, int]) -> None:
        chance, weight = self._chance, self._noise[cells.user]
        users, items = self._sides
        product = (users.vectors[cells.user] * items.vectors[cells.item]).sum(axis=1)
        left = cells.value - product - self._mean - sum(bias[group.row] for bias, group in zip(self._biases, self._groups, strict=True))
        for place, group in enumerate(self._groups):
            left = left + self._biases[place][group.row]
            count = len(group.key)
            precision = np.bincount(group.row, weights=weight, minlength=count) + self._reach[place]
            drawn = np.bincount(group.row, weights=weight * left, minlength=count) / precision + chance.normal(size=count) / np.sqrt(
                precision
            )
            self._biases[place] = drawn
            self._reach[place] = chance.gamma((count + 1) / 2) / ((float(drawn @ drawn) + 1) / 2)
            left = left - drawn[group.row]
        shift = float((weight * left).sum() / weight.sum() + chance.normal() / np.sqrt(weight.sum()))
        self._mean, left = self._mean + shift, left - shift
        wanted = sparse.csr_matrix((weight * (left + product), (cells.user, cells.item)), shape=shape)
        sure = sparse.csr_matrix((weight, (cells.user, cells.item)), shape=shape)
        users.draw_prior(chance)
        users.draw(items.vectors, sure, wanted, chance)
        items.draw_prior(chance)
        items.draw(users.vectors, sure.T.tocsr(), wanted.T.tocsr(), chance)
        error = left + product - (users.vectors[cells.user] * items.vectors[cells.item]).sum(axis=1)
        squares = np.bincount(cells.user, weights=error**2, minlength=shape[0])
        counts, usual = np.bincount(cells.user, minlength=shape[0]), float(self._noise.mean())
        self._noise = chance.gamma(NOISE_SHAPE + counts / 2) / (NOISE_SHAPE / usual + squares / 2)


def _keys(cells: Cells) -> list[Ints]:
    """What shares a bias: the user, the item, the user on that day, the item in that fortnight."""
    fine = np.int64(1) << 24
    return [cells.user, cells.item, cells.user * fine + cells.time_s // DAY_S, cells.item * fine + cells.time_s // FORTNIGHT_S]


def _grouped(key: Ints) -> Groups:
    known, row = np.unique(key, return_inverse=True)
    return Groups(key=known, row=row)


def _wishart(scale: Floats, freedom: int, chance: np.random.Generator) -> Floats:
    """One draw, by Bartlett's decomposition."""
    width = len(scale)
    lower = np.tril(chance.normal(size=(width, width)), -1)
    lower[np.diag_indices(width)] = np.sqrt(chance.chisquare(freedom - np.arange(width)))
    root = np.linalg.cholesky(scale) @ lower
    drawn: Floats = root @ root.T
    return drawn


def _check(cells: Cells, *attributes: Floats) -> None:
    if len(cells) == 0:
        raise DataError("E201", "there is no rating to learn from", remedy="Bring events with a rating.")
    for values in attributes:
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            message = f"attribute {column} of row {row} is {values[row, column]}"
            raise DataError("E202", message, remedy="Fill in what is missing, or leave the attribute out.")
    if not np.isfinite(cells.value).all():
        raise DataError("E202", f"rating {int(np.flatnonzero(~np.isfinite(cells.value))[0])} is not a number", remedy="Leave it out.")
