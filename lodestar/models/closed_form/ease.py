"""EASE: a linear autoencoder with a zero diagonal that predicts every item from all others, in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, arXiv:1905.03375. The order of interactions is ignored.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from lodestar.config import Device
from lodestar.errors import ConfigError, EnvironmentFault
from lodestar.models.closed_form import memory
from lodestar.models.closed_form.counts import Counts, Sequences, Weights, user_item
from lodestar.schema.arrays import Float32, Floats

if TYPE_CHECKING:
    import torch

REGULARISATIONS = (50.0, 100.0, 250.0, 500.0, 1000.0)
DENSE_MATRIX_REMEDY = "Use a recipe without a dense item-item matrix: sasrec, gsasrec or gf_cf."
MATRICES, MATRICES_ON_GPU = 2, 3  # the Gram matrix and its Cholesky factor; cuSOLVER needs one more as workspace
PRODUCTS_AT_ONCE, BYTES_OF_PRODUCT = 1 << 20, 16  # entries of a sparse block: values, column indices, and their growth
MAX_CATALOGUE_SIZE = 20_000  # the dense weight matrix has 1.6 GB at this size, and its inverse takes minutes of one core


@dataclass(kw_only=True)
class EASE:
    """EASE (Steck 2019). `regularisation` (L2) is added to the Gram matrix' diagonal; 100 is best on MovieLens-100K's validation set.

    The Gram matrix is inverted on `device`.
    """

    regularisation: float = 100.0
    device: Device = "cpu"

    def fit(self, sequences: Sequences, num_items: int, interaction_weights: Weights = ()) -> Self:
        """Fit `weights` [items, items] on one sequence per user; EnvironmentFault E185 if the memory for it is not free."""
        memory.require(bytes_needed(num_items), f"EASE of {num_items:,} items", DENSE_MATRIX_REMEDY)
        interactions = user_item(sequences, num_items, interaction_weights)
        gram = products(interactions)
        gram[np.diag_indices(num_items)] += self.regularisation
        precision = inverse(gram, self.device)
        weights = np.divide(precision, -np.diag(precision), out=precision)
        np.fill_diagonal(weights, 0)
        self.weights: Floats = weights
        return self

    def score(self, histories: Sequences) -> Float32[Floats, "histories items"]:
        """Scores of all items, one row per history, float32 [histories, items]; higher is better."""
        scores: Floats = user_item(histories, len(self.weights)) @ self.weights
        return scores


def bytes_needed(num_items: int) -> int:
    """Bytes that fitting needs: dense float32 [items, items] matrices (8.7 GB for 33,000 items) and one sparse block of products."""
    return MATRICES * 4 * num_items**2 + BYTES_OF_PRODUCT * min(num_items**2, max(num_items, PRODUCTS_AT_ONCE))


def products(interactions: Counts) -> Float32[Floats, "items items"]:
    """The Gram matrix XᵀX of a user-item matrix, dense float32 [items, items], by blocks: a sparse product of all pairs is larger."""
    by_item, num_items = interactions.T.tocsr(), interactions.shape[1]
    gram = np.empty((num_items, num_items), dtype=np.float32)
    block_size = max(1, PRODUCTS_AT_ONCE // max(1, num_items))
    for start in range(0, num_items, block_size):
        rows = slice(start, start + block_size)
        (by_item[rows] @ interactions).toarray(out=gram[rows])
    return gram


def solver(device: Device, num_items: int) -> "torch.device":
    """The device that inverts the matrix: a GPU if `device` allows it and its free memory suffices, else the CPU.

    With `cuda`: EnvironmentFault E501 if there is no GPU, E185 if its memory is not free.
    """
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise EnvironmentFault("E501", "train.device is cuda, and this machine has no GPU", remedy="Use train.device auto or cpu.")
    needed, free = MATRICES_ON_GPU * 4 * num_items**2, torch.cuda.mem_get_info()[0]
    if needed > free and device == "cuda":
        message = f"the inverse needs {needed / 1e9:.1f} GB of GPU memory, and {free / 1e9:.1f} GB are free"
        raise EnvironmentFault("E185", message, remedy="Use train.device auto or cpu.")
    return torch.device("cpu" if needed > free else "cuda")


def inverse(matrix: Float32[Floats, "items items"], device: Device = "cpu") -> Float32[Floats, "items items"]:
    """Inverse of a symmetric positive definite matrix [N, N] by Cholesky; ConfigError E187 if it is not positive definite.

    Computed by torch, since scipy's `spotrf` ends in a segmentation fault from 33,000 rows on (OpenBLAS with two threads and AVX-512).
    """
    import torch

    chosen = solver(device, len(matrix))
    factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(matrix).to(chosen))
    if int(failed):
        raise ConfigError("the Gram matrix has no inverse in float32; use a larger regularisation, or another recipe", code="E187")
    inverted: Floats = torch.cholesky_inverse(factor, out=factor).cpu().numpy().T  # symmetric, so its transpose is C-contiguous
    if chosen.type == "cuda":
        del factor
        torch.cuda.empty_cache()
    return inverted
