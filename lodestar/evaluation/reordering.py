"""A bundle's ranker in an evaluation: it sees of each case what was known at the case's moment, as serving sees what is known now."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.splits import Cases
from lodestar.engine.recommender import Recommender, best
from lodestar.evaluation.metrics import SCORES_AT_ONCE, Reorder, unseen
from lodestar.features import known
from lodestar.features.store import FeatureSet
from lodestar.models.counts import Floats
from lodestar.schema import pairs

CASES_AT_ONCE = 10_000
Find = Callable[[int, Floats], tuple[NDArray[np.intp], Floats]]  # of a case and its scores the candidates, and what is counted of each


def reordering(model: Recommender, found: FeatureSet, cases: Cases) -> Reorder | None:
    """Puts the best of each case in the ranker's order, above all others; None where a bundle has no ranker."""
    if model.reranker is None:
        return None
    reranker = model.reranker
    users = [found.interactions.users[user] for user in cases.user]
    of_user = known.counts(found.root, schema.USER_ACTIVITY_VIEW, users, cases.moment)
    find = _at_one_moment(model, found, cases) if len(np.unique(cases.moment)) <= 1 else _at_many(model, found, cases)

    def reorder(start: int, scores_CN: Floats) -> None:
        for case, scores_N in enumerate(scores_CN, start=start):
            rows, of_item = find(case, scores_N)
            if len(cases.history[case]) and len(rows):
                worth = scores_N[rows] + reranker.worth(cases.history[case], rows, pairs.numbers(of_user[[case]], of_item))
                scores_N[rows] = worth - worth.min() + scores_N[rows].min() + 1  # above what is no candidate, in the order of the worth

    return reorder


def _at_one_moment(model: Recommender, found: FeatureSet, cases: Cases) -> Find:
    """Of a log that is split by time: all items are counted once."""
    moments = np.full(len(found.items), cases.moment[0] if len(cases) else 0, dtype=np.int64)
    counts = known.counts(found.root, schema.ITEM_STATS_VIEW, found.items.ids, moments)

    def find(_: int, scores_N: Floats) -> tuple[NDArray[np.intp], Floats]:
        rows = best(scores_N, model.looks_at)
        return rows, counts[rows]

    return find


def _at_many(model: Recommender, found: FeatureSet, cases: Cases) -> Find:
    """Each case's candidates at its moment, found beforehand, so that the table of counts is not read for every few of them."""
    made: list[tuple[NDArray[np.intp], Floats]] = []
    for start in range(0, len(cases), CASES_AT_ONCE):
        part = range(start, min(start + CASES_AT_ONCE, len(cases)))
        rows = list(_candidates(model, cases, part, max(1, SCORES_AT_ONCE // len(found.items))))
        items = [found.items.ids[row] for row in np.concatenate(rows)]
        lengths = [len(one) for one in rows]
        of_item = known.counts(found.root, schema.ITEM_STATS_VIEW, items, np.repeat(cases.moment[part.start : part.stop], lengths))
        made += zip(rows, np.split(of_item, np.cumsum(lengths)[:-1]), strict=True)
    return lambda case, _: made[case]


def _candidates(model: Recommender, cases: Cases, part: range, at_once: int) -> Iterator[NDArray[np.intp]]:
    asked = cases.dated() if model.bundle.info.timed else cases
    for start in range(part.start, part.stop, at_once):
        histories = asked.history[start : min(start + at_once, part.stop)]
        yield from (best(scores_N, model.looks_at) for scores_N in unseen(model.scores(histories), histories))
