"""What a bundle's answers are worth on the validation part; the test part is left for the one evaluation that is reported.

A model that was refitted has seen the validation items, and so have all its variants: only differences are looked at.
"""

import numpy as np
from numpy.typing import NDArray

from lodestar.config import EvaluationConfig
from lodestar.data.splits import Cases
from lodestar.engine.recommender import Recommender
from lodestar.evaluation.intervals import Interval, difference
from lodestar.evaluation.metrics import NOBODY, Ranking, ndcg, rank_by
from lodestar.progress import Progress

K = 10


def judge(recommender: Recommender, cases: Cases, progress: Progress) -> Ranking:
    """All items ranked for every case, but those of its history."""
    return rank_by(recommender, cases, K, progress)


def mean_ndcg(ranking: Ranking) -> float:
    return float(ndcg(ranking, K).mean()) if len(ranking) else 0.0


def change(mine: Ranking, full: Ranking, config: EvaluationConfig) -> Interval:
    """Of NDCG@10 over users; where there are none, all that it can change by."""
    if len(full) == 0:
        return Interval(value=0.0, low=-1.0, high=1.0)
    return difference(ndcg(mine, K), ndcg(full, K), config.bootstrap_samples, config.seed)


def overlap(mine_CK: NDArray[np.int64], full_CK: NDArray[np.int64]) -> float:
    """The share of the second's places whose item is anywhere on the first's list."""
    is_place_CK = full_CK != NOBODY
    is_shared_CK = (full_CK[:, :, None] == mine_CK[:, None, :]).any(axis=2) & is_place_CK
    return float(is_shared_CK.sum() / is_place_CK.sum()) if is_place_CK.any() else 1.0
