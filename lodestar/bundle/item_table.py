"""Item table: item vectors at fp32, int8 or int4 (post-training quantisation), scored by inner product with user vectors.

int8 and int4 have one scale per row, so that the short vector of a rare item is not rounded by the step of a popular item's long one.
Rows are rotated by a Walsh-Hadamard matrix first: it spreads outliers, which would widen the step, over all dimensions, and inner products
do not change if users are rotated too (Ashkboos et al., "QuaRot", arXiv:2404.00456). The rotation is not stored. A row's largest values
are clipped if that reduces its squared error. Shapes: B users, N items, D width.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lodestar.io.npz import Arrays, Kinds
from lodestar.schema.arrays import Float32, Floats, Integer, Num

Precision = Literal["fp32", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
MAX_CODE = {"int8": 127, "int4": 7}
ZERO_CODE = 8  # int4 codes are stored as 1–15
MIN_CLIP_RATIO, NUM_CLIP_RATIOS = 0.6, 17  # relative to the step that clips nothing
ROWS_AT_ONCE = 1 << 13  # rows as floats stay in the cache: 8,192 x 64 are 2 MiB

# dtype kinds and shapes of table.npz; None is any length
KINDS: Kinds = {"codes": ("fiu", (None, None)), "scale": ("f", (None,)), "dim": ("iu", ())}


@dataclass(frozen=True, kw_only=True)
class ItemTable:
    """Item vectors; `codes` has a row per item: float32 [N, D], int8 [N, D], or two int4 per byte [N, ceil(D / 2)]; `scale` [N]."""

    precision: Precision
    dim: int
    codes: Num[NDArray[Any], "_items _width"]
    scale: Float32[Floats, " _items"]

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def num_bytes(self) -> int:
        """Bytes of codes and scales in memory."""
        return self.codes.nbytes + (0 if self.precision == "fp32" else self.scale.nbytes)

    def vectors(self, rows: Integer[NDArray[np.integer], " rows"]) -> Float32[Floats, "rows dim"]:
        """Dequantised vectors of some item rows, [rows, D]."""
        vectors: Floats = self._decode(self.codes[rows]) * self.scale[rows][:, None]
        return vectors if self.precision == "fp32" else vectors @ _rotation(self.dim).T

    def scores(self, users_BD: Float32[Floats, "users dim"]) -> Float32[Floats, "users items"]:
        """Inner products of user vectors [B, D] with all items, [B, N]."""
        if self.precision == "fp32":
            product: Floats = users_BD @ self.codes.T
            return product
        rotated_BD = users_BD @ _rotation(self.dim)
        weights_BW, offset_B1 = _int4_query(rotated_BD) if self.precision == "int4" else (rotated_BD, np.float32(0))
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
        """Arrays to save in table.npz; the inverse of `from_arrays`."""
        return {"codes": self.codes, "scale": self.scale, "dim": np.array(self.dim)}

    def _decode(self, codes: NDArray[Any]) -> Floats:
        if self.precision != "int4":
            return codes.astype(np.float32, copy=False)
        both = np.concatenate([codes & 15, codes >> 4], axis=1)
        return both[:, : self.dim].astype(np.float32) - ZERO_CODE


def quantise(vectors_ND: Float32[Floats, "items dim"], precision: Precision) -> ItemTable:
    """Quantise item vectors [N, D]; each row's step minimises its squared error over a grid of clip ratios.

    The root mean squared error of a row is at most half of its norm divided by `MAX_CODE`.
    """
    count, dim = vectors_ND.shape
    if precision == "fp32":
        return ItemTable(precision=precision, dim=dim, codes=np.ascontiguousarray(vectors_ND), scale=np.ones(count, dtype=np.float32))
    parts = [
        _quantise_rows(vectors_ND[start : start + ROWS_AT_ONCE] @ _rotation(dim), MAX_CODE[precision])
        for start in range(0, count, ROWS_AT_ONCE)
    ]
    codes = np.concatenate([np.zeros((0, dim), dtype=np.int8), *(codes for codes, _ in parts)])
    scale = np.concatenate([np.zeros(0, dtype=np.float32), *(scale for _, scale in parts)])
    return ItemTable(precision=precision, dim=dim, codes=codes if precision == "int8" else _pack_int4(codes), scale=scale)


def from_arrays(precision: Precision, arrays: Arrays) -> ItemTable:
    """Item table from the arrays of table.npz, checked against `KINDS` before."""
    return ItemTable(precision=precision, dim=int(arrays["dim"]), codes=arrays["codes"], scale=arrays["scale"].astype(np.float32))


def _quantise_rows(rows_ND: Floats, largest: int) -> tuple[NDArray[np.int8], Floats]:
    """Codes [N, D] and the step of each row [N] with the lowest squared error of NUM_CLIP_RATIOS steps."""
    widest_N = (np.abs(rows_ND).max(axis=1, initial=0) / largest).astype(np.float32)
    widest_N[widest_N == 0] = 1.0
    codes_ND, step_N, least_N = np.zeros(rows_ND.shape, dtype=np.int8), widest_N, np.full(len(rows_ND), np.inf)
    for share in np.linspace(1, MIN_CLIP_RATIO, NUM_CLIP_RATIOS, dtype=np.float32):
        tried_N = widest_N * share
        tried_ND = np.rint(rows_ND / tried_N[:, None]).clip(-largest, largest)
        error_N = ((tried_ND * tried_N[:, None] - rows_ND) ** 2).sum(axis=1)
        is_better_N = error_N < least_N
        codes_ND[is_better_N] = tried_ND[is_better_N].astype(np.int8)
        step_N, least_N = np.where(is_better_N, tried_N, step_N), np.minimum(error_N, least_N)
    return codes_ND, step_N


def _pack_int4(codes_ND: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack two int4 codes per byte: the first half of a row in the low four bits, the second half in the high four."""
    codes_2NW = np.split((_pad_to_even(codes_ND) + ZERO_CODE).astype(np.uint8), 2, axis=1)
    return (codes_2NW[0] | (codes_2NW[1] << 4)).astype(np.uint8)


