"""Reranking in an evaluation: the ranker gets count features as of each case's cutoff (point-in-time), as serving gets them as of now."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.split.splits import EvalCases
from lodestar.engine.recommender import Recommender, top_k
from lodestar.evaluation.metrics import SCORES_AT_ONCE, Reorder, mask_excluded
from lodestar.features.asof import historical_counts
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.schema import ranker_inputs
from lodestar.schema.arrays import Float32, Floats, Int

CASES_AT_ONCE = 10_000
ItemCounts = tuple[Int[NDArray[np.intp], " candidates"], Float32[Floats, "candidates counts"]]  # candidate rows [K], their counts [K, F]
Retrieve = Callable[[int, Float32[Floats, " items"]], ItemCounts]  # of a case and its scores [N]


def reordering(recommender: Recommender, features: FeatureSet, cases: EvalCases) -> Reorder | None:
    """A function that reorders the candidates of each case by the ranker, above all other items; None if the bundle has no ranker."""
    if recommender.reranker is None:
        return None
    reranker = recommender.reranker
    users = [features.interactions.users[user] for user in cases.user]
    user_counts = historical_counts.counts(features.root, schema.USER_ACTIVITY_VIEW, users, cases.cutoff_us)
    with_cutoffs = _with_one_cutoff if len(np.unique(cases.cutoff_us)) <= 1 else _with_many_cutoffs
    retrieve = with_cutoffs(recommender, features, cases)

    def reorder(start: int, scores_CN: Floats) -> None:
        for case, scores_N in enumerate(scores_CN, start=start):
            rows, item_counts = retrieve(case, scores_N)
            if len(cases.history[case]) and len(rows):
                scores = scores_N[rows] + reranker.score(
                    cases.history[case], rows, ranker_inputs.pair_features(user_counts[[case]], item_counts)
                )
                scores_N[rows] = scores - scores.min() + scores_N[rows].min() + 1  # above all other items, in the ranker's order

    return reorder


def _with_one_cutoff(recommender: Recommender, features: FeatureSet, cases: EvalCases) -> Retrieve:
    """Retrieval for a split by time: all cases share a cutoff, so the item counts are read once."""
    cutoff_us = np.full(len(features.items), cases.cutoff_us[0] if len(cases) else 0, dtype=np.int64)
    item_counts = historical_counts.counts(features.root, schema.ITEM_STATS_VIEW, features.items.ids, cutoff_us)

    def retrieve(_: int, scores_N: Floats) -> tuple[NDArray[np.intp], Floats]:
        rows = top_k(scores_N, recommender.num_candidates)
        return rows, item_counts[rows]

    return retrieve


def _with_many_cutoffs(recommender: Recommender, features: FeatureSet, cases: EvalCases) -> Retrieve:
    """Retrieval for leave-one-out: candidates are computed beforehand, so that the table of counts is read once per CASES_AT_ONCE."""
    candidates: list[tuple[NDArray[np.intp], Floats]] = []
    for start in range(0, len(cases), CASES_AT_ONCE):
        part = range(start, min(start + CASES_AT_ONCE, len(cases)))
        rows = list(_candidates(recommender, cases, part, max(1, SCORES_AT_ONCE // len(features.items))))
        items = [features.items.ids[row] for row in np.concatenate(rows)]
        lengths = [len(one) for one in rows]
        item_counts = historical_counts.counts(
            features.root, schema.ITEM_STATS_VIEW, items, np.repeat(cases.cutoff_us[part.start : part.stop], lengths)
        )
        candidates += zip(rows, np.split(item_counts, np.cumsum(lengths)[:-1]), strict=True)
    return lambda case, _: candidates[case]


def _candidates(recommender: Recommender, cases: EvalCases, part: range, at_once: int) -> Iterator[NDArray[np.intp]]:
    cases = cases.with_time_gaps() if recommender.bundle.info.use_time_gaps else cases
    for start in range(part.start, part.stop, at_once):
        rows = slice(start, min(start + at_once, part.stop))
        scores_CN = mask_excluded(recommender.scores(cases.history[rows]), cases.excluded[rows])
        yield from (top_k(scores_N, recommender.num_candidates) for scores_N in scores_CN)
