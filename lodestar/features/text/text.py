"""Text embedding without a model: feature hashing of character n-grams, with signs by the hash.

Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009, arXiv:0902.2206. Everything but the normalisation is
integer arithmetic, so a text has the same vector on every machine and in every batch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lodestar.schema.arrays import Float32, Floats

ENCODER = "char-ngram-64-v1"
DIM = 64
NGRAM_SIZES = (3, 4, 5)  # in UTF-8 bytes, with a space before and after each word
_FACTOR, _MIX = np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
_SPACE = 32


def embed(texts: Sequence[str]) -> Float32[Floats, "texts dim"]:
    """Embed N texts as unit vectors, [N, DIM]; zeros for a blank text."""
    content = [" " + " ".join(text.casefold().split()) + " " for text in texts]
    letters = np.frombuffer("".join(content).encode(), dtype=np.uint8)
    lengths = np.fromiter((len(text.encode()) for text in content), np.int64, len(content))
    row = np.repeat(np.arange(len(content)), lengths)
    sums = np.zeros(len(content) * DIM, dtype=np.int64)
    for ngram in NGRAM_SIZES:
        index, sign = _hash_ngrams(letters, row, ngram)
        sums += np.bincount(index, weights=sign, minlength=len(sums)).astype(np.int64)
    vectors = sums.reshape(-1, DIM)
    norms = np.sqrt(np.maximum(1, (vectors * vectors).sum(axis=1)))
    embedded: NDArray[np.float32] = (vectors / norms[:, None]).astype(np.float32)
    return embedded


def _hash_ngrams(letters: NDArray[np.uint8], row: NDArray[np.int64], ngram: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Flat bucket index and sign of each n-gram; those across texts or with a space inside are skipped."""
    count = max(0, len(letters) - ngram + 1)
    code = np.zeros(count, dtype=np.uint64)
    is_whole = row[:count] == row[ngram - 1 :] if count else np.zeros(0, dtype=np.bool_)
    for index in range(ngram):
        letter = letters[index : index + count]
        code = (code ^ letter.astype(np.uint64)) * _FACTOR
        if 0 < index < ngram - 1:
            is_whole &= letter != _SPACE
    code = code[is_whole] * _MIX
    bucket = (code >> np.uint64(58)).astype(np.int64)
    sign = np.where(code & np.uint64(1 << 57), np.int8(1), np.int8(-1))
    return row[:count][is_whole] * DIM + bucket, sign
