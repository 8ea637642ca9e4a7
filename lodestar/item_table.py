"""Item vectors at three precisions; all score by a plain product with the user's vector.

int8 and int4 keep one scale per row, so a rare item's short vector is not rounded by the step that a popular item's long one needs.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lodestar.arrays import Arrays

Precision = Literal["fp32", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
LARGEST_CODE = {"int8": 127, "int4": 7}
ROWS_AT_ONCE = 1 << 14  # decoded rows stay in the cache: 16,384 x 64 floats are 4 MiB

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ItemTable:
    """`codes` holds a row per item: float32 [items, dim], int8 [items, dim], or two int4 to a byte [items, dim / 2]."""

    precision: Precision
    dim: int
    codes: NDArray[Any]
    scale: Floats

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def num_bytes(self) -> int:
        return self.codes.nbytes + (0 if self.precision == "fp32" else self.scale.nbytes)

    def vectors(self, rows: NDArray[np.integer]) -> Floats:
        """The vectors of some items, [rows, dim]."""
        vectors: Floats = self._decoded(self.codes[rows]) * self.scale[rows][:, None]
        return vectors

    def scores(self, users_BD: Floats) -> Floats:
        """The product of every user with every item, [users, items]."""
        if self.precision == "fp32":
            product: Floats = users_BD @ self.codes.T
            return product
        scores_BN = np.empty((len(users_BD), len(self)), dtype=np.float32)
        for start in range(0, len(self), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            scores_BN[:, rows] = (users_BD @ self._decoded(self.codes[rows]).T) * self.scale[rows]
        return scores_BN

    def arrays(self) -> Arrays:
        """What `from_arrays` takes back."""
        return {"codes": self.codes, "scale": self.scale, "dim": np.array(self.dim)}

    def _decoded(self, codes: NDArray[Any]) -> Floats:
        if self.precision != "int4":
            return codes.astype(np.float32, copy=False)
        low, high = codes.astype(np.uint8) & 15, codes.astype(np.uint8) >> 4
        pairs = np.stack([low, high], axis=-1).astype(np.float32) - 8
        return pairs.reshape(len(codes), -1)[:, : self.dim]


def quantise(vectors_ND: Floats, precision: Precision) -> ItemTable:
    """The table at a precision; a value is off by at most half of its row's scale."""
    count, dim = vectors_ND.shape
    if precision == "fp32":
        return ItemTable(precision=precision, dim=dim, codes=np.ascontiguousarray(vectors_ND), scale=np.ones(count, dtype=np.float32))
    largest = LARGEST_CODE[precision]
    scale = (np.abs(vectors_ND).max(axis=1, initial=0) / largest).astype(np.float32)
    scale[scale == 0] = 1.0
    codes = np.rint(vectors_ND / scale[:, None]).clip(-largest, largest).astype(np.int8)
    return ItemTable(precision=precision, dim=dim, codes=codes if precision == "int8" else _pairs(codes), scale=scale)


def from_arrays(precision: Precision, arrays: Arrays) -> ItemTable:
    return ItemTable(precision=precision, dim=int(arrays["dim"]), codes=arrays["codes"], scale=arrays["scale"].astype(np.float32))


def _pairs(codes_ND: NDArray[np.int8]) -> NDArray[np.uint8]:
    even = np.pad(codes_ND, ((0, 0), (0, codes_ND.shape[1] % 2)))
    shifted = (even + 8).astype(np.uint8)
    return (shifted[:, 0::2] | (shifted[:, 1::2] << 4)).astype(np.uint8)
