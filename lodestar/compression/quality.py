"""Ranking quality of compressed bundles on the validation set; the test set is left for the reported evaluation.

A refitted model was trained on the validation items, and so were all its variants. Differences between them are used, relative to a
level that is then higher than that on unknown items: a margin of 1 % of it is more of theirs. Of a bundle with a ranker, retrieval alone
is ranked, without reordering.
"""

from lodestar.config import EvaluationConfig
from lodestar.data.split.splits import EvalCases
from lodestar.engine.recommender import Recommender
from lodestar.evaluation.intervals import Interval, difference
from lodestar.evaluation.metrics import NO_ITEM, Ranking, ndcg, rank_by
from lodestar.progress import Progress
from lodestar.schema.arrays import Int64, Longs

K = 10


def rank_cases(recommender: Recommender, cases: EvalCases, progress: Progress) -> Ranking:
    """Full ranking of every case without seen items, at cutoff K, by retrieval alone."""
    return rank_by(recommender, cases, K, progress)


def mean_ndcg(ranking: Ranking) -> float:
    """Mean NDCG@10 over cases, 0 without any."""
    return float(ndcg(ranking, K).mean()) if len(ranking) else 0.0


def change(variant: Ranking, full: Ranking, config: EvaluationConfig) -> Interval:
    """Change of NDCG@10 from `full` to `variant`, with a paired bootstrap interval over users; -1 to 1 without users."""
    if len(full) == 0:
        return Interval(value=0.0, low=-1.0, high=1.0)
    return difference(ndcg(variant, K), ndcg(full, K), config.bootstrap_samples, config.seed)


def overlap(variant_CK: Int64[Longs, "cases positions"], full_CK: Int64[Longs, "cases positions"]) -> float:
    """Share of the items of the lists `full_CK` that are in the same case's list of `variant_CK`, at any rank."""
    is_filled_CK = full_CK != NO_ITEM
    is_shared_CK = (full_CK[:, :, None] == variant_CK[:, None, :]).any(axis=2) & is_filled_CK
    return float(is_shared_CK.sum() / is_filled_CK.sum()) if is_filled_CK.any() else 1.0
