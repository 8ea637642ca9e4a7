"""What a bundle's answers are worth on the validation part; the test part is left for the one evaluation that is reported.

A model that was refitted has seen the validation items, and so have all its variants: only differences are looked at.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lodestar.data.splits import Cases
from lodestar.engine.recommender import Recommender, best
from lodestar.progress import Progress

if TYPE_CHECKING:
    from lodestar.engine.recommender import Floats

K = 10
SCORES_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Per case: NDCG@10 in 0–1, [cases], and the rows of the ten best items, [cases, up to 10]."""

    ndcg: NDArray[np.float64]
    top: list[NDArray[np.intp]]

    def overlap(self, other: "Quality") -> float:
        """The share of this one's places whose item is among the other's ten too."""
        places = sum(len(items) for items in self.top)
        shared = sum(len(np.intersect1d(mine, theirs)) for mine, theirs in zip(self.top, other.top, strict=True))
        return shared / places if places else 1.0


def judge(recommender: Recommender, cases: Cases, progress: Progress) -> Quality:
    """Rank all items for every case, but those of its history."""
    at_once = max(1, SCORES_AT_ONCE // recommender.bundle.info.num_items)
    top: list[NDArray[np.intp]] = []
    for start in range(0, len(cases), at_once):
        histories = cases.history[start : start + at_once]
        top += [_best_new(scores_N, history) for scores_N, history in zip(recommender.scores(histories), histories, strict=True)]
        progress.advance(len(histories))
    ndcg = [_ndcg(items, relevant) for items, relevant in zip(top, cases.relevant, strict=True)]
    return Quality(ndcg=np.array(ndcg, dtype=np.float64), top=top)


def _best_new(scores_N: "Floats", history: NDArray[np.int32]) -> NDArray[np.intp]:
    scores_N[history] = -np.inf
    return best(scores_N, K)


def _ndcg(items: NDArray[np.intp], relevant: NDArray[np.int32]) -> float:
    gain = 1 / np.log2(np.arange(K) + 2)
    return float(gain[: len(items)][np.isin(items, relevant)].sum() / gain[: len(relevant)].sum())


def interval(changes: NDArray[np.float64], samples: int, seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over users; all that NDCG can change by where there are none."""
    if len(changes) == 0:
        return -1.0, 1.0
    generator = np.random.default_rng(seed)
    means = [changes[generator.integers(len(changes), size=len(changes))].mean() for _ in range(samples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
