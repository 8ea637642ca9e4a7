"""Ranking metrics on the full catalogue: NDCG, hit rate, recall, MRR, MAP, novelty, coverage and Gini.

Items that may not be recommended by the rules of feedback (seen or refused ones) are excluded; inactive items, which serving leaves out
too, take ranks. Ties count against the model.
Items are never sampled for the ranking: sampled metrics order models differently (Krichene & Rendle, "On Sampled Metrics for Item
Recommendation", KDD 2020). Shapes: C cases, R relevant items of all cases concatenated, N items, K positions of a list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle.timed_items import unpack_items
from lodestar.data.split.splits import EvalCases
from lodestar.engine.recommender import Recommender, top_k
from lodestar.metrics.ndcg import ndcg as ndcg_of_ranks
from lodestar.models.closed_form.counts import Sequences
from lodestar.progress import Progress
from lodestar.schema.arrays import Doubles, Float32, Float64, Floats, Int64, Longs

Score = Callable[[Sequences], Float32[Floats, "histories items"]]
Reorder = Callable[
    [int, Float32[Floats, "cases items"]], None
]  # takes the index of the first case and scores [cases, N], which it changes in place
SCORES_AT_ONCE = 1 << 22
FEW = 16
NO_ITEM = -1  # padding of a list with fewer than K items


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Ranks (from 0, ascending within a case) and cases of the relevant items, [R], and the top-K item rows, best first, [C, K]."""

    rank: Int64[Longs, " relevant"]
    case: Int64[Longs, " relevant"]
    top: Int64[Longs, "cases positions"]

    def __len__(self) -> int:
        return len(self.top)


