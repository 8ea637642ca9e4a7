"""Text as a vector that needs no model: its words' runs of letters, hashed (Weinberger et al. 2009, "Feature hashing for large scale
multitask learning"), the sign by the hash too.

Whole numbers decide everything but the length, so a text has the same vector on every machine, alone or among a million.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ENCODER = "letters-64-v1"
DIM = 64
RUNS = (3, 4, 5)  # bytes of UTF-8, a space before and behind each word
_FACTOR, _MIX = np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
_SPACE = 32


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """[N, DIM], each row of length 1; zeros where a text has no letter."""
    content = [" " + " ".join(text.casefold().split()) + " " for text in texts]
    letters = np.frombuffer("".join(content).encode(), dtype=np.uint8)
    lengths = np.fromiter((len(text.encode()) for text in content), np.int64, len(content))
    row = np.repeat(np.arange(len(content)), lengths)
    sums = np.zeros(len(content) * DIM, dtype=np.int64)
    for run in RUNS:
        place, sign = _hashed(letters, row, run)
        sums += np.bincount(place, weights=sign, minlength=len(sums)).astype(np.int64)
    vectors = sums.reshape(-1, DIM)
    norms = np.sqrt(np.maximum(1, (vectors * vectors).sum(axis=1)))
    embedded: NDArray[np.float32] = (vectors / norms[:, None]).astype(np.float32)
    return embedded


def _hashed(letters: NDArray[np.uint8], row: NDArray[np.int64], run: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Which sum each run of letters adds to, and whether it adds or takes away; runs with a space in the middle are none."""
    count = max(0, len(letters) - run + 1)
    code = np.zeros(count, dtype=np.uint64)
    is_whole = row[:count] == row[run - 1 :] if count else np.zeros(0, dtype=np.bool_)
    for place in range(run):
        letter = letters[place : place + count]
        code = (code ^ letter.astype(np.uint64)) * _FACTOR
        if 0 < place < run - 1:
            is_whole &= letter != _SPACE
    code = code[is_whole] * _MIX
    bucket = (code >> np.uint64(58)).astype(np.int64)
    sign = np.where(code & np.uint64(1 << 57), np.int8(1), np.int8(-1))
    return row[:count][is_whole] * DIM + bucket, sign
