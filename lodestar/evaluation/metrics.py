"""How good a ranking of the whole catalogue is: what was seen is left out, and ties count against the model.

Items are never sampled for the ranking: sampled metrics order models differently (Krichene & Rendle, "On Sampled Metrics for Item
Recommendation", KDD 2020). Shapes: C cases, R relevant items of all cases in a row, N items, K places of a list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.data.gaps import items_of
from lodestar.data.splits import Cases
from lodestar.engine.recommender import Recommender, best
from lodestar.models.counts import Floats, Sequences
from lodestar.progress import Progress

Score = Callable[[Sequences], Floats]
Reorder = Callable[[int, Floats], None]  # the number of the first case, and scores [cases, N] to change in place
Values = NDArray[np.float64]
SCORES_AT_ONCE = 1 << 22
FEW = 16
NOBODY = -1  # fills a list that is longer than there are items to show


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Of each relevant item its rank, from 0 and ascending within a case, and its case, [R]; `top` holds item rows, best first, [C, K]."""

    rank: NDArray[np.int64]
    case: NDArray[np.int64]
    top: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.top)


def rank(score: Score, cases: Cases, num_items: int, length: int, progress: Progress, reorder: Reorder | None = None) -> Ranking:
    """Where each relevant item comes among all items, and the `length` best; a score that is not a number comes last.

    `reorder` sees scores in which what was seen is -inf.
    """
    at_once = max(1, SCORES_AT_ONCE // num_items)
    ranks: list[NDArray[np.int64]] = []
    top_CK = np.full((len(cases), length), NOBODY, dtype=np.int64)
    for start in range(0, len(cases), at_once):
        histories, relevant = cases.history[start : start + at_once], cases.relevant[start : start + at_once]
        scores_CN = unseen(score(histories), histories)
        if reorder is not None:
            reorder(start, scores_CN)
        ranks.append(_ranks(scores_CN, relevant))
        for case, scores_N in enumerate(scores_CN, start=start):
            shown = best(scores_N, length)
            top_CK[case, : len(shown)] = shown
        progress.advance(len(histories))
    case_R = np.repeat(np.arange(len(cases)), [len(items) for items in cases.relevant])
    return Ranking(rank=np.concatenate([*ranks, np.zeros(0, dtype=np.int64)]), case=case_R, top=top_CK)


def rank_shared(scores_N: Floats, cases: Cases, length: int, progress: Progress) -> Ranking:
    """What `rank` gives where everyone has the same scores, which are sorted once: a case costs as much as it has items itself."""
    order, ascending = np.argsort(-scores_N, kind="stable"), np.sort(scores_N)
    top_CK = np.full((len(cases), length), NOBODY, dtype=np.int64)
    ranks: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    for case, (history, relevant) in enumerate(zip(cases.history, cases.relevant, strict=True)):
        seen = np.unique(items_of(history))
        shown = order[: length + len(seen)]
        shown = shown[~np.isin(shown, seen)][:length]
        top_CK[case, : len(shown)] = shown
        own = np.sort(np.where(np.isin(relevant, seen), -np.inf, scores_N[relevant]).astype(np.float32))[::-1]
        not_behind = len(scores_N) - np.searchsorted(ascending, own, side="left")
        seen_before = len(seen) - np.searchsorted(np.sort(scores_N[seen]), own, side="left")
        ranks.append(_among_ties(own, not_behind - np.where(np.isfinite(own), seen_before, 0)).astype(np.int64))
        progress.advance(1)
    case_R = np.repeat(np.arange(len(cases)), [len(items) for items in cases.relevant])
    return Ranking(rank=np.concatenate(ranks), case=case_R, top=top_CK)


def rank_by(model: Recommender, cases: Cases, length: int, progress: Progress, reorder: Reorder | None = None) -> Ranking:
    """The same by what serves, which is asked with the pace of histories where its bundle is timed."""
    asked = cases.dated() if model.bundle.info.timed else cases
    return rank(model.scores, asked, model.bundle.info.num_items, length, progress, reorder)


def per_case(ranking: Ranking, cutoffs: Sequence[int]) -> dict[str, Values]:
    """Every metric at every cutoff, named like `ndcg_at_10`, one value in 0–1 per case, [C]."""
    metrics = {"hr": hit_rate, "recall": recall, "ndcg": ndcg, "mrr": reciprocal_rank, "map": average_precision}
    return {f"{name}_at_{k}": metric(ranking, k) for name, metric in metrics.items() for k in cutoffs}


def hit_rate(ranking: Ranking, k: int) -> Values:
    """1 where at least one relevant item is among the first k."""
    return (_best_rank(ranking) < k).astype(np.float64)


def recall(ranking: Ranking, k: int) -> Values:
    """The share of relevant items among the first k."""
    return _sum(ranking, ranking.rank < k) / _num_relevant(ranking)


def ndcg(ranking: Ranking, k: int) -> Values:
    """Gain 1/log2(place + 1) of relevant items among the first k, divided by the most that was possible.

    Järvelin & Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002.
    """
    gain_R = (ranking.rank < k) / np.log2(ranking.rank + 2)
    most = np.cumsum(1 / np.log2(np.arange(k) + 2))
    return np.asarray(_sum(ranking, gain_R) / most[np.minimum(_num_relevant(ranking), k) - 1], dtype=np.float64)


def reciprocal_rank(ranking: Ranking, k: int) -> Values:
    """1/place of the first relevant item, 0 beyond the first k. Voorhees, "The TREC-8 Question Answering Track Report", 1999."""
    first_C = _best_rank(ranking)
    return np.asarray((first_C < k) / (first_C + 1), dtype=np.float64)


def average_precision(ranking: Ranking, k: int) -> Values:
    """Mean over min(k, relevant) of the precision at each relevant item among the first k.

    Buckley & Voorhees, "Evaluating evaluation measure stability", SIGIR 2000; the divisor is what a list of k can reach.
    """
    starts_R = np.searchsorted(ranking.case, ranking.case)
    found_R = np.arange(len(ranking.case)) - starts_R + 1
    precision_R = (ranking.rank < k) * found_R / (ranking.rank + 1)
    return _sum(ranking, precision_R) / np.minimum(_num_relevant(ranking), k)


def novelty(top_CK: NDArray[np.int64], share_taken_N: Values) -> Values:
    """Mean self-information of a list in bits, [C]: an item that half of all users took tells one bit.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010.
    """
    shown = top_CK != NOBODY
    bits_CK = np.where(shown, -np.log2(share_taken_N)[top_CK], 0)
    return np.asarray(bits_CK.sum(axis=1) / np.maximum(shown.sum(axis=1), 1), dtype=np.float64)


def times_shown(top_CK: NDArray[np.int64], num_items: int) -> NDArray[np.int64]:
    """How many lists each item is on, [N]."""
    return np.bincount(top_CK[top_CK != NOBODY], minlength=num_items)


def coverage(shown_N: NDArray[np.int64]) -> float:
    """The share of the catalogue that is shown to anyone at all."""
    return float((shown_N > 0).mean())


def gini(shown_N: NDArray[np.int64]) -> float:
    """0 where all items are shown equally often, towards 1 where one takes every place.

    Fleder & Hosanagar, "Blockbuster Culture's Next Rise or Fall", Management Science 2009.
    """
    total = shown_N.sum()
    places = np.arange(1, len(shown_N) + 1)
    return float(((2 * places - len(shown_N) - 1) * np.sort(shown_N)).sum() / (len(shown_N) * total)) if total else 0.0


def unseen(scores_CN: Floats, histories: Sequences) -> Floats:
    """Scores in which what a history holds, and what is no number, is -inf."""
    case = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    hidden_CN = np.where(np.isnan(scores_CN), -np.inf, scores_CN).astype(np.float32, copy=False)
    hidden_CN[case, items_of(np.concatenate(histories))] = -np.inf
    return hidden_CN


def _ranks(scores_CN: Floats, relevant: Sequences) -> NDArray[np.int64]:
    """Of a tie, the items that are not relevant come first."""
    ranks = []
    for scores_N, items in zip(scores_CN, relevant, strict=True):
        own = np.sort(scores_N[items])[::-1]
        # Counting costs 40 µs for each of few, of 100,000 items; sorting them all takes 6 ms.
        if len(own) <= FEW:
            not_behind = np.array([np.count_nonzero(scores_N >= score) for score in own], dtype=np.int64)
        else:
            not_behind = len(scores_N) - np.searchsorted(np.sort(scores_N), own, side="left")
        ranks.append(_among_ties(own, not_behind))
    return np.concatenate(ranks).astype(np.int64)


def _among_ties(own_R: Floats, not_behind_R: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Ranks of one case's relevant items, best first, from how many items do not score lower, they themselves among them."""
    tied_after = np.searchsorted(-own_R, -own_R, side="right") - np.arange(len(own_R)) - 1
    ranks: NDArray[np.integer[Any]] = not_behind_R - 1 - tied_after
    return ranks


def _best_rank(ranking: Ranking) -> NDArray[np.int64]:
    return ranking.rank[np.searchsorted(ranking.case, np.arange(len(ranking)))]


def _num_relevant(ranking: Ranking) -> NDArray[np.int64]:
    return np.bincount(ranking.case, minlength=len(ranking))


def _sum(ranking: Ranking, values_R: NDArray[np.float64] | NDArray[np.bool_]) -> Values:
    return np.bincount(ranking.case, weights=values_R, minlength=len(ranking)).astype(np.float64)
