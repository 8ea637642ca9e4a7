"""Normalised discounted cumulative gain (NDCG) from the ranks of relevant items; `ndcg_torch` is the same on tensors.

Järvelin & Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002. Shapes: C cases, R relevant items of all cases.
"""

import numpy as np

from lodestar.schema.arrays import Doubles, Float64, Int64, Longs

CUTOFF = 10  # k of validation, of hyperparameter choices and of the headline metrics


def ndcg(
    rank_R: Int64[Longs, " ranked"], case_R: Int64[Longs, " ranked"], num_relevant_C: Int64[Longs, " cases"], k: int = CUTOFF
) -> Float64[Doubles, " cases"]:
    """NDCG@k in 0–1, [C]: gain 1/log2(rank + 2) of the relevant items with a rank below k, divided by `ideal_dcg`.

    Ranks count from 0. Relevant items that are in no list may be left out of `rank_R` and `case_R`, but count in `num_relevant_C`, which is
    at least 1.
    """
    gain_R = (rank_R < k) / np.log2(rank_R + 2)
    dcg_C = np.bincount(case_R, weights=gain_R, minlength=len(num_relevant_C))
    return np.asarray(dcg_C / ideal_dcg(num_relevant_C, k), dtype=np.float64)


def ideal_dcg(num_relevant_C: Int64[Longs, " cases"], k: int = CUTOFF) -> Float64[Doubles, " cases"]:
    """DCG@k of a list that starts with all relevant items, float64 [C]: the most that `num_relevant_C` (at least 1) items can gain."""
    ideal_K = np.cumsum(1 / np.log2(np.arange(k) + 2))
    return np.asarray(ideal_K[np.minimum(num_relevant_C, k) - 1], dtype=np.float64)
