"""A bundle's ranker in an evaluation: it sees of each case what was known at the case's moment, as serving sees what is known now."""

import numpy as np

from lodestar import schema
from lodestar.data.splits import Cases
from lodestar.engine.recommender import Recommender, best
from lodestar.evaluation.metrics import Reorder
from lodestar.features import known
from lodestar.features.store import FeatureSet
from lodestar.models.counts import Floats
from lodestar.schema import pairs


def reordering(model: Recommender, found: FeatureSet, cases: Cases) -> Reorder | None:
    """Puts the best of each case in the ranker's order, above all others; None where a bundle has no ranker."""
    if model.reranker is None:
        return None
    reranker, size = model.reranker, model.looks_at
    users = [found.interactions.users[user] for user in cases.user]
    of_user = known.counts(found.root, schema.USER_ACTIVITY_VIEW, users, cases.moment)

    def reorder(start: int, scores_CN: Floats) -> None:
        rows = [best(scores_N, size) for scores_N in scores_CN]
        case = start + np.repeat(np.arange(len(rows)), [len(found) for found in rows])
        items = [found.items.ids[row] for row in np.concatenate(rows)]
        of_item = known.counts(found.root, schema.ITEM_STATS_VIEW, items, cases.moment[case])
        counts = np.split(pairs.numbers(of_user[case], of_item), np.cumsum([len(found) for found in rows])[:-1])
        for place, (scores_N, chosen, counts_CF) in enumerate(zip(scores_CN, rows, counts, strict=True), start=start):
            if len(cases.history[place]) and len(chosen):
                worth = scores_N[chosen] + reranker.worth(cases.history[place], chosen, counts_CF)
                lowest = scores_N[chosen].min()
                scores_N[chosen] = worth - worth.min() + lowest + 1  # above what is no candidate, in the order of the worth

    return reorder
