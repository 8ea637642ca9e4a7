"""Rating prediction by Bayesian matrix factorisation with side information (Macau), averaged over Gibbs samples of the posterior.

A rating is the global mean, biases of user, item, user-day and item-fortnight, and a dot product of factors. Side information (attributes,
and the set of items a user rated) shifts the prior mean of a factor vector: Simm et al., "Macau: scalable Bayesian factorization with
high-dimensional side information using MCMC", MLSP 2017, arXiv:1509.04610, after Salakhutdinov & Mnih, "Bayesian probabilistic matrix
factorization using Markov chain Monte Carlo", ICML 2008. The noise precision is per user. No learning rate or epoch needs tuning.
Letters in shapes: U users, I items, M ratings, K factors, F attributes, G groups.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestar.data.split.rating_triples import RatingTriples
from lodestar.errors import DataError
from lodestar.progress import Progress
from lodestar.schema.arrays import Doubles, Float32, Float64, Floats, Int64, Longs
from lodestar.schema.time_units import DAY_US

FORTNIGHT_US = 14 * DAY_US
NOISE_SHAPE = 4.0  # shape of the Gamma prior of users' noise precisions: larger pulls them together
PRIOR_RATINGS = 2.0  # weight of the prior mean of factors, in pseudo-observations (beta of Normal-Wishart)
THINNING = 2  # keep every second sample
CELLS_AT_ONCE = 1 << 20  # vectors times K² of a block that is sampled: 8 MB for each of its arrays
MAX_SET_COLUMNS = 4_096  # columns up to which rated sets are attributes: cost grows with their square


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Groups of ratings that share a bias: `key` [G] sorted, `row` [M] the group index of each rating."""

    key: Int64[Longs, " groups"]
    row: Int64[Longs, " ratings"]

    def rows(self, key: Int64[Longs, " others"]) -> Int64[Longs, " others"]:
        """Group indices of other ratings by their keys, -1 for unknown groups."""
        index = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where(self.key[index] == key, index, -1)