def rank(score: Score, cases: EvalCases, num_items: int, length: int, progress: Progress, reorder: Reorder | None = None) -> Ranking:
    """Full ranking: the rank of each relevant item among all items, and the top `length`; NaN scores rank last.

    `reorder` (a reranker) gets scores in which items that may not be recommended are -inf.
    """
    at_once = max(1, SCORES_AT_ONCE // num_items)
    ranks: list[NDArray[np.int64]] = []
    top_CK = np.full((len(cases), length), NO_ITEM, dtype=np.int64)
    for start in range(0, len(cases), at_once):
        part = slice(start, start + at_once)
        histories, relevant = cases.history[part], cases.relevant[part]
        scores_CN = mask_excluded(score(histories), cases.excluded[part])
        if reorder is not None:
            reorder(start, scores_CN)
        ranks.append(_ranks(scores_CN, relevant))
        for case, scores_N in enumerate(scores_CN, start=start):
            top = top_k(scores_N, length)
            top_CK[case, : len(top)] = top
        progress.advance(len(histories))
    case_R = np.repeat(np.arange(len(cases)), [len(items) for items in cases.relevant])
    return Ranking(rank=np.concatenate([*ranks, np.zeros(0, dtype=np.int64)]), case=case_R, top=top_CK)


def rank_shared(scores_N: Float32[Floats, " items"], cases: EvalCases, length: int, progress: Progress) -> Ranking:
    """`rank` for scores [N] that are the same for every user: they are sorted once, so a case costs only its own items."""
    order, ascending = np.argsort(-scores_N, kind="stable"), np.sort(scores_N)
    top_CK = np.full((len(cases), length), NO_ITEM, dtype=np.int64)
    ranks: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    for case, (excluded, relevant) in enumerate(zip(cases.excluded, cases.relevant, strict=True)):
        seen = np.unique(unpack_items(excluded))
        top = order[: length + len(seen)]
        top = top[~np.isin(top, seen)][:length]
        top_CK[case, : len(top)] = top
        relevant_R = np.sort(np.where(np.isin(relevant, seen), -np.inf, scores_N[relevant]).astype(np.float32))[::-1]
        not_lower_R = len(scores_N) - np.searchsorted(ascending, relevant_R, side="left")
        seen_R = len(seen) - np.searchsorted(np.sort(scores_N[seen]), relevant_R, side="left")
        ranks.append(_break_ties(relevant_R, not_lower_R - np.where(np.isfinite(relevant_R), seen_R, 0)).astype(np.int64))
        progress.advance(1)
    case_R = np.repeat(np.arange(len(cases)), [len(items) for items in cases.relevant])
    return Ranking(rank=np.concatenate(ranks), case=case_R, top=top_CK)


def rank_by(recommender: Recommender, cases: EvalCases, length: int, progress: Progress, reorder: Reorder | None = None) -> Ranking:
    """`rank` by the serving recommender; histories carry time gaps if its bundle uses them."""
    cases = cases.with_time_gaps() if recommender.bundle.info.use_time_gaps else cases
    return rank(recommender.scores, cases, recommender.bundle.info.num_items, length, progress, reorder)


def per_case(ranking: Ranking, cutoffs: Sequence[int]) -> dict[str, Float64[Doubles, " cases"]]:
    """Every metric at every cutoff k, named like `ndcg_at_10`, one value in 0–1 per case, [C]."""
    metrics = {"hr": hit_rate, "recall": recall, "ndcg": ndcg, "mrr": reciprocal_rank, "map": average_precision}
    return {f"{name}_at_{k}": metric(ranking, k) for name, metric in metrics.items() for k in cutoffs}


def hit_rate(ranking: Ranking, k: int) -> Float64[Doubles, " cases"]:
    """Hit rate (HR@k), [C]: 1 where at least one relevant item is in the top k, else 0."""
    return (_best_rank(ranking) < k).astype(np.float64)


def recall(ranking: Ranking, k: int) -> Float64[Doubles, " cases"]:
    """Recall@k, [C]: the share of a case's relevant items in the top k."""
    return _sum(ranking, ranking.rank < k) / _num_relevant(ranking)


def ndcg(ranking: Ranking, k: int) -> Float64[Doubles, " cases"]:
    """NDCG@k, [C], by `lodestar.metrics.ndcg`."""
    return ndcg_of_ranks(ranking.rank, ranking.case, _num_relevant(ranking), k)


def reciprocal_rank(ranking: Ranking, k: int) -> Float64[Doubles, " cases"]:
    """Reciprocal rank (MRR@k), [C]: 1/position of the first relevant item, 0 beyond the top k.

    Voorhees, "The TREC-8 Question Answering Track Report", 1999.
    """
    first_C = _best_rank(ranking)
    return np.asarray((first_C < k) / (first_C + 1), dtype=np.float64)


def average_precision(ranking: Ranking, k: int) -> Float64[Doubles, " cases"]:
    """Average precision (MAP@k), [C]: sum of the precision at each relevant item in the top k, divided by min(k, relevant).

    Buckley & Voorhees, "Evaluating evaluation measure stability", SIGIR 2000; the divisor is the most that a list of k can reach.
    """
    starts_R = np.searchsorted(ranking.case, ranking.case)
    found_R = np.arange(len(ranking.case)) - starts_R + 1
    precision_R = (ranking.rank < k) * found_R / (ranking.rank + 1)
    return _sum(ranking, precision_R) / np.minimum(_num_relevant(ranking), k)


def novelty(top_CK: Int64[Longs, "cases positions"], user_share_N: Float64[Doubles, " items"]) -> Float64[Doubles, " cases"]:
    """Novelty@K, [C]: mean self-information of a list in bits; an item that half of all users interacted with has one bit.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010.
    """
    is_item_CK = top_CK != NO_ITEM
    bits_CK = np.where(is_item_CK, -np.log2(user_share_N)[top_CK], 0)
    return np.asarray(bits_CK.sum(axis=1) / np.maximum(is_item_CK.sum(axis=1), 1), dtype=np.float64)


def item_frequencies(top_CK: Int64[Longs, "cases positions"], num_items: int) -> Int64[Longs, "{num_items}"]:
    """Number of lists that contain each item, [N]."""
    return np.bincount(top_CK[top_CK != NO_ITEM], minlength=num_items)


def coverage(shown_N: Int64[Longs, " items"]) -> float:
    """Catalogue coverage in 0–1: the share of items that are in at least one list; `shown_N` is the number of lists per item."""
    return float((shown_N > 0).mean())


def gini(shown_N: Int64[Longs, " items"]) -> float:
    """Gini index of recommendation frequencies: 0 if all items are recommended equally often, towards 1 if one item fills every list.

    Fleder & Hosanagar, "Blockbuster Culture's Next Rise or Fall", Management Science 2009.
    """
    total = shown_N.sum()
    order_N = np.arange(1, len(shown_N) + 1)
    return float(((2 * order_N - len(shown_N) - 1) * np.sort(shown_N)).sum() / (len(shown_N) * total)) if total else 0.0


def mask_excluded(scores_CN: Float32[Floats, "cases items"], excluded: Sequences) -> Float32[Floats, "cases items"]:
    """Scores [C, N] with -inf for the items that may not be recommended in each case, and for NaN."""
    case = np.repeat(np.arange(len(excluded)), [len(items) for items in excluded])
    masked_CN = np.where(np.isnan(scores_CN), -np.inf, scores_CN).astype(np.float32, copy=False)
    masked_CN[case, unpack_items(np.concatenate(excluded))] = -np.inf
    return masked_CN


def _ranks(scores_CN: Floats, relevant: Sequences) -> NDArray[np.int64]:
    """Ranks of the relevant items; in a tie, items that are not relevant rank first."""
    ranks = []
    for scores_N, items in zip(scores_CN, relevant, strict=True):
        relevant_R = np.sort(scores_N[items])[::-1]
        # Of 100,000 items, counting costs 40 µs per relevant item; sorting all costs 6 ms.
        if len(relevant_R) <= FEW:
            not_lower_R = np.array([np.count_nonzero(scores_N >= score) for score in relevant_R], dtype=np.int64)
        else:
            not_lower_R = len(scores_N) - np.searchsorted(np.sort(scores_N), relevant_R, side="left")
        ranks.append(_break_ties(relevant_R, not_lower_R))
    return np.concatenate(ranks).astype(np.int64)


def _break_ties(relevant_R: Floats, not_lower_R: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Ranks of a case's relevant items from their scores, best first, and how many items do not score lower than each (itself included)."""
    tied_after_R = np.searchsorted(-relevant_R, -relevant_R, side="right") - np.arange(len(relevant_R)) - 1
    ranks: NDArray[np.integer[Any]] = not_lower_R - 1 - tied_after_R
    return ranks


def _best_rank(ranking: Ranking) -> NDArray[np.int64]:
    return ranking.rank[np.searchsorted(ranking.case, np.arange(len(ranking)))]


def _num_relevant(ranking: Ranking) -> NDArray[np.int64]:
    return np.bincount(ranking.case, minlength=len(ranking))


def _sum(ranking: Ranking, values_R: NDArray[np.float64] | NDArray[np.bool_]) -> Doubles:
    return np.bincount(ranking.case, weights=values_R, minlength=len(ranking)).astype(np.float64)
