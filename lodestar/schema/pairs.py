"""The numbers of a user and an item that a ranker is given: what is counted of either, and both together."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.schema.features import ITEM_STATS_VIEW, USER_ACTIVITY_VIEW, VIEWS

Floats = NDArray[np.float32]
Numbers = NDArray[np.floating[Any]]

HEAT, EVENTS, TAKEN = "heat", "events_7d", "taken_7d"
USER_COUNTS, ITEM_COUNTS = (tuple(count.name for count in VIEWS[view].counts) for view in (USER_ACTIVITY_VIEW, ITEM_STATS_VIEW))
NAMES = (*USER_COUNTS, *ITEM_COUNTS, HEAT)


def numbers(user_RU: Numbers, item_RI: Numbers) -> Floats:
    """NAMES of pairs, [R, U + I + 1], from the counts of their users ([R, U], or [1, U] of one user) and items [R, I]; NaN is not known."""
    found = np.empty((len(item_RI), len(NAMES)), dtype=np.float32)
    counts = found[:, :-1]
    counts[:, : len(USER_COUNTS)], counts[:, len(USER_COUNTS) :] = user_RU, item_RI
    np.copyto(counts, 0, where=np.isnan(counts))
    np.multiply(found[:, NAMES.index(EVENTS)], found[:, NAMES.index(TAKEN)], out=found[:, -1])
    return found
