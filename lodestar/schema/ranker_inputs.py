"""Input features of the ranker for a user-item pair: user counts, item counts and their cross feature."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.schema.arrays import Float, Float32, Floats
from lodestar.schema.features import ITEM_STATS_VIEW, USER_ACTIVITY_VIEW, VIEWS

Numbers = NDArray[np.floating[Any]]

RECENCY_COUNTS, EVENTS, INTERACTIONS = "heat", "events_7d", "interactions_7d"
USER_COUNTS, ITEM_COUNTS = (VIEWS[view].count_names for view in (USER_ACTIVITY_VIEW, ITEM_STATS_VIEW))
NAMES = (*USER_COUNTS, *ITEM_COUNTS, RECENCY_COUNTS)


def pair_features(
    user_RU: Float[Numbers, "#rows user_counts"], item_RI: Float[Numbers, "rows item_counts"]
) -> Float32[Floats, "rows counts"]:
    """Ranker features NAMES of R pairs, [R, U + I + 1].

    `user_RU` are the counts of the users ([R, U], or [1, U] for one user), `item_RI` those of the items; NaN (unknown) becomes 0.
    """
    found = np.empty((len(item_RI), len(NAMES)), dtype=np.float32)
    counts = found[:, :-1]
    counts[:, : len(USER_COUNTS)], counts[:, len(USER_COUNTS) :] = user_RU, item_RI
    np.copyto(counts, 0, where=np.isnan(counts))
    np.multiply(found[:, NAMES.index(EVENTS)], found[:, NAMES.index(INTERACTIONS)], out=found[:, -1])
    return found
