"""Item vectors at three precisions; all score by a plain product with the user's vector.

int8 and int4 keep one scale per row, so a rare item's short vector is not rounded by the step that a popular item's long one needs.
Rows are turned first, by a Walsh-Hadamard matrix: it spreads a large value, which would make the step wide, over all places, and products
do not change when users are turned too (Ashkboos et al., "QuaRot", arXiv:2404.00456). Nothing more is stored. A step may cut a row's
largest values where that leaves less error in all.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lodestar.arrays import Arrays, Kinds

Precision = Literal["fp32", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
LARGEST_CODE = {"int8": 127, "int4": 7}
ZERO_CODE = 8  # int4 codes are stored as 1–15
NARROWEST, STEPS_TRIED = 0.6, 17  # of the step that cuts nothing
ROWS_AT_ONCE = 1 << 13  # rows as floats stay in the cache: 8,192 x 64 are 2 MiB

# Of numpy's type, and shapes: None is any length.
KINDS: Kinds = {"codes": ("fiu", (None, None)), "scale": ("f", (None,)), "dim": ("iu", ())}

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ItemTable:
    """`codes` holds a row per item: float32 [items, dim], int8 [items, dim], or two int4 to a byte [items, ceil(dim / 2)]."""

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
        return vectors if self.precision == "fp32" else vectors @ _turn(self.dim).T

    def scores(self, users_BD: Floats) -> Floats:
        """The product of every user with every item, [users, items]."""
        if self.precision == "fp32":
            product: Floats = users_BD @ self.codes.T
            return product
        turned_BD = users_BD @ _turn(self.dim)
        weights_BW, offset_B1 = _against_pairs(turned_BD) if self.precision == "int4" else (turned_BD, np.float32(0))
        scores_BN = np.empty((len(users_BD), len(self)), dtype=np.float32)
        floats_RW, width = np.empty((min(ROWS_AT_ONCE, len(self)), weights_BW.shape[1]), dtype=np.float32), self.codes.shape[1]
        for start in range(0, len(self), ROWS_AT_ONCE):
            codes = self.codes[start : start + ROWS_AT_ONCE]
            rows_RW = floats_RW[: len(codes)]
            rows_RW[:, :width] = codes
            if self.precision == "int4":
                rows_RW[:, width:] = codes & 15
            np.matmul(weights_BW, rows_RW.T, out=scores_BN[:, start : start + len(codes)])
        scores_BN -= offset_B1
        scores_BN *= self.scale
        return scores_BN

    def arrays(self) -> Arrays:
        """What `from_arrays` takes back."""
        return {"codes": self.codes, "scale": self.scale, "dim": np.array(self.dim)}

    def _decoded(self, codes: NDArray[Any]) -> Floats:
        if self.precision != "int4":
            return codes.astype(np.float32, copy=False)
        both = np.concatenate([codes & 15, codes >> 4], axis=1)
        return both[:, : self.dim].astype(np.float32) - ZERO_CODE


def quantise(vectors_ND: Floats, precision: Precision) -> ItemTable:
    """The table at a precision; a value is off by at most half of a step that reaches as far as its row is long, in the row's mean."""
    count, dim = vectors_ND.shape
    if precision == "fp32":
        return ItemTable(precision=precision, dim=dim, codes=np.ascontiguousarray(vectors_ND), scale=np.ones(count, dtype=np.float32))
    parts = [
        _coded(vectors_ND[start : start + ROWS_AT_ONCE] @ _turn(dim), LARGEST_CODE[precision]) for start in range(0, count, ROWS_AT_ONCE)
    ]
    codes = np.concatenate([np.zeros((0, dim), dtype=np.int8), *(codes for codes, _ in parts)])
    scale = np.concatenate([np.zeros(0, dtype=np.float32), *(scale for _, scale in parts)])
    return ItemTable(precision=precision, dim=dim, codes=codes if precision == "int8" else _pairs(codes), scale=scale)


def from_arrays(precision: Precision, arrays: Arrays) -> ItemTable:
    return ItemTable(precision=precision, dim=int(arrays["dim"]), codes=arrays["codes"], scale=arrays["scale"].astype(np.float32))


def _coded(rows_ND: Floats, largest: int) -> tuple[NDArray[np.int8], Floats]:
    """Codes and each row's step, of those tried the one with the least squared error."""
    widest_N = (np.abs(rows_ND).max(axis=1, initial=0) / largest).astype(np.float32)
    widest_N[widest_N == 0] = 1.0
    codes_ND, step_N, least_N = np.zeros(rows_ND.shape, dtype=np.int8), widest_N, np.full(len(rows_ND), np.inf)
    for share in np.linspace(1, NARROWEST, STEPS_TRIED, dtype=np.float32):
        tried_N = widest_N * share
        tried_ND = np.rint(rows_ND / tried_N[:, None]).clip(-largest, largest)
        error_N = ((tried_ND * tried_N[:, None] - rows_ND) ** 2).sum(axis=1)
        is_better_N = error_N < least_N
        codes_ND[is_better_N] = tried_ND[is_better_N].astype(np.int8)
        step_N, least_N = np.where(is_better_N, tried_N, step_N), np.minimum(error_N, least_N)
    return codes_ND, step_N


def _pairs(codes_ND: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The first half of a row in the low four bits, the second in the high four."""
    codes_2NW = np.split((_even(codes_ND) + ZERO_CODE).astype(np.uint8), 2, axis=1)
    return (codes_2NW[0] | (codes_2NW[1] << 4)).astype(np.uint8)


def _against_pairs(users_BD: Floats) -> tuple[Floats, Floats]:
    """What to multiply bytes and their low halves with, side by side, and what is then too much.

    low * a + high * b is byte * (b / 16) + low * (a - b / 16): turning the users costs nothing, taking every byte apart as much as
    the product itself (4.3 ms against 1.7 ms for a user and 100,000 x 64 items).
    """
    low_BW, high_BW = np.split(_even(users_BD), 2, axis=1)
    byte_BW = high_BW / 16
    return np.concatenate([byte_BW, low_BW - byte_BW], axis=1), ZERO_CODE * users_BD.sum(axis=1, keepdims=True)


def _even(rows: NDArray[Any]) -> NDArray[Any]:
    return rows if rows.shape[1] % 2 == 0 else np.pad(rows, ((0, 0), (0, 1)))


@cache
def _turn(dim: int) -> Floats:
    """Orthonormal, [dim, dim]: Walsh-Hadamard in blocks of the largest power of two that divides `dim`, signs by Rudin and Shapiro.

    The signs keep rows that are alike, as those of a factorised matrix are, from lining up with one of the Walsh functions.
    """
    size, walsh = dim & -dim, np.ones((1, 1))
    while len(walsh) < size:
        walsh = np.block([[walsh, walsh], [walsh, -walsh]])
    sign = np.array([(-1) ** (place & place >> 1).bit_count() for place in range(dim)])
    turn: Floats = (sign[:, None] * np.kron(np.eye(dim // size), walsh / np.sqrt(size))).astype(np.float32)
    turn.setflags(write=False)
    return turn