@dataclass(kw_only=True)
class FactorBlock:
    """Factors of users or items with their Normal-Wishart prior: prior mean `mean` + `attributes` @ `link`, `precision` [K, K].

    `vectors` [rows, K], `attributes` [rows, F], sparse, `link` [F, K]; `link_precision` is the precision of the link's prior.
    """

    vectors: Float64[Doubles, "rows factors"]
    attributes: "sparse.csr_matrix"
    link: Float64[Doubles, "attributes factors"]
    link_precision: float
    mean: Float64[Doubles, " factors"]
    precision: Float64[Doubles, "factors factors"]

    def __post_init__(self) -> None:
        self._attributes_by_column = self.attributes.T.tocsr()
        values, self._basis = np.linalg.eigh((self._attributes_by_column @ self.attributes).toarray())
        self._values = np.maximum(values, 0)

    def prior_mean(self) -> Float64[Doubles, "rows factors"]:
        """Prior mean of each vector, [rows, K]."""
        found: Doubles = self.mean + self.attributes @ self.link
        return found

    def sample_prior(self, rng: np.random.Generator) -> None:
        """Gibbs step of the prior: mean and precision given the vectors (Normal-Wishart), then the link and its precision."""
        count, width = self.vectors.shape
        deviation = self.vectors - self.attributes @ self.link
        centre = deviation.mean(axis=0)
        scatter = (deviation - centre).T @ (deviation - centre) + PRIOR_RATINGS * count / (PRIOR_RATINGS + count) * np.outer(centre, centre)
        self.precision = _wishart(np.linalg.inv(np.eye(width) + scatter), width + count, rng)
        root = np.linalg.cholesky(self.precision * (PRIOR_RATINGS + count))
        self.mean = count * centre / (PRIOR_RATINGS + count) + np.linalg.solve(root.T, rng.normal(size=width))
        noise = np.linalg.cholesky(np.linalg.inv(self.precision))
        target = self._attributes_by_column @ (self.vectors - self.mean + rng.normal(size=(count, width)) @ noise.T)
        target += np.sqrt(self.link_precision) * rng.normal(size=self.link.shape) @ noise.T
        self.link = self._basis @ ((self._basis.T @ target) / (self._values + self.link_precision)[:, None])
        link_norm = float(np.einsum("fk,kl,fl->", self.link, self.precision, self.link))
        self.link_precision = rng.gamma((self.link.size + 1) / 2) / ((link_norm + 1) / 2)

    def sample(
        self, other: Float64[Doubles, "others factors"], weight: "sparse.csr_matrix", wanted: "sparse.csr_matrix", rng: np.random.Generator
    ) -> None:
        """Gibbs step of all vectors given the other side's: `weight` has the noise precisions, `wanted` those times the residuals."""
        width = other.shape[1]
        squares = (other[:, :, None] * other[:, None, :]).reshape(len(other), -1)
        linear = self.prior_mean() @ self.precision + wanted @ other
        normal = rng.normal(size=(len(self.vectors), width, 1))
        at_once = max(1, CELLS_AT_ONCE // width**2)
        for rows in (slice(start, start + at_once) for start in range(0, len(linear), at_once)):
            precision = self.precision + (weight[rows] @ squares).reshape(-1, width, width)
            noise = np.linalg.solve(np.swapaxes(np.linalg.cholesky(precision), 1, 2), normal[rows])
            self.vectors[rows] = (np.linalg.solve(precision, linear[rows, :, None]) + noise)[:, :, 0]


class RatingFactors:
    """Bayesian matrix factorisation with side information (Macau, Simm et al. 2017), fitted by Gibbs sampling.

    `burn_in` sweeps are discarded; of the `num_samples` sweeps after them every second one is kept.
    """

    def __init__(self, *, dim: int = 20, burn_in: int = 40, num_samples: int = 260, seed: int = 0) -> None:
        self.dim, self.burn_in, self.num_samples, self.seed = dim, burn_in, num_samples, seed

    def fit(
        self,
        cells: RatingTriples,
        user_attributes: Float64[Doubles, "users user_columns"],
        item_attributes: Float64[Doubles, "items item_columns"],
    ) -> Self:
        """Sample the posterior given ratings; `user_attributes` [U, F] and `item_attributes` [I, F] have a row for every user and item.

        F may be 0. DataError E205 without a rating, E202 for an attribute or rating that is not finite.
        """
        _check(cells, user_attributes, item_attributes)
        self._rng = np.random.default_rng(self.seed)
        self.lowest, self.highest = float(cells.value.min()), float(cells.value.max())
        shape = len(user_attributes), len(item_attributes)
        rated = sparse.csr_matrix((np.ones(len(cells)), (cells.user, cells.item)), shape=shape)
        self._sides = self._side(user_attributes, rated), self._side(item_attributes, rated.T.tocsr())
        self._groups = [_group_by_key(key) for key in _keys(cells)]
        self._biases = [np.zeros(len(group.key)) for group in self._groups]
        self._bias_precision = [4.0] * len(self._groups)
        self._noise, self._mean = np.full(shape[0], 1.0 / max(float(cells.value.var()), 1e-6)), float(cells.value.mean())
        self._samples: list[tuple[float, list[NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]] = []
        with Progress("sample ratings", self.burn_in + self.num_samples) as progress:
            for sweep in range(self.burn_in + self.num_samples):
                self._sweep(cells, shape)
                if sweep >= self.burn_in and (sweep - self.burn_in) % THINNING == 0:
                    users, items = (side.vectors.astype(np.float32) for side in self._sides)
                    self._samples.append((self._mean, [bias.astype(np.float32) for bias in self._biases], users, items))
                progress.advance()
        return self

    def predict(self, cells: RatingTriples) -> Float64[Doubles, " ratings"]:
        """Predicted ratings [M]: the mean over samples, clipped to the range of training ratings. Values of `cells` are ignored."""
        rows = [group.rows(key) for group, key in zip(self._groups, _keys(cells), strict=True)]
        total = np.zeros(len(cells))
        for mean, biases, users, items in self._samples:
            total += mean + (users[cells.user] * items[cells.item]).sum(axis=1)
            for bias, row in zip(biases, rows, strict=True):
                total += np.where(row >= 0, bias[row], 0.0)
        return np.clip(total / len(self._samples), self.lowest, self.highest)

    def posterior_mean(self, rank: int) -> tuple[float, list[Float64[Doubles, "_"]], list[Float32[Floats, "_ factors"]]]:
        """Time-independent posterior mean for serving: global mean, biases of users [U] and items [I], vectors [U, rank] and [I, rank].

        The mean of the samples' products is one product of concatenated vectors, truncated by SVD to `rank`.
        """
        biases = [np.zeros(len(side.vectors)) for side in self._sides]
        for index, (bias, group) in enumerate(zip(biases, self._groups[:2], strict=True)):
            bias[group.key] = np.mean([sample[1][index] for sample in self._samples], axis=0)
        (users, users_triangle), (items, items_triangle) = (
            np.linalg.qr(np.hstack([sample[side] for sample in self._samples])) for side in (2, 3)
        )
        left, singular_values, right = np.linalg.svd(users_triangle @ items_triangle.T / len(self._samples))
        num_kept = min(rank, len(singular_values))
        root = np.sqrt(singular_values[:num_kept])
        vectors: list[Floats] = [users @ (left[:, :num_kept] * root), items @ (right[:num_kept].T * root)]
        return float(np.mean([sample[0] for sample in self._samples])), biases, vectors

    def _side(self, attributes: Doubles, rated: "sparse.csr_matrix") -> FactorBlock:
        """Initial factors of one side; rated sets, normalised to length 1, become attributes if there are at most MAX_SET_COLUMNS."""
        columns = sparse.csr_matrix(attributes)
        if rated.shape[1] <= MAX_SET_COLUMNS:
            lengths = np.sqrt(np.maximum(np.asarray(rated.sum(axis=1)).ravel(), 1))
            columns = sparse.hstack([columns, sparse.diags(1 / lengths) @ rated], format="csr")
        return FactorBlock(
            vectors=self._rng.normal(scale=0.1, size=(len(attributes), self.dim)),
            attributes=columns,
            link=np.zeros((columns.shape[1], self.dim)),
            link_precision=10.0,
            mean=np.zeros(self.dim),
            precision=4 * np.eye(self.dim),
        )

    def _sweep(self, cells: RatingTriples, shape: tuple[int, int]) -> None:
        """One Gibbs sweep: biases, global mean, factors of users and items, users' noise precisions."""
        rng, weight = self._rng, self._noise[cells.user]
        users, items = self._sides
        product = (users.vectors[cells.user] * items.vectors[cells.item]).sum(axis=1)
        residual = cells.value - product - self._mean - sum(bias[group.row] for bias, group in zip(self._biases, self._groups, strict=True))
        for index, group in enumerate(self._groups):
            residual = residual + self._biases[index][group.row]
            count = len(group.key)
            precision = np.bincount(group.row, weights=weight, minlength=count) + self._bias_precision[index]
            mean = np.bincount(group.row, weights=weight * residual, minlength=count) / precision
            sampled = mean + rng.normal(size=count) / np.sqrt(precision)
            self._biases[index] = sampled
            self._bias_precision[index] = rng.gamma((count + 1) / 2) / ((float(sampled @ sampled) + 1) / 2)
            residual = residual - sampled[group.row]
        shift = float((weight * residual).sum() / weight.sum() + rng.normal() / np.sqrt(weight.sum()))
        self._mean, residual = self._mean + shift, residual - shift
        wanted = sparse.csr_matrix((weight * (residual + product), (cells.user, cells.item)), shape=shape)
        weights = sparse.csr_matrix((weight, (cells.user, cells.item)), shape=shape)
        users.sample_prior(rng)
        users.sample(items.vectors, weights, wanted, rng)
        items.sample_prior(rng)
        items.sample(users.vectors, weights.T.tocsr(), wanted.T.tocsr(), rng)
        error = residual + product - (users.vectors[cells.user] * items.vectors[cells.item]).sum(axis=1)
        squares = np.bincount(cells.user, weights=error**2, minlength=shape[0])
        counts, mean_noise = np.bincount(cells.user, minlength=shape[0]), float(self._noise.mean())
        self._noise = rng.gamma(NOISE_SHAPE + counts / 2) / (NOISE_SHAPE / mean_noise + squares / 2)


def bytes_needed(cells: RatingTriples, shape: tuple[int, int], dim: int, num_samples: int) -> int:
    """Bytes that fitting these ratings of `shape` (users, items) and `posterior_mean` allocate at most, ratings and attributes aside.

    They are the samples with three copies of their vectors, the products of the larger side's factors, and the decomposition of rated sets.
    """
    rows, num_kept = sum(shape), -(-num_samples // THINNING)
    num_biases = sum(len(np.unique(key)) for key in _keys(cells))
    num_columns = max(count if count <= MAX_SET_COLUMNS else 0 for count in shape)
    samples = 4 * num_kept * (4 * rows * dim + num_biases)
    return samples + 8 * (max(shape) * dim**2 + 3 * num_columns**2 + 6 * CELLS_AT_ONCE)


def _keys(cells: RatingTriples) -> list[Longs]:
    """Bias group keys of each rating [M]: user, item, user and day, item and fortnight."""
    key_stride = np.int64(1) << 24
    return [
        cells.user,
        cells.item,
        cells.user * key_stride + cells.time_us // DAY_US,
        cells.item * key_stride + cells.time_us // FORTNIGHT_US,
    ]


def _group_by_key(key: Longs) -> Groups:
    unique_keys, row = np.unique(key, return_inverse=True)
    return Groups(key=unique_keys, row=row)


def _wishart(scale: Doubles, degrees_of_freedom: int, rng: np.random.Generator) -> Doubles:
    """One sample of a Wishart distribution, by Bartlett's decomposition."""
    width = len(scale)
    lower = np.tril(rng.normal(size=(width, width)), -1)
    lower[np.diag_indices(width)] = np.sqrt(rng.chisquare(degrees_of_freedom - np.arange(width)))
    root = np.linalg.cholesky(scale) @ lower
    sampled: Doubles = root @ root.T
    return sampled


def _check(cells: RatingTriples, *attributes: Doubles) -> None:
    if len(cells) == 0:
        raise DataError("E205", "there is no rating to train on", remedy="Add events with a rating.")
    for values in attributes:
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            message = f"attribute {column} of row {row} is {values[row, column]}"
            raise DataError("E202", message, remedy="Fill in missing values, or leave the attribute out.")
    if not np.isfinite(cells.value).all():
        raise DataError("E202", f"rating {int(np.flatnonzero(~np.isfinite(cells.value))[0])} is not a number", remedy="Leave it out.")