def _int4_query(users_BD: Floats) -> tuple[Floats, Floats]:
    """Query weights for bytes and for their low four bits, concatenated, and the offset to subtract from the scores.

    low * a + high * b = byte * (b / 16) + low * (a - b / 16): transforming the users is free, while unpacking every byte costs as much
    as the product itself (4.3 ms against 1.7 ms for one user and 100,000 x 64 items).
    """
    low_BW, high_BW = np.split(_pad_to_even(users_BD), 2, axis=1)
    byte_BW = high_BW / 16
    # pyrefly: ignore[bad-return]
    return np.concatenate([byte_BW, low_BW - byte_BW], axis=1), ZERO_CODE * users_BD.sum(axis=1, keepdims=True)


def _pad_to_even(rows: NDArray[Any]) -> NDArray[Any]:
    return rows if rows.shape[1] % 2 == 0 else np.pad(rows, ((0, 0), (0, 1)))


@cache
def _rotation(dim: int) -> Floats:
    """Orthonormal rotation [D, D]: Walsh-Hadamard blocks of the largest power of two that divides D, with Rudin-Shapiro signs.

    The signs prevent that similar rows, as in a factorised matrix, align with one Walsh function.
    """
    size, walsh = dim & -dim, np.ones((1, 1))
    while len(walsh) < size:
        walsh = np.block([[walsh, walsh], [walsh, -walsh]])
    sign = np.array([(-1) ** (index & index >> 1).bit_count() for index in range(dim)])
    rotation: Floats = (sign[:, None] * np.kron(np.eye(dim // size), walsh / np.sqrt(size))).astype(np.float32)
    rotation.setflags(write=False)
    return rotation
