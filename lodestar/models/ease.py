"""EASE: every item foretold from all others by one linear map, found in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, arXiv:1905.03375. Order in time does not count.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from lodestar import memory
from lodestar.config import Device
from lodestar.errors import ConfigError, EnvironmentFault
from lodestar.models.counts import Counts, Floats, Sequences, user_item

REGULARISATIONS = (50.0, 100.0, 250.0, 500.0, 1000.0)
SMALLER = "Take a recipe that holds no number per pair of items: sasrec, gsasrec or graph_filter."
MATRICES, MATRICES_ON_GPU = 2, 3  # the products and their factor; a GPU's library works in one more
PRODUCTS_AT_ONCE, BYTES_OF_PRODUCT = 1 << 20, 16  # sparse ones, of which a row range has its values and columns and what grows them
LARGEST_CATALOGUE = 20_000  # the map holds a number per pair of items: 1.6 GB here, and minutes of one core


@dataclass(kw_only=True)
class EASE:
    """`regularisation` is what the closed form adds to each item's count; 100 was found on MovieLens-100K's validation items.

    It is solved on `device`.
    """

    regularisation: float = 100.0
    device: Device = "cpu"

    def fit(self, sequences: Sequences, num_items: int) -> Self:
        """EnvironmentFault E185 where the memory for it is not free."""
        memory.require(bytes_needed(num_items), f"EASE of {num_items:,} items", SMALLER)
        taken = user_item(sequences, num_items)
        gram = products(taken)
        gram[np.diag_indices(num_items)] += self.regularisation
        precision = inverse(gram, self.device)
        weights = np.divide(precision, -np.diag(precision), out=precision)
        np.fill_diagonal(weights, 0)
        self.weights: Floats = weights
        return self

    def score(self, histories: Sequences) -> Floats:
        """One row per history, [histories, items]; higher is better."""
        scores: Floats = user_item(histories, len(self.weights)) @ self.weights
        return scores


def bytes_needed(num_items: int) -> int:
    """The memory of fitting: matrices of float32 by pairs of items, 8.7 GB of 33,000 items, and rows of products as they are counted."""
    return MATRICES * 4 * num_items**2 + BYTES_OF_PRODUCT * min(num_items**2, max(num_items, PRODUCTS_AT_ONCE))


def products(taken: Counts) -> Floats:
    """The product of what users took with itself, [items, items], some rows at a time: a sparse one of all pairs is larger than this."""
    of_items, num_items = taken.T.tocsr(), taken.shape[1]
    gram = np.empty((num_items, num_items), dtype=np.float32)
    at_once = max(1, PRODUCTS_AT_ONCE // max(1, num_items))
    for start in range(0, num_items, at_once):
        rows = slice(start, start + at_once)
        (of_items[rows] @ taken).toarray(out=gram[rows])
    return gram


def solver(device: Device, num_items: int) -> torch.device:
    """The GPU where the recipe's device allows one that has the memory free, and else the CPU; `cuda` takes nothing else.

    EnvironmentFault E501 where a GPU was asked for and is missing, E185 where its memory is not free.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise EnvironmentFault("E501", "a GPU was asked for, this machine has none", remedy="Use train.device auto or cpu.")
    needed, free = MATRICES_ON_GPU * 4 * num_items**2, torch.cuda.mem_get_info()[0]
    if needed > free and device == "cuda":
        message = f"the inverse takes {needed / 1e9:.1f} GB of a GPU's memory, and {free / 1e9:.1f} GB are free"
        raise EnvironmentFault("E185", message, remedy="Use train.device auto or cpu.")
    return torch.device("cpu" if needed > free else "cuda")


@torch.no_grad()
def inverse(positive: Floats, device: Device = "cpu") -> Floats:
    """Of a symmetric positive definite matrix, by the `solver` for the device; ConfigError E187 where it is not.

    Torch's LAPACK, since scipy's `spotrf` ends in a segmentation fault from 33,000 rows on (OpenBLAS with two threads and AVX-512).
    """
    chosen = solver(device, len(positive))
    factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(positive).to(chosen))
    if int(failed):
        raise ConfigError("E187 the counts of items have no inverse in float32; take a larger regularisation, or another recipe")
    whole: Floats = torch.cholesky_inverse(factor, out=factor).cpu().numpy().T  # symmetric, and so in rows
    if chosen.type == "cuda":
        del factor
        torch.cuda.empty_cache()
    return whole
